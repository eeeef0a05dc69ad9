//! The GICv3 as the Normal world sees it: enough to take interrupts beside SDEI and to see that they still come.

use crate::machine::Machine;
use crate::pe::Pe;
use crate::{arch, attack, say};
use arm_gic::gicv3::registers::{Gicd, GicrSgi};
use arm_gic::gicv3::{
    GicCpuInterface, GicDistributor, GicRedistributorIterator, SgiTarget, SgiTargetGroup,
};
use arm_gic::{IntId, InterruptGroup, UniqueMmioPointer};
use arm_sysregs::el1;
use core::ptr::NonNull;
use core::sync::atomic::Ordering::*;
use spin::mutex::SpinMutex;

/// The SGI that the tests send each other.
pub const SGI: IntId = IntId::sgi(1);
/// The priority the Normal world's interrupts get here.
const PRIORITY: u8 = 0x80;
/// ICC_RPR_EL1 with nothing active.
const IDLE: u64 = 0xff;

/// One PE at a time goes through the redistributors, since only one may hold their registers.
static REDISTRIBUTORS: SpinMutex<()> = SpinMutex::new(());

/// Turns on Group 1 interrupts in the distributor.
pub fn init(machine: &Machine) {
    let Some(base) = NonNull::new(machine.gicd as *mut Gicd) else {
        return;
    };
    // SAFETY: The device tree says that the distributor is there, and it is mapped as a device.
    let mut distributor = GicDistributor::new(unsafe { UniqueMmioPointer::new(base) });
    // Seen from the Normal world, ARE_NS stands where the Secure view has ARE_S.
    distributor.enable_affinity_routing_secure(true);
    distributor.enable_group1_non_secure(true);
}

/// Readies this PE's interface and enables [`SGI`] on it.
pub fn init_pe() {
    if arch::el() == 2 {
        GicCpuInterface::enable_system_register_el2(true);
    }
    GicCpuInterface::enable_system_register_el1();
    {
        let _turn = REDISTRIBUTORS.lock();
        let affinity = Pe::current().mpidr();
        for base in Machine::get()
            .gicr
            .iter()
            .filter_map(|&base| NonNull::new(base as *mut GicrSgi))
        {
            // SAFETY: The device tree says that redistributors start there, and the lock keeps other PEs away.
            let Ok(frames) = (unsafe { GicRedistributorIterator::new(base) }) else {
                continue;
            };
            for mut frame in frames.filter(|frame| frame.typer().core_mpidr() == affinity) {
                // It may be awake already.
                let _ = frame.mark_core_awake();
                // SGI 1 is an INTID that every redistributor has.
                let _ = frame.set_interrupt_priority(SGI, PRIORITY);
                let _ = frame.enable_interrupt(SGI, true);
            }
        }
    }
    GicCpuInterface::set_priority_mask(0xff);
    GicCpuInterface::enable_group1(true);
}

/// Sends [`SGI`] to a PE.
pub fn send(pe: &Pe) {
    let mpidr = pe.mpidr();
    // The only error is an INTID that is no SGI.
    let _ = GicCpuInterface::send_sgi(
        SGI,
        SgiTarget::List {
            affinity3: (mpidr >> 32) as u8,
            affinity2: (mpidr >> 16) as u8,
            affinity1: (mpidr >> 8) as u8,
            target_list: 1 << (mpidr & 0xf),
        },
        SgiTargetGroup::CurrentGroup1,
    );
}

/// Whether an interrupt waits for this PE.
pub fn waiting() -> bool {
    GicCpuInterface::get_pending_interrupt(InterruptGroup::Group1).is_some()
}

/// Whether no interrupt is active here: the running priority is idle.
pub fn idle() -> bool {
    el1::accessors::read_icc_rpr_el1().bits() & 0xff == IDLE
}

/// Takes the interrupt of this PE's own SGI: proof that interrupts still get through.
pub fn interrupts_work() -> bool {
    let before = Pe::current().interrupts.load(Acquire);
    send(Pe::current());
    let end = arch::counter() + 10 * arch::counter_frequency();
    while Pe::current().interrupts.load(Acquire) == before && arch::counter() < end {
        arch::take_interrupts();
        arch::relax();
    }
    Pe::current().interrupts.load(Acquire) == before + 1 && idle()
}

/// The interrupt vector's Rust part.
pub extern "C" fn interrupt() {
    // There may be none: event 0's SGI, of Group 0 and a higher priority, can come between the exception and here,
    // and hides this one until EL3 has taken it.
    GicCpuInterface::handle_interrupt(InterruptGroup::Group1, |intid| {
        if attack::is_active() {
            attack::interrupted();
        } else if intid != SGI {
            say!("payload: interrupt {intid:?} that nobody asked for");
        }
        Pe::current().interrupts.fetch_add(1, AcqRel);
    });
}

//! The power controller and the system registers: PEs on and off, the machine
//! off and reset, and what outlives a reset (Arm Fast Models Reference Guide,
//! Base Platform).

use core::ptr::NonNull;

use aarch64_cpu::asm::{barrier, wfi};
use aarch64_cpu::registers::{CNTFRQ_EL0, CNTPCT_EL0, Readable};
use arm_fvp_base_pac::MemoryMap;
use arm_fvp_base_pac::power_controller::{
    FvpPowerController, FvpPowerControllerRegisters, SystemStatus,
};
use arm_fvp_base_pac::system::{FvpSystemPeripheral, FvpSystemRegisters, SystemConfigFunction};
use safe_mmio::UniqueMmioPointer;
use spin::RelaxStrategy;
use spin::mutex::TicketMutex;

use crate::{cache, relax};

/// A device's registers, shared by all PEs, which get them in the order in which
/// they ask.
type Shared<T> = TicketMutex<UniqueMmioPointer<'static, T>, Wait>;

/// How a PE waits for them.
struct Wait;

impl RelaxStrategy for Wait {
    fn relax() {
        relax();
    }
}

// SAFETY: the machine's power controller, one of DEVICES, and only here.
static CONTROLLER: Shared<FvpPowerControllerRegisters> =
    unsafe { shared(*MemoryMap::POWER_CONTROLLER.start()) };

// SAFETY: the machine's system registers, one of DEVICES, and only here.
static SYSTEM: Shared<FvpSystemRegisters> = unsafe { shared(*MemoryMap::VE_SYSTEM.start()) };

/// # Safety
///
/// The address is that of such registers, of which nothing else has a pointer.
const unsafe fn shared<T>(address: usize) -> Shared<T> {
    match NonNull::new(address as *mut T) {
        // SAFETY: the caller's promise.
        Some(registers) => TicketMutex::new(unsafe { UniqueMmioPointer::new(registers) }),
        None => panic!("no device is at address 0"),
    }
}

/// The flag of the system registers that notes MEM_PROTECT's wish: it keeps its
/// value over a reset.
const PROTECT_MEMORY: u32 = 1 << 31;

/// Gives the power controller to `f`. It is asked in two steps, so by one PE at a
/// time.
fn controller<R>(f: impl FnOnce(&mut FvpPowerController<'_>) -> R) -> R {
    f(&mut FvpPowerController::new(CONTROLLER.lock().reborrow()))
}

fn system<R>(f: impl FnOnce(&mut FvpSystemPeripheral<'_>) -> R) -> R {
    f(&mut FvpSystemPeripheral::new(SYSTEM.lock().reborrow()))
}

/// What the controller calls a PE: Aff2 to Aff0.
fn name(affinity: u64) -> u32 {
    affinity as u32
}

/// Whether the machine has this PE.
pub(super) fn exists(affinity: u64) -> bool {
    // All ones of a PE that isn't there.
    !controller(|controller| controller.system_status(name(affinity))).is_all()
}

/// How often a second the controller is asked whether a PE is off.
const POLLS: u64 = 100_000;

/// Powers a PE on that said that it is off.
pub(super) fn on(affinity: u64) {
    let off = || {
        !controller(|controller| controller.system_status(name(affinity)))
            .contains(SystemStatus::L0)
    };
    // It may have some way to go to its WFI: caches to flush. Before that, the
    // request would only take back that it wants to go off. A second is far more
    // than it needs; it won't go off if the Normal world, which can reach the
    // controller, interferes, and must not hold this PE up then.
    let (start, second) = (CNTPCT_EL0.get(), CNTFRQ_EL0.get());
    let since_start = || CNTPCT_EL0.get().wrapping_sub(start);
    while !off() && since_start() < second {
        // The PE needs the controller, too.
        let asked = since_start();
        while since_start() - asked < second / POLLS {
            relax();
        }
    }
    // It finds what this PE has stored for it: a write to a device is not ordered
    // after stores to memory.
    barrier::dsb(barrier::ISHST);
    controller(|controller| controller.power_on_processor(name(affinity)));
}

/// Powers this PE down. It starts anew when it is powered on, or also when the
/// GIC has an interrupt for it if `wake` says so.
pub(super) fn down(affinity: u64, wake: bool) -> ! {
    controller(|controller| {
        if wake {
            controller.enable_wakeup_requests(name(affinity));
        } else {
            controller.disable_wakeup_requests(name(affinity));
        }
        // Done at the next WFI.
        controller.power_off_processor(name(affinity));
    });
    cache::flush_and_turn_off();
    loop {
        wfi();
    }
}

/// Sets MEM_PROTECT's wish, and says whether it was set.
pub(super) fn protect_memory(enable: bool) -> bool {
    system(|system| {
        let was_on = system.non_volatile_flags() & PROTECT_MEMORY != 0;
        if enable {
            system.set_non_volatile_flags(PROTECT_MEMORY);
        } else {
            system.clear_non_volatile_flags(PROTECT_MEMORY);
        }
        was_on
    })
}

/// Whether that was the wish before the reset.
pub(super) fn memory_is_protected() -> bool {
    system(|system| system.non_volatile_flags() & PROTECT_MEMORY != 0)
}

pub(super) fn system_off() -> ! {
    configure(SystemConfigFunction::Shutdown)
}

pub(super) fn system_reset() -> ! {
    configure(SystemConfigFunction::Reboot)
}

fn configure(function: SystemConfigFunction) -> ! {
    system(|system| system.write_system_configuration(function));
    // The machine stops in a moment, but not if the PE stops before the write is
    // there.
    barrier::dsb(barrier::SY);
    loop {
        wfi();
    }
}

//! What the machine keeps from the Normal world after a reset, until EL3 opens
//! it: DRAM, the system counter, the timers of the memory map.

use core::ptr::NonNull;

use aarch64_cpu::asm::barrier;
use arm_fvp_base_pac::arm_cci::Cci5x0;
use arm_fvp_base_pac::arm_generic_timer::memory_mapped::{
    CntAcr, GenericTimerControl, GenericTimerCtl,
};
use arm_fvp_base_pac::arm_sp805::Watchdog;
use arm_fvp_base_pac::arm_tzc::{
    ActionRegister, GateKeeperStatus, RegionAttributes, RegionIDAccess, SecureAccess, Tzc,
};
use arm_fvp_base_pac::{Cci550Map, MemoryMap, TzcFilter, TzcNsaid};
use safe_mmio::UniqueMmioPointer;

use super::{BLOCK, boot};
use crate::{Mapper, Region};

/// Blocks with what is needed once: counter control, Trusted watchdog and TZC;
/// and control of the memory-mapped timers.
const SYSTEM: usize = 0x2a40_0000;
const TIMERS: usize = 0x2a80_0000;

/// The system counter's frequency in Hz if the machine doesn't say it.
const COUNTER_HZ: u64 = 100_000_000;

/// Who may access the Normal world's DRAM: every master there is.
const MASTERS: [usize; 6] = [
    TzcNsaid::DEFAULT,
    TzcNsaid::PCI,
    TzcNsaid::HDLCD0,
    TzcNsaid::CLCD,
    TzcNsaid::VIRTIO,
    TzcNsaid::APPLICATION_PROCESSORS,
];

/// # Safety
///
/// The address is that of such registers, which can be accessed and of which
/// nothing else has a pointer.
unsafe fn registers<T>(address: usize) -> UniqueMmioPointer<'static, T> {
    // SAFETY: no device is at address 0; the rest is the caller's promise.
    unsafe { UniqueMmioPointer::new(NonNull::new_unchecked(address as *mut T)) }
}

/// Has the interconnect keep the caches of both clusters coherent. Clusters stay
/// powered as long as the machine runs, so that is for good.
///
/// # Safety
///
/// The caches of all PEs are off. Called once, by the PE that boots.
pub(super) unsafe fn make_coherent() {
    // SAFETY: the machine's CCI-550, and only here.
    let mut cci = Cci5x0::new(unsafe { registers(*MemoryMap::CCI_550.start()) });
    for cluster in [Cci550Map::CLUSTER0, Cci550Map::CLUSTER1] {
        // SAFETY: the caller's promise.
        unsafe { cci.add_master_to_coherency(cluster) };
    }
}

/// Starts the system counter, gives the Normal world its DRAM and the
/// memory-mapped timers, and stops the Trusted watchdog, which nothing feeds.
/// Returns the counter's frequency in Hz.
///
/// # Safety
///
/// Called once, by the PE that boots.
pub(super) unsafe fn open(mapper: &mut dyn Mapper) -> u64 {
    mapper.map_for_boot(Region::device(SYSTEM, BLOCK));
    mapper.map_for_boot(Region::device(TIMERS, BLOCK));

    let address = *MemoryMap::REFCLK_CNTCONTROL.start();
    // SAFETY: the machine's CNTControlBase, just mapped.
    let mut counter = GenericTimerControl::new(unsafe { registers(address) });
    let frequency = counter.base_frequency();
    counter.set_enable(true);

    let address = *MemoryMap::AP_REFCLK_CNTCTL.start();
    // SAFETY: the machine's CNTCTLBase, just mapped.
    let mut timers = GenericTimerCtl::new(unsafe { registers(address) });
    timers.set_frequency(frequency);
    for frame in [0, 1] {
        timers.set_non_secure_access(frame, true);
        timers.set_access_control(frame, CntAcr::all());
    }

    let address = *MemoryMap::TRUSTED_WATCHDOG.start();
    // SAFETY: the machine's Trusted watchdog, just mapped.
    Watchdog::new(unsafe { registers(address) }, 0).disable();

    let address = *MemoryMap::TRUSTZONE_CONTROLLER.start();
    // SAFETY: the machine's TZC-400, just mapped.
    open_dram(Tzc::new(unsafe { registers(address) }));
    // DRAM is read next, and not before the controller lets that through.
    barrier::dsb(barrier::SY);

    match frequency {
        0 => COUNTER_HZ,
        hz => hz.into(),
    }
}

/// Gives DRAM but for its Secure part to the Normal world; all else behind the
/// controller stays Secure.
fn open_dram(mut tzc: Tzc<'_>) {
    // Refused accesses abort.
    tzc.set_action(ActionRegister::TZCINTLOW_DECERR);
    let filters = [TzcFilter::DEFAULT];
    let everyone = RegionIDAccess::new(&MASTERS, &MASTERS);
    let [low, high] = boot::DRAM;
    let regions = [None, Some(low), Some(high)];
    for (number, range) in regions.into_iter().enumerate() {
        let Some(mut region) = tzc.region_mut(number) else {
            break;
        };
        if let Some((base, end)) = range {
            region.set_region_base_address(base);
            region.set_region_top_address(end - 1);
        }
        let access = match range {
            Some(_) => everyone,
            None => RegionIDAccess::NONE,
        };
        region.set_region_id_access(access);
        region.set_region_attributes(RegionAttributes::new(SecureAccess::RW, &filters));
    }
    for filter in filters {
        if let Some(mut gate) = tzc.gate_keeper_mut(filter) {
            gate.request(GateKeeperStatus::Opened);
        }
    }
}

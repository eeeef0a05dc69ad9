//! Arm's FVP Base RevC (`FVP_Base_RevC-2xAEMvA`), or a model in its likeness.
//!
//! The model loads the image into Trusted SRAM, where every PE starts, and what
//! is to be booted into DRAM, with a device tree. It powers PEs down and up by
//! its power controller.

mod boot;
mod kept;
mod power;
mod secure;

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use aarch64_cpu::registers::{MPIDR_EL1, Readable};
use arm_fvp_base_pac::MemoryMap;
use arm_gic::IntId;
use dtoolkit::fdt::Fdt;
use dtoolkit::{Node, Property};

use crate::console::{Consoles, log_level_named};
pub use crate::events::{EVENTS, PRIVATE_EVENTS, SHARED_EVENTS};
use crate::gic::{self, Distributor, PeInterrupts};
use crate::gic_events::Interrupt;
use crate::topology::Topology;
use crate::{Bl33, BootError, Crash, Mapper, Options, Platform, Region, protect, tree};
use kept::RAM_MAP;

/// A block of the translation tables, in bytes: one takes no table of its own, and
/// Trusted SRAM is small.
const BLOCK: usize = 2 << 20;

const GICD: usize = *MemoryMap::GICD.start();

/// The redistributors: room for 16 frames, of which the last one says that it is
/// the last.
const GICR: usize = *MemoryMap::GICR.start();
const GICR_SIZE: usize = 2 << 20;

/// Motherboard peripherals from here on: UARTs, system registers, power controller.
const MOTHERBOARD: usize = 0x1c00_0000;

/// The PEs that there is memory for: two clusters of four.
const MAX_PES: usize = 8;

/// The cluster is Aff2, the core Aff1 (MPIDR_EL1.MT is 1).
const CLUSTER_SHIFT: u32 = 16;

// SAFETY: the machine's PL011s, two of DEVICES.
static CONSOLES: Consoles =
    unsafe { Consoles::new(*MemoryMap::UART0.start(), *MemoryMap::UART1.start()) };
static TOPOLOGY: Topology<MAX_PES, 64> = Topology::new();
static INTERRUPTS: PeInterrupts<MAX_PES> = PeInterrupts::new();
// SAFETY: the machine's GICD, one of DEVICES.
static DISTRIBUTOR: Distributor = unsafe { Distributor::new(GICD) };
static COUNTER_HZ: AtomicU64 = AtomicU64::new(0);

/// The machine.
pub struct Board;

impl Platform for Board {
    const NAME: &'static str = "FVP Base RevC";
    const MAX_PES: usize = MAX_PES;
    const BOOT_AFFINITY: u64 = 0;
    const TABLES: usize = 8;
    // Its PEs always start at EL3.
    const NEEDS_EL3: &'static str = "";
    // GICD_CTLR.EnableGrp0.
    const GATE: usize = GICD;
    const RAW_UART: usize = *MemoryMap::UART0.start();
    const UART_CLOCK_HZ: u32 = 24_000_000;
    const DEVICES: &'static [Region] = &[
        Region::device(MOTHERBOARD, BLOCK),
        // The distributor up to the end of the redistributors.
        Region::device(GICD, GICR + GICR_SIZE - GICD),
    ];

    const POWERS_DOWN: bool = true;

    const PSCI: psci::Features = psci::Features::NONE
        .os_initiated()
        .cpu_default_suspend()
        .cpu_freeze()
        .node_hw_state()
        .system_suspend()
        .hibernate_off()
        .warm_reset()
        .mem_protect()
        .statistics();

    unsafe fn prepare() {
        // SAFETY: the caller's promise: the caches of all PEs are off.
        unsafe { secure::make_coherent() };
    }

    fn consoles() -> &'static Consoles {
        &CONSOLES
    }

    #[inline(never)]
    unsafe fn discover(mapper: &mut dyn Mapper) -> Result<Options, BootError> {
        // SAFETY: the caller's promise: this is done once.
        COUNTER_HZ.store(unsafe { secure::open(mapper) }, Relaxed);
        mapper.map_for_boot(Region::non_secure(boot::LOW_RAM, boot::LOW_RAM_SIZE));
        // SAFETY: just mapped, and nothing else uses it this early.
        let tree = unsafe { boot::find_tree() }?;
        if !kept::is_reset() {
            RAM_MAP.clear();
            for (start, end) in tree::memory(tree) {
                for (first, last) in boot::DRAM {
                    RAM_MAP
                        .add(start.max(first), end.min(last))
                        .map_err(|_| BootError::TooMany("ranges of RAM"))?;
                }
            }
        }
        let options = options_in(tree);

        if !DISTRIBUTOR.is_supported() {
            return Err(BootError::UnusableGic);
        }
        // SAFETY: the machine's redistributors, mapped as DEVICES; no other PE
        // runs yet.
        let pes = unsafe { gic::frames(GICR, GICR + GICR_SIZE) }
            .map(|(_, mpidr)| mpidr)
            .filter(|mpidr| power::exists(*mpidr));
        TOPOLOGY
            .fill(pes, CLUSTER_SHIFT)
            .map_err(BootError::Topology)?;
        // SAFETY: as above.
        let found = unsafe {
            INTERRUPTS.find_frames(GICR, GICR + GICR_SIZE, |mpidr| TOPOLOGY.index(mpidr))
        };
        if found < TOPOLOGY.count() || TOPOLOGY.index(Self::BOOT_AFFINITY).is_none() {
            return Err(BootError::UnusableGic);
        }
        DISTRIBUTOR.configure();
        Ok(options)
    }

    fn release() {
        DISTRIBUTOR.enable_group0();
    }

    #[inline(never)]
    unsafe fn load_bl33(mapper: &mut dyn Mapper) -> Result<Bl33, BootError> {
        // SAFETY: `discover` mapped low RAM, and nothing else uses it.
        let found = unsafe { boot::find_image(&RAM_MAP) }?;
        if power::memory_is_protected() {
            protect::clear(&RAM_MAP, &found.keep, mapper);
        }
        let mut pes = [0; MAX_PES];
        for (index, pe) in pes.iter_mut().enumerate() {
            *pe = TOPOLOGY.affinity(index);
        }
        // SAFETY: as above.
        let bl33 = unsafe { boot::hand_on(&found, &pes[..TOPOLOGY.count()], &RAM_MAP) }?;
        kept::hand_over();
        Ok(bl33)
    }

    #[inline(always)]
    fn pe_count() -> usize {
        TOPOLOGY.count()
    }

    fn cluster(index: usize) -> usize {
        TOPOLOGY.cluster(index)
    }

    fn mem_protect(enable: bool) -> bool {
        power::protect_memory(enable)
    }

    #[inline(always)]
    fn pe_affinity(index: usize) -> u64 {
        TOPOLOGY.affinity(index)
    }

    #[inline(always)]
    fn pe_index(mpidr: u64) -> Option<usize> {
        TOPOLOGY.index(mpidr)
    }

    fn counter_frequency() -> Option<u64> {
        Some(COUNTER_HZ.load(Relaxed))
    }

    fn power_on(index: usize) {
        power::on(TOPOLOGY.affinity(index));
    }

    fn power_off(index: usize) {
        go_down(index, false)
    }

    fn power_down(index: usize) {
        go_down(index, true)
    }

    fn configure_pe_interrupts(index: usize) {
        if let Some(frame) = INTERRUPTS.frame(index) {
            gic::configure_pe(frame);
        }
    }

    fn wake_pe_interrupts(index: usize) {
        if let Some(frame) = INTERRUPTS.frame(index) {
            gic::wake_pe(frame);
        }
    }

    fn with_interrupt(intid: IntId, f: &mut dyn FnMut(Interrupt<'_>)) {
        if !intid.is_ppi() {
            DISTRIBUTOR.with_spi(intid, f);
        } else if let Some(index) = TOPOLOGY.index(MPIDR_EL1.get()) {
            INTERRUPTS.with_ppi(index, intid, f);
        }
    }

    fn is_nonsecure_ram(base: u64, length: u64) -> bool {
        RAM_MAP.contains(base, length)
    }

    fn system_off() -> ! {
        power::system_off()
    }

    fn system_reset() -> ! {
        power::system_reset()
    }
}

/// Powers this PE down; an interrupt wakes it if `wake` says so.
fn go_down(index: usize, wake: bool) -> ! {
    if let Some(frame) = INTERRUPTS.frame(index) {
        gic::sleep_pe(frame);
    }
    power::down(TOPOLOGY.affinity(index), wake)
}

/// What `/chosen` says: `bl31,log`, `bl31,crash` and `bl31,test-timer`. Only the
/// first counts once the Normal world could write it.
fn options_in(tree: Fdt<'_>) -> Options {
    let chosen = tree::top(tree, "chosen");
    let text = |name| {
        let property = chosen.as_ref()?.property(name)?;
        property.value_as::<&str>().ok()
    };
    let log_level = text("bl31,log").and_then(log_level_named);
    if kept::is_reset() {
        return Options {
            log_level,
            ..Options::default()
        };
    }
    Options {
        log_level,
        crash: text("bl31,crash").and_then(Crash::named),
        test_timer: text("bl31,test-timer") == Some("on"),
    }
}

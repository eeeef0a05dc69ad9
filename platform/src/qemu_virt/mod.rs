//! QEMU's `virt` machine with EL3: `-machine virt,secure=on,gic-version=3`.
//!
//! QEMU leaves the device tree at the base of RAM and what `-kernel`,
//! `-initrd` and `-append` gave in fw_cfg. It has no way to power a PE down:
//! one that is off waits in EL3.

mod boot;
mod fw_cfg;
mod power;
mod protect;

use aarch64_cpu::registers::{MPIDR_EL1, Readable};
use arm_gic::IntId;
use dtoolkit::fdt::Fdt;

use crate::console::{Consoles, log_level_named};
pub use crate::events::{EVENTS, PRIVATE_EVENTS, SHARED_EVENTS};
use crate::gic::{self, Distributor, PeInterrupts};
use crate::gic_events::Interrupt;
use crate::ram::RamMap;
use crate::topology::Topology;
use crate::{Bl33, BootError, Crash, Mapper, Memory, Options, Platform, Region, tree};
use fw_cfg::FwCfg;

const UART0: usize = 0x0900_0000;
const UART1: usize = 0x0904_0000;
const GICD: usize = 0x0800_0000;
const GICD_SIZE: usize = 0x1_0000;
const HIGH_GICR: usize = 0x40_0000_0000;
const FW_CFG: usize = 0x0902_0000;
const SECURE_GPIO: usize = 0x090b_0000;
const PAGE: usize = 0x1000;
const RAM: usize = 0x4000_0000;

/// The machine's PEs: QEMU has at most 512.
const MAX_PES: usize = 512;

/// Aff1 is the cluster, of 16 PEs with a GICv3.
const CLUSTER_SHIFT: u32 = 8;

// SAFETY: the machine's PL011s, two of DEVICES.
static CONSOLES: Consoles = unsafe { Consoles::new(UART0, UART1) };
static TOPOLOGY: Topology<MAX_PES, 1024> = Topology::new();
static RAM_MAP: RamMap = RamMap::new();
static INTERRUPTS: PeInterrupts<MAX_PES> = PeInterrupts::new();
// SAFETY: the machine's GICD, one of DEVICES.
static DISTRIBUTOR: Distributor = unsafe { Distributor::new(GICD) };

/// The machine.
pub struct Board;

impl Platform for Board {
    const NAME: &'static str = "QEMU virt";
    const MAX_PES: usize = MAX_PES;
    const BOOT_AFFINITY: u64 = 0;
    const TABLES: usize = 24;
    const NEEDS_EL3: &'static str = " (QEMU: -M virt,secure=on)";
    const NEEDS_AARCH64: &'static str = " (QEMU: -cpu max)";
    // GICD_CTLR.EnableGrp0.
    const GATE: usize = GICD;
    const RAW_UART: usize = UART0;
    const UART_CLOCK_HZ: u32 = 24_000_000;
    const DEVICES: &'static [Region] = &[
        Region::device(GICD, GICD_SIZE),
        Region::device(UART0, PAGE),
        Region::device(UART1, PAGE),
        Region::device(SECURE_GPIO, PAGE),
    ];

    // A PE that is down waits in EL3 and comes back as if from cold.
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

    fn consoles() -> &'static Consoles {
        &CONSOLES
    }

    // Runs once: it is to stay as small as this crate is built.
    #[inline(never)]
    unsafe fn discover(mapper: &mut dyn Mapper) -> Result<Options, BootError> {
        mapper.map_for_boot(Region::non_secure(RAM, boot::LOW_RAM));
        mapper.map_for_boot(Region::device(FW_CFG, PAGE));
        // SAFETY: RAM that was just mapped and, this early, is nobody else's.
        let tree = unsafe { boot::device_tree() }?;
        find_ram(tree)?;
        TOPOLOGY
            .fill(tree::cpu_affinities(tree), CLUSTER_SHIFT)
            .map_err(BootError::Topology)?;
        if TOPOLOGY.index(Self::BOOT_AFFINITY).is_none() {
            return Err(BootError::BadOption("the device tree has no CPU 0"));
        }
        // SAFETY: the device is mapped, and the scratch page is part of the
        // RAM above, away from the tree.
        let fw_cfg = unsafe { FwCfg::new(FW_CFG, boot::scratch()) };
        let options = fw_cfg
            .and_then(|mut fw_cfg| {
                let mut buffer = [0; 64];
                let log_level = fw_cfg.text("opt/bl31/log", &mut buffer)?;
                let log_level = log_level.and_then(log_level_named);
                let crash = fw_cfg.text("opt/bl31/crash", &mut buffer)?;
                let crash = crash.and_then(Crash::named);
                let test_timer = fw_cfg.text("opt/bl31/test-timer", &mut buffer)? == Some("on");
                Ok(Options {
                    log_level,
                    crash,
                    test_timer,
                })
            })
            .map_err(|_| boot::NO_ANSWER)?;
        find_gic(tree, mapper)?;
        Ok(options)
    }

    fn release() {
        DISTRIBUTOR.enable_group0();
    }

    #[inline(never)]
    unsafe fn load_bl33(mapper: &mut dyn Mapper) -> Result<Bl33, BootError> {
        // SAFETY: `discover` mapped the device and low RAM; its own FwCfg is gone.
        let fw_cfg = unsafe { FwCfg::new(FW_CFG, boot::scratch()) };
        if protect::is_on() {
            crate::protect::clear(&RAM_MAP, &[(RAM, boot::tree_end())], mapper);
        }
        boot::load(fw_cfg.map_err(|_| boot::NO_ANSWER)?, mapper, &RAM_MAP)
    }

    #[inline(always)]
    fn pe_count() -> usize {
        TOPOLOGY.count()
    }

    fn cluster(index: usize) -> usize {
        TOPOLOGY.cluster(index)
    }

    fn mem_protect(enable: bool) -> bool {
        protect::set(enable)
    }

    #[inline(always)]
    fn pe_affinity(index: usize) -> u64 {
        TOPOLOGY.affinity(index)
    }

    #[inline(always)]
    fn pe_index(mpidr: u64) -> Option<usize> {
        TOPOLOGY.index(mpidr)
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
        power::off()
    }

    fn system_reset() -> ! {
        power::reset()
    }
}

/// Notes the Non-secure RAM.
fn find_ram(tree: Fdt<'_>) -> Result<(), BootError> {
    for (start, end) in tree::memory(tree) {
        RAM_MAP
            .add(start, end)
            .map_err(|_| BootError::TooMany("ranges of RAM"))?;
    }
    if RAM_MAP.contains(RAM as u64, boot::LOW_RAM as u64) {
        Ok(())
    } else {
        Err(BootError::TooLittleRam {
            what: "starting",
            hint: boot::MORE_RAM,
            needed_mib: (boot::LOW_RAM >> 20) as u64,
            present_mib: RAM_MAP.ranges().map(|(s, e)| (e - s) >> 20).sum(),
        })
    }
}

/// Sets the distributor up and finds each PE's redistributor.
fn find_gic(tree: Fdt<'_>, mapper: &mut dyn Mapper) -> Result<(), BootError> {
    const NO_GIC_V3: BootError = BootError::NoGicV3("QEMU: -M virt,gic-version=3");
    let regions = tree::redistributors(tree).ok_or(NO_GIC_V3)?;
    if !DISTRIBUTOR.is_supported() {
        return Err(BootError::UnusableGic);
    }
    let mut found = 0;
    for (start, end) in regions {
        // Where the machine has them: behind the distributor, and above all RAM
        // that is below 256 GiB, at a multiple of 64 KiB. Nothing else of EL3's is
        // there.
        let low = start >= GICD + GICD_SIZE && end <= UART0;
        if !(low || start >= HIGH_GICR) || !start.is_multiple_of(GICD_SIZE) {
            return Err(BootError::UnusableGic);
        }
        mapper.map(Region {
            start,
            end,
            memory: Memory::Device,
        })?;
        // SAFETY: the tree says that these are redistributors; they were just
        // mapped, and no other PE runs yet.
        found += unsafe { INTERRUPTS.find_frames(start, end, |mpidr| TOPOLOGY.index(mpidr)) };
    }
    if found < TOPOLOGY.count() {
        return Err(BootError::UnusableGic);
    }
    DISTRIBUTOR.configure();
    Ok(())
}

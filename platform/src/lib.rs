//! The boards that the EL3 image runs on.
//!
//! `Platform` is all that the image knows of a board; `board` is the one
//! it is built for. What boards have in common, from the GIC to the device
//! tree's additions, stands beside them.

#![cfg_attr(not(test), no_std)]

#[cfg(target_os = "none")]
pub mod events;
pub mod fdt;
pub mod image;
pub mod ram;
pub mod topology;
pub mod tree;
pub mod undefined;

// What follows uses registers of the PE, so there is nothing of it on a host.
#[cfg(target_os = "none")]
pub mod cache;
#[cfg(target_os = "none")]
pub mod console;
#[cfg(all(target_os = "none", feature = "fvp_base"))]
pub mod fvp_base;
#[cfg(target_os = "none")]
pub mod gic;
#[cfg(target_os = "none")]
pub mod gic_events;
#[cfg(target_os = "none")]
mod ports;
#[cfg(target_os = "none")]
mod protect;
#[cfg(all(target_os = "none", feature = "qemu_virt"))]
pub mod qemu_virt;
#[cfg(target_os = "none")]
pub use on_target::*;

/// The board that the image is built for.
#[cfg(all(target_os = "none", feature = "qemu_virt"))]
pub use qemu_virt as board;

/// The board that the image is built for.
#[cfg(all(target_os = "none", feature = "fvp_base"))]
pub use fvp_base as board;

#[cfg(target_os = "none")]
mod on_target {
    use arm_gic::IntId;
    use core::fmt;

    use crate::console::{Consoles, Text};
    use crate::fdt::FdtError;
    use crate::gic::SGI_POWER_ON;
    use crate::gic_events::Interrupt;
    use crate::image::HeaderError;
    pub use crate::ports::{Ports, relax};
    use crate::topology::TopologyError;

    /// What is behind a range of addresses.
    #[derive(Clone, Copy, Debug, Eq, PartialEq)]
    pub enum Memory {
        /// Registers of a device, Secure or not.
        Device,
        /// RAM of the Normal world.
        NonSecure,
    }

    /// Physical addresses `start..end` that EL3 uses.
    #[derive(Clone, Copy, Debug, Eq, PartialEq)]
    pub struct Region {
        /// The first address.
        pub start: usize,
        /// The first address behind it.
        pub end: usize,
        /// What is there.
        pub memory: Memory,
    }

    impl Region {
        /// `size` bytes of device registers from `start` on.
        pub const fn device(start: usize, size: usize) -> Self {
            Self {
                start,
                end: start + size,
                memory: Memory::Device,
            }
        }

        /// `size` bytes of the Normal world's RAM from `start` on.
        pub const fn non_secure(start: usize, size: usize) -> Self {
            Self {
                start,
                end: start + size,
                memory: Memory::NonSecure,
            }
        }
    }

    /// What a user can say of the firmware without building it anew.
    #[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
    pub struct Options {
        /// The log level; the one the image was built with if `None`.
        pub log_level: Option<log::LevelFilter>,
        /// Crash while booting, to see the report and that memory is protected.
        pub crash: Option<Crash>,
        /// Offer the call by which the Normal world arms the Secure timer, to
        /// test explicit events with.
        pub test_timer: bool,
    }

    /// A way to crash.
    #[derive(Clone, Copy, Debug, Eq, PartialEq)]
    pub enum Crash {
        /// A panic.
        Panic,
        /// A read of an address that is not mapped.
        Fault,
        /// A write to the image's own code.
        Write,
        /// Execution of writable memory.
        Execute,
        /// A recursion without end.
        Stack,
    }

    impl Crash {
        /// The way with this name: that of the variant in small letters.
        pub fn named(name: &str) -> Option<Self> {
            Some(match name {
                "panic" => Self::Panic,
                "fault" => Self::Fault,
                "write" => Self::Write,
                "execute" => Self::Execute,
                "stack" => Self::Stack,
                _ => return None,
            })
        }
    }

    /// Makes memory accessible to EL3, at the address where it is.
    pub trait Mapper {
        /// Maps a region to keep, which has no address of the image or of another
        /// region; `start` is not above `end`.
        fn map(&mut self, region: Region) -> Result<(), BootError>;
        /// Maps a region until the Normal world starts. Regions are few and the
        /// same on every machine of the board: there are tables for them.
        fn map_for_boot(&mut self, region: Region);
        /// Writes zeroes to Non-secure RAM, mapped or not, from one physical
        /// address to another (exclusive), and to memory.
        ///
        /// # Safety
        ///
        /// There is RAM, and nothing uses it.
        unsafe fn clear(&mut self, start: usize, end: usize);
    }

    /// What the Normal world starts with.
    #[derive(Clone, Copy, Debug, Eq, PartialEq)]
    pub struct Bl33 {
        /// Its first instruction.
        pub entry: u64,
        /// Its x0: the physical address of the device tree.
        pub device_tree: u64,
        /// What it is, for people.
        pub what: &'static str,
    }

    /// Why the Normal world can't be started.
    #[derive(Clone, Copy, Debug, Eq, PartialEq)]
    pub enum BootError {
        /// No device tree, or none that can be used; the text says where.
        NoDeviceTree(FdtError, &'static str),
        /// The machine has more of this than there is memory for.
        TooMany(&'static str),
        /// The device tree has no GICv3 (or later); the text says what to do.
        NoGicV3(&'static str),
        /// The machine's GIC has no Secure state, or a PE no redistributor.
        UnusableGic,
        /// The PEs can't be served.
        Topology(TopologyError),
        /// RAM lacks for this, in MiB.
        TooLittleRam {
            /// What it was for.
            what: &'static str,
            /// The machine's way to have more.
            hint: &'static str,
            /// What is missing as a whole, in MiB.
            needed_mib: u64,
            /// What there is, in MiB.
            present_mib: u64,
        },
        /// What was given as a kernel is none.
        Kernel(HeaderError),
        /// The device tree could not be written.
        DeviceTree(FdtError),
        /// The machine's way of handing things over doesn't work; the text
        /// names it.
        Transfer(&'static str),
        /// The board's option that names what to boot can't be followed.
        BadOption(&'static str),
        /// Nothing to boot; the text says how to name something.
        Nothing(&'static str),
    }

    impl fmt::Display for BootError {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            match self {
                Self::NoDeviceTree(error, place) => write!(f, "{error} {}", Text(place)),
                Self::TooMany(what) => {
                    write!(f, "more {} than this image has memory for", Text(what))
                }
                Self::NoGicV3(hint) => write!(f, "no GICv3 ({})", Text(hint)),
                Self::UnusableGic => {
                    f.write_str("the GIC has no Secure state, or lacks a PE's redistributor")
                }
                Self::Topology(TopologyError::TooMany) => Self::TooMany("PEs").fmt(f),
                Self::Topology(TopologyError::Twice(affinity)) => {
                    write!(
                        f,
                        "the device tree has two CPUs with affinity {affinity:#x}"
                    )
                }
                Self::Topology(TopologyError::TooSparse) => {
                    f.write_str("the affinities of the device tree's CPUs are spread too widely")
                }
                Self::TooLittleRam {
                    what,
                    hint,
                    needed_mib,
                    present_mib,
                } => write!(
                    f,
                    "too little RAM: {} needs {needed_mib} MiB, there are {present_mib} ({})",
                    Text(what),
                    Text(hint)
                ),
                Self::Kernel(error) => write!(f, "what was given as kernel: {error}"),
                Self::DeviceTree(error) => error.fmt(f),
                Self::Transfer(what) => write!(f, "{} does not answer", Text(what)),
                Self::BadOption(text) | Self::Nothing(text) => f.write_str(text),
            }
        }
    }

    /// What a SoC is (SMCCC_ARCH_SOC_ID, Arm DEN0028 7.4).
    #[derive(Clone, Copy, Debug, Eq, PartialEq)]
    pub struct SocId {
        /// JEP-106 bank in bits 30 to 24, identity without parity in bits 23 to
        /// 16, and which of the vendor's SoCs it is in bits 15 to 0.
        pub version: u32,
        /// Its revision, as the vendor counts; bit 31 is 0.
        pub revision: u32,
    }

    /// A board.
    ///
    /// Everything is associated: there is one board, and what it keeps is in
    /// statics of its module, filled by [`discover`](Self::discover) on the PE
    /// that boots before any other PE runs Rust code.
    pub trait Platform: 'static {
        /// Its name.
        const NAME: &'static str;
        /// The PEs that there is memory for.
        const MAX_PES: usize;
        /// The affinity fields of the PE that boots; the others wait for it.
        const BOOT_AFFINITY: u64;
        /// Translation tables of 4 KiB that EL3's map may take.
        const TABLES: usize;
        /// What makes the machine start the image at EL3, to follow "not started
        /// at EL3"; empty if it can't do anything else.
        const NEEDS_EL3: &'static str;
        /// What makes the machine's PEs start in AArch64, to follow "no AArch64";
        /// empty if they can't do anything else.
        const NEEDS_AARCH64: &'static str = "";
        /// The address of a 32-bit register, readable without translation,
        /// whose bit 0 is clear out of reset, until [`release`](Self::release)
        /// sets it. Memory can't serve: it keeps its contents over a reset.
        const GATE: usize;
        /// The data register of a UART that takes characters without having
        /// been set up, for the one thing that has to be said before anything
        /// works: that the image was not started at EL3, or not in AArch64.
        const RAW_UART: usize;
        /// Devices that EL3 uses throughout, besides those that
        /// [`discover`](Self::discover) finds.
        const DEVICES: &'static [Region];

        /// What has to be done before the caches are on. There is nothing by
        /// default.
        ///
        /// # Safety
        ///
        /// Called once, first of all, by the PE that boots, with the MMU off:
        /// this must not use atomics or locks.
        unsafe fn prepare() {}

        /// The consoles, not yet turned on.
        fn consoles() -> &'static Consoles;

        /// The clock of the consoles, in Hz.
        const UART_CLOCK_HZ: u32;

        /// Finds out what machine this is: PEs, RAM, GIC, and what the board's
        /// options say. Sets the distributor up.
        ///
        /// # Safety
        ///
        /// [`DEVICES`](Self::DEVICES) are mapped. Called once, by the PE that boots.
        unsafe fn discover(mapper: &mut dyn Mapper) -> Result<Options, BootError>;

        /// Lets the waiting PEs go, and interrupts with them.
        fn release();

        /// Puts what is to be booted into place, with its device tree.
        ///
        /// # Safety
        ///
        /// After [`discover`](Self::discover). Called once, by the PE that boots.
        unsafe fn load_bl33(mapper: &mut dyn Mapper) -> Result<Bl33, BootError>;

        /// How many PEs the machine has; their indexes are `0..pe_count()`.
        fn pe_count() -> usize;

        /// The cluster of a PE, counted from 0.
        fn cluster(index: usize) -> usize;

        /// What SoC it is; `None` if it has no JEP-106 identity.
        const SOC_ID: Option<SocId> = None;

        /// What PSCI can offer here.
        const PSCI: psci::Features;

        /// What CPU_SUSPEND can be asked for: PEs, clusters and the system.
        const POWER_STATES: &'static psci::PowerStates = &psci::recommended::STATES;

        /// Turns the clearing of the Normal world's RAM at the next boot on or
        /// off, and says whether it was on.
        fn mem_protect(enable: bool) -> bool;

        /// The affinity fields of a PE. Of two PEs the one with the lower ones has the
        /// lower index.
        fn pe_affinity(index: usize) -> u64;

        /// The index of the PE that an MPIDR names.
        fn pe_index(mpidr: u64) -> Option<usize>;

        /// The frequency of the system counter in Hz, where CNTFRQ_EL0 is the
        /// firmware's to set; `None` where the machine sets it.
        fn counter_frequency() -> Option<u64> {
            None
        }

        /// Makes a PE that is off go on: back to the image's start, or out of
        /// its wait in EL3.
        fn power_on(index: usize) {
            sdei_aarch64::raise_sgi(SGI_POWER_ON.raw_value(), Self::pe_affinity(index));
        }

        /// Whether [`power_off`](Self::power_off) and
        /// [`power_down`](Self::power_down) take a PE's power away: then it is reset
        /// when it comes back.
        const POWERS_DOWN: bool = false;

        /// Powers this PE off until [`power_on`](Self::power_on). Returns only
        /// where the machine can't: then EL3 waits in its place.
        fn power_off(_index: usize) {}

        /// Powers this PE down until an interrupt that is enabled and routed to
        /// it is pending. Returns only where the machine can't.
        fn power_down(_index: usize) {}

        /// Brings this PE's part of the GIC to its first state. `index` is this PE's.
        fn configure_pe_interrupts(index: usize);

        /// Ends what [`power_down`](Self::power_down) did to this PE's part of
        /// the GIC. What the Normal world had set in its redistributor is as it was.
        fn wake_pe_interrupts(index: usize);

        /// Gives a PPI of this PE or an SPI to `f`, if there is such an interrupt.
        fn with_interrupt(intid: IntId, f: &mut dyn FnMut(Interrupt<'_>));

        /// Whether a range of physical addresses is RAM of the Normal world.
        fn is_nonsecure_ram(base: u64, length: u64) -> bool;

        /// Turns the machine off.
        fn system_off() -> !;

        /// Resets the machine.
        fn system_reset() -> !;
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0

//! What the state machine needs from the machine.

use crate::{PowerLevel, PowerStates};

/// The machine below the PSCI state machine: its PEs, its memory and its switches.
///
/// PEs are named by a dense index, 0 up to [`pe_count`](Port::pe_count), that stays the same from
/// boot to power-off. Indexes ascend with the affinity fields: of two PEs the one with the lower
/// [`affinity`](Port::affinity) has the lower index. All methods are called with the exceptions of
/// EL3 masked, must not wait for anything that the Normal world could hold up, and may be called by
/// any PE at any time. The calls that [`Features`] does not offer never reach the methods that serve
/// them, so a board leaves those as they are.
pub trait Port: Sync {
    /// The number of PEs of this machine, at most the length of the slice given to
    /// [`Psci::new`](crate::Psci::new).
    fn pe_count(&self) -> usize;

    /// The affinity fields of a PE's MPIDR, at the bits where `MPIDR_EL1` has them; all others 0.
    fn affinity(&self, pe: usize) -> u64;

    /// The PE with these affinity fields, or `None` if the machine has no such PE.
    ///
    /// All bits of `affinity` that are not affinity fields are 0.
    fn pe_index(&self, affinity: u64) -> Option<usize>;

    /// The power domain of this level that a PE is in: an index into the domains given to
    /// [`Psci::new`](crate::Psci::new). No two domains, of the same level or not, have the same
    /// index. Asked of levels above the PEs and below the system.
    ///
    /// The PEs of a domain have consecutive indexes, and a domain lies within one of the next level.
    /// A PE for which the index is out of range is in no domain of that level.
    fn domain(&self, pe: usize, level: PowerLevel) -> usize {
        let _ = (pe, level);
        0
    }

    /// A hint that this PE waits for another one, or answers a call that is made in a loop until
    /// another PE has done something: on a machine that runs PEs in turn, the next one's turn.
    fn relax() {
        core::hint::spin_loop();
    }

    /// Makes a PE that is off call [`Psci::start`](crate::Psci::start) again, at once.
    ///
    /// The PE may at this moment be between its last look and its wait instruction, so the wake-up
    /// must be one that such a PE doesn't lose (an event, or an interrupt that stays pending). What
    /// this PE wrote before must be visible to the other before it wakes.
    ///
    /// No lock is held, so this may take as long as a power controller takes.
    ///
    /// # Errors
    ///
    /// [`PowerOnFailed`] if the hardware can't: the PE is then off again, and `CPU_ON` answers
    /// `INTERNAL_FAILURE`, unless the PE has called `start` all the same.
    fn power_on(&self, pe: usize) -> Result<(), PowerOnFailed>;

    /// Whether all of `base` up to, but without, `base + length` is Non-secure RAM, in bytes.
    ///
    /// The sum doesn't overflow and `length` is not 0; both values are otherwise as the caller of
    /// a PSCI call gave them.
    fn is_nonsecure_ram(&self, base: u64, length: u64) -> bool;

    /// The optional calls that this machine offers. Must always answer the same.
    fn features(&self) -> Features;

    /// The `power_state` values that this machine offers, and how many levels its power domains
    /// have. Must always answer the same.
    fn power_states(&self) -> &'static PowerStates {
        &PowerStates::STANDBY
    }

    /// The time since cold boot in microseconds, for [`Features::statistics`]. Not before what
    /// another PE was told earlier.
    fn microseconds(&self) -> u64 {
        0
    }

    /// Turns the clearing of memory at the next reset on or off, for [`Features::mem_protect`],
    /// and tells whether it was on. The setting outlives a reset (DEN0022 5.1.13).
    fn mem_protect(&self, enable: bool) -> bool {
        let _ = enable;
        false
    }

    /// Whether the machine has this reset of its vendor, for [`Features::vendor_reset`]: `reset_type`
    /// has bit 31 set, and `cookie` is as the caller of `SYSTEM_RESET2` gave it (DEN0022 5.1.12).
    fn has_vendor_reset(&self, reset_type: u32, cookie: u64) -> bool {
        let _ = (reset_type, cookie);
        false
    }
}

/// The hardware did not power a PE on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct PowerOnFailed;

macro_rules! features {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// The optional calls that a machine offers; a call that is not offered answers
        /// `NOT_SUPPORTED`, and `PSCI_FEATURES` says so (DEN0022 5.1.15). The default is none.
        ///
        /// A board names what it has: `Features::NONE.system_suspend().statistics()`. What later
        /// versions add is then not offered.
        #[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
        #[non_exhaustive]
        pub struct Features {
            $($(#[$doc])* pub $name: bool,)*
        }

        impl Features {
            /// None of them.
            pub const NONE: Self = Self { $($name: false,)* };

            $(
                /// With:
                $(#[$doc])*
                #[must_use]
                pub const fn $name(mut self) -> Self {
                    self.$name = true;
                    self
                }
            )*
        }
    };
}

features! {
    /// OS-initiated mode and `PSCI_SET_SUSPEND_MODE`.
    os_initiated,
    /// `CPU_DEFAULT_SUSPEND`.
    cpu_default_suspend,
    /// `CPU_FREEZE`.
    cpu_freeze,
    /// `NODE_HW_STATE`.
    node_hw_state,
    /// `SYSTEM_SUSPEND`.
    system_suspend,
    /// `SYSTEM_OFF2` with the type `HIBERNATE_OFF`.
    hibernate_off,
    /// `SYSTEM_RESET2` with the architectural type `SYSTEM_WARM_RESET`.
    warm_reset,
    /// `SYSTEM_RESET2` with types of the vendor, see [`Port::has_vendor_reset`].
    vendor_reset,
    /// `MEM_PROTECT` and `MEM_PROTECT_CHECK_RANGE`.
    mem_protect,
    /// `PSCI_STAT_RESIDENCY` and `PSCI_STAT_COUNT`.
    statistics,
}

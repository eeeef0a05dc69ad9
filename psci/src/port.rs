//! What the state machine needs from the machine.

use crate::PowerLevel;

/// The machine below the PSCI state machine: its PEs, its memory and its switches.
///
/// PEs are named by a dense index, 0 up to [`pe_count`](Port::pe_count), that stays the same from
/// boot to power-off. Indexes ascend with the affinity fields: of two PEs the one with the lower
/// [`mpidr`](Port::mpidr) has the lower index. All methods are called with the exceptions of EL3 masked, must not wait for
/// anything that the Normal world could hold up, and may be called by any PE at any time. The calls
/// that [`Features`] does not offer never reach the methods that serve them, so a board leaves
/// those as they are.
pub trait Port: Sync {
    /// The number of PEs of this machine, at most the length of the slice given to
    /// [`Psci::new`](crate::Psci::new).
    fn pe_count(&self) -> usize;

    /// The affinity fields of a PE's MPIDR, at the bits where `MPIDR_EL1` has them; all others 0.
    fn mpidr(&self, pe: usize) -> u64;

    /// The PE with these affinity fields, or `None` if the machine has no such PE.
    ///
    /// All bits of `mpidr` that are not affinity fields are 0.
    fn pe_index(&self, mpidr: u64) -> Option<usize>;

    /// The cluster that a PE is in, as a dense index from 0, below [`pe_count`](Port::pe_count).
    fn cluster(&self, _pe: usize) -> usize {
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
    fn power_on(&self, pe: usize);

    /// Whether all of `base` up to, but without, `base + length` is Non-secure RAM, in bytes.
    ///
    /// The sum doesn't overflow and `length` is not 0; both values are otherwise as the caller of
    /// a PSCI call gave them.
    fn is_nonsecure_ram(&self, base: u64, length: u64) -> bool;

    /// The optional calls that this machine offers. Must always answer the same.
    fn features(&self) -> Features;

    /// The time since cold boot in microseconds, for [`Features::statistics`]. Not before what
    /// another PE was told earlier.
    fn microseconds(&self) -> u64 {
        0
    }

    /// Turns the clearing of memory at the next reset on or off, for [`Features::mem_protect`],
    /// and tells whether it was on. The setting outlives a reset (DEN0022 5.1.13).
    fn mem_protect(&self, _enable: bool) -> bool {
        false
    }
}

/// The optional calls that a machine offers; a call that is not offered answers `NOT_SUPPORTED`,
/// and `PSCI_FEATURES` says so (DEN0022 5.1.15). The default is none.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Features {
    /// The highest power domain that `CPU_SUSPEND` can power down; `None` for standby alone.
    pub power_down: Option<PowerLevel>,
    /// OS-initiated mode and `PSCI_SET_SUSPEND_MODE`.
    pub os_initiated: bool,
    /// `CPU_DEFAULT_SUSPEND`.
    pub cpu_default_suspend: bool,
    /// `CPU_FREEZE`.
    pub cpu_freeze: bool,
    /// `NODE_HW_STATE`.
    pub node_hw_state: bool,
    /// `SYSTEM_SUSPEND`.
    pub system_suspend: bool,
    /// `SYSTEM_OFF2` with the type `HIBERNATE_OFF`.
    pub hibernate_off: bool,
    /// `SYSTEM_RESET2` with the architectural type `SYSTEM_WARM_RESET`.
    pub warm_reset: bool,
    /// `MEM_PROTECT` and `MEM_PROTECT_CHECK_RANGE`.
    pub mem_protect: bool,
    /// `PSCI_STAT_RESIDENCY` and `PSCI_STAT_COUNT`.
    pub statistics: bool,
}

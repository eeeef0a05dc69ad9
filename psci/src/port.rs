//! What the state machine needs from the machine.

/// The machine below the PSCI state machine: its PEs, its memory and its switches.
///
/// PEs are named by a dense index, 0 up to [`pe_count`](Port::pe_count), that stays the same from
/// boot to power-off. All methods are called with the exceptions of EL3 masked, must not block,
/// and may be called by any PE at any time.
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

    /// Makes a PE that is off call [`Psci::start`](crate::Psci::start) again, at once.
    ///
    /// The PE may at this moment be between its last look and its wait instruction, so the wake-up
    /// must be one that such a PE doesn't lose (an event, or an interrupt that stays pending). What
    /// this PE wrote before must be visible to the other before it wakes.
    fn power_on(&self, pe: usize);

    /// Whether all of `base` up to, but without, `base + length` is Non-secure RAM, in bytes.
    ///
    /// The values come from the caller of a PSCI call and may be anything; a sum that overflows is
    /// no RAM.
    fn is_nonsecure_ram(&self, base: u64, length: u64) -> bool;

    /// The optional calls that this machine offers. Must always answer the same.
    fn features(&self) -> Features;
}

/// The optional calls that a machine offers; a call that is not offered answers `NOT_SUPPORTED`,
/// and `PSCI_FEATURES` says so (DEN0022 5.1.15).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Features {}

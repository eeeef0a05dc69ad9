//! The state machine of one machine, and the life of a PE in it.

use crate::states;
use crate::sync::const_unless_loom;
use crate::tree::{Place, Tree};
use crate::{Entry, ExecutionState, Pe, Port, PowerLevel};

/// What the image knows of the caller of a PSCI call.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Caller {
    /// Its Execution state.
    pub state: ExecutionState,
    /// Whether its data accesses are big-endian (`SCTLR_ELx.EE` of its Exception level).
    pub big_endian: bool,
    /// Whether the call comes out of an SDEI handler, which must not lose its context.
    pub in_handler: bool,
}

/// What the image does after a call.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[must_use]
pub enum Outcome {
    /// Return to the caller with this in x0. x1 and up stay as they are.
    Return(u64),
    /// Turn the calling PE off: take its interrupts and its SDEI state down, call [`Psci::off`] as
    /// the very last step, then wait until [`Psci::start`] says where to go. Does not return.
    Off,
    /// As [`Off`](Outcome::Off), but leave the interrupts routed to the PE as they are
    /// (`CPU_FREEZE`, DEN0022 5.1.16).
    Freeze,
    /// Wait for an interrupt (WFI), call [`Psci::standby_end`], return to the caller with 0 in x0.
    Standby,
    /// Mask the PE for SDEI, power it down, lose what a power-down loses. After the wake-up call
    /// [`Psci::resume`] and go where it says, as after a reset. The level is the highest power
    /// domain that goes down together with this PE.
    PowerDown(PowerLevel),
    /// As [`PowerDown`](Outcome::PowerDown) of the whole system, all other PEs of which are off.
    SystemSuspend,
    /// Power the machine off.
    SystemOff,
    /// Reset the machine, cold.
    SystemReset,
    /// Reset the machine, but keep what a warm reset keeps (DEN0022 5.1.12).
    SystemWarmReset,
}

/// The PSCI state machine of one machine.
///
/// Shared by all PEs; where a method takes the index of a PE as `me`, that is the PE that calls
/// it, and it must be below [`Port::pe_count`].
#[derive(Debug)]
pub struct Psci<'a, P> {
    pub(crate) port: &'a P,
    pub(crate) pes: &'a [Pe],
    pub(crate) tree: Tree,
}

impl<'a, P> Psci<'a, P> {
    const_unless_loom! {
        /// A machine with all PEs off. `pes` has room for all that the machine may have.
        pub fn new(port: &'a P, pes: &'a [Pe]) -> Self {
            Self {
                port,
                pes,
                tree: Tree::new(),
            }
        }
    }
}

impl<P: Port> Psci<'_, P> {
    /// Marks the PE that boots the machine as on. To be called once, by that PE, before it enters
    /// the Normal world.
    pub fn boot(&self, me: usize) {
        self.tree.run(self.place(me), self.now());
        states::turn_on(self.pes, me, false);
    }

    /// Where an off PE has to go, or `None` if nobody turned it on: a PE that is off asks this
    /// when it starts to wait and after each wake-up. After `Some` the PE is on.
    #[must_use]
    pub fn start(&self, me: usize) -> Option<Entry> {
        // The entry point is overwritten only once the PE is off again.
        states::start(self.pes, me).then(|| self.pes[me].entry())
    }

    /// Makes the calling PE off for everyone to see. From here on another PE may turn it on
    /// again, so this is the last step after [`Outcome::Off`] or [`Outcome::Freeze`], before the
    /// wait loop. To be called once after each of them, and never else.
    pub fn off(&self, me: usize) {
        self.tree
            .off(self.place(me), self.now(), || states::off(self.pes, me));
    }

    /// Ends the standby of [`Outcome::Standby`]: to be called after the wake-up.
    pub fn standby_end(&self, me: usize) {
        self.tree.run(self.place(me), self.now());
    }

    /// Ends [`Outcome::PowerDown`] and [`Outcome::SystemSuspend`], and says where the calling PE
    /// goes: to be called after the wake-up, or at once if an interrupt is already waiting. `None`
    /// if the PE is not suspended so.
    ///
    /// A PE that comes out of a reset finds by [`start`](Self::start) and this what it is to do,
    /// whatever made it start: if both answer `None`, it is off.
    #[must_use]
    pub fn resume(&self, me: usize) -> Option<Entry> {
        let suspended = self.tree.resume(self.place(me), self.now());
        suspended.then(|| self.pes[me].entry())
    }

    /// A PE has failed: it will never run again below EL3, and is off for everyone to see.
    /// `CPU_ON` of it answers `INTERNAL_FAILURE`.
    ///
    /// Takes no lock, which that PE may have held, and may be called more than once.
    pub fn failed(&self, pe: usize) {
        if states::fail(self.pes, pe) {
            self.tree.failed();
        }
    }

    pub(crate) fn place(&self, pe: usize) -> Place<'_> {
        Place {
            pe: &self.pes[pe].node,
            cluster: &self.pes[self.port.cluster(pe)].cluster,
        }
    }

    /// The time for the statistics; 0 where there are none.
    pub(crate) fn now(&self) -> u64 {
        if self.port.features().statistics {
            self.port.microseconds()
        } else {
            0
        }
    }
}

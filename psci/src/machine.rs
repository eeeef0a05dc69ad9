// SPDX-License-Identifier: MIT OR Apache-2.0

//! The state machine of one machine, and the life of a PE in it.

use crate::states;
use crate::sync::{AtomicBool, AtomicU32, Lock, const_unless_loom};
use crate::tree::Node;
use crate::{Domain, Entry, ExecutionState, Pe, Port, PowerLevel};
use core::sync::atomic::Ordering::Relaxed;

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

/// What the image does after a call. An image matches all of it: a new variant is a new version of
/// this crate that is not compatible.
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
    /// Reset the machine in a way of its vendor, which
    /// [`Port::has_vendor_reset`] has accepted.
    SystemVendorReset {
        /// The type: bit 31 is set.
        reset_type: u32,
        /// The caller's cookie.
        cookie: u64,
    },
}

/// The PSCI state machine of one machine.
///
/// Shared by all PEs; where a method takes the index of a PE as `me`, that is the PE that calls
/// it, and it must be below [`Port::pe_count`]. For a PE beyond the slice given to
/// [`new`](Self::new) calls are refused, and all else does nothing.
#[derive(Debug)]
pub struct Psci<'a, P> {
    pub(crate) port: &'a P,
    pub(crate) pes: &'a [Pe],
    pub(crate) domains: &'a [Domain],
    pub(crate) system: Lock<Node>,
    /// Who coordinates. Written with the system's lock held.
    pub(crate) os_initiated: AtomicBool,
    /// How many PEs that were not off have failed.
    pub(crate) failed: AtomicU32,
}

impl<'a, P> Psci<'a, P> {
    const_unless_loom! {
        /// A machine with all PEs off. `pes` has room for all that the machine may have, `domains`
        /// for the power domains between the PEs and the system: see [`Port::domain`].
        pub fn new(port: &'a P, pes: &'a [Pe], domains: &'a [Domain]) -> Self {
            Self {
                port,
                pes,
                domains,
                system: Lock::new(Node::DOWN),
                os_initiated: AtomicBool::new(false),
                failed: AtomicU32::new(0),
            }
        }
    }
}

impl<P: Port> Psci<'_, P> {
    /// Where an off PE has to go, or `None` if nobody turned it on: a PE that is off asks this
    /// when it starts to wait and after each wake-up. After `Some` the PE is on.
    #[must_use]
    pub fn start(&self, me: usize) -> Option<Entry> {
        let pe = self.pes.get(me)?;
        // The entry point is overwritten only once the PE is off again.
        states::start(self.pes, me).then(|| pe.entry())
    }

    /// A PE has failed: it will never run again below EL3, and is off for everyone to see.
    /// `CPU_ON` of it answers `INTERNAL_FAILURE`.
    ///
    /// Takes no lock, which that PE may have held, and may be called more than once.
    pub fn failed(&self, pe: usize) {
        if states::fail(self.pes, pe) {
            // Relaxed: how many PEs are left is no more than a number.
            self.failed.fetch_add(1, Relaxed);
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

// SPDX-License-Identifier: MIT OR Apache-2.0

//! What the dispatcher asks of the hardware.

use crate::pstate::{Client, ClientEl, Control};

/// The affinity fields of an MPIDR_EL1 value: Aff3 `[39:32]`, Aff2 `[23:16]`, Aff1 `[15:8]`,
/// Aff0 `[7:0]`. All other bits (MT, U, RES1) are no part of a PE's name.
pub const AFFINITY: u64 = 0xff_00ff_ffff;

/// The PEs under the dispatcher, given by the integrator.
///
/// Every method is called on the PE that entered EL3, and "this PE" is that one. The crate
/// `sdei-aarch64` has all of these but [`Port::pe_index`].
///
/// A PE is named by its affinity: the fields [`AFFINITY`] of its MPIDR_EL1, all other bits 0. The
/// dispatcher clears the others itself, in what clients pass and in what it is given.
pub trait Port {
    /// Dense index of the PE with this affinity, `None` where no PE has it. Clients choose the
    /// affinity: it may be any.
    ///
    /// Indexes are those of the [`SharedPe`](crate::SharedPe)s that the dispatcher is given.
    fn pe_index(&self, affinity: u64) -> Option<usize>;

    /// Raises the SGI that makes the PE with this affinity enter EL3 and call
    /// [`Dispatcher::signalled`](crate::Dispatcher::signalled). There is such a PE.
    ///
    /// All earlier stores of this PE must be observable by that PE before the SGI is (a
    /// `dsb ishst` before the write to `ICC_SGI0R_EL1`), and that PE needs a `dsb sy` between its
    /// acknowledge of the SGI and its call of `signalled`. The SGI is Group 0, is taken to EL3
    /// and may not be masked by the Normal world. It may not be lost while that PE is on, from
    /// [`Dispatcher::pe_on`](crate::Dispatcher::pe_on) to
    /// [`Dispatcher::pe_off`](crate::Dispatcher::pe_off), suspended or not: a shared event goes
    /// from PE to PE by it.
    fn notify(&self, affinity: u64);

    /// The client EL, which is EL2 where it is implemented, else EL1, and what this PE has of
    /// the features that matter. Asked when the PE comes on.
    fn client(&self) -> Client;

    /// What of this PE's state decides how a handler is entered at the client EL, `el`.
    fn control(&self, el: ClientEl) -> Control;

    /// This PE's `GCSCR_ELc.EXLOCKEN`, of the client EL, `el`. Asked only with FEAT_GCS
    /// ([`PstateFeatures::gcs`](crate::PstateFeatures::gcs)): without it there is no such
    /// register.
    fn exlock_enabled(&self, el: ClientEl) -> bool;

    /// This PE's `VBAR_ELc`, the vector base of the client EL, `el`.
    fn vbar(&self, el: ClientEl) -> u64;

    /// Makes it look to the client EL, `el`, as if it had taken an exception: writes this PE's
    /// `ELR_ELc` and `SPSR_ELc`.
    fn take_exception(&self, el: ClientEl, elr: u64, spsr: u64);
}

/// The world that an interrupt belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Owner {
    /// Non-secure Group 1: the client may bind it.
    NonSecure,
    /// Group 0 or Secure Group 1.
    Secure,
}

/// The interrupt controller under the dispatcher, where events have interrupts: where the table
/// has dynamic slots or events of fixed interrupts. Where it has none, [`NoInterrupts`].
///
/// Every method is called on the PE that entered EL3, and "this PE" is that one. INTIDs are those
/// of PPIs, which are this PE's, and of SPIs; extended ones are among them
/// ([`is_ppi`](crate::is_ppi), [`is_spi`](crate::is_spi)).
///
/// # How an interrupt ends
///
/// On an interrupt the integrator acknowledges it, drops its priority at once, and calls
/// [`Dispatcher::interrupt`](crate::Dispatcher::interrupt), which owns the deactivation from then
/// on: at the end of the handler, or earlier where the event goes away. That needs
/// `ICC_CTLR_EL3.EOImode_EL3` = 1 (split priority drop and deactivation). The SGI of
/// [`Port::notify`] is ended completely instead, before
/// [`Dispatcher::signalled`](crate::Dispatcher::signalled), which either mode can.
///
/// # Locks
///
/// The methods on an SPI are called with the lock of its event held, and those on any INTID that
/// is bound or unbound with that of the bindings, too. So calls for one SPI never overlap. Calls
/// for two INTIDs can: an implementation needs a lock of its own where it changes a register by
/// read-modify-write. It must not call the dispatcher, and waits for nothing that the Normal
/// world could hold up.
///
/// A shared event's interrupt may be enabled, disabled, routed or deactivated on another PE than
/// the one that acknowledged it.
pub trait Interrupts {
    /// What the client had set for an interrupt that is EL3's for now. The dispatcher keeps it
    /// for as long.
    type Saved: Copy;

    /// Whether there are interrupts at all. What serves them is left out where this is false.
    const AVAILABLE: bool = true;

    /// Whether a PE that comes on finds its PPIs as at first, in whatever state it left them:
    /// disabled, idle, and the client's, but for those of fixed events. Then none is released when
    /// a PE goes off ([`Dispatcher::pe_off`](crate::Dispatcher::pe_off)).
    const PPIS_START_ANEW: bool = false;

    /// Which world the interrupt belongs to on this PE; `None` where there is no such
    /// interrupt.
    fn owner(&self, intid: u32) -> Option<Owner>;

    /// Whether the interrupt is active (for a PPI: on this PE).
    fn is_active(&self, intid: u32) -> bool;

    /// Takes a Non-secure interrupt for EL3: disabled, not active, not pending by an old edge,
    /// Group 0, at a priority that neither world can mask, its trigger configuration left as the
    /// client made it.
    fn claim(&self, intid: u32) -> Self::Saved;

    /// Forgets an edge that has not been delivered: the interrupt of a fixed event, which is EL3's
    /// since boot, gets a handler.
    fn clear_pending(&self, intid: u32);

    /// The event that the interrupt is for has gone: disables it and forgets an edge that has not
    /// been delivered. An `acknowledged` one is deactivated, too, as by
    /// [`Interrupts::deactivate`].
    ///
    /// With `saved` it was claimed, and goes back to the client: Non-secure Group 1, with the
    /// priority that the client had set before and, an SPI, with the target. Linux masks
    /// interrupts by priority, and neither it nor the target is set again by a client that only
    /// unregisters.
    fn release(&self, intid: u32, acknowledged: bool, saved: Option<Self::Saved>);

    /// Sends an SPI to the PE with this affinity.
    fn route(&self, intid: u32, affinity: u64);

    /// Lets the interrupt be delivered. Neither this nor [`Interrupts::disable`] changes whether
    /// it is pending.
    fn enable(&self, intid: u32);

    /// Holds the interrupt off, so that it stays pending in the interrupt controller.
    fn disable(&self, intid: u32);

    /// Whether an acknowledged interrupt still has a reason to be handled: for a level-sensitive
    /// one whether its line is asserted now, for an edge-triggered one always. All earlier
    /// stores of this PE must be done before the look (a `dsb sy`): a handler may have quieted
    /// its device by them.
    fn is_asserted(&self, intid: u32) -> bool;

    /// Deactivates an acknowledged interrupt whose priority was dropped before. All earlier stores
    /// of this PE must be done before that, as in [`Interrupts::is_asserted`].
    fn deactivate(&self, intid: u32);
}

/// No event has an interrupt. What would serve them is not compiled.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoInterrupts;

impl Interrupts for NoInterrupts {
    type Saved = ();

    const AVAILABLE: bool = false;

    fn owner(&self, _: u32) -> Option<Owner> {
        None
    }

    fn is_active(&self, _: u32) -> bool {
        false
    }

    fn claim(&self, _: u32) {}

    fn clear_pending(&self, _: u32) {}

    fn release(&self, _: u32, _: bool, _: Option<()>) {}

    fn route(&self, _: u32, _: u64) {}

    fn enable(&self, _: u32) {}

    fn disable(&self, _: u32) {}

    fn is_asserted(&self, _: u32) -> bool {
        false
    }

    fn deactivate(&self, _: u32) {}
}

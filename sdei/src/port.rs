//! What the dispatcher asks of the hardware.

use crate::pstate::{Client, ClientEl, Control};

/// The world that an interrupt belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Owner {
    /// Non-secure Group 1: the client may bind it.
    NonSecure,
    /// Group 0 or Secure Group 1.
    Secure,
}

/// The hardware under the dispatcher, given by the integrator.
///
/// Every method is called on the PE that entered EL3, and "this PE" is that one. The methods on
/// interrupts are called only for events that have an interrupt; a platform whose table has
/// neither fixed interrupts nor dynamic slots never sees them called.
///
/// # Interrupts
///
/// The interrupt controller runs EL3's interrupts with split priority drop and deactivation
/// (`ICC_CTLR_EL3.EOImode_EL3` = 1). On an interrupt the integrator acknowledges it, drops its
/// priority at once, and calls [`crate::Dispatcher::interrupt`], which owns the deactivation
/// from then on. The SGI of [`Port::notify`] is ended completely instead, before
/// [`crate::Dispatcher::signalled`].
///
/// A shared event's interrupt may be enabled, disabled, routed or deactivated on another PE than
/// the one that acknowledged it; calls for one INTID never overlap for SPIs, while calls for
/// different SPIs can, so an implementation needs a lock where it changes registers by
/// read-modify-write.
pub trait Port {
    /// Dense index of the PE with these affinity fields (MPIDR_EL1 Aff3..Aff0), `None` where no
    /// PE has them. All other bits of the value are to be ignored: clients pass MPIDR_EL1 as it is.
    fn pe_index(&self, affinity: u64) -> Option<usize>;

    /// Raises the SGI that makes PE `pe` enter EL3 and call [`crate::Dispatcher::signalled`].
    ///
    /// All earlier stores of this PE must be observable by that PE before the SGI is (a
    /// `dsb ishst` before the write to `ICC_SGI0R_EL1`), and there must be a barrier between that
    /// PE's acknowledge of the SGI and its call of `signalled`. The SGI is Group 0, targets EL3
    /// and may not be masked by the Normal world. It may not be lost while that PE is on, from
    /// [`crate::Dispatcher::pe_on`] to [`crate::Dispatcher::pe_off`], suspended or not: a shared
    /// event goes from PE to PE by it.
    fn notify(&self, pe: usize);

    /// The client EL, which is EL2 where it is implemented, else EL1, and what this PE has of
    /// the features that matter. Asked when the PE comes on.
    fn client(&self) -> Client;

    /// What of this PE's state decides how a handler is entered at the client EL, `el`.
    fn control(&self, el: ClientEl) -> Control;

    /// This PE's `GCSCR_ELc.EXLOCKEN`, of the client EL, `el`. Asked only with FEAT_GCS
    /// ([`Features::gcs`](crate::Features::gcs)): without it there is no such register.
    fn exlock_enabled(&self, el: ClientEl) -> bool;

    /// This PE's `VBAR_ELc`, the vector base of the client EL, `el`.
    fn vbar(&self, el: ClientEl) -> u64;

    /// Makes it look to the client EL, `el`, as if it had taken an exception: writes this PE's
    /// `ELR_ELc` and `SPSR_ELc`.
    fn take_exception(&self, el: ClientEl, elr: u64, spsr: u64);

    /// Which world the interrupt belongs to on this PE; `None` where there is no such
    /// interrupt. `intid` is that of a PPI or an SPI.
    fn owner(&self, intid: u32) -> Option<Owner>;

    /// Whether the interrupt is active (for a PPI: on this PE).
    fn is_active(&self, intid: u32) -> bool;

    /// Takes a Non-secure interrupt for EL3: disabled, Group 0, at a priority that neither world
    /// can mask, its trigger configuration left as the client made it.
    fn claim(&self, intid: u32);

    /// Gives a claimed interrupt back: disabled, Non-secure Group 1, with the priority that the
    /// client had set before [`Port::claim`] and, an SPI, with the target. Linux masks interrupts
    /// by priority, and neither it nor the target is set again by a client that only unregisters.
    fn give_back(&self, intid: u32);

    /// Sends an SPI to PE `pe`.
    fn route(&self, intid: u32, pe: usize);

    /// Lets the interrupt be delivered. Neither this nor [`Port::disable`] changes whether it is
    /// pending.
    fn enable(&self, intid: u32);

    /// Holds the interrupt off, so that it stays pending in the interrupt controller.
    fn disable(&self, intid: u32);

    /// Forgets an edge that has not been delivered.
    fn clear_pending(&self, intid: u32);

    /// Whether an acknowledged interrupt still has a reason to be handled: for a level-sensitive
    /// one whether its line is asserted now, for an edge-triggered one always. All earlier
    /// stores of this PE must be done before the look (a `dsb sy`): a handler may have quieted
    /// its device by them.
    fn is_asserted(&self, intid: u32) -> bool;

    /// Deactivates an acknowledged interrupt whose priority was dropped before. All earlier stores
    /// of this PE must be done before that, as in [`Port::is_asserted`].
    fn deactivate(&self, intid: u32);
}

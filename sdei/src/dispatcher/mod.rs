//! The dispatcher: one entry point per reason for which a PE enters EL3.

use crate::{
    Error, Frame, Pe, Port, SharedPe,
    call::{self, Call},
    event::{Events, Slot},
};

/// The dispatcher of a system: `PRIVATE` private and `SHARED` shared events on any number of PEs.
///
/// It is shared by all PEs and needs no lock around it. Each entry point is called in EL3 with
/// every exception masked, on the PE whose [`Pe`] and whose frame it is given.
#[derive(Debug)]
pub struct Dispatcher<'a, P, const PRIVATE: usize, const SHARED: usize> {
    events: Events<PRIVATE, SHARED>,
    pes: &'a [SharedPe],
    port: P,
}

impl<'a, P: Port, const PRIVATE: usize, const SHARED: usize> Dispatcher<'a, P, PRIVATE, SHARED> {
    /// A dispatcher of a platform's events for as many PEs as `pes` has elements, all of them
    /// off. PEs are named by their index in `pes`.
    #[must_use]
    pub const fn new(events: Events<PRIVATE, SHARED>, pes: &'a [SharedPe], port: P) -> Self {
        Self { events, pes, port }
    }

    /// The port, for the integrator's own use.
    pub const fn port(&self) -> &P {
        &self.port
    }

    /// Serves an SMC of the SDEI range: function ID in w0, arguments in x1..x5.
    ///
    /// The answer is written to x0, or the frame is changed so that returning from EL3 enters a
    /// handler or goes back to what a handler interrupted. What became eligible through the call
    /// is dispatched on the way out of it.
    ///
    /// The call must come from the Non-secure client EL; from another EL it answers
    /// [`Error::NotSupported`] and changes nothing.
    #[inline]
    pub fn call(&self, pe: &mut Pe<PRIVATE>, frame: &mut impl Frame) {
        let _ = (pe, frame, &self.events, self.pes);
    }

    /// The SGI of [`Port::notify`] was acknowledged and ended on this PE: dispatches what is
    /// pending and eligible. Harmless when nothing is.
    #[inline]
    pub fn signalled(&self, pe: &mut Pe<PRIVATE>, frame: &mut impl Frame) {
        let _ = (pe, frame);
    }

    /// An interrupt was acknowledged on this PE and its priority dropped. Answers whether it is
    /// an event's; if not, it has not been deactivated and is the integrator's to deal with.
    #[must_use]
    pub fn interrupt(&self, pe: &mut Pe<PRIVATE>, frame: &mut impl Frame, intid: u32) -> bool {
        let _ = (pe, frame, intid);
        false
    }

    /// Raises an explicit event from EL3 code on this PE, the frame's context being interrupted:
    /// a private event for this PE, a shared one for the system. It is dispatched at once if it
    /// can be, else it stays pending; raised again before it is dispatched, it counts once.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidParameters`]: no such event, or not an explicit one.
    /// [`Error::Denied`]: the event has no handler, and nothing was kept.
    pub fn raise(
        &self,
        pe: &mut Pe<PRIVATE>,
        frame: &mut impl Frame,
        event: i32,
    ) -> Result<(), Error> {
        let _ = (pe, frame, event);
        Err(Error::InvalidParameters)
    }

    /// This PE, number `index`, was turned on (or is the one that booted): nothing is registered
    /// or pending here, and it is masked. To be called before it enters the Normal world.
    pub fn pe_on(&self, pe: &mut Pe<PRIVATE>, index: usize) {
        let _ = (pe, index);
    }

    /// This PE is on its way off (`CPU_OFF`), perhaps from inside a handler, which is abandoned:
    /// unregisters its private events, gives their interrupts back, drops what is pending for
    /// them and routes RM_ANY events to another PE.
    pub fn pe_off(&self, pe: &mut Pe<PRIVATE>) {
        let _ = pe;
    }

    /// This PE is about to be suspended with its context lost (`CPU_SUSPEND` to a power-down
    /// state, `SYSTEM_SUSPEND`). Nothing changes; registrations survive, and so does what is
    /// pending. Standby needs no call.
    ///
    /// # Errors
    ///
    /// [`Error::Denied`] from inside a handler.
    pub fn pe_suspend(&self, pe: &Pe<PRIVATE>) -> Result<(), Error> {
        if pe.is_in_handler() {
            Err(Error::Denied)
        } else {
            Ok(())
        }
    }

    /// This PE woke from a power-down: it is masked.
    pub fn pe_resume(&self, pe: &mut Pe<PRIVATE>) {
        pe.masked = true;
    }
}

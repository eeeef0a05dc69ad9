//! The dispatcher: one entry point per reason for which a PE enters EL3.

mod bind;
mod deliver;
mod online;
mod power;
mod private;
mod query;
mod shared;
#[cfg(all(test, not(loom)))]
mod snapshot;

#[cfg(all(test, not(loom)))]
pub(crate) use snapshot::Snapshot;

use crate::{
    Error, Frame, Pe, Port, SharedPe,
    call::{self, Call, number},
    event::{Events, Slot},
    pe::Here,
    shared::{Bindings, Shared},
    sync::{AtomicBool, AtomicU32, Mutex, maybe_const_fn},
};

/// What `SDEI_EVENT_REGISTER` asks for, its own arguments checked.
#[derive(Clone, Copy)]
struct Registration {
    entry: u64,
    argument: u64,
    relative: bool,
    to_pe: bool,
    affinity: u64,
}

impl Registration {
    /// The entry point is a virtual address of the client's, or an offset to one, so nothing but
    /// its alignment can be checked.
    fn check(entry: u64, argument: u64, flags: u64, affinity: u64) -> Result<Self, Error> {
        use call::flags::{ALL, RELATIVE, ROUTE_TO_PE};
        if !is_code_address(entry) || flags & !ALL != 0 {
            return Err(Error::InvalidParameters);
        }
        Ok(Self {
            entry,
            argument,
            relative: flags & RELATIVE != 0,
            to_pe: flags & ROUTE_TO_PE != 0,
            affinity,
        })
    }
}

/// Whether the client can have an instruction there.
const fn is_code_address(address: u64) -> bool {
    address != 0 && address & 3 == 0
}

/// The dispatcher of a system: `PRIVATE` private and `SHARED` shared events on any number of PEs.
///
/// It is shared by all PEs and needs no lock around it. Each entry point is called in EL3 with
/// every exception masked, on the PE whose [`Pe`] and whose frame it is given.
///
/// # Locks
///
/// Event 0 takes none. A shared event has one of its own, and so have the bindings. Lock order:
/// bindings first, then events by ascending index. No lock is held when an entry point returns,
/// and EL3 is not interrupted, so none is ever waited for longer than another PE needs for its
/// call.
#[derive(Debug)]
pub struct Dispatcher<'a, P, const PRIVATE: usize, const SHARED: usize> {
    events: Events<PRIVATE, SHARED>,
    pes: &'a [SharedPe],
    port: P,
    shared: [Mutex<Shared>; SHARED],
    bindings: Mutex<Bindings<PRIVATE, SHARED>>,
    /// Bit per shared event that is pending: what a PE looks at before it takes any lock. A bit
    /// changes only under its event's lock.
    waiting: AtomicU32,
    /// Whether a shared event with an interrupt has been registered since boot: what a PE that
    /// comes on looks at before it takes any lock.
    has_routes: AtomicBool,
}

impl<'a, P: Port, const PRIVATE: usize, const SHARED: usize> Dispatcher<'a, P, PRIVATE, SHARED> {
    maybe_const_fn! {
        /// A dispatcher of a platform's events for as many PEs as `pes` has elements, all of them
        /// off. PEs are named by their index in `pes`.
        #[must_use]
        pub fn new(events: Events<PRIVATE, SHARED>, pes: &'a [SharedPe], port: P) -> Self {
            Self {
                events,
                pes,
                port,
                #[cfg(not(loom))]
                shared: [const { Mutex::new(Shared::NONE) }; SHARED],
                #[cfg(loom)]
                shared: core::array::from_fn(|_| Mutex::new(Shared::NONE)),
                bindings: Mutex::new(Bindings::NONE),
                waiting: AtomicU32::new(0),
                has_routes: AtomicBool::new(false),
            }
        }
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
    /// [`Error::NotSupported`] and changes nothing, and so does a number that is no call.
    #[inline]
    pub fn call(&self, pe: &mut Pe<'_, PRIVATE>, frame: &mut impl Frame) {
        let (function, args) = registers(frame);
        if !pe.rules.is_client(frame.pstate()) {
            frame.x_mut()[0] = call::not_supported(function);
            return;
        }
        // The calls whose cost is felt are told apart by their number alone and need no stack;
        // all others are worth decoding.
        let is_event0 = args[0] as u32 == 0;
        match call::number(function) {
            Some(number::VERSION) => {
                frame.x_mut()[0] = call::VERSION;
                return;
            }
            Some(number::EVENT_STATUS) if is_event0 => {
                frame.x_mut()[0] = pe.events[0].handler.status();
                return;
            }
            _ => {}
        }
        let Here(Some(here)) = pe.here else {
            frame.x_mut()[0] = call::not_supported(function);
            return;
        };
        match call::number(function) {
            Some(number::EVENT_SIGNAL) if is_event0 => self.signal(pe, here, frame, args[1]),
            Some(number::EVENT_COMPLETE) => self.complete(frame, pe, here),
            Some(number::PE_MASK) => {
                let was_masked = core::mem::replace(&mut pe.masked, true);
                frame.x_mut()[0] = u64::from(!was_masked);
            }
            Some(number::PE_UNMASK) => {
                pe.masked = false;
                frame.x_mut()[0] = 0;
                self.dispatch(frame, pe, here);
            }
            _ => self.call_other(frame, pe, here),
        }
    }

    /// The calls that [`Dispatcher::call`] does not serve itself.
    ///
    /// The frame comes first here and in what else `call` ends with, since that is what the
    /// firmware has in its first argument register: nothing has to be moved.
    #[inline(never)]
    fn call_other(&self, frame: &mut impl Frame, pe: &mut Pe<'_, PRIVATE>, here: &SharedPe) {
        let (function, args) = registers(frame);
        let Ok(call) = Call::decode(function, &args) else {
            frame.x_mut()[0] = call::not_supported(function);
            return;
        };
        let answer = match call {
            Call::EventRegister {
                event,
                entry,
                argument,
                flags,
                affinity,
            } => self.slot(event).and_then(|slot| {
                let registration = Registration::check(entry, argument, flags, affinity)?;
                match slot {
                    Slot::Private(i) => self.register_private(pe, here, i, registration),
                    Slot::Shared(i) => self.register_shared(pe, i, registration),
                }
            }),
            Call::EventEnable { event } => return self.enable(pe, here, frame, event),
            Call::EventDisable { event } => self.slot(event).and_then(|slot| match slot {
                Slot::Private(i) => self.disable_private(pe, i),
                Slot::Shared(i) => self.disable_shared(i),
            }),
            Call::EventUnregister { event } => self.slot(event).and_then(|slot| match slot {
                Slot::Private(i) => self.unregister_private(pe, here, i),
                Slot::Shared(i) => self.unregister_shared(i),
            }),
            Call::EventContext { index } => query::context(pe, index),
            Call::EventCompleteAndResume { address } => {
                return self.complete_and_resume(pe, here, frame, address);
            }
            Call::EventStatus { event } => self.status(pe, event),
            Call::EventGetInfo { event, info } => self.get_info(event, info),
            Call::EventRoutingSet {
                event,
                mode,
                affinity,
            } => self.routing_set(pe, event, mode, affinity),
            Call::InterruptBind { intid } => self.bind(intid),
            Call::InterruptRelease { event } => self.release(event),
            // Event 0 is served by `call`, and no other can be signalled.
            Call::EventSignal { .. } => Err(Error::InvalidParameters),
            Call::Features { feature } => self.features(feature),
            Call::PrivateReset => self.private_reset(pe, here),
            Call::SharedReset => self.shared_reset(),
            // Served by `call`.
            Call::Version | Call::EventComplete | Call::PeMask | Call::PeUnmask => {
                Err(Error::NotSupported)
            }
        };
        frame.x_mut()[0] = answer.unwrap_or_else(Error::code);
    }

    /// The SGI of [`Port::notify`] was acknowledged and ended on this PE: dispatches what is
    /// pending and eligible. Harmless when nothing is.
    #[inline]
    pub fn signalled(&self, pe: &mut Pe<'_, PRIVATE>, frame: &mut impl Frame) {
        if let Here(Some(here)) = pe.here {
            self.dispatch(frame, pe, here);
        }
    }

    /// An interrupt was acknowledged on this PE and its priority dropped. Answers whether it is
    /// an event's; if not, it has not been deactivated and is the integrator's to deal with.
    #[must_use]
    pub fn interrupt(&self, pe: &mut Pe<'_, PRIVATE>, frame: &mut impl Frame, intid: u32) -> bool {
        let Here(Some(here)) = pe.here else {
            return false;
        };
        if self.interrupt_private(pe, intid) {
            self.dispatch(frame, pe, here);
            true
        } else if let Some(i) = self.interrupt_shared(intid) {
            self.dispatch(frame, pe, here);
            self.pass_on(pe.index, i);
            true
        } else {
            false
        }
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
        pe: &mut Pe<'_, PRIVATE>,
        frame: &mut impl Frame,
        event: i32,
    ) -> Result<(), Error> {
        let here = pe.here.0.ok_or(Error::Denied)?;
        match self.slot(event)? {
            Slot::Private(i) => {
                self.raise_private(pe, i)?;
                self.dispatch(frame, pe, here);
            }
            Slot::Shared(i) => {
                self.raise_shared(i)?;
                self.dispatch(frame, pe, here);
                self.pass_on(pe.index, i);
            }
        }
        Ok(())
    }

    /// Where the event is.
    #[inline(never)]
    fn slot(&self, event: i32) -> Result<Slot, Error> {
        self.events.find(event).ok_or(Error::InvalidParameters)
    }

    /// `SDEI_EVENT_ENABLE`.
    fn enable(
        &self,
        pe: &mut Pe<'_, PRIVATE>,
        here: &SharedPe,
        frame: &mut impl Frame,
        event: i32,
    ) {
        let enabled = self.slot(event).and_then(|slot| {
            match slot {
                Slot::Private(i) => self.enable_private(pe, i)?,
                Slot::Shared(i) => self.enable_shared(i)?,
            }
            Ok(slot)
        });
        match enabled {
            Ok(slot) => {
                // First the answer, so that it is in the context which a handler interrupts.
                frame.x_mut()[0] = 0;
                self.dispatch(frame, pe, here);
                if let Slot::Shared(i) = slot {
                    self.pass_on(pe.index, i);
                }
            }
            Err(error) => frame.x_mut()[0] = error.code(),
        }
    }
}

/// The function ID, which is w0 (the upper half of x0 is not part of it), and x1..x5.
#[inline]
fn registers(frame: &impl Frame) -> (u32, [u64; 5]) {
    let [x0, args @ .., _, _, _, _, _, _, _, _, _, _, _, _] = *frame.x();
    (x0 as u32, args)
}

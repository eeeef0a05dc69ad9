// SPDX-License-Identifier: MIT OR Apache-2.0

//! The dispatcher: one entry point per reason for which a PE enters EL3.
//!
//! Whatever visits a PE here has the frame first and the [`Pe`] second: the frame is what the
//! firmware has in its first argument register, so nothing has to be moved.

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
    Error, Frame, Interrupts, NoInterrupts, Pe, Port, SharedPe,
    call::{self, number},
    event::{Events, Slot},
    registration::Request,
    shared::{Bindings, Shared},
    sync::{AtomicBool, AtomicU32, AtomicUsize, Mutex, maybe_const_fn},
};

/// The dispatcher of a system: `PRIVATE` private and `SHARED` shared events on any number of PEs.
///
/// `P` are the PEs ([`Port`]), `S` is where their [`SharedPe`]s are, an array or a slice of them,
/// owned or borrowed, and `I` is the interrupt controller ([`Interrupts`]). For event 0 alone
/// `Dispatcher<P, S>` says it all.
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
pub struct Dispatcher<
    P,
    S,
    I: Interrupts = NoInterrupts,
    const PRIVATE: usize = 1,
    const SHARED: usize = 0,
> {
    events: Events<PRIVATE, SHARED>,
    pes: S,
    port: P,
    gic: I,
    shared: [Mutex<Shared<I::Saved>>; SHARED],
    bindings: Mutex<Bindings<PRIVATE, SHARED>>,
    /// Bit per shared event that is pending: what a PE looks at before it takes any lock. A bit
    /// changes only under its event's lock.
    waiting: AtomicU32,
    /// Whether a shared event with an interrupt has been registered since boot: what a PE that
    /// comes on looks at before it takes any lock.
    has_routes: AtomicBool,
    /// The PE that was found on when one was last looked for that takes an interrupt.
    found_on: AtomicUsize,
}

impl<P, S, const PRIVATE: usize, const SHARED: usize>
    Dispatcher<P, S, NoInterrupts, PRIVATE, SHARED>
{
    maybe_const_fn! {
        /// A dispatcher of events none of which has an interrupt. `pes` has an element for each
        /// PE; all are off.
        ///
        /// # Panics
        ///
        /// If an event of the table has an interrupt, or is a dynamic slot. In a `static`, such a
        /// table does not compile.
        #[must_use]
        pub fn new(events: Events<PRIVATE, SHARED>, pes: S, port: P) -> Self {
            assert!(
                !events.have_interrupts(),
                "an event has an interrupt: it needs `Dispatcher::with_interrupts`"
            );
            Self::with_interrupts(events, pes, port, NoInterrupts)
        }
    }
}

impl<P, S, I: Interrupts, const PRIVATE: usize, const SHARED: usize>
    Dispatcher<P, S, I, PRIVATE, SHARED>
{
    maybe_const_fn! {
        /// A dispatcher of a platform's events. `pes` has an element for each PE; all are off.
        #[must_use]
        pub fn with_interrupts(
            events: Events<PRIVATE, SHARED>,
            pes: S,
            port: P,
            interrupts: I,
        ) -> Self {
            Self {
                events,
                pes,
                port,
                gic: interrupts,
                #[cfg(not(all(test, loom)))]
                shared: [const { Mutex::new(Shared::NONE) }; SHARED],
                #[cfg(all(test, loom))]
                shared: core::array::from_fn(|_| Mutex::new(Shared::NONE)),
                bindings: Mutex::new(Bindings::NONE),
                waiting: AtomicU32::new(0),
                has_routes: AtomicBool::new(false),
                found_on: AtomicUsize::new(usize::MAX),
            }
        }
    }
}

impl<P: Port, S: AsRef<[SharedPe]>, I: Interrupts, const PRIVATE: usize, const SHARED: usize>
    Dispatcher<P, S, I, PRIVATE, SHARED>
{
    #[cfg(test)]
    pub(crate) const fn port(&self) -> &P {
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
    pub fn call<const N: usize>(&self, frame: &mut impl Frame, pe: &mut Pe<N, I::Saved>) {
        let (function, _) = registers(frame);
        if !pe.rules.is_client(frame.pstate()) {
            frame.x_mut()[0] = Error::NotSupported.code();
            return;
        }
        let is_event0 = |frame: &_| registers(frame).1[0] as u32 == 0;
        // The fast path: what is called often, or while something is wrong. These calls are told
        // apart by their number alone and need no stack.
        match call::number(function) {
            Some(number::VERSION) => frame.x_mut()[0] = call::VERSION,
            Some(number::EVENT_STATUS) if is_event0(frame) => {
                frame.x_mut()[0] = pe.event0().handler.status();
            }
            Some(number::EVENT_SIGNAL) if is_event0(frame) => {
                let (_, [_, affinity, ..]) = registers(frame);
                self.signal(frame, pe, affinity);
            }
            Some(number::EVENT_COMPLETE) => self.complete(frame, pe),
            Some(number::PE_MASK) => {
                let was_masked = core::mem::replace(&mut pe.masked, true);
                frame.x_mut()[0] = u64::from(!was_masked);
            }
            Some(number::PE_UNMASK) => {
                pe.masked = false;
                frame.x_mut()[0] = 0;
                self.dispatch(frame, pe);
            }
            _ => self.call_other(frame, pe),
        }
    }

    /// The calls that are not on the fast path of [`Dispatcher::call`].
    #[inline(never)]
    fn call_other<const N: usize>(&self, frame: &mut impl Frame, pe: &mut Pe<N, I::Saved>) {
        let (function, [a1, a2, a3, a4, a5]) = registers(frame);
        // The upper half of an event number's register is not part of it.
        let event = a1 as u32 as i32;
        let answer = match call::number(function) {
            Some(number::EVENT_REGISTER) => self.register(pe, event, a2, a3, a4, a5),
            Some(number::EVENT_ENABLE) => return self.enable(frame, pe, event),
            Some(number::EVENT_DISABLE) => self.slot(event).and_then(|slot| match slot {
                Slot::Private(i) => self.disable_private(pe, i),
                Slot::Shared(i) => self.disable_shared(i),
            }),
            Some(number::EVENT_CONTEXT) => query::context(pe, a1),
            Some(number::EVENT_COMPLETE_AND_RESUME) => {
                return self.complete_and_resume(frame, pe, a1);
            }
            Some(number::EVENT_UNREGISTER) => self.slot(event).and_then(|slot| match slot {
                Slot::Private(i) => self.unregister_private(pe, i),
                Slot::Shared(i) => self.unregister_shared(i),
            }),
            Some(number::EVENT_STATUS) => self.status(pe, event),
            Some(number::EVENT_GET_INFO) => self.get_info(event, a2),
            Some(number::EVENT_ROUTING_SET) => self.routing_set(pe, event, a2, a3),
            Some(number::INTERRUPT_BIND) => self.bind(a1),
            Some(number::INTERRUPT_RELEASE) => self.release(event),
            // Event 0 is on the fast path, and no other can be signalled.
            Some(number::EVENT_SIGNAL) => Err(Error::InvalidParameters),
            Some(number::FEATURES) => self.features(a1),
            Some(number::PRIVATE_RESET) => self.private_reset(pe),
            Some(number::SHARED_RESET) => self.shared_reset(),
            _ => Err(Error::NotSupported),
        };
        frame.x_mut()[0] = answer.unwrap_or_else(Error::code);
    }

    /// The SGI of [`Port::notify`] was acknowledged and ended on this PE: dispatches what is
    /// pending and eligible. Harmless when nothing is, or the PE is off.
    #[inline]
    pub fn signalled<const N: usize>(&self, frame: &mut impl Frame, pe: &mut Pe<N, I::Saved>) {
        self.dispatch(frame, pe);
    }

    /// An interrupt was acknowledged on this PE and its priority dropped. Answers whether it is
    /// an event's; if not, it has not been deactivated and is the integrator's to deal with.
    #[must_use]
    pub fn interrupt<const N: usize>(
        &self,
        frame: &mut impl Frame,
        pe: &mut Pe<N, I::Saved>,
        intid: u32,
    ) -> bool {
        if !I::AVAILABLE || intid == 0 || self.here(pe).is_none() {
            return false;
        }
        if self.interrupt_private(pe, intid) {
            self.dispatch(frame, pe);
            true
        } else if let Some(i) = self.interrupt_shared(intid) {
            self.dispatch(frame, pe);
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
    pub fn raise<const N: usize>(
        &self,
        frame: &mut impl Frame,
        pe: &mut Pe<N, I::Saved>,
        event: i32,
    ) -> Result<(), Error> {
        self.here(pe).ok_or(Error::Denied)?;
        match self.slot(event)? {
            Slot::Private(i) => {
                self.raise_private(pe, i)?;
                self.dispatch(frame, pe);
            }
            Slot::Shared(i) => {
                self.raise_shared(i)?;
                self.dispatch(frame, pe);
                self.pass_on(pe.index, i);
            }
        }
        Ok(())
    }

    /// What other PEs see of this one; nothing while it is off.
    #[inline(always)]
    fn here<const N: usize>(&self, pe: &Pe<N, I::Saved>) -> Option<&SharedPe> {
        self.pes.as_ref().get(pe.index)
    }

    /// Where the event is.
    #[inline(never)]
    fn slot(&self, event: i32) -> Result<Slot, Error> {
        self.events.find(event).ok_or(Error::InvalidParameters)
    }

    /// `SDEI_EVENT_REGISTER`.
    fn register<const N: usize>(
        &self,
        pe: &mut Pe<N, I::Saved>,
        event: i32,
        entry: u64,
        argument: u64,
        flags: u64,
        affinity: u64,
    ) -> Result<u64, Error> {
        let slot = self.slot(event)?;
        let request = Request::check(entry, argument, flags, affinity)?;
        match slot {
            Slot::Private(i) => self.register_private(pe, i, request),
            Slot::Shared(i) => self.register_shared(pe, i, request),
        }
    }

    /// `SDEI_EVENT_ENABLE`.
    fn enable<const N: usize>(&self, frame: &mut impl Frame, pe: &mut Pe<N, I::Saved>, event: i32) {
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
                self.dispatch(frame, pe);
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

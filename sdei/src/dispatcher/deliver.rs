// SPDX-License-Identifier: MIT OR Apache-2.0

//! Signals, dispatch and completion (DEN0054 4.3, 5.1.6, 5.1.7, 5.1.16).
//!
//! # When a handler is entered
//!
//! An event is *pending* from when it occurs (a signal, an interrupt's acknowledge, a raise) until
//! its handler is entered. It is a bit: more occurrences until then are the same one. Event 0's bit
//! is in [`SharedPe`], where other PEs set it; other private events' are in [`Pe`]; a shared
//! event's is in its [`Shared`](crate::shared::Shared), and once more in `waiting`.
//!
//! It is dispatched on a PE as soon as all of these hold:
//!
//! 1. It is pending.
//! 2. Its handler is registered, enabled and not running
//!    ([`Handler::is_ready`](crate::handler::Handler::is_ready)): on this PE for a private event,
//!    in the system for a shared one.
//! 3. The PE is on and unmasked.
//! 4. No Critical handler runs on the PE, and for a Normal event no Normal one.
//! 5. A shared event: its routing allows the PE.
//! 6. A level-sensitive interrupt's line is still asserted; else the event is dropped.
//!
//! Of several, the first is Critical before Normal, then event 0, private before shared, and by
//! number. Each place where one of these comes true calls [`Dispatcher::dispatch`].

use super::Dispatcher;
use crate::{
    Error, Frame, Interrupts, Pe, Port, Priority, SharedPe,
    context::Context,
    event::{Slot, bit},
    port::AFFINITY,
    pstate::Rules,
    registration::{Entry, is_code_address},
    sync::Ordering,
};

impl<P: Port, S: AsRef<[SharedPe]>, I: Interrupts, const PRIVATE: usize, const SHARED: usize>
    Dispatcher<P, S, I, PRIVATE, SHARED>
{
    /// `SDEI_EVENT_SIGNAL` of event 0.
    #[inline(always)]
    pub(super) fn signal<const N: usize>(
        &self,
        frame: &mut impl Frame,
        pe: &mut Pe<N, I::Saved>,
        affinity: u64,
    ) {
        let affinity = affinity & AFFINITY;
        let target = self
            .port
            .pe_index(affinity)
            .and_then(|index| Some((index, self.pes.as_ref().get(index)?.signal()?)));
        match target {
            // No SGI to oneself: what can be dispatched is on the way out of the call.
            Some((index, _)) if index == pe.index => {
                frame.x_mut()[0] = 0;
                self.dispatch(frame, pe);
            }
            Some((_, is_new)) => {
                // A signal that was pending already has brought its SGI.
                if is_new {
                    self.port.notify(affinity);
                }
                frame.x_mut()[0] = 0;
            }
            None => frame.x_mut()[0] = Error::InvalidParameters.code(),
        }
    }

    /// Looks at what is pending: dispatches the most urgent event that is eligible here, if there
    /// is one, and passes on what this PE was asked to take and did not. To be called wherever a
    /// blocker went away.
    ///
    /// A function of its own, with nothing on the stack as long as event 0 is all there is.
    #[inline(never)]
    pub(super) fn dispatch<const N: usize>(
        &self,
        frame: &mut impl Frame,
        pe: &mut Pe<N, I::Saved>,
    ) {
        if !pe.is_in_handler() {
            self.dispatch_idle(frame, pe);
        } else if self.is_more_waiting(pe) {
            self.dispatch_by_priority(frame, pe);
        }
    }

    /// [`Dispatcher::dispatch`] on a PE that runs no handler.
    #[inline(never)]
    fn dispatch_idle<const N: usize>(&self, frame: &mut impl Frame, pe: &mut Pe<N, I::Saved>) {
        if self.is_more_waiting(pe) {
            self.dispatch_by_priority(frame, pe);
        } else if !pe.masked {
            if let Some(entry) = self.take_event0(pe) {
                self.enter(frame, &pe.rules, &mut pe.normal, entry);
            }
        }
    }

    /// Whether more than event 0 may be pending for this PE.
    #[inline(always)]
    fn is_more_waiting<const N: usize>(&self, pe: &Pe<N, I::Saved>) -> bool {
        // Only event 0: nothing else ever is.
        if PRIVATE == 1 && SHARED == 0 {
            return false;
        }
        // Acquire, with the release in `set_waiting`: a bit seen means that its event is seen
        // pending, too, and what is set later brings an SGI.
        pe.pending | self.waiting.load(Ordering::Acquire) != 0
    }

    /// [`Dispatcher::dispatch`] where more than event 0 may be pending.
    #[cold]
    fn dispatch_by_priority<const N: usize>(
        &self,
        frame: &mut impl Frame,
        pe: &mut Pe<N, I::Saved>,
    ) {
        if !pe.masked
            && pe.critical.event.is_none()
            && !self.dispatch_any(frame, pe, Priority::Critical)
            && pe.normal.event.is_none()
        {
            self.dispatch_any(frame, pe, Priority::Normal);
        }
        self.tend(pe.index, self.waiting.load(Ordering::Acquire));
    }

    /// Dispatches a pending event of this priority.
    #[cold]
    fn dispatch_any<const N: usize>(
        &self,
        frame: &mut impl Frame,
        pe: &mut Pe<N, I::Saved>,
        priority: Priority,
    ) -> bool {
        let of_priority = |critical: u32| match priority {
            Priority::Critical => critical,
            Priority::Normal => !critical,
        };
        let event0 = match priority {
            Priority::Critical => None,
            Priority::Normal => self.take_event0(pe),
        };
        let private = event0.or_else(|| {
            bits::<PRIVATE>(pe.pending & of_priority(self.events.critical_private))
                .find_map(|i| self.take_private(pe, i))
        });
        let entry = private.or_else(|| {
            let waiting = self.waiting.load(Ordering::Acquire);
            bits::<SHARED>(waiting & of_priority(self.events.critical_shared))
                .find_map(|i| self.take_shared(pe.index, i))
        });
        let Some(entry) = entry else {
            return false;
        };
        let rules = pe.rules;
        self.enter(frame, &rules, pe.context(priority), entry);
        true
    }

    /// Takes event 0 for dispatch on this PE, if it is pending and its handler is ready.
    #[inline(always)]
    fn take_event0<const N: usize>(&self, pe: &mut Pe<N, I::Saved>) -> Option<Entry> {
        let running = pe.event0().handler.dispatch()?;
        if !self.here(pe)?.take_signal() {
            return None;
        }
        let registration = pe.event0();
        registration.handler = running;
        Some(registration.entry(Slot::Private(0), 0))
    }

    /// Puts the interrupted context aside and makes the frame enter the handler.
    #[inline(always)]
    fn enter(&self, frame: &mut impl Frame, rules: &Rules, context: &mut Context, entry: Entry) {
        context.save(frame, entry.slot);
        let address = if entry.relative {
            self.port.vbar(rules.el()).wrapping_add(entry.address)
        } else {
            entry.address
        };
        // x4..x17 stay as they are: the client's own.
        let x = frame.x_mut();
        // Not negative: `Events::new` has checked it.
        x[0] = entry.number as u64;
        x[1] = entry.argument;
        x[2] = context.pc;
        x[3] = context.pstate;
        frame.set_return(address, self.pstate(rules, context.pstate));
    }

    /// The PSTATE of a handler that interrupts what has the PSTATE `interrupted`.
    #[inline(always)]
    fn pstate(&self, rules: &Rules, interrupted: u64) -> u64 {
        let el = rules.el();
        rules.entry(interrupted, self.port.control(el), || {
            self.port.exlock_enabled(el)
        })
    }

    /// `SDEI_EVENT_COMPLETE`.
    #[inline(never)]
    pub(super) fn complete<const N: usize>(
        &self,
        frame: &mut impl Frame,
        pe: &mut Pe<N, I::Saved>,
    ) {
        if pe.critical.event.is_none() && pe.normal.event == Some(Slot::Private(0)) {
            pe.normal.event = None;
            pe.normal.resume(frame);
            end_event0(pe);
            self.dispatch_idle(frame, pe);
        } else {
            self.complete_other(frame, pe);
        }
    }

    /// `SDEI_EVENT_COMPLETE` where it is not event 0's handler that completes.
    #[cold]
    fn complete_other<const N: usize>(&self, frame: &mut impl Frame, pe: &mut Pe<N, I::Saved>) {
        let Some(context) = pe.innermost() else {
            frame.x_mut()[0] = Error::Denied.code();
            return;
        };
        let event = context.event.take();
        context.resume(frame);
        self.finish(frame, pe, event);
    }

    /// `SDEI_EVENT_COMPLETE_AND_RESUME`.
    pub(super) fn complete_and_resume<const N: usize>(
        &self,
        frame: &mut impl Frame,
        pe: &mut Pe<N, I::Saved>,
        address: u64,
    ) {
        let rules = pe.rules;
        let Some(context) = pe.innermost() else {
            frame.x_mut()[0] = Error::Denied.code();
            return;
        };
        if !is_code_address(address) {
            frame.x_mut()[0] = Error::InvalidParameters.code();
            return;
        }
        let event = context.event.take();
        context.restore_registers(frame);
        self.port
            .take_exception(rules.el(), context.pc, context.pstate);
        frame.set_return(address, self.pstate(&rules, context.pstate));
        self.finish(frame, pe, event);
    }

    /// The handler of `event` has completed on this PE, and the frame is what it interrupted.
    #[cold]
    fn finish<const N: usize>(
        &self,
        frame: &mut impl Frame,
        pe: &mut Pe<N, I::Saved>,
        event: Option<Slot>,
    ) {
        self.end(pe, event);
        self.dispatch(frame, pe);
        if let Some(Slot::Shared(i)) = event {
            self.pass_on(pe.index, i);
        }
    }

    /// The handler of `event` has ended on this PE.
    fn end<const N: usize>(&self, pe: &mut Pe<N, I::Saved>, event: Option<Slot>) {
        match event {
            Some(Slot::Private(0)) => end_event0(pe),
            Some(Slot::Private(i)) => self.end_private(pe, i),
            Some(Slot::Shared(i)) => self.end_shared(i),
            None => {}
        }
    }

    /// Abandons the running handlers of this PE: they end as if they had completed, but nothing
    /// is resumed.
    pub(super) fn abandon<const N: usize>(&self, pe: &mut Pe<N, I::Saved>) {
        for priority in [Priority::Critical, Priority::Normal] {
            let event = pe.context(priority).event.take();
            self.end(pe, event);
            if let Some(Slot::Shared(i)) = event {
                self.pass_on(pe.index, i);
            }
        }
    }
}

/// Event 0's handler ends: [`Dispatcher::end_private`] without what event 0 never has.
#[inline(always)]
fn end_event0<const N: usize, V: Copy>(pe: &mut Pe<N, V>) {
    let registration = pe.event0();
    registration.handler = registration.handler.complete();
}

/// Which of `EVENTS` bits are set.
fn bits<const EVENTS: usize>(set: u32) -> impl Iterator<Item = usize> {
    (0..EVENTS).filter(move |&i| set & bit(i) != 0)
}

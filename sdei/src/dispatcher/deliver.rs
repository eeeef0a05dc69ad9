//! Signals, dispatch and completion (DEN0054 4.3, 5.1.6, 5.1.7, 5.1.16).

use super::{Dispatcher, is_code_address};
use crate::{
    Error, Frame, Pe, Port, Priority, SharedPe, context::Context, event::Slot, handler::Handler,
    pe::Private, pstate::Rules, sync::Ordering,
};

/// What a handler is entered with.
#[derive(Clone, Copy)]
pub(super) struct Entry {
    pub(super) slot: Slot,
    pub(super) number: i32,
    pub(super) address: u64,
    pub(super) relative: bool,
    pub(super) argument: u64,
}

impl<P: Port, const PRIVATE: usize, const SHARED: usize> Dispatcher<'_, P, PRIVATE, SHARED> {
    /// `SDEI_EVENT_SIGNAL` of event 0.
    #[inline(always)]
    pub(super) fn signal(
        &self,
        pe: &mut Pe<'_, PRIVATE>,
        here: &SharedPe,
        frame: &mut impl Frame,
        affinity: u64,
    ) {
        let target = self
            .port
            .pe_index(affinity)
            .and_then(|index| Some((index, self.pes.get(index)?.signal()?)));
        match target {
            // No SGI to oneself: what can be dispatched is on the way out of the call.
            Some((index, _)) if index == pe.index => {
                frame.x_mut()[0] = 0;
                self.dispatch(frame, pe, here);
            }
            Some((index, is_new)) => {
                // A signal that was pending already has brought its SGI.
                if is_new {
                    self.port.notify(index);
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
    pub(super) fn dispatch(
        &self,
        frame: &mut impl Frame,
        pe: &mut Pe<'_, PRIVATE>,
        here: &SharedPe,
    ) {
        if pe.critical.event.is_none() && pe.normal.event.is_none() {
            self.dispatch_idle(frame, pe, here);
        } else if self.is_more_waiting(pe) {
            self.dispatch_by_priority(frame, pe, here);
        }
    }

    /// [`Dispatcher::dispatch`] on a PE that runs no handler.
    #[inline(never)]
    fn dispatch_idle(&self, frame: &mut impl Frame, pe: &mut Pe<'_, PRIVATE>, here: &SharedPe) {
        if self.is_more_waiting(pe) {
            self.dispatch_by_priority(frame, pe, here);
        } else if !pe.masked {
            self.dispatch_event0(pe, here, frame);
        }
    }

    /// Whether more than event 0 may be pending for this PE.
    #[inline(always)]
    fn is_more_waiting(&self, pe: &Pe<'_, PRIVATE>) -> bool {
        // Acquire, with the release in `set_waiting`: a bit seen means that its event is seen
        // pending, too, and what is set later brings an SGI.
        pe.pending | self.waiting.load(Ordering::Acquire) != 0
    }

    /// [`Dispatcher::dispatch`] where more than event 0 may be pending.
    #[cold]
    fn dispatch_by_priority(
        &self,
        frame: &mut impl Frame,
        pe: &mut Pe<'_, PRIVATE>,
        here: &SharedPe,
    ) {
        if !pe.masked
            && pe.critical.event.is_none()
            && !self.dispatch_any(pe, here, frame, Priority::Critical)
            && pe.normal.event.is_none()
        {
            self.dispatch_any(pe, here, frame, Priority::Normal);
        }
        self.tend(pe.index, self.waiting.load(Ordering::Acquire));
    }

    /// Dispatches event 0, if it is pending and may run, on a PE that is unmasked and runs no
    /// handler.
    #[inline(always)]
    fn dispatch_event0(&self, pe: &mut Pe<'_, PRIVATE>, here: &SharedPe, frame: &mut impl Frame) {
        if let Some(entry) = take_event0(pe, here) {
            self.enter(&pe.rules, &mut pe.normal, frame, entry);
        }
    }

    /// Dispatches a pending event of this priority: event 0 first, then private events.
    #[cold]
    fn dispatch_any(
        &self,
        pe: &mut Pe<'_, PRIVATE>,
        here: &SharedPe,
        frame: &mut impl Frame,
        priority: Priority,
    ) -> bool {
        let of_priority = |critical: u32| match priority {
            Priority::Critical => critical,
            Priority::Normal => !critical,
        };
        let event0 = match priority {
            Priority::Critical => None,
            Priority::Normal => take_event0(pe, here),
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
        self.enter(&rules, pe.context(priority), frame, entry);
        true
    }

    /// Puts the interrupted context aside and makes the frame enter the handler.
    #[inline(always)]
    fn enter(&self, rules: &Rules, context: &mut Context, frame: &mut impl Frame, entry: Entry) {
        context.save(frame, entry.slot);
        let address = if entry.relative {
            self.port.vbar(rules.el()).wrapping_add(entry.address)
        } else {
            entry.address
        };
        // x4..x17 stay as they are: the client's own.
        let x = frame.x_mut();
        x[0] = u64::from(entry.number.cast_unsigned());
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
    pub(super) fn complete(
        &self,
        frame: &mut impl Frame,
        pe: &mut Pe<'_, PRIVATE>,
        here: &SharedPe,
    ) {
        if pe.critical.event.is_none() && pe.normal.event == Some(Slot::Private(0)) {
            pe.normal.event = None;
            pe.normal.restore_registers(frame);
            frame.set_return(pe.normal.pc, pe.normal.pstate);
            pe.events[0].handler = pe.events[0].handler.complete();
            self.dispatch_idle(frame, pe, here);
        } else {
            self.complete_other(frame, pe, here);
        }
    }

    /// `SDEI_EVENT_COMPLETE` where it is not event 0's handler that completes.
    #[cold]
    fn complete_other(&self, frame: &mut impl Frame, pe: &mut Pe<'_, PRIVATE>, here: &SharedPe) {
        let Some(context) = pe.innermost() else {
            frame.x_mut()[0] = Error::Denied.code();
            return;
        };
        let event = context.event.take();
        context.restore_registers(frame);
        frame.set_return(context.pc, context.pstate);
        self.finish(pe, here, frame, event);
    }

    /// `SDEI_EVENT_COMPLETE_AND_RESUME`.
    pub(super) fn complete_and_resume(
        &self,
        pe: &mut Pe<'_, PRIVATE>,
        here: &SharedPe,
        frame: &mut impl Frame,
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
        self.finish(pe, here, frame, event);
    }

    /// The handler of `event` has completed on this PE, and the frame is what it interrupted.
    #[inline]
    fn finish(
        &self,
        pe: &mut Pe<'_, PRIVATE>,
        here: &SharedPe,
        frame: &mut impl Frame,
        event: Option<Slot>,
    ) {
        match event {
            Some(Slot::Private(0)) => {
                pe.events[0].handler = pe.events[0].handler.complete();
                self.dispatch(frame, pe, here);
            }
            Some(slot) => self.finish_other(pe, here, frame, slot),
            None => {}
        }
    }

    #[cold]
    fn finish_other(
        &self,
        pe: &mut Pe<'_, PRIVATE>,
        here: &SharedPe,
        frame: &mut impl Frame,
        slot: Slot,
    ) {
        match slot {
            Slot::Private(i) => {
                self.end_private(pe, i);
                self.dispatch(frame, pe, here);
            }
            Slot::Shared(i) => {
                self.end_shared(i);
                self.dispatch(frame, pe, here);
                self.pass_on(pe.index, i);
            }
        }
    }

    /// Abandons the running handlers of this PE: they end as if they had completed, but nothing
    /// is resumed.
    pub(super) fn abandon(&self, pe: &mut Pe<'_, PRIVATE>) {
        for priority in [Priority::Critical, Priority::Normal] {
            match pe.context(priority).event.take() {
                Some(Slot::Private(0)) => {
                    pe.events[0].handler = pe.events[0].handler.complete();
                }
                Some(Slot::Private(i)) => self.end_private(pe, i),
                Some(Slot::Shared(i)) => {
                    self.end_shared(i);
                    self.pass_on(pe.index, i);
                }
                None => {}
            }
        }
    }
}

/// Takes event 0 for dispatch on this PE, if it is pending and its handler is ready.
#[inline(always)]
fn take_event0<const PRIVATE: usize>(pe: &mut Pe<'_, PRIVATE>, here: &SharedPe) -> Option<Entry> {
    let Private {
        handler,
        entry,
        relative,
        argument,
        ..
    } = pe.events[0];
    let running = handler.dispatch()?;
    if !here.take_signal() {
        return None;
    }
    pe.events[0].handler = running;
    Some(Entry {
        slot: Slot::Private(0),
        number: 0,
        address: entry,
        relative,
        argument,
    })
}

/// Which of `EVENTS` bits are set.
fn bits<const EVENTS: usize>(set: u32) -> impl Iterator<Item = usize> {
    (0..EVENTS).filter(move |i| set & (1 << i) != 0)
}

/// Whether a handler is in the one state from which it is dispatched.
pub(super) fn is_ready(handler: Handler) -> bool {
    handler.dispatch().is_some()
}

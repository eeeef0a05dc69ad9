//! Private events: what a call does to this PE's own handler.
//!
//! Event 0 goes through here too, except for its signals, its dispatch and its completion.

use super::{Dispatcher, Registration, deliver::Entry};
use crate::{
    Error, Pe, Port, SharedPe, Source,
    event::Slot,
    handler::{Handler, Unregistered},
    pe::Private,
    port::Owner,
};

impl<P: Port, const PRIVATE: usize, const SHARED: usize> Dispatcher<'_, P, PRIVATE, SHARED> {
    pub(super) fn register_private(
        &self,
        pe: &mut Pe<'_, PRIVATE>,
        here: &SharedPe,
        i: usize,
        registration: Registration,
    ) -> Result<u64, Error> {
        let event = &mut pe.events[i];
        let handler = event.handler.register()?;
        let intid = self.take_interrupt(i)?;
        // Routing and affinity of a private event mean nothing and are not looked at.
        *event = Private {
            handler,
            relative: registration.relative,
            intid,
            entry: registration.entry,
            argument: registration.argument,
        };
        if i == 0 {
            here.register_event0();
        }
        Ok(0)
    }

    /// Makes a private event's interrupt EL3's on this PE: disabled, with no old edge. Answers
    /// 0 where the event has none.
    fn take_interrupt(&self, i: usize) -> Result<u32, Error> {
        let intid = match self.events.private[i].source {
            Source::Signal | Source::Explicit => return Ok(0),
            Source::Interrupt(intid) => {
                if self.port.is_active(intid) {
                    return Err(Error::Denied);
                }
                intid
            }
            Source::Dynamic => {
                let mut bindings = self.bindings.lock();
                let binding = &mut bindings.private[i];
                let intid = binding.intid;
                if intid == 0
                    || self.port.owner(intid) != Some(Owner::NonSecure)
                    || self.port.is_active(intid)
                {
                    return Err(Error::Denied);
                }
                binding.users = binding.users.saturating_add(1);
                self.port.claim(intid);
                intid
            }
        };
        self.port.clear_pending(intid);
        Ok(intid)
    }

    pub(super) fn enable_private(&self, pe: &mut Pe<'_, PRIVATE>, i: usize) -> Result<(), Error> {
        let event = &mut pe.events[i];
        event.handler = event.handler.enable()?;
        if event.intid != 0 {
            self.port.enable(event.intid);
        }
        Ok(())
    }

    pub(super) fn disable_private(&self, pe: &mut Pe<'_, PRIVATE>, i: usize) -> Result<u64, Error> {
        let event = &mut pe.events[i];
        event.handler = event.handler.disable()?;
        if event.intid != 0 {
            self.port.disable(event.intid);
        }
        Ok(0)
    }

    pub(super) fn unregister_private(
        &self,
        pe: &mut Pe<'_, PRIVATE>,
        here: &SharedPe,
        i: usize,
    ) -> Result<u64, Error> {
        let (handler, when) = pe.events[i].handler.unregister()?;
        pe.events[i].handler = handler;
        if i == 0 {
            here.unregister_event0();
        }
        match when {
            Unregistered::Now => {
                self.forget_private(pe, i);
                Ok(0)
            }
            Unregistered::AtCompletion => {
                // No interrupt of it can be waiting: it is active until the handler ends.
                pe.pending &= !(1 << i);
                if pe.events[i].intid != 0 {
                    self.port.disable(pe.events[i].intid);
                }
                Err(Error::Pending)
            }
        }
    }

    /// The handler of a private event other than event 0 ends.
    pub(super) fn end_private(&self, pe: &mut Pe<'_, PRIVATE>, i: usize) {
        let event = &mut pe.events[i];
        event.handler = event.handler.complete();
        if event.intid != 0 {
            self.port.deactivate(event.intid);
        }
        if event.handler == Handler::Unregistered {
            self.forget_private(pe, i);
        }
    }

    /// Drops what is left of a private event that has just been unregistered and is not running.
    fn forget_private(&self, pe: &mut Pe<'_, PRIVATE>, i: usize) {
        let intid = pe.events[i].intid;
        if intid != 0 {
            self.port.disable(intid);
            if pe.pending & (1 << i) != 0 {
                self.port.deactivate(intid);
            }
            self.port.clear_pending(intid);
            if self.events.private[i].source == Source::Dynamic {
                self.port.give_back(intid);
                let users = &mut self.bindings.lock().private[i].users;
                *users = users.saturating_sub(1);
            }
        }
        pe.pending &= !(1 << i);
        pe.events[i] = Private::NONE;
    }

    /// `SDEI_PRIVATE_RESET`.
    pub(super) fn private_reset(
        &self,
        pe: &mut Pe<'_, PRIVATE>,
        here: &SharedPe,
    ) -> Result<u64, Error> {
        if pe.events.iter().any(|event| event.handler.is_running()) {
            return Err(Error::Denied);
        }
        self.unregister_all_private(pe, here);
        Ok(0)
    }

    /// Unregisters every private event of this PE; none may be running.
    pub(super) fn unregister_all_private(&self, pe: &mut Pe<'_, PRIVATE>, here: &SharedPe) {
        here.unregister_event0();
        for i in 0..PRIVATE {
            if pe.events[i].handler.is_registered() {
                self.forget_private(pe, i);
            }
        }
    }

    /// An interrupt was acknowledged here: whether it is a private event's, which is now pending.
    pub(super) fn interrupt_private(&self, pe: &mut Pe<'_, PRIVATE>, intid: u32) -> bool {
        let of_event = |event: &Private| event.intid == intid && intid != 0;
        let Some(i) = pe.events.iter().position(of_event) else {
            return false;
        };
        pe.pending |= 1 << i;
        true
    }

    /// EL3 raises a private event here.
    pub(super) fn raise_private(&self, pe: &mut Pe<'_, PRIVATE>, i: usize) -> Result<(), Error> {
        if self.events.private[i].source != Source::Explicit {
            return Err(Error::InvalidParameters);
        }
        if !pe.events[i].handler.is_registered() {
            return Err(Error::Denied);
        }
        pe.pending |= 1 << i;
        Ok(())
    }

    /// Takes a private event for dispatch on this PE, if it is pending and its handler is ready.
    pub(super) fn take_private(&self, pe: &mut Pe<'_, PRIVATE>, i: usize) -> Option<Entry> {
        let event = pe.events.get_mut(i)?;
        let running = event.handler.dispatch()?;
        pe.pending &= !(1 << i);
        if event.intid != 0 && !self.port.is_asserted(event.intid) {
            // The line of a level-sensitive interrupt went down while the event could not be
            // dispatched, so it is not pending any more.
            self.port.deactivate(event.intid);
            return None;
        }
        event.handler = running;
        Some(Entry {
            slot: Slot::Private(i),
            number: self.events.private[i].number,
            address: event.entry,
            relative: event.relative,
            argument: event.argument,
        })
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0

//! `SDEI_INTERRUPT_BIND` and `SDEI_INTERRUPT_RELEASE` (DEN0054 5.1.14, 5.1.15).

use super::Dispatcher;
use crate::{
    Error, Interrupts, Port, SharedPe, Source,
    event::{Event, Slot, is_ppi, is_spi},
    port::Owner,
    shared::Bindings,
};

impl<const PRIVATE: usize, const SHARED: usize> Bindings<PRIVATE, SHARED> {
    /// The INTID in a slot, 0 where it is free.
    fn intid(&self, slot: Slot) -> Option<u32> {
        match slot {
            Slot::Private(i) => Some(self.private.get(i)?.intid),
            Slot::Shared(i) => self.shared.get(i).copied(),
        }
    }

    fn set(&mut self, slot: Slot, intid: u32) {
        let place = match slot {
            Slot::Private(i) => self.private.get_mut(i).map(|binding| &mut binding.intid),
            Slot::Shared(i) => self.shared.get_mut(i),
        };
        if let Some(place) = place {
            *place = intid;
        }
    }
}

impl<P: Port, S: AsRef<[SharedPe]>, I: Interrupts, const PRIVATE: usize, const SHARED: usize>
    Dispatcher<P, S, I, PRIVATE, SHARED>
{
    /// Binds a PPI to a private slot, an SPI to a shared one, and answers the event's number.
    pub(super) fn bind(&self, intid: u64) -> Result<u64, Error> {
        let intid = u32::try_from(intid).map_err(|_| Error::InvalidParameters)?;
        let is_private = is_ppi(intid);
        if !(is_private || is_spi(intid)) || self.events.has_interrupt(intid) {
            return Err(Error::InvalidParameters);
        }
        if !I::AVAILABLE {
            return Err(Error::OutOfResource);
        }
        let events: &[Event] = if is_private {
            &self.events.private
        } else {
            &self.events.shared
        };
        let slot = |i| {
            if is_private {
                Slot::Private(i)
            } else {
                Slot::Shared(i)
            }
        };

        let mut bindings = self.bindings.lock();
        let owner = self.gic.owner(intid).ok_or(Error::InvalidParameters)?;
        let find = |wanted: u32| {
            let mut place = (0..events.len()).zip(events);
            place.find(|&(i, event)| {
                event.source == Source::Dynamic && bindings.intid(slot(i)) == Some(wanted)
            })
        };
        // First whether it is bound: then it may be EL3's for now.
        if let Some((_, event)) = find(intid) {
            return Ok(event.answer());
        }
        if owner != Owner::NonSecure {
            return Err(Error::Denied);
        }
        let (i, event) = find(0).ok_or(Error::OutOfResource)?;
        bindings.set(slot(i), intid);
        Ok(event.answer())
    }

    /// Frees a slot.
    pub(super) fn release(&self, event: i32) -> Result<u64, Error> {
        let slot = self.slot(event)?;
        if !I::AVAILABLE {
            return Err(Error::InvalidParameters);
        }
        let mut bindings = self.bindings.lock();
        // A slot that is not dynamic has nothing bound.
        let intid = bindings.intid(slot).unwrap_or(0);
        if intid == 0 {
            return Err(Error::InvalidParameters);
        }
        let in_use = match slot {
            Slot::Private(i) => bindings.private.get(i).is_some_and(|b| b.users != 0),
            Slot::Shared(i) => self
                .shared(i)
                .is_some_and(|event| !event.registration.handler.is_unregistered()),
        };
        if in_use || self.gic.is_active(intid) {
            return Err(Error::Denied);
        }
        bindings.set(slot, 0);
        Ok(0)
    }
}

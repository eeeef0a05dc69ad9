//! `SDEI_INTERRUPT_BIND` and `SDEI_INTERRUPT_RELEASE` (DEN0054 5.1.14, 5.1.15).

use super::Dispatcher;
use crate::{
    Error, Port, Source,
    event::{Event, Slot, is_ppi, is_spi},
    handler::Handler,
    port::Owner,
};

/// The first free dynamic slot of a kind.
fn free_slot(events: &[Event], bound: impl Fn(usize) -> u32) -> Option<usize> {
    events
        .iter()
        .enumerate()
        .position(|(i, event)| event.source == Source::Dynamic && bound(i) == 0)
}

impl<P: Port, const PRIVATE: usize, const SHARED: usize> Dispatcher<'_, P, PRIVATE, SHARED> {
    /// Binds a PPI to a private slot, an SPI to a shared one, and answers the event's number.
    pub(super) fn bind(&self, intid: u64) -> Result<u64, Error> {
        let intid = u32::try_from(intid).map_err(|_| Error::InvalidParameters)?;
        let is_private = is_ppi(intid);
        if !(is_private || is_spi(intid)) || self.events.has_interrupt(intid) {
            return Err(Error::InvalidParameters);
        }
        let owner = self.port.owner(intid).ok_or(Error::InvalidParameters)?;

        let mut bindings = self.bindings.lock();
        let events: &[Event] = if is_private {
            &self.events.private
        } else {
            &self.events.shared
        };
        let bound = |i: usize| {
            if is_private {
                bindings.private[i].intid
            } else {
                bindings.shared[i]
            }
        };
        // First whether it is bound: then it may be EL3's for now.
        let slot = match (0..events.len()).find(|&i| bound(i) == intid) {
            Some(slot) => slot,
            None if owner != Owner::NonSecure => return Err(Error::Denied),
            None => {
                let slot = free_slot(events, bound).ok_or(Error::OutOfResource)?;
                if is_private {
                    bindings.private[slot].intid = intid;
                } else {
                    bindings.shared[slot] = intid;
                }
                slot
            }
        };
        Ok(u64::from(events[slot].number.cast_unsigned()))
    }

    /// Frees a slot.
    pub(super) fn release(&self, event: i32) -> Result<u64, Error> {
        let slot = self.slot(event)?;
        let mut bindings = self.bindings.lock();
        // A slot that is not dynamic has nothing bound.
        let (intid, in_use) = match slot {
            Slot::Private(i) => {
                let binding = bindings.private[i];
                (binding.intid, binding.users != 0)
            }
            Slot::Shared(i) => {
                let in_use = self.shared(i).handler != Handler::Unregistered;
                (bindings.shared[i], in_use)
            }
        };
        if intid == 0 {
            return Err(Error::InvalidParameters);
        }
        if in_use || self.port.is_active(intid) {
            return Err(Error::Denied);
        }
        match slot {
            Slot::Private(i) => bindings.private[i].intid = 0,
            Slot::Shared(i) => bindings.shared[i] = 0,
        }
        Ok(0)
    }
}

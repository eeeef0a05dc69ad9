// SPDX-License-Identifier: MIT OR Apache-2.0

//! Calls that only ask (DEN0054 5.1.5, 5.1.9, 5.1.10, 5.1.17).

use super::Dispatcher;
use crate::{
    Error, Interrupts, Pe, Port, Priority, SharedPe,
    call::{feature, info},
    event::Slot,
    shared::Routing,
};

/// `SDEI_EVENT_CONTEXT`.
pub(super) fn context<const N: usize, V: Copy>(
    pe: &mut Pe<N, V>,
    index: u64,
) -> Result<u64, Error> {
    let index = usize::try_from(index).map_err(|_| Error::InvalidParameters)?;
    if index >= crate::REGISTERS {
        return Err(Error::InvalidParameters);
    }
    let context = pe.innermost().ok_or(Error::Denied)?;
    context
        .x
        .get(index)
        .copied()
        .ok_or(Error::InvalidParameters)
}

impl<P: Port, S: AsRef<[SharedPe]>, I: Interrupts, const PRIVATE: usize, const SHARED: usize>
    Dispatcher<P, S, I, PRIVATE, SHARED>
{
    /// `SDEI_EVENT_STATUS`.
    #[inline]
    pub(super) fn status<const N: usize>(
        &self,
        pe: &Pe<N, I::Saved>,
        event: i32,
    ) -> Result<u64, Error> {
        let handler = match self.slot(event)? {
            Slot::Private(i) => pe.events.get(i).ok_or(Error::InvalidParameters)?.handler,
            Slot::Shared(i) => {
                self.shared(i)
                    .ok_or(Error::InvalidParameters)?
                    .registration
                    .handler
            }
        };
        Ok(handler.status())
    }

    /// `SDEI_EVENT_GET_INFO`.
    pub(super) fn get_info(&self, event: i32, item: u64) -> Result<u64, Error> {
        let slot = self.slot(event)?;
        let event = self.events.get(slot).ok_or(Error::InvalidParameters)?;
        Ok(match (item, slot) {
            (info::TYPE, Slot::Private(_)) => 0,
            (info::TYPE, Slot::Shared(_)) => 1,
            (info::NOT_SIGNALABLE, _) => u64::from(event.number != 0),
            (info::PRIORITY, _) => u64::from(event.priority == Priority::Critical),
            (info::ROUTING_MODE | info::ROUTING_AFFINITY, Slot::Shared(i)) => {
                let event = self.shared(i).ok_or(Error::InvalidParameters)?;
                if !event.registration.handler.is_registered() {
                    return Err(Error::Denied);
                }
                match (item, event.routing) {
                    (info::ROUTING_MODE, Routing::Any) => 0,
                    (info::ROUTING_MODE, Routing::Pe { .. }) => 1,
                    (_, Routing::Pe { affinity, .. }) => affinity,
                    // No value would say 'none': 0 is the affinity of a PE.
                    (_, Routing::Any) => return Err(Error::InvalidParameters),
                }
            }
            _ => return Err(Error::InvalidParameters),
        })
    }

    /// `SDEI_FEATURES`.
    pub(super) fn features(&self, feature: u64) -> Result<u64, Error> {
        match feature {
            feature::BIND_SLOTS => Ok(self.events.bind_slots),
            feature::RELATIVE_MODE => Ok(1),
            _ => Err(Error::InvalidParameters),
        }
    }
}

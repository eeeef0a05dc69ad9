//! Shared events: one handler for the system, each under its own lock.

use super::{
    Dispatcher, Registration,
    deliver::{Entry, is_ready},
};
use crate::{
    Error, Pe, Port, Source,
    event::Slot,
    handler::{Handler, Unregistered},
    port::Owner,
    shared::{Routing, Shared},
    sync::{MutexGuard, Ordering, fence},
};

/// The affinity fields of an MPIDR_EL1 value: Aff3, Aff2, Aff1, Aff0.
const AFFINITY: u64 = 0xff_00ff_ffff;

impl<P: Port, const PRIVATE: usize, const SHARED: usize> Dispatcher<'_, P, PRIVATE, SHARED> {
    /// A shared event, locked.
    #[inline(never)]
    pub(super) fn shared(&self, i: usize) -> MutexGuard<'_, Shared> {
        self.shared[i].lock()
    }

    /// RM_PE with this affinity, if there is such a PE.
    fn to_pe(&self, affinity: u64) -> Result<Routing, Error> {
        match self.port.pe_index(affinity) {
            Some(index) if index < self.pes.len() => Ok(Routing::Pe {
                index,
                affinity: affinity & AFFINITY,
            }),
            _ => Err(Error::InvalidParameters),
        }
    }

    pub(super) fn register_shared(
        &self,
        pe: &Pe<'_, PRIVATE>,
        i: usize,
        registration: Registration,
    ) -> Result<u64, Error> {
        let routing = if registration.to_pe {
            self.to_pe(registration.affinity)?
        } else {
            Routing::Any
        };
        let route = routing.target(pe.index);
        // Held to the end, so that the slot is not released in between.
        let bindings = self.bindings.lock();
        let mut event = self.shared(i);
        let handler = event.handler.register()?;
        let intid = match self.events.shared[i].source {
            Source::Signal | Source::Explicit => 0,
            Source::Interrupt(intid) => {
                if self.port.is_active(intid) {
                    return Err(Error::Denied);
                }
                intid
            }
            Source::Dynamic => {
                let intid = bindings.shared[i];
                if intid == 0
                    || self.port.owner(intid) != Some(Owner::NonSecure)
                    || self.port.is_active(intid)
                {
                    return Err(Error::Denied);
                }
                self.port.claim(intid);
                intid
            }
        };
        if intid != 0 {
            self.port.clear_pending(intid);
            self.port.route(intid, route);
        }
        *event = Shared {
            handler,
            relative: registration.relative,
            pending: false,
            intid,
            entry: registration.entry,
            argument: registration.argument,
            routing,
            route,
        };
        Ok(0)
    }

    pub(super) fn enable_shared(&self, i: usize) -> Result<(), Error> {
        let mut event = self.shared(i);
        event.handler = event.handler.enable()?;
        if event.intid != 0 {
            self.port.enable(event.intid);
        }
        Ok(())
    }

    pub(super) fn disable_shared(&self, i: usize) -> Result<u64, Error> {
        let mut event = self.shared(i);
        event.handler = event.handler.disable()?;
        if event.intid != 0 {
            self.port.disable(event.intid);
        }
        Ok(0)
    }

    pub(super) fn unregister_shared(&self, i: usize) -> Result<u64, Error> {
        let mut event = self.shared(i);
        let (handler, when) = event.handler.unregister()?;
        event.handler = handler;
        match when {
            Unregistered::Now => {
                self.forget_shared(&mut event, i);
                Ok(0)
            }
            Unregistered::AtCompletion => {
                self.set_waiting(&mut event, i, false);
                if event.intid != 0 {
                    self.port.disable(event.intid);
                }
                Err(Error::Pending)
            }
        }
    }

    /// `SDEI_EVENT_ROUTING_SET`.
    pub(super) fn routing_set(
        &self,
        pe: &Pe<'_, PRIVATE>,
        event: i32,
        mode: u64,
        affinity: u64,
    ) -> Result<u64, Error> {
        let Slot::Shared(i) = self.slot(event)? else {
            return Err(Error::InvalidParameters);
        };
        let routing = match mode {
            0 => Routing::Any,
            1 => self.to_pe(affinity)?,
            _ => return Err(Error::InvalidParameters),
        };
        let mut event = self.shared(i);
        if event.handler != Handler::Registered {
            return Err(Error::Denied);
        }
        event.routing = routing;
        event.route = routing.target(pe.index);
        if event.intid != 0 {
            self.port.route(event.intid, event.route);
        }
        Ok(0)
    }

    /// The handler of a shared event ends.
    pub(super) fn end_shared(&self, i: usize) {
        let mut event = self.shared(i);
        event.handler = event.handler.complete();
        if event.intid != 0 {
            self.port.deactivate(event.intid);
        }
        if event.handler == Handler::Unregistered {
            self.forget_shared(&mut event, i);
        }
    }

    /// Drops what is left of a shared event that has just been unregistered and is not running.
    fn forget_shared(&self, event: &mut Shared, i: usize) {
        if event.intid != 0 {
            self.port.disable(event.intid);
            if event.pending {
                self.port.deactivate(event.intid);
            }
            self.port.clear_pending(event.intid);
            if self.events.shared[i].source == Source::Dynamic {
                self.port.give_back(event.intid);
            }
        }
        self.set_waiting(event, i, false);
        *event = Shared::NONE;
    }

    /// `SDEI_SHARED_RESET`.
    pub(super) fn shared_reset(&self) -> Result<u64, Error> {
        let mut bindings = self.bindings.lock();
        // All at once, so that none is dispatched between the check and the reset.
        let mut events: [_; SHARED] = core::array::from_fn(|i| self.shared(i));
        if events.iter().any(|event| event.handler.is_running()) {
            return Err(Error::Denied);
        }
        for (i, event) in events.iter_mut().enumerate() {
            if event.handler.is_registered() {
                self.forget_shared(event, i);
            }
        }
        bindings.shared = [0; SHARED];
        for binding in &mut bindings.private {
            // What a PE has registered stays bound: the caller can't unregister it, and a client
            // that finds the reset refused gives the whole interface up.
            if binding.users == 0 {
                binding.intid = 0;
            }
        }
        Ok(0)
    }

    /// An interrupt was acknowledged here: which shared event's it is, which is now pending.
    pub(super) fn interrupt_shared(&self, intid: u32) -> Option<usize> {
        if intid == 0 {
            return None;
        }
        (0..SHARED).find(|&i| {
            let mut event = self.shared(i);
            let is_its = event.intid == intid;
            if is_its {
                self.set_waiting(&mut event, i, true);
            }
            is_its
        })
    }

    /// EL3 raises a shared event.
    pub(super) fn raise_shared(&self, i: usize) -> Result<(), Error> {
        if self.events.shared[i].source != Source::Explicit {
            return Err(Error::InvalidParameters);
        }
        let mut event = self.shared(i);
        if !event.handler.is_registered() {
            return Err(Error::Denied);
        }
        self.set_waiting(&mut event, i, true);
        Ok(())
    }

    /// Takes a shared event for dispatch on PE `pe`, if it is pending, its handler is ready and
    /// the PE is a target.
    pub(super) fn take_shared(&self, pe: usize, i: usize) -> Option<Entry> {
        let mut event = self.shared.get(i)?.lock();
        if !event.pending || !event.routing.allows(pe) {
            return None;
        }
        let running = event.handler.dispatch()?;
        self.set_waiting(&mut event, i, false);
        if event.intid != 0 && !self.port.is_asserted(event.intid) {
            // As for a private event: the line went down in the meantime.
            self.port.deactivate(event.intid);
            return None;
        }
        event.handler = running;
        Some(Entry {
            slot: Slot::Shared(i),
            number: self.events.shared[i].number,
            address: event.entry,
            relative: event.relative,
            argument: event.argument,
        })
    }

    /// Tells the PEs that may take a shared event which is pending and could not be dispatched
    /// on PE `pe`. That one needs no telling: it looks again when its own blocker goes.
    pub(super) fn pass_on(&self, pe: usize, i: usize) {
        let routing = {
            let event = self.shared(i);
            if !event.pending || !is_ready(event.handler) {
                return;
            }
            event.routing
        };
        // With the fence in `pe_on`: either this PE sees that the other is on, or the other sees
        // the event waiting when it is unmasked.
        fence(Ordering::SeqCst);
        for (index, other) in self.pes.iter().enumerate() {
            if index != pe && routing.allows(index) && other.is_on() {
                self.port.notify(index);
            }
        }
    }

    /// Marks a shared event pending or not.
    fn set_waiting(&self, event: &mut Shared, i: usize, pending: bool) {
        event.pending = pending;
        if pending {
            self.waiting.fetch_or(1 << i, Ordering::Release);
        } else {
            self.waiting.fetch_and(!(1 << i), Ordering::Release);
        }
    }

    /// This PE goes off: interrupts of RM_ANY events that are sent to it go to another one.
    pub(super) fn leave_routes(&self, pe: usize) {
        for event in &self.shared {
            let mut event = event.lock();
            if event.intid == 0 || event.routing != Routing::Any || event.route != pe {
                continue;
            }
            // A PE that goes off at the same time clears its flag before it comes here, and then
            // finds the route if it was given it under the lock before.
            if let Some(other) = self.pes.iter().position(|other| other.is_on()) {
                event.route = other;
                self.port.route(event.intid, other);
            }
        }
    }
}

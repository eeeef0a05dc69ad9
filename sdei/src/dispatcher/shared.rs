// SPDX-License-Identifier: MIT OR Apache-2.0

//! Shared events: one handler for the system, each under its own lock.

use super::Dispatcher;
use crate::{
    Error, Interrupts, Pe, Port, SharedPe, Source,
    event::{Slot, bit},
    handler::{Handler, Unregistered},
    port::AFFINITY,
    registration::{Entry, Interrupt, Registration, Request},
    shared::{Round, Routing, Shared},
    sync::{MutexGuard, Ordering},
};

impl<P: Port, S: AsRef<[SharedPe]>, I: Interrupts, const PRIVATE: usize, const SHARED: usize>
    Dispatcher<P, S, I, PRIVATE, SHARED>
{
    /// A shared event, locked.
    #[inline(never)]
    pub(super) fn shared(&self, i: usize) -> Option<MutexGuard<'_, Shared<I::Saved>>> {
        Some(self.shared.get(i)?.lock())
    }

    /// RM_PE with this affinity, if there is such a PE.
    fn to_pe(&self, affinity: u64) -> Result<Routing, Error> {
        let affinity = affinity & AFFINITY;
        match self.port.pe_index(affinity) {
            Some(index) if index < self.pes.as_ref().len() => Ok(Routing::Pe { index, affinity }),
            _ => Err(Error::InvalidParameters),
        }
    }

    /// Where to send the interrupt of an event with this routing: to the target, or with RM_ANY to
    /// PE `pe`, which is on.
    fn target(&self, routing: Routing, pe: usize) -> (usize, u64) {
        match routing {
            Routing::Pe { index, affinity } => (index, affinity),
            Routing::Any => (pe, self.affinity(pe)),
        }
    }

    /// The affinity of a PE that is on.
    fn affinity(&self, pe: usize) -> u64 {
        self.pes.as_ref().get(pe).map_or(0, SharedPe::affinity)
    }

    pub(super) fn register_shared<const N: usize>(
        &self,
        pe: &Pe<N, I::Saved>,
        i: usize,
        request: Request,
    ) -> Result<u64, Error> {
        let routing = if request.to_pe {
            self.to_pe(request.affinity)?
        } else {
            Routing::Any
        };
        let (route, affinity) = self.target(routing, pe.index);
        // Held to the end, so that the slot is not released in between.
        let bindings = self.bindings.lock();
        let mut event = self.shared(i).ok_or(Error::InvalidParameters)?;
        let handler = event.registration.handler.register()?;
        let interrupt = match self.events.source(Slot::Shared(i)) {
            Some(Source::Interrupt(intid)) if I::AVAILABLE => self.take_fixed(intid)?,
            Some(Source::Dynamic) if I::AVAILABLE => {
                self.take_bound(bindings.shared.get(i).copied().unwrap_or(0))?
            }
            _ => Interrupt::NONE,
        };
        let registration = Registration::new(handler, request, interrupt);
        if let Some(intid) = registration.intid::<I>() {
            self.gic.route(intid, affinity);
            // Relaxed: ordered by the event's lock and by the fences in `next_on` and `pe_on`.
            self.has_routes.store(true, Ordering::Relaxed);
        }
        *event = Shared {
            registration,
            pending: false,
            routing,
            route,
            round: None,
        };
        Ok(0)
    }

    pub(super) fn enable_shared(&self, i: usize) -> Result<(), Error> {
        self.shared(i)
            .ok_or(Error::InvalidParameters)?
            .registration
            .enable(&self.gic)
    }

    pub(super) fn disable_shared(&self, i: usize) -> Result<u64, Error> {
        self.shared(i)
            .ok_or(Error::InvalidParameters)?
            .registration
            .disable(&self.gic)?;
        Ok(0)
    }

    pub(super) fn unregister_shared(&self, i: usize) -> Result<u64, Error> {
        let mut event = self.shared(i).ok_or(Error::InvalidParameters)?;
        match event.registration.unregister(&self.gic)? {
            Unregistered::Now => {
                self.forget_shared(&mut event, i);
                Ok(0)
            }
            Unregistered::AtCompletion => {
                self.set_waiting(&mut event, i, false);
                Err(Error::Pending)
            }
        }
    }

    /// `SDEI_EVENT_ROUTING_SET`.
    pub(super) fn routing_set<const N: usize>(
        &self,
        pe: &Pe<N, I::Saved>,
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
        let mut event = self.shared(i).ok_or(Error::InvalidParameters)?;
        if event.registration.handler != Handler::Registered {
            return Err(Error::Denied);
        }
        let (route, affinity) = self.target(routing, pe.index);
        event.routing = routing;
        event.route = route;
        if let Some(intid) = event.registration.intid::<I>() {
            self.gic.route(intid, affinity);
        }
        Ok(0)
    }

    /// The handler of a shared event ends.
    pub(super) fn end_shared(&self, i: usize) {
        if let Some(mut event) = self.shared(i) {
            if event.registration.complete(&self.gic) {
                self.forget_shared(&mut event, i);
            }
        }
    }

    /// Drops what is left of a shared event that has just been unregistered and is not running.
    fn forget_shared(&self, event: &mut Shared<I::Saved>, i: usize) {
        let pending = event.pending;
        self.set_waiting(event, i, false);
        event.registration.forget(&self.gic, pending);
        *event = Shared::NONE;
    }

    /// `SDEI_SHARED_RESET`.
    pub(super) fn shared_reset(&self) -> Result<u64, Error> {
        let mut bindings = self.bindings.lock();
        // All at once, so that none is dispatched between the check and the reset.
        let mut events = self.shared.each_ref().map(|event| event.lock());
        if events
            .iter()
            .any(|event| event.registration.handler.is_running())
        {
            return Err(Error::Denied);
        }
        for (i, event) in events.iter_mut().enumerate() {
            if event.registration.handler.is_registered() {
                self.forget_shared(event, i);
            }
        }
        if I::AVAILABLE {
            bindings.shared = [0; SHARED];
            for binding in &mut bindings.private {
                // What a PE has registered stays bound: the caller can't unregister it, and a
                // client that finds the reset refused gives the whole interface up.
                if binding.users == 0 {
                    binding.intid = 0;
                }
            }
        }
        Ok(0)
    }

    /// An interrupt was acknowledged here: which shared event's it is, which is now pending.
    pub(super) fn interrupt_shared(&self, intid: u32) -> Option<usize> {
        (0..SHARED).find(|&i| {
            let Some(mut event) = self.shared(i) else {
                return false;
            };
            let is_its = event.registration.intid::<I>() == Some(intid);
            if is_its {
                self.set_waiting(&mut event, i, true);
            }
            is_its
        })
    }

    /// EL3 raises a shared event.
    pub(super) fn raise_shared(&self, i: usize) -> Result<(), Error> {
        if self.events.source(Slot::Shared(i)) != Some(Source::Explicit) {
            return Err(Error::InvalidParameters);
        }
        let mut event = self.shared(i).ok_or(Error::InvalidParameters)?;
        if !event.registration.handler.is_registered() {
            return Err(Error::Denied);
        }
        self.set_waiting(&mut event, i, true);
        Ok(())
    }

    /// Takes a shared event for dispatch on PE `pe`, if it is pending, its handler is ready and
    /// the PE is a target.
    pub(super) fn take_shared(&self, pe: usize, i: usize) -> Option<Entry> {
        let mut event = self.shared(i)?;
        if !event.pending || !event.routing.allows(pe) || !event.registration.handler.is_ready() {
            return None;
        }
        self.set_waiting(&mut event, i, false);
        let number = self.events.shared.get(i)?.number;
        event.registration.take(&self.gic, Slot::Shared(i), number)
    }

    /// Finds a PE for a shared event which is pending and could not be dispatched on PE `pe`.
    ///
    /// With RM_PE that is the target alone. With RM_ANY a round starts, which replaces one that is
    /// under way: this PE asks the next one that is on, by the SGI of [`Port::notify`]. A PE that
    /// is asked looks ([`Dispatcher::dispatch`]), and if it can't take the event it asks the next
    /// one in turn ([`Dispatcher::tend`]), until the round is back at the PE that started it. So
    /// no call asks more than one PE per event.
    ///
    /// # No event is lost
    ///
    /// A PE that can't take the event when it looks has something that keeps it: it is masked, or
    /// it runs a handler. When that goes (PE_UNMASK, COMPLETE) it looks again. What keeps every PE
    /// (the event is disabled, or its handler runs) ends in a call that starts a round (ENABLE,
    /// the handler's end), so a round may stop at it. Left is a PE that looked before the event
    /// was pending, found nothing, and has no reason to look again. Each such PE is asked, unless
    /// another takes the event before:
    ///
    /// - It is on. A round comes to every PE that it sees to be on, and a PE that it does not see
    ///   is still masked and finds the event waiting at its PE_UNMASK (the fences in `next_on` and
    ///   `pe_on`).
    /// - The round goes on. The PE that is asked is on and has not looked since, so its SGI is on
    ///   its way; EL3 takes it whatever the PE masks, and `dispatch` reads `waiting` on every way
    ///   out. If the PE goes off instead, it asks the next one ([`Dispatcher::tend_all`]): its bit
    ///   goes first, so a PE that has the event's lock after it does not ask it any more.
    /// - The round that replaces this one starts at a PE that has just looked, and comes to all
    ///   others.
    ///
    /// And a round ends: it only ever moves forward on the circle.
    pub(super) fn pass_on(&self, pe: usize, i: usize) {
        self.tend_one(pe, i, true);
    }

    /// PE `pe` has looked at the events of these bits and taken what it can. A question to it that
    /// is still open goes on to the next PE, and so does one to a PE that is not on any more.
    #[inline(never)]
    pub(super) fn tend(&self, pe: usize, events: u32) {
        for i in 0..SHARED {
            if events & bit(i) != 0 {
                self.tend_one(pe, i, false);
            }
        }
    }

    /// PE `pe` has come on or goes off: the interrupts of RM_ANY events, and open questions, leave
    /// the PEs that are not on.
    ///
    /// A PE that goes off may find no other that is on; then the next one that comes on takes the
    /// interrupts over. No interrupt is left behind when PE A goes off and PE B comes on at the
    /// same time. Each first changes its own bit, and then looks at the event under its lock. The
    /// PE that has the lock second sees the other's bit: A sends the interrupt to B, or B finds
    /// that A is off and takes it over. Where B sees that no event has an interrupt
    /// (`has_routes`), it takes no lock; then A sees that B is on (the fences in `next_on` and
    /// `pe_on`).
    pub(super) fn tend_all(&self, pe: usize) {
        self.tend(pe, u32::MAX);
    }

    /// Brings a shared event's route and its round up to date; with `start`, PE `pe` starts a
    /// round.
    #[inline(never)]
    fn tend_one(&self, pe: usize, i: usize, start: bool) {
        let asked = {
            let Some(mut event) = self.shared(i) else {
                return;
            };
            self.mend_route(&mut event);
            let round = match event.round {
                _ if start => Some(Round { asked: pe, end: pe }),
                Some(round) if round.asked == pe || !self.is_on(round.asked) => Some(round),
                _ => None,
            };
            round.and_then(|round| self.next_to_ask(&mut event, round))
        };
        if let Some(asked) = asked {
            self.port.notify(self.affinity(asked));
        }
    }

    /// Sends the interrupt of an RM_ANY event to a PE that is on, if there is one.
    #[inline(always)]
    fn mend_route(&self, event: &mut Shared<I::Saved>) {
        let Some(intid) = event.registration.intid::<I>() else {
            return;
        };
        if event.routing == Routing::Any && !self.is_on(event.route) {
            // Most often the PE that was found last still does.
            let found = self.found_on.load(Ordering::Relaxed);
            let other = if self.is_on(found) {
                Some(found)
            } else {
                self.next_on(event.route, event.route)
            };
            if let Some(other) = other {
                self.found_on.store(other, Ordering::Relaxed);
                event.route = other;
                self.gic.route(intid, self.affinity(other));
            }
        }
    }

    /// Moves a round to its next PE, or ends it: the PE to ask once the event is unlocked.
    #[inline(always)]
    fn next_to_ask(&self, event: &mut Shared<I::Saved>, round: Round) -> Option<usize> {
        let Round { asked, end } = round;
        event.round = None;
        if !event.pending || !event.registration.handler.is_ready() {
            return None;
        }
        let (after, end) = match event.routing {
            Routing::Any => (asked, end),
            Routing::Pe { index, .. } if index == asked => return None,
            Routing::Pe { index, .. } => (index.wrapping_sub(1), index.wrapping_add(1)),
        };
        let asked = self.next_on(after, end)?;
        event.round = Some(Round { asked, end });
        Some(asked)
    }

    /// Marks a shared event pending or not.
    fn set_waiting(&self, event: &mut Shared<I::Saved>, i: usize, pending: bool) {
        event.pending = pending;
        if pending {
            self.waiting.fetch_or(bit(i), Ordering::Release);
        } else {
            event.round = None;
            self.waiting.fetch_and(!bit(i), Ordering::Release);
        }
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0

//! What a client has registered for an event: of a private event on one PE, of a shared event in
//! the system.

use crate::{
    Error, Interrupts,
    event::Slot,
    handler::{Handler, Unregistered},
};

/// What `SDEI_EVENT_REGISTER` asks for, its own arguments checked.
#[derive(Clone, Copy)]
pub(crate) struct Request {
    pub(crate) entry: u64,
    pub(crate) argument: u64,
    pub(crate) relative: bool,
    pub(crate) to_pe: bool,
    pub(crate) affinity: u64,
}

impl Request {
    /// The entry point is a virtual address of the client's, or an offset to one, so nothing but
    /// its alignment can be checked.
    pub(crate) fn check(
        entry: u64,
        argument: u64,
        flags: u64,
        affinity: u64,
    ) -> Result<Self, Error> {
        use crate::call::flags::{ALL, RELATIVE, ROUTE_TO_PE};
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
pub(crate) const fn is_code_address(address: u64) -> bool {
    address != 0 && address & 3 == 0
}

/// What a handler is entered with.
#[derive(Clone, Copy)]
pub(crate) struct Entry {
    pub(crate) slot: Slot,
    pub(crate) number: i32,
    pub(crate) address: u64,
    pub(crate) relative: bool,
    pub(crate) argument: u64,
}

/// An event's interrupt while a handler is registered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Interrupt<V> {
    /// 0 where the event has none.
    pub(crate) intid: u32,
    /// What the client had set for it, where it was bound.
    pub(crate) saved: Option<V>,
}

impl<V> Interrupt<V> {
    pub(crate) const NONE: Self = Self {
        intid: 0,
        saved: None,
    };
}

/// An event's handler and its interrupt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Registration<V> {
    pub(crate) handler: Handler,
    pub(crate) relative: bool,
    pub(crate) entry: u64,
    pub(crate) argument: u64,
    pub(crate) interrupt: Interrupt<V>,
}

impl<V: Copy> Registration<V> {
    pub(crate) const NONE: Self = Self {
        handler: Handler::Unregistered,
        relative: false,
        entry: 0,
        argument: 0,
        interrupt: Interrupt::NONE,
    };

    /// A handler as it is after `SDEI_EVENT_REGISTER`.
    pub(crate) fn new(handler: Handler, request: Request, interrupt: Interrupt<V>) -> Self {
        Self {
            handler,
            relative: request.relative,
            entry: request.entry,
            argument: request.argument,
            interrupt,
        }
    }

    /// The INTID of the event's interrupt, if it has one.
    #[inline]
    pub(crate) fn intid<I: Interrupts<Saved = V>>(&self) -> Option<u32> {
        let intid = self.interrupt.intid;
        (I::AVAILABLE && intid != 0).then_some(intid)
    }

    /// `SDEI_EVENT_ENABLE`.
    pub(crate) fn enable<I: Interrupts<Saved = V>>(&mut self, gic: &I) -> Result<(), Error> {
        self.handler = self.handler.enable()?;
        if let Some(intid) = self.intid::<I>() {
            gic.enable(intid);
        }
        Ok(())
    }

    /// `SDEI_EVENT_DISABLE`.
    pub(crate) fn disable<I: Interrupts<Saved = V>>(&mut self, gic: &I) -> Result<(), Error> {
        self.handler = self.handler.disable()?;
        if let Some(intid) = self.intid::<I>() {
            gic.disable(intid);
        }
        Ok(())
    }

    /// `SDEI_EVENT_UNREGISTER`. What is pending is the caller's to drop, and where the handler
    /// is gone at once the interrupt ([`Registration::forget`]).
    pub(crate) fn unregister<I: Interrupts<Saved = V>>(
        &mut self,
        gic: &I,
    ) -> Result<Unregistered, Error> {
        let (handler, when) = self.handler.unregister()?;
        self.handler = handler;
        if when == Unregistered::AtCompletion {
            if let Some(intid) = self.intid::<I>() {
                // No interrupt of it can be waiting: it is active until the handler ends.
                gic.disable(intid);
            }
        }
        Ok(when)
    }

    /// The handler ends. The answer is whether it has gone with that, and is the caller's to
    /// forget.
    #[must_use]
    pub(crate) fn complete<I: Interrupts<Saved = V>>(&mut self, gic: &I) -> bool {
        self.handler = self.handler.complete();
        if let Some(intid) = self.intid::<I>() {
            gic.deactivate(intid);
        }
        self.handler.is_unregistered()
    }

    /// Drops what is left of a handler that is unregistered and does not run; `pending` says
    /// whether the event had occurred.
    pub(crate) fn forget<I: Interrupts<Saved = V>>(&mut self, gic: &I, pending: bool) {
        if let Some(intid) = self.intid::<I>() {
            gic.release(intid, pending, self.interrupt.saved);
        }
        *self = Self::NONE;
    }

    /// Takes an occurrence, which is no longer pending, for dispatch: the handler, which is ready,
    /// is to be entered. `None` where it need not be any more.
    pub(crate) fn take<I: Interrupts<Saved = V>>(
        &mut self,
        gic: &I,
        slot: Slot,
        number: i32,
    ) -> Option<Entry> {
        let running = self.handler.dispatch()?;
        if let Some(intid) = self.intid::<I>() {
            if !gic.is_asserted(intid) {
                // The line of a level-sensitive interrupt went down while the event could not be
                // dispatched, so it is not pending any more.
                gic.deactivate(intid);
                return None;
            }
        }
        self.handler = running;
        Some(self.entry(slot, number))
    }

    /// What the handler is entered with.
    #[inline(always)]
    pub(crate) fn entry(&self, slot: Slot, number: i32) -> Entry {
        Entry {
            slot,
            number,
            address: self.entry,
            relative: self.relative,
            argument: self.argument,
        }
    }
}

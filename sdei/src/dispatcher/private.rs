// SPDX-License-Identifier: MIT OR Apache-2.0

//! Private events: what a call does to this PE's own handler.
//!
//! Event 0 goes through here too, except for its signals, its dispatch and its completion.

use super::Dispatcher;
use crate::{
    Error, Interrupts, Pe, Port, SharedPe, Source,
    event::{Slot, bit},
    handler::Unregistered,
    port::Owner,
    registration::{Entry, Interrupt, Registration, Request},
};

impl<P: Port, S: AsRef<[SharedPe]>, I: Interrupts, const PRIVATE: usize, const SHARED: usize>
    Dispatcher<P, S, I, PRIVATE, SHARED>
{
    /// This PE's handler of a private event.
    fn private<'p, const N: usize>(
        &self,
        pe: &'p mut Pe<N, I::Saved>,
        i: usize,
    ) -> Result<&'p mut Registration<I::Saved>, Error> {
        // A PE that came on has room for all events of the table.
        pe.events.get_mut(i).ok_or(Error::InvalidParameters)
    }

    pub(super) fn register_private<const N: usize>(
        &self,
        pe: &mut Pe<N, I::Saved>,
        i: usize,
        request: Request,
    ) -> Result<u64, Error> {
        let registration = self.private(pe, i)?;
        let handler = registration.handler.register()?;
        let interrupt = self.take_interrupt(i)?;
        // Routing and affinity of a private event mean nothing and are not looked at.
        *registration = Registration::new(handler, request, interrupt);
        if i == 0 {
            if let Some(here) = self.here(pe) {
                here.register_event0();
            }
        }
        Ok(0)
    }

    /// Makes a private event's interrupt EL3's on this PE: disabled, with no old edge.
    fn take_interrupt(&self, i: usize) -> Result<Interrupt<I::Saved>, Error> {
        let event = self.events.private.get(i);
        match event.ok_or(Error::InvalidParameters)?.source {
            Source::Interrupt(intid) if I::AVAILABLE => self.take_fixed(intid),
            Source::Dynamic if I::AVAILABLE => {
                let mut bindings = self.bindings.lock();
                let binding = bindings
                    .private
                    .get_mut(i)
                    .ok_or(Error::InvalidParameters)?;
                let interrupt = self.take_bound(binding.intid)?;
                binding.users = binding.users.saturating_add(1);
                Ok(interrupt)
            }
            _ => Ok(Interrupt::NONE),
        }
    }

    /// Makes the interrupt of a fixed event ready for a handler.
    pub(super) fn take_fixed(&self, intid: u32) -> Result<Interrupt<I::Saved>, Error> {
        if self.gic.is_active(intid) {
            return Err(Error::Denied);
        }
        self.gic.clear_pending(intid);
        Ok(Interrupt { intid, saved: None })
    }

    /// Takes an interrupt that is bound, if one is (an INTID of 0 is none), from the client. To be
    /// called with the bindings locked.
    pub(super) fn take_bound(&self, intid: u32) -> Result<Interrupt<I::Saved>, Error> {
        if intid == 0
            || self.gic.owner(intid) != Some(Owner::NonSecure)
            || self.gic.is_active(intid)
        {
            return Err(Error::Denied);
        }
        let saved = Some(self.gic.claim(intid));
        Ok(Interrupt { intid, saved })
    }

    pub(super) fn enable_private<const N: usize>(
        &self,
        pe: &mut Pe<N, I::Saved>,
        i: usize,
    ) -> Result<(), Error> {
        self.private(pe, i)?.enable(&self.gic)
    }

    pub(super) fn disable_private<const N: usize>(
        &self,
        pe: &mut Pe<N, I::Saved>,
        i: usize,
    ) -> Result<u64, Error> {
        self.private(pe, i)?.disable(&self.gic)?;
        Ok(0)
    }

    pub(super) fn unregister_private<const N: usize>(
        &self,
        pe: &mut Pe<N, I::Saved>,
        i: usize,
    ) -> Result<u64, Error> {
        let when = self.private(pe, i)?.unregister(&self.gic)?;
        if i == 0 {
            if let Some(here) = self.here(pe) {
                here.unregister_event0();
            }
        }
        match when {
            Unregistered::Now => {
                self.forget_private(pe, i);
                Ok(0)
            }
            Unregistered::AtCompletion => {
                pe.pending &= !bit(i);
                Err(Error::Pending)
            }
        }
    }

    /// The handler of a private event ends.
    pub(super) fn end_private<const N: usize>(&self, pe: &mut Pe<N, I::Saved>, i: usize) {
        let Some(registration) = pe.events.get_mut(i) else {
            return;
        };
        if registration.complete(&self.gic) {
            self.forget_private(pe, i);
        }
    }

    /// Drops what is left of a private event that has just been unregistered and is not running.
    fn forget_private<const N: usize>(&self, pe: &mut Pe<N, I::Saved>, i: usize) {
        self.forget_private_and(pe, i, true);
    }

    /// [`Dispatcher::forget_private`]; `release` says whether its interrupt is to be released.
    fn forget_private_and<const N: usize>(
        &self,
        pe: &mut Pe<N, I::Saved>,
        i: usize,
        release: bool,
    ) {
        let Some(registration) = pe.events.get_mut(i) else {
            return;
        };
        let pending = pe.pending & bit(i) != 0;
        pe.pending &= !bit(i);
        let was_bound = I::AVAILABLE && registration.interrupt.saved.is_some();
        if release {
            registration.forget(&self.gic, pending);
        } else {
            *registration = Registration::NONE;
        }
        if was_bound {
            if let Some(binding) = self.bindings.lock().private.get_mut(i) {
                binding.users = binding.users.saturating_sub(1);
            }
        }
    }

    /// `SDEI_PRIVATE_RESET`.
    pub(super) fn private_reset<const N: usize>(
        &self,
        pe: &mut Pe<N, I::Saved>,
    ) -> Result<u64, Error> {
        if pe.events.iter().any(|event| event.handler.is_running()) {
            return Err(Error::Denied);
        }
        self.unregister_all_private(pe, true);
        Ok(0)
    }

    /// Unregisters every private event of this PE; none may be running. `release` says whether
    /// their interrupts are to be released.
    pub(super) fn unregister_all_private<const N: usize>(
        &self,
        pe: &mut Pe<N, I::Saved>,
        release: bool,
    ) {
        if let Some(here) = self.here(pe) {
            here.unregister_event0();
        }
        for i in 0..N {
            if pe
                .events
                .get(i)
                .is_some_and(|event| event.handler.is_registered())
            {
                self.forget_private_and(pe, i, release);
            }
        }
    }

    /// An interrupt was acknowledged here: whether it is a private event's, which is now pending.
    pub(super) fn interrupt_private<const N: usize>(
        &self,
        pe: &mut Pe<N, I::Saved>,
        intid: u32,
    ) -> bool {
        let place = pe
            .events
            .iter()
            .position(|event| event.intid::<I>() == Some(intid));
        let Some(i) = place else {
            return false;
        };
        pe.pending |= bit(i);
        true
    }

    /// EL3 raises a private event here.
    pub(super) fn raise_private<const N: usize>(
        &self,
        pe: &mut Pe<N, I::Saved>,
        i: usize,
    ) -> Result<(), Error> {
        if self.events.source(Slot::Private(i)) != Some(Source::Explicit) {
            return Err(Error::InvalidParameters);
        }
        if !self.private(pe, i)?.handler.is_registered() {
            return Err(Error::Denied);
        }
        pe.pending |= bit(i);
        Ok(())
    }

    /// Takes a private event for dispatch on this PE, if it is pending and its handler is ready.
    pub(super) fn take_private<const N: usize>(
        &self,
        pe: &mut Pe<N, I::Saved>,
        i: usize,
    ) -> Option<Entry> {
        let registration = pe.events.get_mut(i)?;
        if !registration.handler.is_ready() {
            return None;
        }
        pe.pending &= !bit(i);
        let number = self.events.private.get(i)?.number;
        registration.take(&self.gic, Slot::Private(i), number)
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0

//! Which PEs are on: a bit per PE, so that no search reads the state of each.

use super::Dispatcher;
use crate::{
    Interrupts, Port, SharedPe,
    pe::PER_WORD,
    sync::{Ordering, fence},
};

impl<P: Port, S: AsRef<[SharedPe]>, I: Interrupts, const PRIVATE: usize, const SHARED: usize>
    Dispatcher<P, S, I, PRIVATE, SHARED>
{
    /// Marks a PE as being on or not.
    pub(super) fn set_on(&self, pe: usize, on: bool) {
        if let Some(word) = self.pes.as_ref().get(pe / PER_WORD) {
            word.set_on(1 << (pe % PER_WORD), on);
        }
    }

    /// Whether a PE is on.
    #[inline(never)]
    pub(super) fn is_on(&self, pe: usize) -> bool {
        self.pes
            .as_ref()
            .get(pe / PER_WORD)
            .is_some_and(|word| word.on() >> (pe % PER_WORD) & 1 != 0)
    }

    /// The first PE that is on behind PE `after` and before PE `end`, the PEs being a circle:
    /// where both are the same, any other PE.
    ///
    /// Called with an event's lock held, after what a PE that is just coming on is to see.
    #[inline(never)]
    pub(super) fn next_on(&self, after: usize, end: usize) -> Option<usize> {
        // With the fence in `pe_on`: either this PE sees that the other is on, or the other sees
        // all that this one knew of when it came here: that an event waits
        // (`Dispatcher::dispatch`), that an interrupt is in use (`pe_on`).
        fence(Ordering::SeqCst);
        let on = self
            .first_on(after.wrapping_add(1))
            .or_else(|| self.first_on(0))?;
        // Wraps: a PE up to `after` comes behind all others.
        let place = |pe: usize| pe.wrapping_sub(after).wrapping_sub(1);
        (place(on) < place(end)).then_some(on)
    }

    /// The first PE from `start` on that is on.
    #[inline(never)]
    fn first_on(&self, start: usize) -> Option<usize> {
        let pes = self.pes.as_ref();
        let mut number = start / PER_WORD;
        let mut bits = u64::MAX << (start % PER_WORD);
        while number < pes.len().div_ceil(PER_WORD) {
            bits &= pes.get(number)?.on();
            if bits != 0 {
                return Some((number * PER_WORD) | bits.trailing_zeros() as usize);
            }
            bits = u64::MAX;
            number += 1;
        }
        None
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0

//! The shared half of the dispatcher's state as a value, for tests that compare it or go back to
//! it.

use std::vec::Vec;

use super::Dispatcher;
use crate::{
    Interrupts, Port, SharedPe,
    pe::PER_WORD,
    shared::{Bindings, Shared},
    sync::Ordering,
};

/// All state but that of the PEs' own and that of the hardware.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Snapshot<V, const PRIVATE: usize, const SHARED: usize> {
    pub(crate) pes: Vec<(u32, u64, u64)>,
    pub(crate) shared: Vec<Shared<V>>,
    pub(crate) bindings: Bindings<PRIVATE, SHARED>,
    pub(crate) waiting: u32,
    pub(crate) has_routes: bool,
    pub(crate) found_on: usize,
}

impl<V, const PRIVATE: usize, const SHARED: usize> Snapshot<V, PRIVATE, SHARED> {
    pub(crate) fn is_on(&self, pe: usize) -> bool {
        self.pes[pe / PER_WORD].1 >> (pe % PER_WORD) & 1 != 0
    }
}

impl<P: Port, S: AsRef<[SharedPe]>, I: Interrupts, const PRIVATE: usize, const SHARED: usize>
    Dispatcher<P, S, I, PRIVATE, SHARED>
{
    pub(crate) fn snapshot(&self) -> Snapshot<I::Saved, PRIVATE, SHARED> {
        Snapshot {
            pes: self.pes.as_ref().iter().map(SharedPe::words).collect(),
            shared: self.shared.iter().map(|event| *event.lock()).collect(),
            bindings: *self.bindings.lock(),
            waiting: self.waiting.load(Ordering::Relaxed),
            has_routes: self.has_routes.load(Ordering::Relaxed),
            found_on: self.found_on.load(Ordering::Relaxed),
        }
    }

    /// Goes back to a state, which may be that of another dispatcher.
    pub(crate) fn restore(&self, from: &Snapshot<I::Saved, PRIVATE, SHARED>) {
        for (pe, words) in self.pes.as_ref().iter().zip(&from.pes) {
            pe.set_words(*words);
        }
        for (event, value) in self.shared.iter().zip(&from.shared) {
            *event.lock() = *value;
        }
        *self.bindings.lock() = from.bindings;
        self.waiting.store(from.waiting, Ordering::Relaxed);
        self.has_routes.store(from.has_routes, Ordering::Relaxed);
        self.found_on.store(from.found_on, Ordering::Relaxed);
    }
}

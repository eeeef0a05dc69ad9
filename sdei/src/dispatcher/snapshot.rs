//! The shared half of the dispatcher's state as a value, for tests that compare it or go back to
//! it.

use std::vec::Vec;

use super::Dispatcher;
use crate::{
    Pe, Port,
    pe::{Here, PER_WORD},
    shared::{Bindings, Shared},
    sync::Ordering,
};

/// All state but that of the PEs' own and that of the port.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Snapshot<const PRIVATE: usize, const SHARED: usize> {
    pub(crate) pes: Vec<(u32, u64)>,
    pub(crate) shared: Vec<Shared>,
    pub(crate) bindings: Bindings<PRIVATE, SHARED>,
    pub(crate) waiting: u32,
    pub(crate) has_routes: bool,
}

impl<const PRIVATE: usize, const SHARED: usize> Snapshot<PRIVATE, SHARED> {
    pub(crate) fn is_on(&self, pe: usize) -> bool {
        self.pes[pe / PER_WORD].1 >> (pe % PER_WORD) & 1 != 0
    }
}

impl<'a, P: Port, const PRIVATE: usize, const SHARED: usize> Dispatcher<'a, P, PRIVATE, SHARED> {
    pub(crate) fn snapshot(&self) -> Snapshot<PRIVATE, SHARED> {
        Snapshot {
            pes: self.pes.iter().map(|pe| pe.words()).collect(),
            shared: self.shared.iter().map(|event| *event.lock()).collect(),
            bindings: *self.bindings.lock(),
            waiting: self.waiting.load(Ordering::Relaxed),
            has_routes: self.has_routes.load(Ordering::Relaxed),
        }
    }

    /// Goes back to a state, which may be that of another dispatcher: `pes`, which are in that
    /// state already, become PEs of this one.
    pub(crate) fn restore(&self, from: &Snapshot<PRIVATE, SHARED>, pes: &mut [Pe<'a, PRIVATE>]) {
        for pe in pes {
            pe.here = Here(self.pes.get(pe.index));
        }
        for (pe, words) in self.pes.iter().zip(&from.pes) {
            pe.set_words(*words);
        }
        for (event, value) in self.shared.iter().zip(&from.shared) {
            *event.lock() = *value;
        }
        *self.bindings.lock() = from.bindings;
        self.waiting.store(from.waiting, Ordering::Relaxed);
        self.has_routes.store(from.has_routes, Ordering::Relaxed);
    }
}

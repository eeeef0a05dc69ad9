// SPDX-License-Identifier: MIT OR Apache-2.0

//! How long and how often a node of the tree was in a low-power state (DEN0022 5.1.21, 5.1.22). A
//! stay counts once it ends.

use crate::sync::{AtomicU64, const_unless_loom};
use core::sync::atomic::Ordering::Relaxed;

/// The statistics of one state of one node.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stat {
    /// When the latest stay began, in microseconds since cold boot; 0 if none ever began.
    since: u64,
    /// In microseconds.
    pub(crate) residency: u64,
    pub(crate) count: u64,
}

impl Stat {
    /// Nothing counted.
    pub(crate) const NONE: Self = Self {
        since: 0,
        residency: 0,
        count: 0,
    };

    pub(crate) fn begin(&mut self, now: u64) {
        self.since = now.max(1);
    }

    /// Ends a stay. A node that was down since cold boot never began one.
    pub(crate) fn end(&mut self, now: u64) {
        if self.since != 0 {
            // A clock that differs between PEs never counts backwards.
            let stay = now.saturating_sub(self.since);
            self.residency = self.residency.wrapping_add(stay);
            self.count = self.count.wrapping_add(1);
        }
    }
}

/// The statistics of a PE. One PE at a time writes them: the PE itself, or the caller of `CPU_ON`
/// while the PE is off. Any PE may read them.
#[derive(Debug)]
pub(crate) struct PeStat {
    since: AtomicU64,
    residency: AtomicU64,
    count: AtomicU64,
}

impl PeStat {
    const_unless_loom! {
        /// Nothing counted.
        pub fn new() -> Self {
            Self {
                since: AtomicU64::new(0),
                residency: AtomicU64::new(0),
                count: AtomicU64::new(0),
            }
        }
    }

    // Relaxed: each value is read on its own, and what hands the PE on also hands these on to the
    // next writer.
    pub(crate) fn begin(&self, now: u64) {
        let mut stat = self.get();
        stat.begin(now);
        self.since.store(stat.since, Relaxed);
    }

    pub(crate) fn end(&self, now: u64) {
        let mut stat = self.get();
        stat.end(now);
        self.residency.store(stat.residency, Relaxed);
        self.count.store(stat.count, Relaxed);
    }

    pub(crate) fn get(&self) -> Stat {
        Stat {
            since: self.since.load(Relaxed),
            residency: self.residency.load(Relaxed),
            count: self.count.load(Relaxed),
        }
    }
}

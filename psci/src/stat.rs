//! How long and how often a node of the tree was in a low-power state.

use crate::sync::{Locked, const_unless_loom};

/// The statistics of one state of one node (DEN0022 5.1.21, 5.1.22). A stay counts once it ends.
#[derive(Debug)]
pub(crate) struct Stat {
    /// When the latest stay began, in microseconds since cold boot; 0 if none ever began.
    since: Locked,
    residency: Locked,
    count: Locked,
}

impl Stat {
    const_unless_loom! {
        /// Nothing counted.
        pub fn new() -> Self {
            Self {
                since: Locked::zero(),
                residency: Locked::zero(),
                count: Locked::zero(),
            }
        }
    }

    pub(crate) fn begin(&self, now: u64) {
        self.since.set(now.max(1));
    }

    /// Ends a stay. A node that was down since cold boot never began one.
    pub(crate) fn end(&self, now: u64) {
        let since = self.since.get();
        if since != 0 {
            self.residency
                .set(self.residency.get() + now.saturating_sub(since));
            self.count.set(self.count.get() + 1);
        }
    }

    /// In microseconds.
    pub(crate) fn residency(&self) -> u64 {
        self.residency.get()
    }

    pub(crate) fn count(&self) -> u64 {
        self.count.get()
    }
}

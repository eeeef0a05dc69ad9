// SPDX-License-Identifier: MIT OR Apache-2.0

//! The state of one PE, and where it goes next.

use crate::activity::Activity;
use crate::stat::PeStat;
use crate::states::States;
use crate::sync::{AtomicU8, AtomicU64, const_unless_loom};
use crate::{Entry, ExecutionState};
use core::sync::atomic::Ordering::Relaxed;

const AARCH32: u8 = 1 << 0;
const BIG_ENDIAN: u8 = 1 << 1;

/// The PSCI state of one PE. A new one is off, and is all zero bits, so that an array of them as
/// a `static` needs no room in the image.
///
/// One PE at a time writes it: the caller of `CPU_ON`, which holds the lock of the PE's lowest
/// domain, while the PE is off, and otherwise the PE itself.
#[derive(Debug)]
// What a PE writes in standby is in its own cache line, but for `States::idle`.
#[repr(align(64))]
pub struct Pe {
    flags: AtomicU8,
    activity: AtomicU8,
    address: AtomicU64,
    context: AtomicU64,
    pub(crate) standby: PeStat,
    pub(crate) down: PeStat,
    /// The states of the PEs from 32 times this PE's index on.
    pub(crate) states: States,
}

impl Pe {
    const_unless_loom! {
        /// A PE that is off.
        pub fn new() -> Self {
            Self {
                flags: AtomicU8::new(0),
                activity: AtomicU8::new(0),
                address: AtomicU64::new(0),
                context: AtomicU64::new(0),
                standby: PeStat::new(),
                down: PeStat::new(),
                states: States::new(),
            }
        }
    }

    // Relaxed, here and below: the PE's state hands these on from one writer to the next. A PE that
    // reads the activity of another one to be sure of it holds the lock with which it is written.
    pub(crate) fn activity(&self) -> Activity {
        Activity(self.activity.load(Relaxed))
    }

    /// The PE does something else from `now` on.
    pub(crate) fn set_activity(&self, new: Activity, now: u64) {
        let old = self.activity();
        self.activity.store(new.0, Relaxed);
        if old.is_down() != new.is_down() {
            if new.is_down() {
                self.down.begin(now);
            } else {
                self.down.end(now);
            }
        }
    }

    pub(crate) fn begin_standby(&self, activity: Activity, now: u64) {
        self.activity.store(activity.0, Relaxed);
        self.standby.begin(now);
    }

    pub(crate) fn end_standby(&self, now: u64) {
        if self.activity().is_standby() {
            self.activity.store(Activity::RUNNING.0, Relaxed);
            self.standby.end(now);
        }
    }

    /// Sets where the PE goes next.
    pub(crate) fn set_entry(&self, entry: &Entry) {
        let mut flags = 0;
        if entry.state == ExecutionState::AArch32 {
            flags |= AARCH32;
        }
        if entry.big_endian {
            flags |= BIG_ENDIAN;
        }
        self.flags.store(flags, Relaxed);
        self.address.store(entry.address, Relaxed);
        self.context.store(entry.context, Relaxed);
    }

    /// Where the PE goes next.
    pub(crate) fn entry(&self) -> Entry {
        let flags = self.flags.load(Relaxed);
        Entry {
            address: self.address.load(Relaxed),
            context: self.context.load(Relaxed),
            state: if flags & AARCH32 != 0 {
                ExecutionState::AArch32
            } else {
                ExecutionState::AArch64
            },
            big_endian: flags & BIG_ENDIAN != 0,
        }
    }
}

impl Default for Pe {
    fn default() -> Self {
        Self::new()
    }
}

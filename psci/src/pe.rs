//! The state of one PE, and where it goes next.

use crate::states::States;
use crate::sync::{AtomicU8, AtomicU64, const_unless_loom};
use crate::tree::{Domain, PeNode};
use crate::{Entry, ExecutionState};
use core::sync::atomic::Ordering::Relaxed;

const AARCH32: u8 = 1 << 0;
const BIG_ENDIAN: u8 = 1 << 1;

/// The PSCI state of one PE. A new one is off, and is all zero bits, so that an array of them as
/// a `static` needs no room in the image.
///
/// The entry point belongs to the caller of `CPU_ON`, which holds the tree's lock, while the PE is
/// off, and to the PE otherwise.
#[derive(Debug)]
pub struct Pe {
    flags: AtomicU8,
    address: AtomicU64,
    context: AtomicU64,
    pub(crate) node: PeNode,
    /// The cluster whose index is this PE's: there are at most as many clusters as PEs.
    pub(crate) cluster: Domain,
    /// The states of the PEs from 32 times this PE's index on.
    pub(crate) states: States,
}

impl Pe {
    const_unless_loom! {
        /// A PE that is off.
        pub fn new() -> Self {
            Self {
                flags: AtomicU8::new(0),
                address: AtomicU64::new(0),
                context: AtomicU64::new(0),
                node: PeNode::new(),
                cluster: Domain::new(),
                states: States::new(),
            }
        }
    }

    /// Sets where the PE goes next. To be called by the owner of the entry point.
    pub(crate) fn set_entry(&self, entry: Entry) {
        let mut flags = 0;
        if entry.state == ExecutionState::AArch32 {
            flags |= AARCH32;
        }
        if entry.big_endian {
            flags |= BIG_ENDIAN;
        }
        // Relaxed: only the owner of the entry point gets here, and the PE's state hands it on.
        self.flags.store(flags, Relaxed);
        self.address.store(entry.address, Relaxed);
        self.context.store(entry.context, Relaxed);
    }

    /// Where the PE goes next. To be called by the owner of the entry point.
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

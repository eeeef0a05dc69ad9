//! The state of one PE, and its hand-over from the caller of `CPU_ON` to the PE itself.

use crate::sync::{AtomicU8, AtomicU64, const_unless_loom};
use crate::tree::{Domain, PeNode};
use crate::{Entry, ExecutionState};
use arm_psci::{AffinityInfo, ErrorCode};
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};

const OFF: u8 = 0;
/// One caller of `CPU_ON` has won and writes the entry point.
const CLAIMED: u8 = 1;
const ON_PENDING: u8 = 2;
const ON: u8 = 3;

const AARCH32: u8 = 1 << 0;
const BIG_ENDIAN: u8 = 1 << 1;

/// The PSCI state of one PE. A new one is off, and is all zero bits, so that an array of them as
/// a `static` needs no room in the image.
///
/// OFF → CLAIMED → ON_PENDING by the one caller of `CPU_ON` that wins, ON_PENDING → ON → OFF by
/// the PE itself. The entry point belongs to the winner from CLAIMED on and to the PE from
/// ON_PENDING on.
#[derive(Debug)]
pub struct Pe {
    state: AtomicU8,
    flags: AtomicU8,
    address: AtomicU64,
    context: AtomicU64,
    pub(crate) node: PeNode,
    /// The cluster whose index is this PE's: there are at most as many clusters as PEs.
    pub(crate) cluster: Domain,
}

impl Pe {
    const_unless_loom! {
        /// A PE that is off.
        pub fn new() -> Self {
            Self {
                state: AtomicU8::new(OFF),
                flags: AtomicU8::new(0),
                address: AtomicU64::new(0),
                context: AtomicU64::new(0),
                node: PeNode::new(),
                cluster: Domain::new(),
            }
        }
    }

    pub(crate) fn affinity_info(&self) -> AffinityInfo {
        // Acquire pairs with the Release in `off`: a caller that is told OFF may reuse what the PE
        // used until then.
        match self.state.load(Acquire) {
            OFF => AffinityInfo::Off,
            ON => AffinityInfo::On,
            _ => AffinityInfo::OnPending,
        }
    }

    /// Marks the PE on that runs without a `CPU_ON`.
    pub(crate) fn boot(&self) {
        // Relaxed: nobody learns more from it than that it is not off.
        self.state.store(ON, Relaxed);
    }

    /// Makes the calling PE the only one that may turn this PE on; [`turn_on`](Self::turn_on) must
    /// follow.
    ///
    /// # Errors
    ///
    /// `AlreadyOn`; `OnPending` also for the loser of a race.
    pub(crate) fn claim(&self) -> Result<(), ErrorCode> {
        // Acquire pairs with the Release in `off`: the PE has read its previous entry point before
        // the next one overwrites it.
        match self.state.compare_exchange(OFF, CLAIMED, Acquire, Relaxed) {
            Ok(_) => Ok(()),
            Err(ON) => Err(ErrorCode::AlreadyOn),
            Err(_) => Err(ErrorCode::OnPending),
        }
    }

    /// Lets the PE that was claimed start at `entry`.
    pub(crate) fn turn_on(&self, entry: Entry) {
        self.set_entry(entry);
        // Release pairs with the Acquire in `start`: the PE sees the entry point, and all that the
        // caller wrote before its call.
        self.state.store(ON_PENDING, Release);
    }

    pub(crate) fn start(&self) -> Option<Entry> {
        if self.state.load(Acquire) != ON_PENDING {
            return None;
        }
        let entry = self.entry();
        // Relaxed: the entry point is overwritten only once the PE is off again.
        self.state.store(ON, Relaxed);
        Some(entry)
    }

    pub(crate) fn off(&self) {
        // Release: whoever finds this PE off finds also all that it did before.
        self.state.store(OFF, Release);
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
        // Relaxed: only the owner of the entry point gets here, and the state hands it on.
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

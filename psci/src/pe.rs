//! The state of one PE, and its hand-over from the caller of `CPU_ON` to the PE itself.

use arm_psci::{AffinityInfo, ErrorCode};
use core::sync::atomic::{
    AtomicU8, AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
};

/// The Execution state of a caller, and of the PE that it starts.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ExecutionState {
    /// AArch64.
    AArch64,
    /// AArch32. Bit 0 of an entry point selects the T32 instruction set.
    AArch32,
}

/// Where and how a PE enters the Normal world, at its highest Non-secure Exception level
/// (DEN0022 6.4).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Entry {
    /// The first instruction's physical address. For AArch32 bit 0 selects T32.
    pub address: u64,
    /// The value for x0 (r0).
    pub context: u64,
    /// The Execution state of the caller that asked for this entry.
    pub state: ExecutionState,
    /// Whether the PE starts with big-endian data accesses, as the caller had.
    pub big_endian: bool,
}

impl Entry {
    /// The bytes that must be Non-secure RAM: the first instruction.
    pub(crate) const FIRST_INSTRUCTION: u64 = 4;

    /// The address of the first instruction, or `None` if no instruction can be there.
    pub(crate) fn instruction(&self) -> Option<u64> {
        let thumb = self.state == ExecutionState::AArch32 && self.address & 1 != 0;
        let address = if thumb {
            self.address & !1
        } else {
            self.address
        };
        let aligned = thumb || address & 3 == 0;
        aligned.then_some(address)
    }
}

const OFF: u8 = 0;
/// One caller of `CPU_ON` has won and writes the entry point.
const CLAIMED: u8 = 1;
const ON_PENDING: u8 = 2;
const ON: u8 = 3;

const AARCH32: u8 = 1 << 0;
const BIG_ENDIAN: u8 = 1 << 1;

/// The PSCI state of one PE. A new one is off.
///
/// OFF → CLAIMED → ON_PENDING by the one caller of `CPU_ON` that wins, ON_PENDING → ON → OFF by the
/// PE itself. The entry point belongs to the winner from CLAIMED on and to the PE from ON_PENDING on.
#[derive(Debug)]
pub struct Pe {
    state: AtomicU8,
    address: AtomicU64,
    context: AtomicU64,
    flags: AtomicU8,
}

impl Pe {
    /// A PE that is off.
    pub const fn new() -> Self {
        Self {
            state: AtomicU8::new(OFF),
            address: AtomicU64::new(0),
            context: AtomicU64::new(0),
            flags: AtomicU8::new(0),
        }
    }

    pub(crate) fn affinity_info(&self) -> AffinityInfo {
        // Acquire: who is told OFF may reuse what the PE had written until then.
        match self.state.load(Acquire) {
            OFF => AffinityInfo::Off,
            ON => AffinityInfo::On,
            _ => AffinityInfo::OnPending,
        }
    }

    pub(crate) fn boot(&self) {
        self.state.store(ON, Release);
    }

    /// Makes a PE that is off wait for its start at `entry`.
    ///
    /// # Errors
    ///
    /// `AlreadyOn`, or `OnPending` for the loser of a race too.
    pub(crate) fn turn_on(&self, entry: Entry) -> Result<(), ErrorCode> {
        // Acquire pairs with the Release in `off`: the PE has read its previous entry point before
        // this one overwrites it.
        match self.state.compare_exchange(OFF, CLAIMED, Acquire, Relaxed) {
            Ok(_) => {}
            Err(ON) => return Err(ErrorCode::AlreadyOn),
            Err(_) => return Err(ErrorCode::OnPending),
        }
        self.set_entry(entry);
        // Release pairs with the Acquire in `start`: the PE sees the entry point, and all that the
        // caller wrote before its call.
        self.state.store(ON_PENDING, Release);
        Ok(())
    }

    pub(crate) fn start(&self) -> Option<Entry> {
        if self.state.load(Acquire) != ON_PENDING {
            return None;
        }
        let entry = self.entry();
        self.state.store(ON, Release);
        Some(entry)
    }

    pub(crate) fn off(&self) {
        // Release: whoever finds this PE off finds also all that it did before.
        self.state.store(OFF, Release);
    }

    fn set_entry(&self, entry: Entry) {
        let mut flags = 0;
        if entry.state == ExecutionState::AArch32 {
            flags |= AARCH32;
        }
        if entry.big_endian {
            flags |= BIG_ENDIAN;
        }
        // Relaxed: only the owner of the entry point gets here, and the state hands it on.
        self.address.store(entry.address, Relaxed);
        self.context.store(entry.context, Relaxed);
        self.flags.store(flags, Relaxed);
    }

    /// The entry point that this PE was last given.
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

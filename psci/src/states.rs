// SPDX-License-Identifier: MIT OR Apache-2.0

//! Which PEs are off, on their way, on, or failed: two bits for each PE, 32 PEs to a word.
//!
//! A domain of any size is so read in a few loads, and there is nothing else that these bits would
//! have to agree with.
//!
//! PEs go from off to pending, and from on to off, with the system's lock held: with it, 'no PE of
//! these is on' has an answer that no race can make wrong. A PE goes from pending to on, and fails,
//! without the lock.

use crate::Pe;
use crate::sync::{AtomicU32, AtomicU64, const_unless_loom};
use arm_psci::AffinityInfo;
use core::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};

/// PEs to a word.
const WIDTH: usize = 32;
/// Bits 32 and up: the PE is not off, from the success of `CPU_ON` on.
const PRESENT: u64 = 1 << WIDTH;
/// Bits 0 and up: the PE has not started yet. Without [`PRESENT`]: it has failed.
const PENDING: u64 = 1;

/// What a PE is to the others.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum State {
    Off,
    /// Turned on by another PE, and not started yet.
    Pending,
    On,
    /// Stopped for good by an error of the firmware.
    Failed,
}

/// The states of 32 PEs. A new one says that they are off.
///
/// Every change is an atomic read-modify-write, so whoever acquires a bit acquires what was
/// released with it, whatever happened to the other bits of the word since then.
#[derive(Debug)]
pub(crate) struct States {
    word: AtomicU64,
    /// Bit per PE: it is suspended, in standby or powered down.
    idle: AtomicU32,
}

impl States {
    const_unless_loom! {
        /// 32 PEs that are off.
        pub fn new() -> Self {
            Self {
                word: AtomicU64::new(0),
                idle: AtomicU32::new(0),
            }
        }
    }

    /// Bit per PE: it is on its way or on.
    fn present(&self) -> u32 {
        (self.word.load(Relaxed) >> WIDTH) as u32
    }
}

/// The word that has the state of a PE, and how far its bits are shifted in it. It is kept in the
/// [`Pe`] that has the number of the word, so that there is room for all PEs.
#[inline(always)]
fn word(pes: &[Pe], pe: usize) -> Option<(&AtomicU64, usize)> {
    let first = pes.get(pe / WIDTH)?;
    Some((&first.states.word, pe % WIDTH))
}

/// The state of one PE.
#[inline(always)]
pub(crate) fn of(pes: &[Pe], pe: usize) -> State {
    let Some((word, shift)) = word(pes, pe) else {
        return State::Failed;
    };
    // Acquire pairs with the Release of `turn_on` and `off`: a PE that starts finds its entry
    // point, and all that the caller of CPU_ON wrote; a caller that is told OFF may reuse what the
    // PE used until then.
    match word.load(Acquire) >> shift & (PRESENT | PENDING) {
        0 => State::Off,
        PRESENT => State::On,
        PENDING => State::Failed,
        _ => State::Pending,
    }
}

/// What `AFFINITY_INFO` says of the PEs `first..=last`. To be called with the system's lock held
/// if they are several: else a PE that turns another on and goes off can be missed twice.
pub(crate) fn of_all(pes: &[Pe], first: usize, last: usize) -> AffinityInfo {
    let (first_word, last_word) = (first / WIDTH, last / WIDTH);
    let mut found = AffinityInfo::Off;
    let mut number = first_word;
    while number <= last_word {
        let Some(pe) = pes.get(number) else {
            break;
        };
        // Acquire: see `of`.
        let states = pe.states.word.load(Acquire);
        let bits = within(number, first, last) & (states >> WIDTH) as u32;
        if bits & !(states as u32) != 0 {
            return AffinityInfo::On;
        }
        if bits != 0 {
            found = AffinityInfo::OnPending;
        }
        number = number.wrapping_add(1);
    }
    found
}

/// Notes whether a PE is suspended, in standby too. To be called where its activity is written.
#[inline(never)]
pub(crate) fn set_idle(pes: &[Pe], pe: usize, idle: bool) {
    let Some(first) = pes.get(pe / WIDTH) else {
        return;
    };
    let (word, bit) = (&first.states.idle, 1 << (pe % WIDTH));
    // Relaxed: as for the activity.
    if idle {
        word.fetch_or(bit, Relaxed);
    } else if word.load(Relaxed) & bit != 0 {
        word.fetch_and(!bit, Relaxed);
    }
}

/// Whether one of the first `count` PEs is suspended.
pub(crate) fn any_idle(pes: &[Pe], count: usize) -> bool {
    let mut words = pes.iter().take(count.div_ceil(WIDTH));
    words.any(|pe| pe.states.idle.load(Relaxed) & pe.states.present() != 0)
}

/// Whether one of the PEs `first..=last` beside `me` is neither off nor suspended.
pub(crate) fn another_runs(pes: &[Pe], first: usize, last: usize, me: usize) -> bool {
    let mut number = first / WIDTH;
    while number <= last / WIDTH {
        let Some(Pe { states, .. }) = pes.get(number) else {
            break;
        };
        let word = states.word.load(Relaxed);
        // One that has failed holds its domains up.
        let not_off = (word >> WIDTH) as u32 | word as u32;
        let running = not_off & !states.idle.load(Relaxed);
        let mine = if number == me / WIDTH {
            1 << (me % WIDTH)
        } else {
            0
        };
        if running & within(number, first, last) & !mine != 0 {
            return true;
        }
        number = number.wrapping_add(1);
    }
    false
}

/// The bits of the PEs `first..=last` in the word of this number, which has one of them.
#[inline(never)]
fn within(number: usize, first: usize, last: usize) -> u32 {
    let mut bits = u32::MAX;
    if number == first / WIDTH {
        bits <<= first % WIDTH;
    }
    if number == last / WIDTH {
        bits &= u32::MAX >> (31 - last as u32 % 32);
    }
    bits
}

/// Off → pending, or on if it runs without a `CPU_ON`. To be called with the system's lock held,
/// once its entry point is set.
pub(crate) fn turn_on(pes: &[Pe], pe: usize, pending: bool) {
    if let Some((word, shift)) = word(pes, pe) {
        let bits = if pending { PRESENT | PENDING } else { PRESENT };
        // Release: see `of`.
        word.fetch_or(bits << shift, Release);
    }
}

/// Pending → on, and whether it was pending. Only the PE itself calls this, or in its place the PE
/// that has turned it on.
pub(crate) fn start(pes: &[Pe], pe: usize) -> bool {
    let Some((word, shift)) = word(pes, pe) else {
        return false;
    };
    let pending = PRESENT | PENDING;
    let is_pending = |states: u64| states >> shift & pending == pending;
    // Acquire: see `of`. The first look keeps a PE failed that is; the second one is only one PE's.
    is_pending(word.load(Relaxed)) && is_pending(word.fetch_and(!(PENDING << shift), Acquire))
}

/// On → off. To be called with the system's lock held.
pub(crate) fn off(pes: &[Pe], pe: usize) {
    if let Some((word, shift)) = word(pes, pe) {
        // Release: see `of`.
        word.fetch_and(!(PRESENT << shift), Release);
    }
}

/// → failed. The answer is whether the PE was not off.
pub(crate) fn fail(pes: &[Pe], pe: usize) -> bool {
    let Some((word, shift)) = word(pes, pe) else {
        return false;
    };
    // In this order nobody finds the PE off in between.
    word.fetch_or(PENDING << shift, AcqRel);
    let before = word.fetch_and(!(PRESENT << shift), AcqRel);
    before >> shift & PRESENT != 0
}

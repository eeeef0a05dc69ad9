//! Random numbers that a seed repeats.

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A generator that one PE uses, in its handlers too.
pub struct Random(AtomicU64);

impl Random {
    /// One that is not seeded yet.
    pub const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Starts it.
    pub fn seed(&self, seed: u64) {
        self.0.store(seed, Relaxed);
    }

    /// 64 bits: SplitMix64, whose state is a counter.
    pub fn next(&self) -> u64 {
        const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
        let state = self.0.fetch_add(STEP, Relaxed).wrapping_add(STEP);
        let mixed = (state ^ state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    /// A number below `limit`, which is not 0.
    pub fn below(&self, limit: u64) -> u64 {
        ((self.next() >> 32) * limit) >> 32
    }

    /// True once in so many times.
    pub fn one_in(&self, times: u64) -> bool {
        self.below(times) == 0
    }

    /// One of these.
    pub fn pick<T: Copy>(&self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }
}

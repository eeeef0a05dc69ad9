//! What outlives a reset: that the Normal world has run, and its RAM.
//!
//! DRAM keeps its contents over a reset that the Normal world asks for, so the
//! device tree that is found in it then is what the Normal world left there. The
//! RAM that the first boot found is kept in Secure memory.

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::cache;
use crate::ram::RamMap;

/// The note. Not a value that memory has by chance.
const HANDED_OVER: u64 = 0x6861_6e64_6f76_6572;

/// Not part of `.bss`, which is cleared after a reset.
#[unsafe(link_section = ".bss.kept.note")]
static NOTE: AtomicU64 = AtomicU64::new(0);

#[unsafe(link_section = ".bss.kept.ram")]
pub(super) static RAM_MAP: RamMap = RamMap::new();

/// Whether the Normal world has run since power-on. [`RAM_MAP`] is filled if so,
/// and has any contents if not.
pub(super) fn is_reset() -> bool {
    // Relaxed: this PE has written it, or a boot before.
    NOTE.load(Relaxed) == HANDED_OVER
}

/// The Normal world is about to run.
pub(super) fn hand_over() {
    NOTE.store(HANDED_OVER, Relaxed);
    // Memory outlives a reset, a cache does not.
    for (start, size) in [
        (&raw const RAM_MAP as usize, size_of::<RamMap>()),
        (&raw const NOTE as usize, size_of::<AtomicU64>()),
    ] {
        cache::flush(start, start + size);
    }
}

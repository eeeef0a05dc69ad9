//! Where the wish to protect memory is noted.
//!
//! QEMU's Secure RAM keeps its contents over a reset and is zero when the
//! machine is new.

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::cache;

/// The note. Not a value that memory has by chance.
const ON: u64 = 0x6d65_6d70_726f_7465;

/// Not part of `.bss`, which is cleared after a reset.
#[unsafe(link_section = ".bss.kept.mem_protect")]
static WISH: AtomicU64 = AtomicU64::new(0);

/// Sets the wish, and says whether it was set.
pub(super) fn set(enable: bool) -> bool {
    // Relaxed: nothing else depends on the note.
    let was_on = WISH.swap(if enable { ON } else { 0 }, Relaxed) == ON;
    // Memory outlives a reset, a cache does not.
    let note = &raw const WISH as usize;
    cache::flush(note, note + size_of_val(&WISH));
    was_on
}

/// Whether that was the wish before the reset. It stays until it is taken back.
pub(super) fn is_on() -> bool {
    WISH.load(Relaxed) == ON
}

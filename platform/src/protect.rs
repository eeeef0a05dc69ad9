//! MEM_PROTECT (Arm DEN0022 5.1.13): the Normal world asks that its memory be
//! cleared before anything else sees it after the next reset. Where the wish is
//! noted is the board's.

use crate::Mapper;
use crate::ram::{RamMap, gaps};

/// Clears the RAM of the Normal world but for the ranges of `keep`, physical
/// addresses, start and end (exclusive), and says so on the console.
pub fn clear(ram: &RamMap, keep: &[(usize, usize)], mapper: &mut dyn Mapper) {
    log::info!("clearing the memory that the Normal world had protected");
    for (start, end) in ram.ranges() {
        for (start, end) in gaps(start as usize, end as usize, keep) {
            // SAFETY: RAM of the Normal world; nothing is there yet but what is
            // to be cleared.
            unsafe { mapper.clear(start, end) };
        }
    }
}

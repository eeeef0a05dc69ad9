//! MEM_PROTECT (Arm DEN0022 5.1.13): the Normal world asks that its memory be
//! cleared before anything else sees it after the next reset. Where the wish is
//! noted is the board's.

use crate::cache::clean;
use crate::ram::RamMap;
use crate::{Mapper, Region};

/// Clears the RAM of the Normal world but for `keep`, physical addresses, and
/// says so on the console. The ranges of `mapped` are mapped already.
pub fn clear<const N: usize>(
    ram: &RamMap<N>,
    keep: (usize, usize),
    mapped: (usize, usize),
    mapper: &mut dyn Mapper,
) {
    log::info!("clearing the memory that the Normal world had protected");
    for (start, end) in ram.ranges() {
        let (start, end) = (start as usize, end as usize);
        for (start, end) in without(start, end, mapped) {
            mapper.map_for_boot(Region::non_secure(start, end - start));
        }
        for (start, end) in without(start, end, keep) {
            // SAFETY: RAM of the Normal world, mapped now; nothing is there yet
            // but what is to be cleared.
            unsafe { core::ptr::write_bytes(start as *mut u8, 0, end - start) };
            clean(start, end);
        }
    }
}

/// What is left of `start..end` without a hole: up to two ranges.
fn without(
    start: usize,
    end: usize,
    (hole_start, hole_end): (usize, usize),
) -> impl Iterator<Item = (usize, usize)> {
    [(start, end.min(hole_start)), (start.max(hole_end), end)]
        .into_iter()
        .filter(|(start, end)| start < end)
}

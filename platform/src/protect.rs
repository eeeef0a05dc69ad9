//! MEM_PROTECT (Arm DEN0022 5.1.13): the Normal world asks that its memory be
//! cleared before anything else sees it after the next reset. Where the wish is
//! noted is the board's.

use crate::cache::flush;
use crate::ram::{RamMap, gaps};
use crate::{Mapper, Region};

/// Clears the RAM of the Normal world but for the ranges of `keep`, and says so on
/// the console. The range `mapped` is mapped already. All are physical addresses,
/// start and end (exclusive).
pub fn clear<const N: usize>(
    ram: &RamMap<N>,
    keep: &[(usize, usize)],
    mapped: (usize, usize),
    mapper: &mut dyn Mapper,
) {
    log::info!("clearing the memory that the Normal world had protected");
    for (start, end) in ram.ranges() {
        let (start, end) = (start as usize, end as usize);
        for (start, end) in gaps(start, end, &[mapped]) {
            mapper.map_for_boot(Region::non_secure(start, end - start));
        }
        for (start, end) in gaps(start, end, keep) {
            // SAFETY: RAM of the Normal world, mapped now; nothing is there yet
            // but what is to be cleared.
            unsafe { core::ptr::write_bytes(start as *mut u8, 0, end - start) };
            // The Normal world starts with its caches off.
            flush(start, end);
        }
    }
}

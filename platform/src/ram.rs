//! The Non-secure RAM of the machine.

use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

/// The ranges that there is memory for: a machine with a node of 1 GiB for each of
/// 128 NUMA nodes, QEMU's most, has all of them in one.
pub const MAX_RANGES: usize = 128;

/// More ranges than there is memory for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct TooManyRanges;

/// The ranges of Non-secure RAM, of which no two meet or touch. Filled once, by
/// the PE that boots, before any other PE runs Rust code.
pub struct RamMap {
    count: AtomicUsize,
    ranges: [[AtomicU64; 2]; MAX_RANGES],
}

impl RamMap {
    /// No RAM yet.
    pub const fn new() -> Self {
        Self {
            count: AtomicUsize::new(0),
            ranges: [const { [const { AtomicU64::new(0) }; 2] }; MAX_RANGES],
        }
    }

    /// No RAM any more.
    pub fn clear(&self) {
        self.count.store(0, Relaxed);
    }

    /// Adds `start..end`, physical addresses; nothing if that is empty. What it
    /// meets or touches becomes one range with it.
    pub fn add(&self, mut start: u64, mut end: u64) -> Result<(), TooManyRanges> {
        if start >= end {
            return Ok(());
        }
        // Ranges that stay: one that touched one of these already would have
        // become one with it.
        let mut count = 0;
        for (s, e) in self.ranges() {
            if s <= end && start <= e {
                start = start.min(s);
                end = end.max(e);
            } else {
                self.put(count, s, e)?;
                count += 1;
            }
        }
        self.put(count, start, end)?;
        self.count.store(count + 1, Relaxed);
        Ok(())
    }

    fn put(&self, index: usize, start: u64, end: u64) -> Result<(), TooManyRanges> {
        let [s, e] = self.ranges.get(index).ok_or(TooManyRanges)?;
        s.store(start, Relaxed);
        e.store(end, Relaxed);
        Ok(())
    }

    /// The ranges, start and end (exclusive).
    pub fn ranges(&self) -> impl Iterator<Item = (u64, u64)> {
        self.ranges[..self.count.load(Relaxed)]
            .iter()
            .map(|[s, e]| (s.load(Relaxed), e.load(Relaxed)))
    }

    /// Whether `base..base + length` (in bytes) is RAM throughout. A sum that
    /// overflows is not.
    pub fn contains(&self, base: u64, length: u64) -> bool {
        base.checked_add(length)
            .is_some_and(|end| self.ranges().any(|(s, e)| s <= base && end <= e))
    }
}

impl Default for RamMap {
    fn default() -> Self {
        Self::new()
    }
}

/// What is left of `start..end` without the ranges of `without`, which may come
/// in any order and meet each other.
pub fn gaps(
    start: usize,
    end: usize,
    without: &[(usize, usize)],
) -> impl Iterator<Item = (usize, usize)> {
    let mut at = start;
    core::iter::from_fn(move || {
        while at < end {
            let here = |(s, e): &&(usize, usize)| s < e && *e > at && *s < end;
            let Some(&(s, e)) = without.iter().filter(here).min() else {
                return Some((core::mem::replace(&mut at, end), end));
            };
            let gap = (at, s);
            at = e;
            if gap.0 < gap.1 {
                return Some(gap);
            }
        }
        None
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_between_ranges() {
        let gaps = |without: &[_]| gaps(10, 100, without).collect::<Vec<_>>();
        assert_eq!(gaps(&[]), [(10, 100)]);
        assert_eq!(gaps(&[(0, 10), (100, 200), (50, 50)]), [(10, 100)]);
        assert_eq!(gaps(&[(30, 40)]), [(10, 30), (40, 100)]);
        assert_eq!(gaps(&[(90, 200), (0, 20)]), [(20, 90)]);
        assert_eq!(gaps(&[(60, 70), (30, 65), (31, 32)]), [(10, 30), (70, 100)]);
        assert_eq!(gaps(&[(0, 100)]), []);
        assert_eq!(gaps(&[(0, usize::MAX)]), []);
        // Ranges out of a device tree may be anything.
        assert_eq!(gaps(&[(50, 20), (usize::MAX, 0)]), [(10, 100)]);
    }

    #[test]
    fn edges() {
        let ram = RamMap::new();
        assert!(!ram.contains(0, 0));
        ram.add(0x4000_0000, 0x8000_0000).unwrap();
        ram.add(0x1_0000_0000, 0x2_0000_0000).unwrap();
        for (base, length, is_ram) in [
            (0x4000_0000, 4, true),
            (0x3fff_fffc, 4, false),
            (0x7fff_fffc, 4, true),
            (0x7fff_fffd, 4, false),
            (0x8000_0000, 1, false),
            (0x4000_0000, 0x4000_0000, true),
            (0x4000_0000, 0x4000_0001, false),
            (0x1_ffff_ffff, 1, true),
            (u64::MAX, 1, false),
            (0x4000_0000, u64::MAX, false),
        ] {
            assert_eq!(ram.contains(base, length), is_ram, "{base:#x} {length:#x}");
        }
    }

    #[test]
    fn neighbours_become_one() {
        // Each order of four that touch, and one apart.
        let ranges = [(10, 20), (20, 30), (30, 40), (35, 50), (60, 70)];
        let mut order = [0, 1, 2, 3, 4];
        for swaps in 0..120 {
            let ram = RamMap::new();
            for index in order {
                let (start, end) = ranges[index];
                ram.add(start, end).unwrap();
            }
            let mut found: Vec<_> = ram.ranges().collect();
            found.sort();
            assert_eq!(found, [(10, 50), (60, 70)], "{order:?}");
            order.swap(swaps % 4, swaps % 4 + 1);
        }
    }

    #[test]
    fn as_many_ranges_as_fit() {
        let ram = RamMap::new();
        for n in 0..MAX_RANGES as u64 {
            assert_eq!(ram.add(n * 10, n * 10 + 5), Ok(()));
        }
        assert_eq!(ram.add(9999, 10000), Err(TooManyRanges));
        assert_eq!(ram.add(7, 7), Ok(()));
        assert_eq!(ram.add(5, 10), Ok(()));
        assert_eq!(ram.ranges().count(), MAX_RANGES - 1);
        assert!(ram.contains(0, 15));
    }
}

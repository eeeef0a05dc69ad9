//! The Non-secure RAM of the machine.

use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

/// Up to `N` ranges of Non-secure RAM. Filled once, by the PE that boots,
/// before any other PE runs Rust code.
pub struct RamMap<const N: usize> {
    count: AtomicUsize,
    ranges: [[AtomicU64; 2]; N],
}

impl<const N: usize> RamMap<N> {
    /// No RAM yet.
    pub const fn new() -> Self {
        Self {
            count: AtomicUsize::new(0),
            ranges: [const { [const { AtomicU64::new(0) }; 2] }; N],
        }
    }

    /// Adds `start..end`, physical addresses, which meets no range that is
    /// there. Beyond `N` ranges it is left out: then no call may use it.
    pub fn add(&self, start: u64, end: u64) {
        let count = self.count.load(Relaxed);
        if let Some([s, e]) = self.ranges.get(count) {
            s.store(start, Relaxed);
            e.store(end, Relaxed);
            self.count.store(count + 1, Relaxed);
        }
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

impl<const N: usize> Default for RamMap<N> {
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
    }

    #[test]
    fn edges() {
        let ram = RamMap::<2>::new();
        assert!(!ram.contains(0, 0));
        ram.add(0x4000_0000, 0x8000_0000);
        ram.add(0x1_0000_0000, 0x2_0000_0000);
        ram.add(0x8_0000_0000, 0x9_0000_0000);
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
            // One range more than fits.
            (0x8_0000_0000, 4, false),
        ] {
            assert_eq!(ram.contains(base, length), is_ram, "{base:#x} {length:#x}");
        }
    }
}

//! Which PEs the machine has, and the dense index of each.
//!
//! An MPIDR becomes an index in one look-up: its affinity fields, shifted and
//! folded onto themselves, make a key, and a table says which index has it. How far
//! to shift is found out once, so that the machine's PEs have different keys.
//!
//! MPIDRs come from the Normal world, and a PE speculates past a check: both
//! tables have a power of two of entries, and key and index are masked, so that
//! what is loaded is an entry of theirs whatever the MPIDR is.

use core::sync::atomic::{AtomicU16, AtomicU64, AtomicUsize, Ordering::Relaxed};

/// The affinity fields of an MPIDR_EL1 value: Aff3 `[39:32]`, Aff2 `[23:16]`,
/// Aff1 `[15:8]`, Aff0 `[7:0]`. Everything else (MT, U, RES1) is not part of a
/// PE's name.
pub const AFFINITY_MASK: u64 = 0xff_00ff_ffff;

/// The highest bit of an affinity.
const LAST_BIT: u64 = 39;

/// What is in the place of the affinity of a PE that the machine has not: no
/// affinity is.
const NOBODY: u64 = u64::MAX;

/// Why a machine's PEs can't be served.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum TopologyError {
    /// More PEs than the image has memory for.
    TooMany,
    /// Two PEs with the same affinity.
    Twice(u64),
    /// The affinities are spread too widely for the table.
    TooSparse,
}

/// The PEs of the machine: up to `PES` of them, with keys below `KEYS`, both
/// powers of two. Their indexes ascend with their affinities.
///
/// Filled once, by the PE that boots, before any other runs Rust code; read
/// without a lock from then on. Atomics make that safe to say in Rust, and
/// relaxed ones cost nothing; what orders the filling before other PEs'
/// reading is their release from the holding pen.
#[repr(C)]
pub struct Topology<const PES: usize, const KEYS: usize> {
    count: AtomicUsize,
    /// How far an affinity is shifted, twice: bits 5 to 0, and bits 13 to 8.
    shifts: AtomicU64,
    by_key: [AtomicU16; KEYS],
    affinities: [AtomicU64; PES],
    clusters: [AtomicU16; PES],
}

impl<const PES: usize, const KEYS: usize> Topology<PES, KEYS> {
    /// A machine with no PE yet.
    pub const fn new() -> Self {
        const { assert!(PES.is_power_of_two() && KEYS.is_power_of_two()) };
        Self {
            count: AtomicUsize::new(0),
            affinities: [const { AtomicU64::new(0) }; PES],
            clusters: [const { AtomicU16::new(0) }; PES],
            by_key: [const { AtomicU16::new(0) }; KEYS],
            shifts: AtomicU64::new(0),
        }
    }

    /// Fills the table from the PEs' MPIDRs, in any order. PEs whose affinity is
    /// the same from bit `cluster_shift` on are a cluster.
    ///
    /// # Errors
    ///
    /// The machine can't be served then: the table must not be used.
    pub fn fill(
        &self,
        mpidrs: impl Iterator<Item = u64>,
        cluster_shift: u32,
    ) -> Result<(), TopologyError> {
        self.count.store(0, Relaxed);
        for affinity in &self.affinities {
            affinity.store(NOBODY, Relaxed);
        }
        let mut count = 0;
        for mpidr in mpidrs {
            let affinity = mpidr & AFFINITY_MASK;
            if count == PES {
                return Err(TopologyError::TooMany);
            }
            self.insert(count, affinity)?;
            count += 1;
        }
        if !self.find_keys(count) {
            return Err(TopologyError::TooSparse);
        }
        let mut cluster = 0;
        for (index, affinity) in self.affinities[..count].iter().enumerate() {
            let affinity = affinity.load(Relaxed);
            if index > 0 && self.affinity(index - 1) >> cluster_shift != affinity >> cluster_shift {
                cluster += 1;
            }
            self.clusters[index].store(cluster, Relaxed);
        }
        self.count.store(count, Relaxed);
        Ok(())
    }

    /// Looks for shifts that give the first `count` PEs different keys. The first that
    /// are tried do for most machines, and what does not fails after a few PEs.
    fn find_keys(&self, count: usize) -> bool {
        // All that is shifted so far is 0.
        const NOTHING: u64 = 63;
        let second = core::iter::once(NOTHING).chain(1..=LAST_BIT);
        second
            .flat_map(|second| (1..=LAST_BIT).map(move |first| second << 8 | first))
            .any(|shifts| {
                self.shifts.store(shifts, Relaxed);
                (0..count).all(|index| self.enter_key(index))
            })
    }

    /// Notes a PE's key; the answer is whether no PE before it has the same.
    fn enter_key(&self, index: usize) -> bool {
        let key = self.key(self.affinity(index));
        let other = usize::from(self.by_key[key].load(Relaxed));
        let is_taken = other < index && self.key(self.affinity(other)) == key;
        self.by_key[key].store(index as u16, Relaxed);
        !is_taken
    }

    /// Puts an affinity into its place among the first `count`, which ascend. One
    /// that comes last, as they almost always do, moves nothing.
    fn insert(&self, count: usize, affinity: u64) -> Result<(), TopologyError> {
        let mut place = count;
        while place > 0 {
            let before = self.affinity(place - 1);
            if before == affinity {
                return Err(TopologyError::Twice(affinity));
            }
            if before < affinity {
                break;
            }
            self.affinities[place].store(before, Relaxed);
            place -= 1;
        }
        self.affinities[place].store(affinity, Relaxed);
        Ok(())
    }

    /// How many PEs the machine has. Their indexes are `0..count()`.
    pub fn count(&self) -> usize {
        self.count.load(Relaxed)
    }

    /// The affinity fields of the PE with this index, which the machine has.
    pub fn affinity(&self, index: usize) -> u64 {
        self.affinities
            .get(index)
            .map_or(0, |affinity| affinity.load(Relaxed))
    }

    /// The cluster of the PE with this index, counted from 0 in the order of their
    /// affinities.
    pub fn cluster(&self, index: usize) -> usize {
        self.clusters
            .get(index)
            .map_or(0, |cluster| cluster.load(Relaxed).into())
    }

    /// The index of the PE that an MPIDR names, if the machine has it. Only the
    /// affinity fields count.
    #[inline(always)]
    pub fn index(&self, mpidr: u64) -> Option<usize> {
        let affinity = mpidr & AFFINITY_MASK;
        // A key proves nothing: the PE found must have this affinity.
        let key = self.key(affinity);
        let index = usize::from(self.by_key[key].load(Relaxed)) & (PES - 1);
        (self.affinities[index].load(Relaxed) == affinity).then_some(index)
    }

    #[inline(always)]
    fn key(&self, affinity: u64) -> usize {
        let shifts = self.shifts.load(Relaxed);
        // Of a shift, the lower 6 bits count.
        let (first, second) = (shifts as u32, (shifts >> 8) as u32);
        let folded = affinity ^ affinity.wrapping_shr(first) ^ affinity.wrapping_shr(second);
        folded as usize & (KEYS - 1)
    }
}

impl<const PES: usize, const KEYS: usize> Default for Topology<PES, KEYS> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled<const PES: usize, const KEYS: usize>(mpidrs: &[u64]) -> Topology<PES, KEYS> {
        let topology = Topology::new();
        topology.fill(mpidrs.iter().copied(), 8).unwrap();
        topology
    }

    #[test]
    fn clusters_of_sixteen() {
        let mpidrs: Vec<u64> = (0..512).map(|n| ((n / 16) << 8) | (n % 16)).collect();
        let topology = filled::<512, 1024>(&mpidrs);
        assert_eq!(topology.count(), 512);
        for (index, mpidr) in mpidrs.iter().enumerate() {
            assert_eq!(topology.index(*mpidr), Some(index));
            assert_eq!(topology.affinity(index), *mpidr);
        }
    }

    #[test]
    fn cores_in_aff1_and_clusters_in_aff2() {
        let mpidrs: Vec<u64> = (0..8).map(|n| ((n / 4) << 16) | ((n % 4) << 8)).collect();
        let topology = filled::<8, 16>(&mpidrs);
        for (index, mpidr) in mpidrs.iter().enumerate() {
            assert_eq!(topology.index(*mpidr), Some(index));
        }
        assert_eq!(topology.index(1), None);
        assert_eq!(topology.index(4 << 8), None);
    }

    #[test]
    fn indexes_and_clusters_ascend_with_the_affinity() {
        let topology = filled::<8, 2048>(&[0x200, 0x201, 0x100, 0x202, 0x101, 0x300, 0]);
        let affinities: Vec<_> = (0..7).map(|pe| topology.affinity(pe)).collect();
        assert_eq!(affinities, [0, 0x100, 0x101, 0x200, 0x201, 0x202, 0x300]);
        let clusters: Vec<_> = (0..7).map(|pe| topology.cluster(pe)).collect();
        assert_eq!(clusters, [0, 1, 1, 2, 2, 2, 3]);
        for (index, affinity) in affinities.into_iter().enumerate() {
            assert_eq!(topology.index(affinity), Some(index));
        }
    }

    #[test]
    fn any_order_makes_the_same_table() {
        let ascending: Vec<u64> = (0..512).map(|n| ((n / 16) << 8) | (n % 16)).collect();
        let mut mpidrs = ascending.clone();
        mpidrs.reverse();
        for _ in 0..2 {
            let topology = filled::<512, 512>(&mpidrs);
            for (index, mpidr) in ascending.iter().enumerate() {
                assert_eq!(topology.affinity(index), *mpidr);
                assert_eq!(topology.index(*mpidr), Some(index));
                assert_eq!(topology.cluster(index), index / 16);
            }
            mpidrs.rotate_left(200);
        }
    }

    /// Of every value of the four fields, those that some PE has name it, and no
    /// other names any, however the masks fold it.
    #[test]
    fn every_affinity_is_one_pe_or_none() {
        let mpidrs = [0x0, 0x3, 0x100, 0x1_0002, 0x1_0000_0001];
        let topology = filled::<8, 32>(&mpidrs);
        let values = [0, 1, 2, 3, 4, 7, 8, 15, 16, 31, 32, 64, 127, 128, 254, 255];
        for aff3 in values {
            for aff2 in values {
                for aff1 in values {
                    for aff0 in 0..=255 {
                        let mpidr = aff3 << 32 | aff2 << 16 | aff1 << 8 | aff0;
                        let index = mpidrs.iter().position(|pe| *pe == mpidr);
                        assert_eq!(topology.index(mpidr), index, "{mpidr:#x}");
                    }
                }
            }
        }
    }

    #[test]
    fn pes_that_are_not_there_have_no_name() {
        let topology = filled::<8, 8>(&[1, 2]);
        for mpidr in [0, 3, 7, u64::MAX, AFFINITY_MASK] {
            assert_eq!(topology.index(mpidr), None, "{mpidr:#x}");
        }
    }

    #[test]
    fn only_affinity_fields_count() {
        let topology = filled::<4, 16>(&[0, 1, 2, 3]);
        assert_eq!(topology.index(0x8000_0003), Some(3));
        assert_eq!(topology.index(0xffff_ff00_ff00_0002), Some(2));
    }

    #[test]
    fn affinities_nobody_has() {
        let topology = filled::<8, 16>(&[0, 1, 2, 0x100, 0x101]);
        for mpidr in [
            3,
            4,
            0x102,
            0x200,
            0x1_0000,
            0x1_0000_0000,
            AFFINITY_MASK,
            0xff,
        ] {
            assert_eq!(topology.index(mpidr), None, "{mpidr:#x}");
        }
    }

    #[test]
    fn machines_that_do_not_fit() {
        let topology = Topology::<2, 4>::new();
        assert_eq!(
            topology.fill([0, 1, 2].into_iter(), 8),
            Err(TopologyError::TooMany)
        );
        assert_eq!(
            topology.fill([1, 1].into_iter(), 8),
            Err(TopologyError::Twice(1))
        );
        assert_eq!(topology.fill([0, 0x80].into_iter(), 8), Ok(()));
        let topology = Topology::<4, 4>::new();
        assert_eq!(
            topology.fill([2, 1, 3, 2].into_iter(), 8),
            Err(TopologyError::Twice(2))
        );
        assert_eq!(topology.count(), 0);
    }
}

//! Which PEs the machine has, and the dense index of each.
//!
//! An MPIDR becomes an index in one look-up: the affinity fields, each
//! shortened to the bits that the machine's PEs use, are packed into a key, and
//! a table says which index has it. 16 PEs to a cluster and 32 clusters make a
//! key of 9 bits, two clusters of four with the core number in Aff1 one of 3.

use core::sync::atomic::{AtomicU8, AtomicU16, AtomicU64, AtomicUsize, Ordering::Relaxed};

/// The affinity fields of an MPIDR_EL1 value: Aff3 `[39:32]`, Aff2 `[23:16]`,
/// Aff1 `[15:8]`, Aff0 `[7:0]`. Everything else (MT, U, RES1) is not part of a
/// PE's name.
pub const AFFINITY_MASK: u64 = 0xff_00ff_ffff;

/// No PE has this key.
const NOBODY: u16 = u16::MAX;

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

/// The PEs of the machine: up to `PES` of them, with keys below `KEYS`.
///
/// Filled once, by the PE that boots, before any other runs Rust code; read
/// without a lock from then on. Atomics make that safe to say in Rust, and
/// relaxed ones cost nothing; what orders the filling before other PEs'
/// reading is their release from the holding pen.
#[repr(C)]
pub struct Topology<const PES: usize, const KEYS: usize> {
    count: AtomicUsize,
    shifts: [AtomicU8; 3],
    by_key: [AtomicU16; KEYS],
    affinities: [AtomicU64; PES],
    clusters: [AtomicU16; PES],
}

impl<const PES: usize, const KEYS: usize> Topology<PES, KEYS> {
    /// A machine with no PE yet.
    pub const fn new() -> Self {
        Self {
            count: AtomicUsize::new(0),
            affinities: [const { AtomicU64::new(0) }; PES],
            clusters: [const { AtomicU16::new(0) }; PES],
            by_key: [const { AtomicU16::new(0) }; KEYS],
            shifts: [const { AtomicU8::new(0) }; 3],
        }
    }

    /// Fills the table from the PEs' MPIDRs in the order of their indexes. PEs
    /// whose affinity is the same from bit `cluster_shift` on are a cluster.
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
        for key in &self.by_key {
            key.store(NOBODY, Relaxed);
        }
        let mut count = 0;
        let mut used = 0;
        for mpidr in mpidrs {
            let affinity = mpidr & AFFINITY_MASK;
            self.affinities
                .get(count)
                .ok_or(TopologyError::TooMany)?
                .store(affinity, Relaxed);
            used |= affinity;
            count += 1;
        }
        let mut width = 0;
        for (shift, field) in self.shifts.iter().zip(fields(used)) {
            width += (u8::BITS - field.leading_zeros()) as u8;
            shift.store(width, Relaxed);
        }
        let mut clusters = 0;
        for (index, affinity) in self.affinities[..count].iter().enumerate() {
            let affinity = affinity.load(Relaxed);
            let slot = self
                .by_key
                .get(self.key(affinity))
                .ok_or(TopologyError::TooSparse)?;
            if slot.load(Relaxed) != NOBODY {
                return Err(TopologyError::Twice(affinity));
            }
            slot.store(index as u16, Relaxed);
            // Almost always the PE before this one.
            let sibling = (0..index)
                .rev()
                .find(|other| self.affinity(*other) >> cluster_shift == affinity >> cluster_shift);
            let cluster = match sibling {
                Some(sibling) => self.clusters[sibling].load(Relaxed),
                None => clusters,
            };
            clusters = clusters.max(cluster + 1);
            self.clusters[index].store(cluster, Relaxed);
        }
        self.count.store(count, Relaxed);
        Ok(())
    }

    /// How many PEs the machine has. Their indexes are `0..count()`.
    pub fn count(&self) -> usize {
        self.count.load(Relaxed)
    }

    /// The affinity fields of the PE with this index; 0 beyond the last.
    pub fn affinity(&self, index: usize) -> u64 {
        self.affinities
            .get(index)
            .map_or(0, |affinity| affinity.load(Relaxed))
    }

    /// The cluster of the PE with this index, counted from 0 in the order in which
    /// they appear.
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
        // A field wider than the machine's PEs need runs into its neighbour's
        // bits, so a key proves nothing: the PE found must have this affinity.
        let index = usize::from(self.by_key.get(self.key(affinity))?.load(Relaxed));
        (self.affinities.get(index)?.load(Relaxed) == affinity).then_some(index)
    }

    #[inline(always)]
    fn key(&self, affinity: u64) -> usize {
        // One by one: of arrays, optimizing for size makes loops. No shift is more
        // than 24: none wraps, and that is never checked.
        let [aff0, aff1, aff2, aff3] = fields(affinity);
        let [shift1, shift2, shift3] = &self.shifts;
        let shifted =
            |field: u8, by: &AtomicU8| usize::from(field).wrapping_shl(by.load(Relaxed).into());
        usize::from(aff0) | shifted(aff1, shift1) | shifted(aff2, shift2) | shifted(aff3, shift3)
    }
}

impl<const PES: usize, const KEYS: usize> Default for Topology<PES, KEYS> {
    fn default() -> Self {
        Self::new()
    }
}

/// Aff0 to Aff3.
#[inline(always)]
fn fields(affinity: u64) -> [u8; 4] {
    let [aff0, aff1, aff2, _, aff3, ..] = affinity.to_le_bytes();
    [aff0, aff1, aff2, aff3]
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
    fn clusters_are_counted_as_they_appear() {
        let topology = filled::<8, 2048>(&[0x200, 0x201, 0x100, 0x202, 0x101, 0x300]);
        let clusters: Vec<_> = (0..6).map(|pe| topology.cluster(pe)).collect();
        assert_eq!(clusters, [0, 0, 1, 0, 1, 2]);
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
        assert_eq!(
            topology.fill([0, 0x80].into_iter(), 8),
            Err(TopologyError::TooSparse)
        );
        assert_eq!(topology.count(), 0);
    }
}

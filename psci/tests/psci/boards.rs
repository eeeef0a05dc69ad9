// SPDX-License-Identifier: MIT OR Apache-2.0

//! Boards of other shapes: the original format of `power_state`, two and four levels, PEs that are
//! in no cluster.

use crate::common::{
    AARCH64, AFFINITY_INFO, CPU_ON, CPU_SUSPEND, DENIED, ENTRY, FEATURES, INVALID_PARAMETERS,
    NODE_HW_STATE, OFF, ON, SET_SUSPEND_MODE, STAT_COUNT, STAT_RESIDENCY, error,
};
use PowerLevel::{Level1, Level2, Level3};
use psci_el3::{
    Domain, Features, Format, Outcome, Pe, Port, PowerLevel, PowerOnFailed, PowerStates, Psci,
    Suspend,
};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// The values of Trusted Firmware-A on the FVP.
static ORIGINAL: PowerStates = PowerStates::new(
    Format::Original,
    Level2,
    &[
        (0x0000_0000, Suspend::Standby),
        (0x0001_0000, Suspend::PowerDown(PowerLevel::Pe)),
        (0x0101_0000, Suspend::PowerDown(Level1)),
        (0x0201_0000, Suspend::PowerDown(Level2)),
    ],
);

/// Four bits a level, and above them the level of the last PE; two depths of the PE's standby.
static FOUR_LEVELS: PowerStates = PowerStates::new(
    Format::Extended,
    Level3,
    &[
        (0x0000_0001, Suspend::Standby),
        (0x0000_0003, Suspend::Standby),
        (0x4000_0002, Suspend::PowerDown(PowerLevel::Pe)),
        (0x4000_0022, Suspend::PowerDown(Level1)),
        (0x4000_0222, Suspend::PowerDown(Level2)),
        (0x4000_2222, Suspend::PowerDown(Level3)),
    ],
)
.with_last_level(16, 0xf);

static TWO_LEVELS: PowerStates = PowerStates::new(
    Format::Extended,
    Level1,
    &[
        (0x0000_0001, Suspend::Standby),
        (0x4000_0002, Suspend::PowerDown(PowerLevel::Pe)),
        (0x4000_0022, Suspend::PowerDown(Level1)),
    ],
);

struct Board {
    pes: usize,
    states: &'static PowerStates,
    /// PEs in a cluster, and clusters in a domain of the second level.
    cluster: usize,
    group: usize,
    clock: AtomicU64,
}

impl Board {
    fn domains(&self) -> usize {
        let clusters = self.pes.div_ceil(self.cluster);
        clusters + clusters.div_ceil(self.group)
    }
}

impl Port for Board {
    fn pe_count(&self) -> usize {
        self.pes
    }
    fn affinity(&self, pe: usize) -> u64 {
        pe as u64
    }
    fn pe_index(&self, affinity: u64) -> Option<usize> {
        (affinity < self.pes as u64).then_some(affinity as usize)
    }
    fn domain(&self, pe: usize, level: PowerLevel) -> usize {
        let cluster = pe / self.cluster;
        match level {
            Level1 => cluster,
            Level2 => self.pes.div_ceil(self.cluster) + cluster / self.group,
            _ => unreachable!("{level:?}"),
        }
    }
    fn power_on(&self, _pe: usize) -> Result<(), PowerOnFailed> {
        Ok(())
    }
    fn is_nonsecure_ram(&self, _base: u64, _length: u64) -> bool {
        true
    }
    fn features(&self) -> Features {
        Features::NONE.os_initiated().node_hw_state().statistics()
    }
    fn power_states(&self) -> &'static PowerStates {
        self.states
    }
    fn microseconds(&self) -> u64 {
        self.clock.load(Relaxed)
    }
}

type Machine = Psci<'static, Board>;

/// A machine with all PEs on, and room for `domains`.
fn machine(
    pes: usize,
    (cluster, group): (usize, usize),
    states: &'static PowerStates,
    domains: Option<usize>,
) -> &'static Machine {
    let board = Box::leak(Box::new(Board {
        pes,
        states,
        cluster,
        group,
        clock: AtomicU64::new(0),
    }));
    let domains = domains.unwrap_or(board.domains());
    let domains: Vec<_> = (0..domains).map(|_| Domain::new()).collect();
    let psci = Box::leak(Box::new(Psci::new(
        &*board,
        Vec::leak((0..pes).map(|_| Pe::new()).collect()),
        Vec::leak(domains),
    )));
    psci.boot(0);
    for pe in 1..pes {
        assert_eq!(call(psci, 0, CPU_ON, [pe as u64, ENTRY, 0]), SUCCESS);
        psci.start(pe).unwrap();
    }
    psci
}

const SUCCESS: Outcome = Outcome::Return(0);

fn call(psci: &Machine, me: usize, fid: u32, args: [u64; 3]) -> Outcome {
    psci.call(me, || AARCH64, fid, &args)
}

fn suspend(psci: &Machine, me: usize, state: u64) -> Outcome {
    call(psci, me, CPU_SUSPEND, [state, ENTRY, me as u64])
}

fn up(psci: &Machine, pe: usize, level: u64) -> bool {
    match call(psci, 0, NODE_HW_STATE, [pe as u64, level, 0]) {
        Outcome::Return(ON) => true,
        Outcome::Return(OFF) => false,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_original_format_has_the_values_of_another_firmware() {
    let psci = machine(4, (2, 2), &ORIGINAL, None);
    // Bit 1, the format, is clear; bit 0 tells OS-initiated mode.
    let features = call(psci, 0, FEATURES, [CPU_SUSPEND.into(), 0, 0]);
    assert_eq!(features, Outcome::Return(1));
    assert_eq!(suspend(psci, 3, 0), Outcome::Standby);
    psci.standby_end(3);
    assert_eq!(
        suspend(psci, 3, 0x0201_0000),
        Outcome::PowerDown(PowerLevel::Pe)
    );
    assert_eq!(suspend(psci, 2, 0x0101_0000), Outcome::PowerDown(Level1));
    psci.resume(2).unwrap();
    assert_eq!(suspend(psci, 2, 0x0201_0000), Outcome::PowerDown(Level1));
    assert_eq!(
        suspend(psci, 1, 0x0001_0000),
        Outcome::PowerDown(PowerLevel::Pe)
    );
    assert_eq!(
        suspend(psci, 0, 0x0201_0000),
        Outcome::PowerDown(PowerLevel::Pe)
    );
    psci.resume(1).unwrap();
    assert_eq!(suspend(psci, 1, 0x0201_0000), Outcome::PowerDown(Level2));
}

#[test]
fn what_the_original_table_lacks_is_invalid() {
    let psci = machine(2, (2, 1), &ORIGINAL, None);
    let states = [
        0x0001_0001,
        0x0301_0000,
        0x0100_0000,
        0x4000_0002,
        0x0000_0001,
        0x0003_0000,
        0x8001_0000,
        0x0401_0000,
    ];
    for state in states {
        assert_eq!(
            suspend(psci, 0, state),
            error(INVALID_PARAMETERS),
            "{state:#x}"
        );
        for fid in [STAT_COUNT, STAT_RESIDENCY] {
            assert_eq!(call(psci, 0, fid, [0, state, 0]), error(INVALID_PARAMETERS));
        }
    }
}

#[test]
fn in_the_original_format_the_power_level_is_the_claim() {
    let psci = machine(4, (2, 2), &ORIGINAL, None);
    assert_eq!(call(psci, 0, SET_SUSPEND_MODE, [1, 0, 0]), SUCCESS);
    assert_eq!(suspend(psci, 0, 0x0101_0000), error(DENIED));
    let pe = Outcome::PowerDown(PowerLevel::Pe);
    assert_eq!(suspend(psci, 1, 0x0001_0000), pe);
    assert_eq!(suspend(psci, 0, 0x0201_0000), error(DENIED));
    assert_eq!(suspend(psci, 0, 0x0101_0000), Outcome::PowerDown(Level1));
    assert_eq!(suspend(psci, 2, 0x0001_0000), pe);
    // In standby a PE doesn't run, but its cluster is up.
    assert_eq!(suspend(psci, 3, 0), Outcome::Standby);
    psci.resume(0).unwrap();
    assert_eq!(suspend(psci, 0, 0x0201_0000), error(INVALID_PARAMETERS));
    psci.standby_end(3);
    assert_eq!(suspend(psci, 3, 0x0101_0000), Outcome::PowerDown(Level1));
    assert_eq!(suspend(psci, 0, 0x0201_0000), Outcome::PowerDown(Level2));
}

#[test]
fn several_values_may_stand_for_one_state() {
    let psci = machine(4, (2, 2), &FOUR_LEVELS, None);
    for (count, state) in [0x1, 0x3, 0x1].into_iter().enumerate() {
        assert_eq!(suspend(psci, 1, state), Outcome::Standby);
        psci.standby_end(1);
        for state in [0x1, 0x3] {
            let counted = call(psci, 0, STAT_COUNT, [1, state, 0]);
            assert_eq!(counted, Outcome::Return(count as u64 + 1));
        }
    }
}

/// In platform-coordinated mode a domain is up if one of its PEs needs it, whatever the order.
#[test]
fn four_levels_as_each_pe_is_counted() {
    const PES: usize = 24;
    const VALUES: [u64; 4] = [0x4000_0002, 0x4000_0022, 0x4000_0222, 0x4000_2222];
    let psci = machine(PES, (3, 2), &FOUR_LEVELS, None);
    // How many levels each PE lets go down: none if it runs.
    let mut down = [0; PES];
    let members = |pe: usize, level: usize| match level {
        0 => pe..pe + 1,
        1 => pe / 3 * 3..pe / 3 * 3 + 3,
        2 => pe / 6 * 6..pe / 6 * 6 + 6,
        _ => 0..PES,
    };
    let needed =
        |down: &[usize], pe, level: usize| down[members(pe, level)].iter().any(|d| *d <= level);
    let mut seed = 7_u64;
    let mut highest = [0; 4];
    for _ in 0..20_000 {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        let pe = (seed >> 20) as usize % PES;
        if down[pe] == 0 {
            // Mostly deep, or the system would never go down.
            let level = [3, 2, 1, 0][((seed >> 40) % 40).saturating_sub(36) as usize];
            down[pe] = level + 1;
            let answer = suspend(psci, pe, VALUES[level]);
            let expected = (0..4).rev().find(|level| !needed(&down, pe, *level));
            let expected = expected.unwrap() as u64;
            highest[expected as usize] += 1;
            let expected = PowerLevel::from_number(expected).unwrap();
            assert_eq!(answer, Outcome::PowerDown(expected), "{down:?}");
        } else if (seed >> 50) % 16 == 0 {
            psci.resume(pe).unwrap();
            down[pe] = 0;
        }
        for level in 0..4 {
            let is_needed = needed(&down, pe, level);
            assert_eq!(up(psci, pe, level as u64), is_needed, "{level} {down:?}");
        }
    }
    assert!(highest.iter().all(|count| *count > 0), "{highest:?}");
}

#[test]
fn four_levels_as_the_os_decides() {
    let psci = machine(8, (2, 2), &FOUR_LEVELS, None);
    assert_eq!(call(psci, 0, SET_SUSPEND_MODE, [1, 0, 0]), SUCCESS);
    let pe = Outcome::PowerDown(PowerLevel::Pe);
    for other in [1, 2, 4, 5, 6, 7] {
        assert_eq!(suspend(psci, other, 0x4000_0002), pe);
    }
    // PE 3 runs, in the other cluster of the same domain of level 2.
    assert_eq!(suspend(psci, 0, 0x4002_0222), error(DENIED));
    assert_eq!(suspend(psci, 0, 0x4002_0002), error(DENIED));
    assert_eq!(suspend(psci, 0, 0x4001_0022), Outcome::PowerDown(Level1));
    // The clusters of PEs 4 to 7 are up: nobody has asked for more than the PEs.
    assert_eq!(suspend(psci, 3, 0x4003_2222), error(INVALID_PARAMETERS));
    assert_eq!(suspend(psci, 3, 0x4002_0222), Outcome::PowerDown(Level2));
    assert!(!up(psci, 0, 2) && up(psci, 4, 2) && up(psci, 0, 3));
    psci.resume(4).unwrap();
    assert_eq!(suspend(psci, 4, 0x4001_0022), Outcome::PowerDown(Level1));
    psci.resume(6).unwrap();
    assert_eq!(suspend(psci, 6, 0x4003_2222), Outcome::PowerDown(Level3));
    assert!(!up(psci, 0, 3));
    psci.resume(0).unwrap();
    assert!(up(psci, 0, 1) && up(psci, 0, 2) && up(psci, 0, 3));
    assert!(!up(psci, 2, 1) && !up(psci, 4, 2));
    // No level is above the system's.
    assert_eq!(suspend(psci, 0, 0x4004_0002), error(INVALID_PARAMETERS));
}

#[test]
fn two_levels_need_no_domains() {
    let psci = machine(3, (1, 1), &TWO_LEVELS, Some(0));
    let pe = Outcome::PowerDown(PowerLevel::Pe);
    assert_eq!(suspend(psci, 1, 0x4000_0022), pe);
    assert_eq!(suspend(psci, 2, 0x4000_0022), pe);
    assert_eq!(suspend(psci, 0, 0x4000_0022), Outcome::PowerDown(Level1));
    assert!(!up(psci, 0, 1));
    psci.resume(1).unwrap();
    assert!(up(psci, 0, 1));
    let level = call(psci, 1, NODE_HW_STATE, [0, 2, 0]);
    assert_eq!(level, error(INVALID_PARAMETERS));
    // AFFINITY_INFO's levels are those of the affinity fields.
    assert_eq!(call(psci, 1, AFFINITY_INFO, [0, 3, 0]), Outcome::Return(ON));
}

/// PEs 0 and 1 have a cluster, PE 2 and PE 3 are in none.
#[test]
fn a_pe_may_be_in_no_domain_of_a_level() {
    let psci = machine(4, (2, 1), &ORIGINAL, Some(1));
    let pe = Outcome::PowerDown(PowerLevel::Pe);
    assert_eq!(suspend(psci, 2, 0x0201_0000), pe);
    assert_eq!(suspend(psci, 3, 0x0101_0000), pe);
    assert_eq!(suspend(psci, 0, 0x0201_0000), pe);
    assert_eq!(suspend(psci, 1, 0x0201_0000), Outcome::PowerDown(Level1));
    for fid in [NODE_HW_STATE, STAT_COUNT] {
        let args = [2, if fid == STAT_COUNT { 0x0101_0000 } else { 1 }, 0];
        assert_eq!(call(psci, 0, fid, args), error(INVALID_PARAMETERS));
    }
    psci.resume(3).unwrap();
    assert_eq!(suspend(psci, 3, 0x0201_0000), Outcome::PowerDown(Level2));
}

#[test]
fn a_pe_that_there_is_no_room_for_is_refused() {
    let board = Box::leak(Box::new(Board {
        pes: 3,
        states: &TWO_LEVELS,
        cluster: 1,
        group: 1,
        clock: AtomicU64::new(0),
    }));
    let pes = Box::leak(Box::new([Pe::new(), Pe::new()]));
    let psci = Psci::new(&*board, pes, &[]);
    psci.boot(0);
    let psci: &'static Machine = Box::leak(Box::new(psci));
    const INTERNAL_FAILURE: i64 = -6;
    let on = call(psci, 0, CPU_ON, [2, ENTRY, 0]);
    assert_eq!(on, error(INTERNAL_FAILURE));
    for state in [0x1, 0x4000_0022] {
        assert_eq!(suspend(psci, 2, state), error(INTERNAL_FAILURE));
    }
    psci.boot(2);
    psci.failed(2);
    psci.standby_end(2);
    assert_eq!(psci.start(2), None);
    assert_eq!(psci.resume(2), None);
    // The others are as they were.
    assert_eq!(suspend(psci, 0, 0x4000_0022), Outcome::PowerDown(Level1));
}

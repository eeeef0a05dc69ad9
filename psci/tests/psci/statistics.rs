// SPDX-License-Identifier: MIT OR Apache-2.0

//! PSCI_STAT_RESIDENCY and PSCI_STAT_COUNT.

use crate::common::*;
use std::sync::atomic::Ordering::Relaxed;

/// Residency in microseconds and count.
fn stat(psci: &Machine, pe: usize, state: u64) -> (u64, u64) {
    (
        value(psci, 0, STAT_RESIDENCY, [MPIDRS[pe], state, 0]),
        value(psci, 0, STAT_COUNT, [MPIDRS[pe], state, 0]),
    )
}

#[test]
fn each_state_counts_for_the_node_it_is_a_state_of() {
    let (psci, board) = machine(ALL);
    turn_on(psci, 1);
    board.clock.store(100, Relaxed);
    standby(psci, 1);
    board.clock.store(130, Relaxed);
    psci.standby_end(1);
    assert_eq!(stat(psci, 1, STANDBY), (30, 1));

    power_down(psci, 1, CLUSTER_DOWN);
    board.clock.store(150, Relaxed);
    power_down(psci, 0, CLUSTER_DOWN);
    board.clock.store(190, Relaxed);
    let _ = psci.resume(1);
    board.clock.store(200, Relaxed);
    let _ = psci.resume(0);
    assert_eq!(stat(psci, 1, PE_DOWN), (60, 1));
    assert_eq!(stat(psci, 0, PE_DOWN), (50, 1));
    for pe in 0..4 {
        assert_eq!(stat(psci, pe, CLUSTER_DOWN), (40, 1), "PE {pe}");
    }
    assert_eq!(stat(psci, 4, CLUSTER_DOWN), (0, 0));
    assert_eq!(stat(psci, 0, SYSTEM_DOWN), (0, 0));

    power_down(psci, 1, SYSTEM_DOWN);
    power_down(psci, 0, SYSTEM_DOWN);
    board.clock.store(207, Relaxed);
    let _ = psci.resume(0);
    for pe in 0..10 {
        assert_eq!(stat(psci, pe, SYSTEM_DOWN), (7, 1), "PE {pe}");
    }
    assert_eq!(stat(psci, 0, CLUSTER_DOWN), (47, 2));
}

#[test]
fn cpu_off_counts_as_power_down_but_never_having_been_on_does_not() {
    let (psci, board) = machine(ALL);
    board.clock.store(1000, Relaxed);
    turn_on(psci, 1);
    assert_eq!(stat(psci, 1, PE_DOWN), (0, 0));
    turn_off(psci, 1);
    board.clock.store(1500, Relaxed);
    // A stay counts once it ends.
    assert_eq!(stat(psci, 1, PE_DOWN), (0, 0));
    turn_on(psci, 1);
    assert_eq!(stat(psci, 1, PE_DOWN), (500, 1));
}

#[test]
fn a_clock_that_differs_between_pes_never_counts_backwards() {
    let (psci, board) = machine(ALL);
    board.clock.store(100, Relaxed);
    power_down(psci, 0, PE_DOWN);
    board.clock.store(99, Relaxed);
    let _ = psci.resume(0);
    assert_eq!(stat(psci, 0, PE_DOWN), (0, 1));
}

#[test]
fn the_32_bit_calls_answer_32_bits() {
    let (psci, board) = machine(ALL);
    power_down(psci, 0, PE_DOWN);
    board.clock.store(0x1_0000_0005, Relaxed);
    let _ = psci.resume(0);
    assert_eq!(value(psci, 0, 0x8400_0010, [0, PE_DOWN, 0]), 4);
    assert_eq!(stat(psci, 0, PE_DOWN), (0x1_0000_0004, 1));
}

#[test]
fn statistics_of_no_pe_are_refused() {
    let (psci, _) = machine(ALL);
    for fid in [STAT_RESIDENCY, STAT_COUNT, 0x8400_0010, 0x8400_0011] {
        refused(psci, 0, fid, [0x4, PE_DOWN, 0], INVALID_PARAMETERS);
        refused(psci, 0, fid, [1 << 31, PE_DOWN, 0], INVALID_PARAMETERS);
    }
}

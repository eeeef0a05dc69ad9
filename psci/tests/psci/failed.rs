// SPDX-License-Identifier: MIT OR Apache-2.0

//! A PE on which the firmware itself failed.

use crate::common::*;
use psci_el3::Outcome;

const OS_INITIATED: u64 = 1;

/// A machine with PE 0 and these on.
fn with_on(pes: &[usize]) -> &'static Machine {
    let (psci, _) = machine(ALL);
    for &pe in pes {
        turn_on(psci, pe);
    }
    psci
}

fn is_failed(psci: &Machine, pe: usize) {
    assert_eq!(affinity_info(psci, pe), OFF);
    let args = [MPIDRS[pe], ENTRY, 0];
    assert_eq!(call(psci, 0, CPU_ON, args), error(INTERNAL_FAILURE));
    assert_eq!(psci.start(pe), None);
}

#[test]
fn it_is_off_and_stays_so() {
    let psci = with_on(&[5]);
    psci.failed(5);
    is_failed(psci, 5);
    assert_eq!(value(psci, 0, AFFINITY_INFO, [MPIDRS[5], 1, 0]), OFF);
    // Its report has failed, too.
    psci.failed(5);
    is_failed(psci, 5);
    // The others are as they were, also those whose state is in the same word.
    assert_eq!(affinity_info(psci, 0), ON);
    turn_on(psci, 4);
    assert_eq!(value(psci, 0, AFFINITY_INFO, [MPIDRS[5], 1, 0]), ON);
    turn_off(psci, 4);
}

#[test]
fn whatever_it_did() {
    let psci = with_on(&[1]);
    // Off, or about to start.
    psci.failed(4);
    is_failed(psci, 4);
    value(psci, 0, CPU_ON, [MPIDRS[5], ENTRY, 0]);
    psci.failed(5);
    is_failed(psci, 5);
    power_down(psci, 1, PE_DOWN);
    psci.failed(1);
    is_failed(psci, 1);
}

/// The hardware doesn't power a PE on: it is off, as before.
#[test]
fn cpu_on_may_fail() {
    let (psci, board) = machine(ALL);
    let args = [MPIDRS[5], ENTRY, 0];
    board.broken.lock().unwrap().push(5);
    for _ in 0..2 {
        assert_eq!(call(psci, 0, CPU_ON, args), error(INTERNAL_FAILURE));
        assert_eq!(affinity_info(psci, 5), OFF);
        assert_eq!(hw_state(psci, 5, 0), OFF);
        assert_eq!(hw_state(psci, 5, 1), OFF);
        assert_eq!(psci.start(5), None);
        assert_eq!(psci.resume(5), None);
    }
    // No count has changed: PE 0 is the only one.
    assert_eq!(call(psci, 0, CPU_OFF, [0; 3]), error(DENIED));
    let outcome = call(psci, 0, SYSTEM_SUSPEND, [ENTRY, 0, 0]);
    assert_eq!(outcome, Outcome::SystemSuspend);
    psci.resume(0).unwrap();
    board.broken.lock().unwrap().clear();
    turn_on(psci, 5);
    turn_off(psci, 5);
}

/// The hardware abandons what the image was told to do.
#[test]
fn a_power_down_that_comes_back() {
    let psci = with_on(&[1]);
    // Denied at once: the PE runs on, and so do its domains.
    for state in [PE_DOWN, CLUSTER_DOWN, SYSTEM_DOWN] {
        power_down(psci, 1, state);
        assert_eq!(psci.resume(1).unwrap().context, 1);
        assert_eq!(psci.resume(1), None);
        assert_eq!(hw_state(psci, 1, 0), ON);
        assert_eq!(affinity_info(psci, 1), ON);
    }
    // Off and back in EL3: it is off, and waits.
    turn_off(psci, 1);
    for _ in 0..3 {
        assert_eq!(psci.start(1), None);
        assert_eq!(psci.resume(1), None);
    }
    turn_on(psci, 1);
    turn_off(psci, 1);
}

#[test]
fn it_is_not_one_of_the_pes_that_are_on() {
    let psci = with_on(&[1, 2]);
    psci.failed(1);
    psci.failed(1);
    psci.failed(7);
    // PE 2 and PE 0 are left.
    let args = [ENTRY, 0, 0];
    assert_eq!(call(psci, 0, SYSTEM_SUSPEND, args), error(DENIED));
    turn_off(psci, 2);
    assert_eq!(call(psci, 0, CPU_OFF, [0; 3]), error(DENIED));
    assert_eq!(value(psci, 0, SET_SUSPEND_MODE, [OS_INITIATED, 0, 0]), 0);
    assert_eq!(value(psci, 0, SET_SUSPEND_MODE, [0, 0, 0]), 0);
    assert_eq!(call(psci, 0, SYSTEM_SUSPEND, args), Outcome::SystemSuspend);
    psci.resume(0).unwrap();
    turn_on(psci, 2);
    turn_off(psci, 2);
}

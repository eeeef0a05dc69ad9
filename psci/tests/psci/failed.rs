//! A PE on which the firmware itself failed.

use crate::common::*;
use psci::Outcome;

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

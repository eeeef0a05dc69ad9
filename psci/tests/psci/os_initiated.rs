// SPDX-License-Identifier: MIT OR Apache-2.0

//! PSCI_SET_SUSPEND_MODE, and CPU_SUSPEND in OS-initiated mode.

use crate::common::*;
use psci_el3::{Outcome, PowerLevel};

const PLATFORM_COORDINATED: u64 = 0;
const OS_INITIATED: u64 = 1;
const CPU_DEFAULT_SUSPEND: u32 = 0xc400_000c;

fn set_mode(psci: &Machine, mode: u64) {
    assert_eq!(value(psci, 0, SET_SUSPEND_MODE, [mode, 0, 0]), 0);
}

/// A machine in OS-initiated mode with these PEs on beside PE 0.
fn os_initiated(pes: &[usize]) -> &'static Machine {
    let (psci, _) = machine(ALL);
    set_mode(psci, OS_INITIATED);
    for &pe in pes {
        turn_on(psci, pe);
    }
    psci
}

#[test]
fn the_mode_is_one_of_two() {
    let (psci, _) = machine(ALL);
    for mode in [2, 0xffff_ffff] {
        refused(psci, 0, SET_SUSPEND_MODE, [mode, 0, 0], INVALID_PARAMETERS);
    }
    set_mode(psci, PLATFORM_COORDINATED);
    set_mode(psci, OS_INITIATED);
    set_mode(psci, OS_INITIATED);
    set_mode(psci, PLATFORM_COORDINATED);
}

/// The order of Arm's TFTF, and of a kernel that was started by one that idled.
#[test]
fn to_os_initiated_after_others_have_suspended() {
    let (psci, _) = machine(ALL);
    turn_on(psci, 1);
    standby(psci, 1);
    psci.standby_end(1);
    power_down(psci, 1, SYSTEM_DOWN);
    psci.resume(1).unwrap();
    set_mode(psci, OS_INITIATED);
    turn_off(psci, 1);
    for _ in 0..2 {
        set_mode(psci, PLATFORM_COORDINATED);
        power_down(psci, 0, CLUSTER_DOWN);
        psci.resume(0).unwrap();
        set_mode(psci, OS_INITIATED);
        power_down(psci, 0, CLUSTER_DOWN);
        psci.resume(0).unwrap();
    }
}

#[test]
fn to_os_initiated_not_while_another_is_suspended_unless_all_are_on() {
    let (psci, _) = machine(ALL);
    turn_on(psci, 1);
    let denied = || refused(psci, 0, SET_SUSPEND_MODE, [OS_INITIATED, 0, 0], DENIED);
    standby(psci, 1);
    denied();
    // Asking for the mode that is set is no change of it.
    set_mode(psci, PLATFORM_COORDINATED);
    psci.standby_end(1);
    power_down(psci, 1, PE_DOWN);
    denied();
    for pe in 2..MPIDRS.len() - 1 {
        turn_on(psci, pe);
        denied();
    }
    // One that is on its way counts as on.
    value(psci, 0, CPU_ON, [MPIDRS[MPIDRS.len() - 1], ENTRY, 0]);
    set_mode(psci, OS_INITIATED);
}

/// What a PE has asked for stays what it asked for.
#[test]
fn a_change_of_mode_leaves_the_domains_of_suspended_pes_as_they_are() {
    let (psci, _) = machine(ALL);
    for pe in 1..MPIDRS.len() {
        turn_on(psci, pe);
    }
    for pe in 4..8 {
        power_down(psci, pe, CLUSTER_DOWN);
    }
    power_down(psci, 8, PE_DOWN);
    power_down(psci, 9, SYSTEM_DOWN);
    set_mode(psci, OS_INITIATED);
    assert_eq!(hw_state(psci, 4, 1), OFF);
    assert_eq!(hw_state(psci, 8, 1), ON);
    for pe in 1..4 {
        power_down(psci, pe, PE_DOWN);
    }
    // Cluster 2 is up: its PE 8 asked for no more than itself to go down.
    let args = [SYSTEM_DOWN, ENTRY, 0];
    refused(psci, 0, CPU_SUSPEND, args, INVALID_PARAMETERS);
    psci.resume(8).unwrap();
    assert_eq!(power_down(psci, 8, CLUSTER_DOWN), PowerLevel::Level1);
    assert_eq!(power_down(psci, 0, SYSTEM_DOWN), PowerLevel::Level2);
    psci.resume(4).unwrap();
    assert_eq!(power_down(psci, 4, SYSTEM_DOWN), PowerLevel::Level2);
}

#[test]
fn to_os_initiated_with_pes_running_and_off_but_not_in_default_suspend() {
    let (psci, _) = machine(ALL);
    turn_on(psci, 1);
    turn_on(psci, 2);
    let outcome = call(psci, 2, CPU_DEFAULT_SUSPEND, [ENTRY, 0, 0]);
    assert_eq!(outcome, Outcome::PowerDown(PowerLevel::Pe));
    let args = [OS_INITIATED, 0, 0];
    refused(psci, 0, SET_SUSPEND_MODE, args, DENIED);
    psci.resume(2).unwrap();
    // A refused CPU_SUSPEND is none.
    refused(psci, 0, CPU_SUSPEND, [PE_DOWN, 0, 0], INVALID_ADDRESS);
    set_mode(psci, OS_INITIATED);
}

#[test]
fn back_only_with_all_others_off() {
    let psci = os_initiated(&[1]);
    refused(
        psci,
        0,
        SET_SUSPEND_MODE,
        [PLATFORM_COORDINATED, 0, 0],
        DENIED,
    );
    power_down(psci, 1, PE_DOWN);
    refused(
        psci,
        0,
        SET_SUSPEND_MODE,
        [PLATFORM_COORDINATED, 0, 0],
        DENIED,
    );
    let _ = psci.resume(1);
    turn_off(psci, 1);
    set_mode(psci, PLATFORM_COORDINATED);
    set_mode(psci, OS_INITIATED);
}

#[test]
fn the_last_pe_takes_its_cluster_and_the_system_down() {
    let psci = os_initiated(&[1, 4]);
    assert_eq!(power_down(psci, 4, CLUSTER_DOWN), PowerLevel::Level1);
    assert_eq!(power_down(psci, 1, PE_DOWN), PowerLevel::Pe);
    // PE 1 asked for no more than its own power-down, but the OS now says that it is enough.
    assert_eq!(power_down(psci, 0, SYSTEM_DOWN), PowerLevel::Level2);
    let _ = psci.resume(0);
    assert_eq!(hw_state(psci, 0, 1), ON);
    assert_eq!(hw_state(psci, 4, 1), OFF);
    assert_eq!(power_down(psci, 0, CLUSTER_DOWN), PowerLevel::Level1);
}

#[test]
fn the_last_pe_may_leave_its_cluster_up() {
    let psci = os_initiated(&[1]);
    power_down(psci, 1, PE_DOWN);
    // Last in the cluster and in the system, but powers down only itself.
    assert_eq!(power_down(psci, 0, 0x4000_2002), PowerLevel::Pe);
    assert_eq!(hw_state(psci, 0, 1), ON);
}

#[test]
fn one_that_is_not_the_last_is_denied() {
    let psci = os_initiated(&[1, 4]);
    let denied = |state| refused(psci, 0, CPU_SUSPEND, [state, ENTRY, 0], DENIED);
    // Whether it says that it is the last or only asks for what the last one may.
    for state in [CLUSTER_DOWN, 0x4000_0022, SYSTEM_DOWN, 0x4000_1002, 0x1001] {
        denied(state);
    }
    power_down(psci, 1, PE_DOWN);
    denied(SYSTEM_DOWN);
    denied(0x4000_2002);
    assert_eq!(power_down(psci, 0, CLUSTER_DOWN), PowerLevel::Level1);
}

#[test]
fn a_pe_on_its_way_counts_as_running() {
    let psci = os_initiated(&[]);
    value(psci, 0, CPU_ON, [MPIDRS[1], ENTRY, 0]);
    refused(psci, 0, CPU_SUSPEND, [CLUSTER_DOWN, ENTRY, 0], DENIED);
    psci.start(1).unwrap();
    turn_off(psci, 1);
    assert_eq!(power_down(psci, 0, CLUSTER_DOWN), PowerLevel::Level1);
}

#[test]
fn a_child_in_a_state_that_does_not_fit_is_invalid() {
    let psci = os_initiated(&[1, 4]);
    let invalid = |state| refused(psci, 0, CPU_SUSPEND, [state, ENTRY, 0], INVALID_PARAMETERS);
    power_down(psci, 4, PE_DOWN);
    standby(psci, 1);
    invalid(CLUSTER_DOWN);
    invalid(SYSTEM_DOWN);
    psci.standby_end(1);
    power_down(psci, 1, PE_DOWN);
    // Cluster 1 has no running PE, but was left up.
    invalid(SYSTEM_DOWN);
    let _ = psci.resume(4);
    assert_eq!(power_down(psci, 4, CLUSTER_DOWN), PowerLevel::Level1);
    assert_eq!(power_down(psci, 0, SYSTEM_DOWN), PowerLevel::Level2);
}

#[test]
fn cpu_off_is_coordinated_by_the_platform() {
    let psci = os_initiated(&[4, 5]);
    turn_off(psci, 4);
    assert_eq!(hw_state(psci, 4, 1), ON);
    turn_off(psci, 5);
    assert_eq!(hw_state(psci, 4, 1), OFF);
    // With the PEs of cluster 1 off, PE 0 is the last of the system.
    assert_eq!(power_down(psci, 0, SYSTEM_DOWN), PowerLevel::Level2);
}

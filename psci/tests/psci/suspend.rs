// SPDX-License-Identifier: MIT OR Apache-2.0

//! CPU_SUSPEND as the platform coordinates it, CPU_DEFAULT_SUSPEND, SYSTEM_SUSPEND, NODE_HW_STATE.

use crate::common::*;
use psci_el3::{Caller, ExecutionState, Features, Outcome, PowerLevel, PowerStates};

const CPU_DEFAULT_SUSPEND: u32 = 0xc400_000c;
const HW_STANDBY: u64 = 2;

const HANDLER: Caller = Caller {
    in_handler: true,
    ..AARCH64
};

#[test]
fn standby_needs_no_entry_point_and_works_in_a_handler() {
    let (psci, _) = machine(Features::default());
    for caller in [AARCH64, HANDLER] {
        for fid in [CPU_SUSPEND, 0x8400_0001] {
            let outcome = psci.call(0, || caller, fid, &[STANDBY, u64::MAX, 0]);
            assert_eq!(outcome, Outcome::Standby);
            assert_eq!(affinity_info(psci, 0), ON);
            psci.standby_end(0);
        }
    }
}

#[test]
fn reserved_bits_and_unknown_states_are_invalid() {
    let (psci, _) = machine(ALL);
    let states = [
        0,
        0x4000_0000,
        0x4000_0001,
        0x0000_0002,
        0x0000_0022,
        0x4000_0020,
        0x4000_0012,
        0x4000_3002,
        0x4001_0002,
        0x1000_0001,
        0x2000_0001,
        0x8000_0001,
        0x9000_0002,
    ];
    for state in states {
        refused(psci, 0, CPU_SUSPEND, [state, ENTRY, 0], INVALID_PARAMETERS);
        refused(psci, 0, STAT_COUNT, [0, state, 0], INVALID_PARAMETERS);
        refused(psci, 0, STAT_RESIDENCY, [0, state, 0], INVALID_PARAMETERS);
    }
}

#[test]
fn power_down_resumes_at_the_entry_point() {
    let (psci, _) = machine(ALL);
    turn_on(psci, 1);
    let big = Caller {
        big_endian: true,
        ..AARCH64
    };
    let outcome = psci.call(1, || big, CPU_SUSPEND, &[PE_DOWN, HIGH_RAM, 0xabcd]);
    assert_eq!(outcome, Outcome::PowerDown(PowerLevel::Pe));
    // A suspended PE is on, and nobody else can start it.
    assert_eq!(affinity_info(psci, 1), ON);
    refused(psci, 0, CPU_ON, [MPIDRS[1], ENTRY, 0], ALREADY_ON);
    assert_eq!(psci.start(1), None);
    let entry = psci.resume(1).unwrap();
    assert_eq!((entry.address, entry.context), (HIGH_RAM, 0xabcd));
    assert_eq!(entry.state, ExecutionState::AArch64);
    assert!(entry.big_endian);
    turn_off(psci, 1);
    assert_eq!(affinity_info(psci, 1), OFF);
}

#[test]
fn power_down_is_refused_without_a_good_entry_point_and_in_a_handler() {
    let (psci, _) = machine(ALL);
    for state in [PE_DOWN, CLUSTER_DOWN, SYSTEM_DOWN] {
        for address in [0, RAM_END, ENTRY + 2] {
            let args = [state, address, 0];
            refused(psci, 0, CPU_SUSPEND, args, INVALID_ADDRESS);
        }
        let args = [state, ENTRY, 0];
        refused_as(psci, 0, HANDLER, CPU_SUSPEND, args, DENIED);
    }
}

#[test]
fn a_domain_goes_down_with_the_last_pe_that_needs_it() {
    let (psci, _) = machine(ALL);
    for pe in 1..=5 {
        turn_on(psci, pe);
    }
    // Cluster 0: PE 3 is off from here on, and counts as one that needs nothing.
    turn_off(psci, 3);
    assert_eq!(power_down(psci, 1, SYSTEM_DOWN), PowerLevel::Pe);
    assert_eq!(power_down(psci, 2, CLUSTER_DOWN), PowerLevel::Pe);
    assert_eq!(hw_state(psci, 0, 1), ON);
    assert_eq!(power_down(psci, 0, SYSTEM_DOWN), PowerLevel::Level1);
    assert_eq!(hw_state(psci, 0, 1), OFF);
    assert_eq!(hw_state(psci, 0, 2), ON);
    // Cluster 1: PE 4 allows no more than its own power-down.
    assert_eq!(power_down(psci, 4, PE_DOWN), PowerLevel::Pe);
    assert_eq!(power_down(psci, 5, SYSTEM_DOWN), PowerLevel::Pe);
    let _ = psci.resume(4);
    assert_eq!(power_down(psci, 4, SYSTEM_DOWN), PowerLevel::Level1);
    // PE 2 keeps the system up until it allows more.
    assert_eq!(hw_state(psci, 0, 2), ON);
    let _ = psci.resume(2);
    assert_eq!(hw_state(psci, 2, 1), ON);
    assert_eq!(power_down(psci, 2, SYSTEM_DOWN), PowerLevel::Level2);
    assert_eq!(hw_state(psci, 0, 2), OFF);
    let _ = psci.resume(5);
    assert_eq!(hw_state(psci, 5, 2), ON);
    assert_eq!(hw_state(psci, 5, 1), ON);
    assert_eq!(hw_state(psci, 0, 1), OFF);
}

#[test]
fn standby_keeps_its_domains_up() {
    let (psci, _) = machine(ALL);
    turn_on(psci, 1);
    standby(psci, 1);
    assert_eq!(hw_state(psci, 1, 0), HW_STANDBY);
    assert_eq!(power_down(psci, 0, CLUSTER_DOWN), PowerLevel::Pe);
    psci.standby_end(1);
    assert_eq!(hw_state(psci, 1, 0), ON);
}

#[test]
fn a_domain_also_goes_down_with_the_last_cpu_off() {
    let (psci, _) = machine(ALL);
    turn_on(psci, 4);
    turn_on(psci, 5);
    assert_eq!(power_down(psci, 4, CLUSTER_DOWN), PowerLevel::Pe);
    turn_off(psci, 5);
    assert_eq!(hw_state(psci, 4, 1), OFF);
    assert_eq!(hw_state(psci, 4, 2), ON);
}

#[test]
fn a_pe_on_its_way_keeps_its_cluster_up() {
    let (psci, _) = machine(ALL);
    value(psci, 0, CPU_ON, [MPIDRS[1], ENTRY, 0]);
    assert_eq!(power_down(psci, 0, CLUSTER_DOWN), PowerLevel::Pe);
}

#[test]
fn node_hw_state_refuses_what_is_not_there() {
    let (psci, _) = machine(ALL);
    assert_eq!(hw_state(psci, 0, 0), ON);
    assert_eq!(hw_state(psci, 1, 0), OFF);
    assert_eq!(hw_state(psci, 4, 1), OFF);
    for level in [3, 0xffff_ffff] {
        refused(psci, 0, NODE_HW_STATE, [0, level, 0], INVALID_PARAMETERS);
    }
    for mpidr in [0x4, 1 << 31, 1 << 40] {
        refused(psci, 0, NODE_HW_STATE, [mpidr, 0, 0], INVALID_PARAMETERS);
    }
}

#[test]
fn default_suspend_is_a_power_down_of_the_pe_alone() {
    let (psci, _) = machine(ALL);
    refused(psci, 0, CPU_DEFAULT_SUSPEND, [0, 0, 0], INVALID_ADDRESS);
    refused_as(psci, 0, HANDLER, CPU_DEFAULT_SUSPEND, [ENTRY, 0, 0], DENIED);
    let outcome = call(psci, 0, CPU_DEFAULT_SUSPEND, [ENTRY, 9, 0]);
    assert_eq!(outcome, Outcome::PowerDown(PowerLevel::Pe));
    assert_eq!(hw_state(psci, 0, 0), OFF);
    let entry = psci.resume(0).unwrap();
    assert_eq!((entry.address, entry.context), (ENTRY, 9));
}

#[test]
fn default_suspend_is_standby_where_nothing_powers_down() {
    let (psci, _) = machine_with(ALL, &PowerStates::STANDBY);
    let outcome = psci.call(0, || HANDLER, CPU_DEFAULT_SUSPEND, &[ENTRY, 0, 0]);
    assert_eq!(outcome, Outcome::Standby);
    assert_eq!(hw_state(psci, 0, 0), HW_STANDBY);
    psci.standby_end(0);
    assert_eq!(hw_state(psci, 0, 0), ON);
}

#[test]
fn system_suspend_needs_all_others_off() {
    let (psci, _) = machine(ALL);
    let refuse = |code| refused(psci, 0, SYSTEM_SUSPEND, [ENTRY, 0, 0], code);
    refused(psci, 0, SYSTEM_SUSPEND, [RAM_END, 0, 0], INVALID_ADDRESS);
    refused_as(psci, 0, HANDLER, SYSTEM_SUSPEND, [ENTRY, 0, 0], DENIED);
    value(psci, 0, CPU_ON, [MPIDRS[9], ENTRY, 0]);
    refuse(DENIED);
    psci.start(9).unwrap();
    refuse(DENIED);
    power_down(psci, 9, SYSTEM_DOWN);
    refuse(DENIED);
    let _ = psci.resume(9);
    turn_off(psci, 9);
    for fid in [SYSTEM_SUSPEND, 0x8400_000e] {
        let outcome = call(psci, 0, fid, [ENTRY, 3, 0]);
        assert_eq!(outcome, Outcome::SystemSuspend);
        assert_eq!(hw_state(psci, 0, 2), OFF);
        assert_eq!(affinity_info(psci, 0), ON);
        let entry = psci.resume(0).unwrap();
        assert_eq!((entry.address, entry.context), (ENTRY, 3));
        assert_eq!(hw_state(psci, 0, 2), ON);
    }
    turn_on(psci, 9);
}

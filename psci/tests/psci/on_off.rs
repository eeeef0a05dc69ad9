// SPDX-License-Identifier: MIT OR Apache-2.0

//! CPU_ON, CPU_OFF, CPU_FREEZE, AFFINITY_INFO.

use crate::common::*;
use psci_el3::{Caller, Entry, ExecutionState, Outcome};

const CPU_ON_32: u32 = 0x8400_0003;
const AFFINITY_INFO_32: u32 = 0x8400_0004;
const CPU_FREEZE: u32 = 0x8400_000b;

#[test]
fn a_pe_is_off_then_pending_then_on_then_off_again() {
    let (psci, board) = machine(ALL);
    assert_eq!(affinity_info(psci, 0), ON);
    for round in 0..2 {
        assert_eq!(affinity_info(psci, 5), OFF);
        assert_eq!(psci.start(5), None);
        assert_eq!(value(psci, 0, CPU_ON, [MPIDRS[5], ENTRY, 7]), 0);
        assert_eq!(*board.turned_on.lock().unwrap(), vec![5; round + 1]);
        assert_eq!(affinity_info(psci, 5), PENDING);
        refused(psci, 0, CPU_ON, [MPIDRS[5], ENTRY, 0], ON_PENDING);
        let entry = Entry {
            address: ENTRY,
            context: 7,
            state: ExecutionState::AArch64,
            big_endian: false,
        };
        assert_eq!(psci.start(5), Some(entry));
        assert_eq!(psci.start(5), None);
        assert_eq!(affinity_info(psci, 5), ON);
        refused(psci, 0, CPU_ON, [MPIDRS[5], ENTRY, 0], ALREADY_ON);
        assert_eq!(call(psci, 5, CPU_OFF, [0; 3]), Outcome::Off);
        // On its way off, but not there yet.
        assert_eq!(affinity_info(psci, 5), ON);
        refused(psci, 0, CPU_ON, [MPIDRS[5], ENTRY, 0], ALREADY_ON);
        psci.off(5);
    }
}

#[test]
fn the_calling_pe_is_already_on() {
    let (psci, _) = machine(ALL);
    refused(psci, 0, CPU_ON, [MPIDRS[0], ENTRY, 0], ALREADY_ON);
}

#[test]
fn context_and_entry_arrive_as_the_caller_asked() {
    let (psci, _) = machine(ALL);
    let on = |caller: Caller, fid, pe: usize, address, context| {
        let args = [MPIDRS[pe], address, context];
        assert_eq!(psci.call(0, || caller, fid, &args), Outcome::Return(0));
        psci.start(pe).unwrap()
    };
    let big = Caller {
        big_endian: true,
        ..AARCH64
    };
    let entry = on(big, CPU_ON, 1, HIGH_RAM, u64::MAX);
    assert!(entry.big_endian);
    assert_eq!((entry.address, entry.context), (HIGH_RAM, u64::MAX));

    // An SMC32 call has only 32 bits of each argument.
    let junk = 0xdead_beef_0000_0000;
    let args = [junk | MPIDRS[2], junk | ENTRY, junk | 0x1234];
    assert_eq!(call(psci, 0, CPU_ON_32, args), Outcome::Return(0));
    let entry = psci.start(2).unwrap();
    assert_eq!((entry.address, entry.context), (ENTRY, 0x1234));
    assert_eq!(entry.state, ExecutionState::AArch64);

    let aarch32 = Caller {
        state: ExecutionState::AArch32,
        ..AARCH64
    };
    let entry = on(aarch32, CPU_ON_32, 3, ENTRY + 3, 1);
    assert_eq!(entry.state, ExecutionState::AArch32);
    assert_eq!(entry.address, ENTRY + 3);
    assert!(!entry.big_endian);
}

#[test]
fn a_target_that_is_no_pe_is_refused() {
    let (psci, board) = machine(ALL);
    let invalid = |fid, mpidr| refused(psci, 0, fid, [mpidr, ENTRY, 0], INVALID_PARAMETERS);
    for mpidr in [0x4, 0x104, 0x200, 0x1_0000, 0x1_0000_0002, 0x2_0000_0000] {
        invalid(CPU_ON, mpidr);
    }
    // Reserved bits, MPIDR_EL1's U, MT and RES1 among them.
    for bit in (24..32).chain(40..64) {
        invalid(CPU_ON, MPIDRS[1] | 1 << bit);
    }
    for bit in 24..32 {
        invalid(CPU_ON_32, MPIDRS[1] | 1 << bit);
    }
    assert!(board.turned_on.lock().unwrap().is_empty());
}

#[test]
fn an_entry_point_outside_nonsecure_ram_is_refused() {
    let (psci, board) = machine(ALL);
    let invalid = |address| refused(psci, 0, CPU_ON, [MPIDRS[1], address, 0], INVALID_ADDRESS);
    for address in [
        0,
        RAM - 4,
        RAM_END,
        HIGH_RAM - 4,
        HIGH_RAM_END,
        u64::MAX - 3,
        u64::MAX,
        1 << 63,
    ] {
        invalid(address);
    }
    // Where no A64 instruction can be.
    for low in 1..4 {
        invalid(ENTRY + low);
    }
    assert!(board.turned_on.lock().unwrap().is_empty());
    for (pe, address) in [
        (1, RAM),
        (2, RAM_END - 4),
        (3, HIGH_RAM),
        (4, HIGH_RAM_END - 4),
    ] {
        assert_eq!(value(psci, 0, CPU_ON, [MPIDRS[pe], address, 0]), 0);
    }
}

#[test]
fn aarch32_entry_points_are_a32_or_t32() {
    let (psci, _) = machine(ALL);
    let aarch32 = Caller {
        state: ExecutionState::AArch32,
        ..AARCH64
    };
    let invalid = |address| {
        let args = [MPIDRS[1], address, 0];
        refused_as(psci, 0, aarch32, CPU_ON_32, args, INVALID_ADDRESS);
    };
    invalid(ENTRY + 2);
    invalid(RAM_END + 1);
    invalid(RAM - 1);
    // The last T32 instruction of the memory.
    let args = [MPIDRS[1], RAM_END - 1, 0];
    let answer = psci.call(0, || aarch32, CPU_ON_32, &args);
    assert_eq!(answer, Outcome::Return(0));
}

#[test]
fn the_target_is_checked_first_then_the_entry_then_the_state() {
    let (psci, _) = machine(ALL);
    refused(psci, 0, CPU_ON, [0x99, 0, 0], INVALID_PARAMETERS);
    refused(psci, 0, CPU_ON, [MPIDRS[0], 0, 0], INVALID_ADDRESS);
}

#[test]
fn affinity_info_of_higher_levels_covers_all_pes_below() {
    let (psci, _) = machine(ALL);
    let info = |mpidr, level| value(psci, 0, AFFINITY_INFO, [mpidr, level, 0]);
    // PE 0 runs. The affinity fields below the level don't matter.
    assert_eq!(info(0x0, 1), ON);
    assert_eq!(info(0xff, 1), ON);
    assert_eq!(info(0x100, 1), OFF);
    assert_eq!(info(0xffff, 2), ON);
    assert_eq!(info(0xff_ffff, 3), ON);
    assert_eq!(info(0x1_00ff_ffff, 3), OFF);
    value(psci, 0, CPU_ON, [MPIDRS[5], ENTRY, 0]);
    assert_eq!(info(0x1ff, 1), PENDING);
    psci.start(5).unwrap();
    assert_eq!(info(0x100, 1), ON);
    value(psci, 0, CPU_ON, [MPIDRS[8], ENTRY, 0]);
    assert_eq!(info(0x1_0000_0000, 1), PENDING);
    assert_eq!(info(0x1_0000_0000, 3), PENDING);
    turn_off(psci, 5);
    assert_eq!(info(0x100, 1), OFF);
}

#[test]
fn affinity_info_refuses_what_is_not_there() {
    let (psci, _) = machine(ALL);
    let invalid = |fid, mpidr, level| refused(psci, 0, fid, [mpidr, level, 0], INVALID_PARAMETERS);
    invalid(AFFINITY_INFO, 0x4, 0);
    invalid(AFFINITY_INFO, 0x200, 1);
    invalid(AFFINITY_INFO, 0x1_0000, 2);
    invalid(AFFINITY_INFO, 0x2_0000_0000, 3);
    invalid(AFFINITY_INFO, 0, 4);
    invalid(AFFINITY_INFO, 0, 0xffff_ffff);
    for level in 0..4 {
        invalid(AFFINITY_INFO, 1 << 31, level);
        invalid(AFFINITY_INFO, 1 << 40, level);
    }
    // The 32-bit call has no Aff3.
    invalid(AFFINITY_INFO_32, 0, 3);
    assert_eq!(value(psci, 0, AFFINITY_INFO_32, [1 << 32, 0, 0]), ON);
}

#[test]
fn a_frozen_pe_is_off_until_it_is_turned_on() {
    let (psci, _) = machine(ALL);
    turn_on(psci, 1);
    assert_eq!(call(psci, 1, CPU_FREEZE, [0; 3]), Outcome::Freeze);
    psci.off(1);
    assert_eq!(affinity_info(psci, 1), OFF);
    turn_on(psci, 1);
    assert_eq!(affinity_info(psci, 1), ON);
}

#[test]
fn cpu_off_works_inside_a_handler() {
    let (psci, _) = machine(ALL);
    turn_on(psci, 1);
    let caller = Caller {
        in_handler: true,
        ..AARCH64
    };
    assert_eq!(psci.call(1, || caller, CPU_OFF, &[0; 3]), Outcome::Off);
    psci.off(1);
    turn_on(psci, 1);
}

#[test]
fn the_last_pe_stays_on() {
    let (psci, _) = machine(ALL);
    for fid in [CPU_OFF, CPU_FREEZE] {
        refused(psci, 0, fid, [0; 3], DENIED);
    }
    turn_on(psci, 1);
    assert_eq!(call(psci, 1, CPU_OFF, [0; 3]), Outcome::Off);
    // The other one is still on its way off, but won't come back.
    refused(psci, 0, CPU_OFF, [0; 3], DENIED);
    psci.off(1);
    refused(psci, 0, CPU_OFF, [0; 3], DENIED);
    turn_on(psci, 1);
    assert_eq!(call(psci, 0, CPU_FREEZE, [0; 3]), Outcome::Freeze);
    psci.off(0);
    refused(psci, 1, CPU_OFF, [0; 3], DENIED);
    // A PE that was turned on but has not started yet will.
    value(psci, 1, CPU_ON, [MPIDRS[0], ENTRY, 0]);
    assert_eq!(call(psci, 1, CPU_OFF, [0; 3]), Outcome::Off);
    psci.off(1);
    psci.start(0).unwrap();
    refused(psci, 0, CPU_OFF, [0; 3], DENIED);
}

// SPDX-License-Identifier: MIT OR Apache-2.0

//! PSCI_FEATURES, function IDs, result widths and the calls for the whole system.

use crate::common::*;
use psci_el3::{
    Caller, ExecutionState, Features, Format, Outcome, PowerLevel, PowerStates, Suspend,
};
use std::sync::atomic::Ordering::Relaxed;

/// Sets one feature.
type Offer = fn(&mut Features);

/// Function IDs that are there on every machine, with what PSCI_FEATURES says of them.
const ALWAYS: [(u32, u64); 13] = [
    (0x8000_0000, 0),
    (0x8400_0000, 0),
    (0x8400_0001, 2),
    (0xc400_0001, 2),
    (0x8400_0002, 0),
    (0x8400_0003, 0),
    (0xc400_0003, 0),
    (0x8400_0004, 0),
    (0xc400_0004, 0),
    (0x8400_0006, 0),
    (0x8400_0008, 0),
    (0x8400_0009, 0),
    (0x8400_000a, 0),
];

/// Function IDs that depend on a feature, with what PSCI_FEATURES says of them.
const OPTIONAL: [(&[u32], u64, Offer); 10] = [
    (&[0x8400_000f], 0, |f| f.os_initiated = true),
    (&[0x8400_000c, 0xc400_000c], 0, |f| {
        f.cpu_default_suspend = true
    }),
    (&[0x8400_000b], 0, |f| f.cpu_freeze = true),
    (&[0x8400_000d, 0xc400_000d], 0, |f| f.node_hw_state = true),
    (&[0x8400_000e, 0xc400_000e], 0, |f| f.system_suspend = true),
    (&[0x8400_0015, 0xc400_0015], 1, |f| f.hibernate_off = true),
    (&[0x8400_0012, 0xc400_0012], 0, |f| f.warm_reset = true),
    (&[0x8400_0012, 0xc400_0012], 0, |f| f.vendor_reset = true),
    (&[0x8400_0013, 0x8400_0014, 0xc400_0014], 0, |f| {
        f.mem_protect = true
    }),
    (
        &[0x8400_0010, 0xc400_0010, 0x8400_0011, 0xc400_0011],
        0,
        |f| f.statistics = true,
    ),
];

/// Every ID in and around the range of PSCI.
fn all_fids() -> impl Iterator<Item = u32> {
    [
        0x8400_0000u32,
        0xc400_0000,
        0x8000_0000,
        0xc000_0000,
        0x8500_0000,
    ]
    .into_iter()
    .flat_map(|base| base..base + 0x20)
}

fn features_answer(psci: &Machine, fid: u32) -> Outcome {
    call(psci, 0, FEATURES, [fid.into(), 0, 0])
}

#[test]
fn features_tells_exactly_the_calls_that_there_are() {
    let mut sets: Vec<(Features, Vec<(u32, u64)>)> = vec![(Features::default(), vec![])];
    for (fids, flags, offer) in OPTIONAL {
        let mut features = Features::default();
        offer(&mut features);
        sets.push((features, fids.iter().map(|&fid| (fid, flags)).collect()));
    }
    for (features, offered) in sets {
        let (psci, _) = machine(features);
        for fid in all_fids() {
            let known = ALWAYS
                .iter()
                .chain(&offered)
                .find(|(known, _)| *known == fid);
            let answer = match known {
                // Bit 0 tells OS-initiated mode.
                Some((0x8400_0001 | 0xc400_0001, flags)) => {
                    Outcome::Return(flags | u64::from(features.os_initiated))
                }
                Some((_, flags)) => Outcome::Return(*flags),
                None => error(NOT_SUPPORTED),
            };
            assert_eq!(features_answer(psci, fid), answer, "{fid:#x} {features:?}");
        }
    }
}

#[test]
fn a_call_that_features_denies_is_not_supported() {
    for (fids, _, _) in OPTIONAL {
        let (psci, board) = machine(Features::default());
        for &fid in fids {
            let answer = call(psci, 0, fid, [0, ENTRY, 0]);
            assert_eq!(answer, error(NOT_SUPPORTED), "{fid:#x}");
        }
        assert_eq!(affinity_info(psci, 1), OFF);
        assert!(board.turned_on.lock().unwrap().is_empty());
    }
}

#[test]
fn features_and_the_calls_agree_for_every_id() {
    for features in [Features::default(), ALL] {
        for fid in all_fids().filter(|fid| fid & 0xbf00_0000 == 0x8400_0000) {
            let (psci, _) = machine(features);
            let denied = features_answer(psci, fid) == error(NOT_SUPPORTED);
            let answer = call(psci, 0, fid, [0, ENTRY, 0]);
            // PSCI_FEATURES of function 0, which is none.
            let about_nothing = fid == FEATURES;
            assert_eq!(
                answer == error(NOT_SUPPORTED),
                denied || about_nothing,
                "{fid:#x}"
            );
        }
    }
}

#[test]
fn smc64_calls_dont_exist_for_aarch32_callers() {
    let (psci, _) = machine(ALL);
    let aarch32 = Caller {
        state: ExecutionState::AArch32,
        ..AARCH64
    };
    refused_as(
        psci,
        0,
        aarch32,
        CPU_ON,
        [MPIDRS[1], ENTRY, 0],
        NOT_SUPPORTED,
    );
    refused_as(psci, 0, aarch32, AFFINITY_INFO, [0, 0, 0], NOT_SUPPORTED);
}

#[test]
fn errors_of_either_convention_are_sign_extended() {
    let (psci, _) = machine(ALL);
    let aarch32 = Caller {
        state: ExecutionState::AArch32,
        ..AARCH64
    };
    for caller in [AARCH64, aarch32] {
        let answer = |fid, args| psci.call(0, || caller, fid, &args);
        let affinity_info = answer(0x8400_0004, [0x99, 0, 0]);
        assert_eq!(affinity_info, Outcome::Return(-2i64 as u64));
        let unknown = answer(0x8400_0005, [0; 3]);
        assert_eq!(unknown, Outcome::Return(u64::MAX));
    }
    // What is no error has 32 bits.
    let (psci, board) = machine(ALL);
    standby(psci, 0);
    board.clock.store(0x1_8000_0001, Relaxed);
    psci.standby_end(0);
    let residency = value(psci, 0, 0x8400_0010, [MPIDRS[0], STANDBY, 0]);
    assert_eq!(residency, 0x8000_0000);
}

#[test]
fn version_is_1_3_and_migration_is_not_needed() {
    let (psci, _) = machine(Features::default());
    assert_eq!(value(psci, 0, 0x8400_0000, [0; 3]), 0x0001_0003);
    assert_eq!(value(psci, 0, 0x8400_0006, [0; 3]), 2);
    for fid in [0x8400_0005, 0xc400_0005, 0x8400_0007, 0xc400_0007] {
        assert_eq!(call(psci, 0, fid, [0; 3]), error(NOT_SUPPORTED));
    }
}

#[test]
fn version_never_asks_for_the_caller() {
    let (psci, _) = machine(ALL);
    let caller = || -> Caller { panic!("not needed") };
    let answer = psci.call(0, caller, 0x8400_0000, &[0; 3]);
    assert_eq!(answer, Outcome::Return(0x0001_0003));
}

#[test]
fn off_and_reset() {
    let (psci, _) = machine(ALL);
    assert_eq!(call(psci, 0, 0x8400_0008, [0; 3]), Outcome::SystemOff);
    assert_eq!(call(psci, 0, 0x8400_0009, [0; 3]), Outcome::SystemReset);
    for fid in [0x8400_0015, 0xc400_0015] {
        assert_eq!(call(psci, 0, fid, [0, 0, 0]), Outcome::SystemOff);
        assert_eq!(call(psci, 0, fid, [1, 0, 0]), Outcome::SystemOff);
        refused(psci, 0, fid, [2, 0, 0], INVALID_PARAMETERS);
        refused(psci, 0, fid, [1, 1, 0], INVALID_PARAMETERS);
    }
    // Only the SMC64 call has the upper half of the cookie.
    refused(psci, 0, 0xc400_0015, [1, 1 << 32, 0], INVALID_PARAMETERS);
    assert_eq!(
        call(psci, 0, 0x8400_0015, [1, 1 << 32, 0]),
        Outcome::SystemOff
    );
    for fid in [0x8400_0012, 0xc400_0012] {
        assert_eq!(call(psci, 0, fid, [0, 5, 0]), Outcome::SystemWarmReset);
        refused(psci, 0, fid, [1, 0, 0], INVALID_PARAMETERS);
        refused(psci, 0, fid, [0x8000_0000, 0, 0], INVALID_PARAMETERS);
    }
}

#[test]
fn a_vendor_has_its_own_resets() {
    let vendor = Outcome::SystemVendorReset {
        reset_type: 0x8000_0007,
        cookie: 42,
    };
    for (features, warm) in [
        (ALL.vendor_reset(), Outcome::SystemWarmReset),
        (Features::NONE.vendor_reset(), error(INVALID_PARAMETERS)),
    ] {
        let (psci, _) = machine(features);
        for fid in [0x8400_0012, 0xc400_0012] {
            let reset = |reset_type, cookie| call(psci, 0, fid, [reset_type, cookie, 0]);
            assert_eq!(reset(0x8000_0007, 42), vendor);
            assert_eq!(reset(0, 42), warm);
            for (reset_type, cookie) in [(7, 42), (0x8000_0007, 41), (0x8000_0006, 42), (1, 0)] {
                assert_eq!(reset(reset_type, cookie), error(INVALID_PARAMETERS));
            }
        }
        // Only the SMC64 call has the upper half of the cookie.
        let args = [0x8000_0007, 1 << 32 | 42, 0];
        assert_eq!(call(psci, 0, 0x8400_0012, args), vendor);
        let refused = call(psci, 0, 0xc400_0012, args);
        assert_eq!(refused, error(INVALID_PARAMETERS));
    }
    // Not offered: the board isn't asked.
    let (psci, _) = machine(ALL);
    refused(
        psci,
        0,
        0xc400_0012,
        [0x8000_0007, 42, 0],
        INVALID_PARAMETERS,
    );
}

#[test]
fn mem_protect_tells_the_setting_before() {
    let (psci, board) = machine(ALL);
    let set = |on| value(psci, 0, 0x8400_0013, [on, 0, 0]);
    assert_eq!(set(0), 0);
    assert_eq!(set(1), 0);
    assert!(board.protect.load(std::sync::atomic::Ordering::Relaxed));
    assert_eq!(set(1), 1);
    assert_eq!(set(0), 1);
    assert_eq!(set(0), 0);
}

#[test]
fn check_range_accepts_nonsecure_ram_alone() {
    let (psci, _) = machine(ALL);
    const CHECK: u32 = 0xc400_0014;
    assert_eq!(value(psci, 0, CHECK, [RAM, RAM_END - RAM, 0]), 0);
    assert_eq!(value(psci, 0, CHECK, [RAM_END - 1, 1, 0]), 0);
    for (base, length) in [
        (RAM - 1, 2),
        (RAM_END - 1, 2),
        (RAM_END, 1),
        (RAM, 0),
        (RAM, u64::MAX),
        (u64::MAX, 1),
        (u64::MAX, u64::MAX),
    ] {
        refused(psci, 0, CHECK, [base, length, 0], DENIED);
    }
    refused(psci, 0, 0x8400_0014, [RAM - 4, 8, 0], DENIED);
    assert_eq!(value(psci, 0, 0x8400_0014, [RAM, 8, 0]), 0);
}

#[test]
fn power_states_that_are_not_offered_are_invalid() {
    static STATES: [(u32, Suspend); 3] = [
        (0x4000_0002, Suspend::PowerDown(PowerLevel::Pe)),
        (0x4000_0022, Suspend::PowerDown(PowerLevel::Level1)),
        (0x4000_0222, Suspend::PowerDown(PowerLevel::Level2)),
    ];
    for levels in 0..=STATES.len() {
        for (index, (state, _)) in STATES.into_iter().enumerate() {
            let state = state.into();
            let offered = PowerStates::new(Format::Extended, PowerLevel::Level2, &STATES[..levels]);
            let (psci, _) = machine_with(ALL, Box::leak(Box::new(offered)));
            let suspend = call(psci, 0, CPU_SUSPEND, [state, ENTRY, 0]);
            let count = call(psci, 0, STAT_COUNT, [0, state, 0]);
            let invalid = error(INVALID_PARAMETERS);
            assert_eq!(suspend == invalid, index >= levels);
            assert_eq!(count == invalid, index >= levels);
        }
    }
}

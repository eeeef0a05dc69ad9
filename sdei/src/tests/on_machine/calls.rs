// SPDX-License-Identifier: MIT OR Apache-2.0

//! Every call's answers, and that a refused call leaves everything as it was.

use super::machine::{
    EL0T, EL1H, FIXED_PPI, FIXED_SPI, Machine, Own, PPI, PRIVATE_CRITICAL, PRIVATE_FIXED,
    SECURE_PPI, SECURE_SPI, SHARED_CRITICAL, SHARED_FIXED, SHARED_NORMAL, SHARED_SLOT, SLOT, SPI,
    mpidr, n, number,
};
use crate::{ClientEl, Error, call};

/// What is no event of the machine's.
const NO_EVENTS: [u64; 9] = [
    1,
    99,
    1004,
    1 << 31,
    0xffff_ffff,
    u64::MAX,
    0x7fff_ffff,
    // The upper half is not part of the number: these are -1 and 2^31 - 1.
    0x1_ffff_ffff,
    0xdead_7fff_ffff,
];

/// Edges of a 64-bit argument.
const EDGES: [u64; 8] = [0, u64::MAX, 1 << 31, 1 << 32, 1 << 63, 0xffff_ffff, 18, 5];

#[test]
fn version() {
    let mut machine = Machine::new(1);
    assert_eq!(machine.ok(0, n::VERSION, &[]), 0x0001_0001_0000_0000);
}

#[test]
fn the_upper_half_of_an_event_number_is_ignored() {
    let mut machine = Machine::new(1);
    let event = 0xdead_beef_0000_0000;
    machine.ok(0, n::REGISTER, &[event, 0x1000]);
    assert_eq!(machine.ok(0, n::STATUS, &[0]), 1);
    assert_eq!(machine.ok(0, n::STATUS, &[event | 100]), 0);
}

#[test]
fn the_sve_hint_is_ignored() {
    let mut machine = Machine::new(1);
    assert_eq!(machine.smc(0, 0xc401_0020, &[]), call::VERSION);
    // And so is the upper half of x0.
    assert_eq!(machine.smc(0, 0xffff_ffff_c400_0020, &[]), call::VERSION);
}

#[test]
fn what_is_no_call_is_not_supported() {
    for function in (0xc400_0033..0xc400_0040).chain([0xc400_0000, 0xc400_0040, 0x4400_0020]) {
        let mut machine = Machine::new(1);
        let before = machine.state();
        assert_eq!(machine.smc(0, function, &[]), Error::NotSupported.code());
        assert_eq!(machine.state().pes, before.pes);
        assert_eq!(machine.state().shared, before.shared);
    }
    for function in 0x8400_0020..0x8400_0040 {
        let mut machine = Machine::new(1);
        assert_eq!(machine.smc(0, function, &[]), Error::NotSupported.code());
    }
}

#[test]
fn the_range_of_function_ids() {
    for function in [
        0xc400_0020,
        0xc400_003f,
        0x8400_0020,
        0x8400_003f,
        0xc401_0020,
    ] {
        assert!(call::is_sdei(function), "{function:#x}");
    }
    for function in [
        0xc400_001f,
        0xc400_0040,
        0x0400_0020,
        0xc500_0020,
        0,
        u32::MAX,
    ] {
        assert!(!call::is_sdei(function), "{function:#x}");
    }
}

#[test]
fn only_the_client_el_may_call() {
    // EL0, EL2, AArch32's Supervisor and User.
    for pstate in [EL0T, 0b1001, 0b1000, 0b1_0011, 0b1_0000] {
        let mut machine = Machine::new(1);
        machine.ready(0, 0);
        for number in 0..=0x12 {
            machine.frames[0].pstate = pstate;
            machine.refused(0, number, &[0, 0x1000], Error::NotSupported);
        }
    }
    let mut machine = Machine::off(1);
    machine.hardware(|hw| hw.client.el = ClientEl::El2);
    machine.on(0);
    for pstate in [EL0T, EL1H, 0b0100] {
        machine.frames[0].pstate = pstate;
        machine.refused(0, n::VERSION, &[], Error::NotSupported);
    }
    machine.frames[0].pstate = 0b1001;
    assert_eq!(machine.ok(0, n::VERSION, &[]), call::VERSION);
}

#[test]
fn a_pe_that_is_off_or_has_no_number_is_not_supported() {
    let mut machine = Machine::off(1);
    for number in 0..=0x12 {
        machine.refused(0, number, &[0, 0x1000], Error::NotSupported);
    }
    let mut own = Own::new();
    machine.dispatcher.pe_on(&mut own, mpidr(1));
    assert_eq!(own, Own::new());
}

#[test]
fn register_refuses_what_can_not_be() {
    let mut machine = Machine::new(2);
    for event in NO_EVENTS {
        machine.refused(0, n::REGISTER, &[event, 0x1000], Error::InvalidParameters);
    }
    for entry in [0, 1, 2, 3, 0x1001, 0x1002, u64::MAX] {
        machine.refused(0, n::REGISTER, &[0, entry], Error::InvalidParameters);
    }
    for flags in [4, 8, 1 << 31, 1 << 32, 1 << 63, u64::MAX] {
        machine.refused(
            0,
            n::REGISTER,
            &[0, 0x1000, 0, flags],
            Error::InvalidParameters,
        );
    }
    let shared = number(SHARED_NORMAL);
    for affinity in [2, 0x100, 0xff_0000_0000, 0xff_ffff, u64::MAX] {
        machine.refused(
            0,
            n::REGISTER,
            &[shared, 0x1000, 0, 1, affinity],
            Error::InvalidParameters,
        );
    }
    // A slot that nothing is bound to.
    machine.refused(0, n::REGISTER, &[number(SLOT), 0x1000], Error::Denied);
    machine.refused(
        0,
        n::REGISTER,
        &[number(SHARED_SLOT), 0x1000],
        Error::Denied,
    );
}

#[test]
fn register_takes_any_aligned_address() {
    for entry in [4, 0xffff_ffff_ffff_fffc, 1 << 63, 0x8000_0000] {
        let mut machine = Machine::new(1);
        assert_eq!(machine.ok(0, n::REGISTER, &[0, entry]), 0);
    }
}

#[test]
fn routing_and_affinity_of_a_private_event_are_ignored() {
    let mut machine = Machine::new(1);
    let args = [number(PRIVATE_CRITICAL), 0x1000, 0, 1, u64::MAX];
    assert_eq!(machine.ok(0, n::REGISTER, &args), 0);
}

/// Brings an event into each of the six states and tries every call on it.
#[test]
fn every_call_in_every_state() {
    let calls = [n::REGISTER, n::ENABLE, n::DISABLE, n::UNREGISTER, n::STATUS];
    // State's status, and whether each call is denied in it.
    let table = [
        (0b000, [false, true, true, true, false]),
        (0b001, [true, false, false, false, false]),
        (0b011, [true, false, false, false, false]),
        (0b101, [true, false, false, false, false]),
        (0b111, [true, false, false, false, false]),
        (0b100, [true, true, true, false, false]),
    ];
    for event in [0, PRIVATE_CRITICAL, SHARED_NORMAL, SHARED_CRITICAL] {
        for (status, denied) in table {
            for (call, denied) in calls.into_iter().zip(denied) {
                let mut machine = in_state(event, status);
                let args = [number(event), 0x1000];
                if denied {
                    machine.refused(0, call, &args, Error::Denied);
                } else if call == n::UNREGISTER && status & 4 != 0 {
                    assert_eq!(machine.call(0, call, &args), Error::Pending.code());
                    assert_eq!(machine.status(0, event), 0b100);
                } else if call != n::STATUS {
                    assert_eq!(machine.ok(0, call, &args), 0);
                    let expected = match call {
                        n::REGISTER => status | 1,
                        n::ENABLE => status | 2,
                        n::DISABLE => status & !2,
                        _ => 0,
                    };
                    assert_eq!(machine.status(0, event), expected);
                }
            }
        }
    }
}

/// A machine with one PE, unmasked, where the event's handler is in the state of this status.
fn in_state(event: i32, status: u64) -> Machine {
    let mut machine = Machine::new(1);
    let args = [number(event)];
    if status == 0 {
        machine.ok(0, n::UNMASK, &[]);
    } else {
        machine.ready(0, event);
    }
    if status & 4 != 0 {
        if event == 0 {
            machine.signal(0, 0);
        } else {
            machine.raise(0, event).unwrap();
        }
        assert_eq!(machine.entered(0), event);
    }
    if status & 3 == 1 {
        machine.ok(0, n::DISABLE, &args);
    } else if status == 4 {
        machine.call(0, n::UNREGISTER, &args);
    }
    assert_eq!(machine.status(0, event), status);
    machine
}

#[test]
fn no_event_is_invalid_for_every_call_that_names_one() {
    let calls = [
        n::ENABLE,
        n::DISABLE,
        n::UNREGISTER,
        n::STATUS,
        n::GET_INFO,
        n::ROUTING_SET,
        n::RELEASE,
    ];
    let mut machine = Machine::new(1);
    for call in calls {
        for event in NO_EVENTS {
            machine.refused(0, call, &[event], Error::InvalidParameters);
        }
    }
}

#[test]
fn context_complete_and_resume_need_a_handler() {
    let mut machine = Machine::new(1);
    machine.refused(0, n::CONTEXT, &[0], Error::Denied);
    for status in EDGES {
        machine.refused(0, n::COMPLETE, &[status], Error::Denied);
        machine.refused(0, n::RESUME, &[status], Error::Denied);
    }
    machine.ready(0, 0);
    machine.signal(0, 0);
    for index in [18, 19, 1 << 31, 1 << 32, 1 << 63, u64::MAX] {
        machine.refused(0, n::CONTEXT, &[index], Error::InvalidParameters);
    }
    for address in [0, 1, 2, 3, 0x1001, u64::MAX] {
        machine.refused(0, n::RESUME, &[address], Error::InvalidParameters);
    }
    // Any status completes.
    machine.call(0, n::COMPLETE, &[u64::MAX]);
    assert_eq!(machine.status(0, 0), 0b011);
}

#[test]
fn get_info() {
    let mut machine = Machine::new(2);
    // Type, not signalable, priority.
    let table = [
        (0, [0, 0, 0]),
        (PRIVATE_CRITICAL, [0, 1, 1]),
        (PRIVATE_FIXED, [0, 1, 0]),
        (SLOT, [0, 1, 0]),
        (SHARED_NORMAL, [1, 1, 0]),
        (SHARED_CRITICAL, [1, 1, 1]),
        (SHARED_SLOT, [1, 1, 0]),
    ];
    for (event, values) in table {
        let event_number = number(event);
        for (item, value) in values.into_iter().enumerate() {
            let args = [event_number, item as u64];
            assert_eq!(machine.ok(0, n::GET_INFO, &args), value, "{event} {item}");
        }
        for item in [5, 1 << 31, 1 << 32, 1 << 63, u64::MAX] {
            machine.refused(
                0,
                n::GET_INFO,
                &[event_number, item],
                Error::InvalidParameters,
            );
        }
        let error = if values[0] == 0 {
            Error::InvalidParameters
        } else {
            Error::Denied
        };
        for item in [3, 4] {
            machine.refused(0, n::GET_INFO, &[event_number, item], error);
        }
    }
    let event = number(SHARED_NORMAL);
    machine.register_with(0, SHARED_NORMAL, 1, mpidr(1));
    assert_eq!(machine.ok(0, n::GET_INFO, &[event, 3]), 1);
    assert_eq!(machine.ok(0, n::GET_INFO, &[event, 4]), 1);
    machine.ok(0, n::ROUTING_SET, &[event, 0, 0]);
    assert_eq!(machine.ok(0, n::GET_INFO, &[event, 3]), 0);
    machine.refused(0, n::GET_INFO, &[event, 4], Error::InvalidParameters);
}

#[test]
fn routing_set_refuses_what_can_not_be() {
    let mut machine = Machine::new(2);
    let event = number(SHARED_NORMAL);
    machine.refused(0, n::ROUTING_SET, &[0, 0, 0], Error::InvalidParameters);
    machine.refused(0, n::ROUTING_SET, &[event, 0, 0], Error::Denied);
    machine.register(0, SHARED_NORMAL);
    for mode in [2, 1 << 31, 1 << 32, 1 << 63, u64::MAX] {
        machine.refused(
            0,
            n::ROUTING_SET,
            &[event, mode, 0],
            Error::InvalidParameters,
        );
    }
    for affinity in [2, 0x100, u64::MAX] {
        machine.refused(
            0,
            n::ROUTING_SET,
            &[event, 1, affinity],
            Error::InvalidParameters,
        );
    }
    machine.ok(0, n::ROUTING_SET, &[event, 1, mpidr(1)]);
    machine.ok(0, n::ENABLE, &[event]);
    machine.refused(0, n::ROUTING_SET, &[event, 0, 0], Error::Denied);
    machine.ok(0, n::DISABLE, &[event]);
    machine.ok(0, n::ROUTING_SET, &[event, 0, u64::MAX]);
}

#[test]
fn signal_refuses_what_can_not_be() {
    let mut machine = Machine::new(2);
    machine.ready(0, 0);
    for event in NO_EVENTS.into_iter().chain([number(PRIVATE_CRITICAL), 300]) {
        machine.refused(0, n::SIGNAL, &[event, mpidr(0)], Error::InvalidParameters);
    }
    // No such PE, just beyond the last and far beyond it.
    for affinity in [2, 0x100, 0x1_0000, 1 << 32, u64::MAX] {
        machine.refused(0, n::SIGNAL, &[0, affinity], Error::InvalidParameters);
    }
    // Not registered there.
    machine.refused(0, n::SIGNAL, &[0, mpidr(1)], Error::InvalidParameters);
    machine.ready(1, 0);
    machine.cpu_off(1);
    machine.refused(0, n::SIGNAL, &[0, mpidr(1)], Error::InvalidParameters);
}

#[test]
fn bind_refuses_what_can_not_be() {
    let mut machine = Machine::new(1);
    // SGIs, special INTIDs, LPIs, what the machine has not, and what events have for good.
    let absent = [
        0, 8, 15, 1019, 1020, 1023, 1056, 1120, 4096, 5120, 8192, 16, 32,
    ];
    let edges = [
        1 << 31,
        1 << 32,
        (1 << 32) | u64::from(PPI),
        1 << 63,
        u64::MAX,
    ];
    let fixed = [u64::from(FIXED_PPI), u64::from(FIXED_SPI)];
    for intid in absent.into_iter().chain(edges).chain(fixed) {
        machine.refused(0, n::BIND, &[intid], Error::InvalidParameters);
    }
    for intid in [SECURE_PPI, SECURE_SPI] {
        machine.refused(0, n::BIND, &[intid.into()], Error::Denied);
    }
    for (first, event) in [(PPI, SLOT), (SPI, SHARED_SLOT)] {
        let intids = if first == PPI {
            [27, 28, 30, 31, 25]
        } else {
            [50, 51, 52, 53, 54]
        };
        for (i, &intid) in intids[..4].iter().enumerate() {
            assert_eq!(machine.ok(0, n::BIND, &[intid]), number(event) + i as u64);
        }
        machine.refused(0, n::BIND, &[intids[4]], Error::OutOfResource);
        for (i, &intid) in intids[..4].iter().enumerate() {
            assert_eq!(machine.ok(0, n::BIND, &[intid]), number(event) + i as u64);
        }
    }
}

#[test]
fn release_refuses_what_is_not_bound() {
    let mut machine = Machine::new(1);
    for event in [
        0,
        PRIVATE_CRITICAL,
        PRIVATE_FIXED,
        SHARED_FIXED,
        SLOT,
        SHARED_SLOT,
    ] {
        machine.refused(0, n::RELEASE, &[number(event)], Error::InvalidParameters);
    }
}

#[test]
fn features() {
    let mut machine = Machine::new(1);
    assert_eq!(machine.ok(0, n::FEATURES, &[0]), 4 << 16 | 4);
    assert_eq!(machine.ok(0, n::FEATURES, &[1]), 1);
    for feature in [2, 1 << 31, 1 << 32, 1 << 63, u64::MAX] {
        machine.refused(0, n::FEATURES, &[feature], Error::InvalidParameters);
    }
}

#[test]
fn resets_are_denied_while_a_handler_of_theirs_runs() {
    let mut machine = Machine::new(2);
    machine.ready(0, PRIVATE_CRITICAL);
    machine.raise(0, PRIVATE_CRITICAL).unwrap();
    machine.refused(0, n::PRIVATE_RESET, &[], Error::Denied);
    machine.ok(0, n::SHARED_RESET, &[]);
    machine.ok(1, n::PRIVATE_RESET, &[]);
    machine.call(0, n::COMPLETE, &[0]);
    machine.ok(0, n::PRIVATE_RESET, &[]);
    assert_eq!(machine.status(0, PRIVATE_CRITICAL), 0);

    machine.ready(0, SHARED_NORMAL);
    machine.raise(0, SHARED_NORMAL).unwrap();
    machine.refused(0, n::SHARED_RESET, &[], Error::Denied);
    machine.refused(1, n::SHARED_RESET, &[], Error::Denied);
    machine.ok(0, n::PRIVATE_RESET, &[]);
    // Unregistered while running is still running.
    machine.call(1, n::UNREGISTER, &[number(SHARED_NORMAL)]);
    machine.refused(1, n::SHARED_RESET, &[], Error::Denied);
    machine.call(0, n::COMPLETE, &[0]);
    machine.ok(1, n::SHARED_RESET, &[]);
}

#[test]
fn resets_unregister_everything_of_theirs() {
    let mut machine = Machine::new(2);
    for event in [0, PRIVATE_CRITICAL, PRIVATE_FIXED] {
        machine.ready(0, event);
        machine.ready(1, event);
    }
    machine.ready(0, SHARED_NORMAL);
    machine.ok(0, n::PRIVATE_RESET, &[]);
    for event in [0, PRIVATE_CRITICAL, PRIVATE_FIXED] {
        assert_eq!(machine.status(0, event), 0);
        assert_eq!(machine.status(1, event), 0b011);
    }
    assert_eq!(machine.status(1, SHARED_NORMAL), 0b011);
    machine.ok(1, n::SHARED_RESET, &[]);
    assert_eq!(machine.status(0, SHARED_NORMAL), 0);
}

#[test]
fn raise_takes_only_registered_explicit_events() {
    let mut machine = Machine::new(1);
    machine.ready(0, 0);
    for event in [0, PRIVATE_FIXED, SLOT, SHARED_SLOT, -1, 5] {
        assert_eq!(machine.raise(0, event), Err(Error::InvalidParameters));
    }
    for event in [PRIVATE_CRITICAL, SHARED_NORMAL] {
        assert_eq!(machine.raise(0, event), Err(Error::Denied));
    }
}

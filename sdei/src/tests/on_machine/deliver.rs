// SPDX-License-Identifier: MIT OR Apache-2.0

//! Priorities, and events that EL3 raises itself.

use super::machine::{
    Machine, PRIVATE_CRITICAL, PRIVATE_NORMAL, SHARED_CRITICAL, SHARED_NORMAL, mpidr, n, number,
};
use crate::Error;

fn ready_all(machine: &mut Machine) {
    for event in [
        0,
        PRIVATE_NORMAL,
        PRIVATE_CRITICAL,
        SHARED_NORMAL,
        SHARED_CRITICAL,
    ] {
        machine.ready(0, event);
    }
}

#[test]
fn critical_preempts_normal_and_each_resumes_what_it_interrupted() {
    for (normal, critical) in [
        (PRIVATE_NORMAL, PRIVATE_CRITICAL),
        (PRIVATE_NORMAL, SHARED_CRITICAL),
        (SHARED_NORMAL, PRIVATE_CRITICAL),
        (SHARED_NORMAL, SHARED_CRITICAL),
    ] {
        let mut machine = Machine::new(1);
        ready_all(&mut machine);
        let client = machine.frames[0].clone();
        machine.raise(0, normal).unwrap();
        assert_eq!(machine.entered(0), normal);
        machine.frames[0].x[7] = 0x1111;
        machine.frames[0].pc += 8;
        let in_normal = machine.frames[0].clone();
        machine.raise(0, critical).unwrap();
        assert_eq!(machine.entered(0), critical);
        assert_eq!(machine.frames[0].x[2], in_normal.pc);
        // The innermost context is the one that calls are about.
        assert_eq!(machine.ok(0, n::CONTEXT, &[7]), 0x1111);
        assert_eq!(machine.status(0, normal), 0b111);
        assert_eq!(machine.status(0, critical), 0b111);
        machine.call(0, n::COMPLETE, &[0]);
        assert_eq!(machine.frames[0], in_normal);
        assert_eq!(machine.ok(0, n::CONTEXT, &[7]), client.x[7]);
        machine.call(0, n::COMPLETE, &[0]);
        assert_eq!(machine.frames[0], client);
    }
}

#[test]
fn nothing_preempts_critical() {
    for event in [0, PRIVATE_NORMAL, SHARED_NORMAL, SHARED_CRITICAL] {
        let mut machine = Machine::new(1);
        ready_all(&mut machine);
        machine.raise(0, PRIVATE_CRITICAL).unwrap();
        if event == 0 {
            machine.signal(0, 0);
        } else {
            machine.raise(0, event).unwrap();
        }
        machine.settle();
        assert_eq!(machine.entered(0), PRIVATE_CRITICAL);
        machine.call(0, n::COMPLETE, &[0]);
        assert_eq!(machine.entered(0), event);
    }
}

#[test]
fn critical_comes_first_when_both_are_pending() {
    let mut machine = Machine::new(1);
    ready_all(&mut machine);
    machine.ok(0, n::MASK, &[]);
    machine.signal(0, 0);
    machine.raise(0, PRIVATE_NORMAL).unwrap();
    machine.raise(0, SHARED_NORMAL).unwrap();
    machine.raise(0, SHARED_CRITICAL).unwrap();
    machine.raise(0, PRIVATE_CRITICAL).unwrap();
    machine.call(0, n::UNMASK, &[]);
    let mut seen = std::vec::Vec::new();
    for _ in 0..5 {
        seen.push(machine.entered(0));
        machine.call(0, n::COMPLETE, &[0]);
    }
    assert_eq!(
        seen,
        [
            PRIVATE_CRITICAL,
            SHARED_CRITICAL,
            0,
            PRIVATE_NORMAL,
            SHARED_NORMAL
        ]
    );
    assert!(!machine.pes[0].is_in_handler());
}

#[test]
fn a_parked_normal_handler_does_not_stop_a_critical_event() {
    let mut machine = Machine::new(2);
    ready_all(&mut machine);
    machine.signal(0, 0);
    assert_eq!(machine.entered(0), 0);
    machine.signal(1, 0);
    machine.settle();
    machine.raise(0, PRIVATE_CRITICAL).unwrap();
    assert_eq!(machine.entered(0), PRIVATE_CRITICAL);
}

#[test]
fn a_masked_handler_still_completes() {
    let mut machine = Machine::new(1);
    ready_all(&mut machine);
    let client = machine.frames[0].clone();
    machine.raise(0, PRIVATE_NORMAL).unwrap();
    machine.raise(0, PRIVATE_CRITICAL).unwrap();
    assert_eq!(machine.ok(0, n::MASK, &[]), 1);
    machine.raise(0, PRIVATE_CRITICAL).unwrap();
    machine.signal(0, 0);
    machine.call(0, n::RESUME, &[0x8000]);
    machine.call(0, n::RESUME, &[0x9000]);
    assert_eq!(machine.frames[0].pc, 0x9000);
    assert_eq!(
        machine.hardware(|hw| hw.exception[0]),
        Some((client.pc, client.pstate))
    );
    machine.call(0, n::UNMASK, &[]);
    assert_eq!(machine.entered(0), PRIVATE_CRITICAL);
    machine.call(0, n::COMPLETE, &[0]);
    assert_eq!(machine.entered(0), 0);
}

#[test]
fn an_explicit_event_counts_once_and_waits() {
    for event in [PRIVATE_NORMAL, SHARED_NORMAL] {
        let mut machine = Machine::new(1);
        machine.ready(0, event);
        machine.ok(0, n::DISABLE, &[number(event)]);
        machine.raise(0, event).unwrap();
        machine.raise(0, event).unwrap();
        machine.settle();
        assert!(!machine.is_in(0, event));
        machine.call(0, n::ENABLE, &[number(event)]);
        assert_eq!(machine.entered(0), event);
        // While it runs.
        machine.raise(0, event).unwrap();
        machine.call(0, n::COMPLETE, &[0]);
        assert_eq!(machine.entered(0), event);
        machine.call(0, n::COMPLETE, &[0]);
        assert!(!machine.is_in(0, event));
    }
}

#[test]
fn raise_reaches_a_handler_at_once_and_unregister_drops_it() {
    for event in [PRIVATE_CRITICAL, SHARED_CRITICAL] {
        let mut machine = Machine::new(1);
        machine.ready(0, event);
        machine.ok(0, n::MASK, &[]);
        machine.raise(0, event).unwrap();
        machine.ok(0, n::UNREGISTER, &[number(event)]);
        machine.ready(0, event);
        assert!(!machine.is_in(0, event));
        machine.raise(0, event).unwrap();
        assert_eq!(machine.entered(0), event);
        machine.raise(0, event).unwrap();
        assert_eq!(
            machine.call(0, n::UNREGISTER, &[number(event)]),
            Error::Pending.code()
        );
        machine.call(0, n::COMPLETE, &[0]);
        machine.ready(0, event);
        machine.settle();
        assert!(!machine.is_in(0, event));
    }
}

#[test]
fn an_event_that_arrives_in_a_call_is_dispatched_after_it() {
    let mut machine = Machine::new(2);
    machine.ready(1, 0);
    machine.hardware(|hw| hw.sgi[1] = false);
    machine.signal(0, 1);
    // PE 1 is in EL3 for something else: the SGI comes after the call, or the call finds it.
    machine.ok(1, n::VERSION, &[]);
    machine.settle();
    assert_eq!(machine.entered(1), 0);
    machine.signal(0, 1);
    machine.call(1, n::COMPLETE, &[0]);
    assert_eq!(machine.entered(1), 0);
    machine.settle();
    machine.call(1, n::COMPLETE, &[0]);
    assert_eq!(
        machine.call(1, n::SIGNAL, &[0, mpidr(0)]),
        Error::InvalidParameters.code()
    );
}

// SPDX-License-Identifier: MIT OR Apache-2.0

//! Event 0: signals to oneself, to others, to PEs that can't take them yet.

use super::machine::{Machine, PRIVATE_NORMAL, mpidr, n};
use crate::Error;

#[test]
fn a_signal_reaches_another_pe() {
    let mut machine = Machine::new(2);
    machine.ready(1, 0);
    machine.signal(0, 1);
    machine.settle();
    assert_eq!(machine.entered(1), 0);
    assert!(!machine.is_in(0, 0));
    assert_eq!(machine.status(1, 0), 0b111);
    machine.call(1, n::COMPLETE, &[0]);
    assert_eq!(machine.status(1, 0), 0b011);
    machine.settle();
    assert!(!machine.is_in(1, 0));
}

#[test]
fn a_signal_to_oneself_needs_no_sgi() {
    let mut machine = Machine::new(1);
    machine.ready(0, 0);
    machine.signal(0, 0);
    assert_eq!(machine.entered(0), 0);
    assert_eq!(machine.hardware(|hw| hw.sgi.clone()), [false]);
}

#[test]
fn a_masked_pe_takes_it_when_unmasked() {
    let mut machine = Machine::new(2);
    machine.ready(1, 0);
    assert_eq!(machine.ok(1, n::MASK, &[]), 1);
    assert_eq!(machine.ok(1, n::MASK, &[]), 0);
    machine.signal(0, 1);
    machine.settle();
    assert!(!machine.is_in(1, 0));
    assert_eq!(machine.call(1, n::UNMASK, &[]), 0);
    assert_eq!(machine.entered(1), 0);
}

#[test]
fn a_disabled_event_is_taken_when_enabled() {
    let mut machine = Machine::new(2);
    machine.ready(1, 0);
    machine.ok(1, n::DISABLE, &[0]);
    machine.signal(0, 1);
    machine.settle();
    assert!(!machine.is_in(1, 0));
    assert_eq!(machine.call(1, n::ENABLE, &[0]), 0);
    assert_eq!(machine.entered(1), 0);
}

#[test]
fn a_running_handler_is_entered_again_when_it_completes() {
    let mut machine = Machine::new(2);
    machine.ready(1, 0);
    let before = machine.frames[1].clone();
    machine.signal(0, 1);
    machine.settle();
    machine.signal(0, 1);
    machine.settle();
    machine.frames[1].pc = 0x7777;
    machine.call(1, n::COMPLETE, &[0]);
    // On the way out of COMPLETE, with what the first one interrupted.
    assert_eq!(machine.entered(1), 0);
    machine.call(1, n::COMPLETE, &[0]);
    assert_eq!(machine.frames[1], before);
}

#[test]
fn two_signals_before_delivery_count_once() {
    let mut machine = Machine::new(3);
    machine.ready(1, 0);
    machine.ok(1, n::MASK, &[]);
    machine.signal(0, 1);
    machine.signal(2, 1);
    machine.signal(1, 1);
    machine.call(1, n::UNMASK, &[]);
    assert_eq!(machine.entered(1), 0);
    machine.call(1, n::COMPLETE, &[0]);
    machine.settle();
    assert!(!machine.is_in(1, 0));
}

#[test]
fn unregister_and_reset_drop_what_is_pending() {
    for drop in [n::UNREGISTER, n::PRIVATE_RESET] {
        let mut machine = Machine::new(2);
        machine.ready(1, 0);
        machine.ok(1, n::MASK, &[]);
        machine.signal(0, 1);
        machine.settle();
        machine.ok(1, drop, &[0]);
        machine.ready(1, 0);
        machine.settle();
        assert!(!machine.is_in(1, 0));
    }
}

#[test]
fn a_signal_still_on_its_way_does_not_outlive_an_unregister() {
    let mut machine = Machine::new(2);
    machine.ready(1, 0);
    machine.signal(0, 1);
    machine.ok(1, n::UNREGISTER, &[0]);
    machine.ready(1, 0);
    machine.settle();
    assert!(!machine.is_in(1, 0));
}

#[test]
fn unregister_in_the_handler_takes_effect_when_it_completes() {
    let mut machine = Machine::new(2);
    machine.ready(1, 0);
    machine.signal(0, 1);
    machine.settle();
    assert_eq!(machine.call(1, n::UNREGISTER, &[0]), Error::Pending.code());
    assert_eq!(machine.status(1, 0), 0b100);
    machine.refused(0, n::SIGNAL, &[0, mpidr(1)], Error::InvalidParameters);
    // Again: it is still pending, until the handler completes.
    assert_eq!(machine.call(1, n::UNREGISTER, &[0]), Error::Pending.code());
    assert_eq!(machine.status(1, 0), 0b100);
    machine.refused(1, n::ENABLE, &[0], Error::Denied);
    machine.refused(1, n::REGISTER, &[0, 0x1000], Error::Denied);
    machine.call(1, n::COMPLETE, &[0]);
    assert_eq!(machine.status(1, 0), 0);
    machine.refused(1, n::UNREGISTER, &[0], Error::Denied);
    machine.register(1, 0);
}

#[test]
fn only_the_affinity_fields_of_the_target_count() {
    let mut machine = Machine::new(4);
    machine.ready(3, 0);
    // Bit 31 (RES1), U, MT and the upper bits.
    let raw = 0xffff_ff00_0000_0000 | 1 << 31 | 1 << 30 | 1 << 24 | 0x101;
    assert_eq!(machine.call(0, n::SIGNAL, &[0, raw]), 0);
    machine.settle();
    assert_eq!(machine.entered(3), 0);
}

#[test]
fn every_pe_to_one_and_one_to_every_pe() {
    let mut machine = Machine::new(8);
    for pe in 0..8 {
        machine.ready(pe, 0);
    }
    for from in 1..8 {
        machine.signal(from, 0);
    }
    machine.settle();
    assert_eq!(machine.entered(0), 0);
    // From inside the handler, to all, itself included.
    for to in 0..8 {
        machine.signal(0, to);
    }
    machine.settle();
    for pe in 0..8 {
        assert_eq!(machine.entered(pe), 0);
        machine.call(pe, n::COMPLETE, &[0]);
    }
    // The signal to itself.
    assert_eq!(machine.entered(0), 0);
    machine.call(0, n::COMPLETE, &[0]);
    machine.settle();
    for pe in 0..8 {
        assert!(!machine.is_in(pe, 0), "PE {pe}");
    }
}

#[test]
fn a_normal_handler_holds_event_0_off() {
    let mut machine = Machine::new(2);
    machine.ready(1, 0);
    machine.ready(1, PRIVATE_NORMAL);
    machine.raise(1, PRIVATE_NORMAL).unwrap();
    assert_eq!(machine.entered(1), PRIVATE_NORMAL);
    machine.signal(0, 1);
    machine.settle();
    assert_eq!(machine.entered(1), PRIVATE_NORMAL);
    machine.call(1, n::COMPLETE, &[0]);
    assert_eq!(machine.entered(1), 0);
}

#[test]
fn an_sgi_without_a_signal_is_harmless() {
    let mut machine = Machine::new(1);
    machine.ready(0, 0);
    let before = machine.state();
    machine.hardware(|hw| hw.sgi[0] = true);
    machine.settle();
    assert!(machine.state() == before);
}

// SPDX-License-Identifier: MIT OR Apache-2.0

//! Where PSCI meets the dispatcher.

use super::machine::{
    Machine, PPI, PRIVATE_CRITICAL, PRIVATE_NORMAL, SHARED_NORMAL, SHARED_SLOT, SLOT, SPI, mpidr,
    n, number,
};
use crate::{Error, Pe};

#[test]
fn a_pe_comes_on_masked_with_nothing_registered() {
    let mut machine = Machine::new(2);
    machine.ready(1, 0);
    machine.ready(1, PRIVATE_CRITICAL);
    machine.ok(1, n::MASK, &[]);
    machine.signal(0, 1);
    machine.raise(1, PRIVATE_CRITICAL).unwrap();
    machine.settle();
    machine.cpu_off(1);
    machine.on(1);
    assert_eq!(machine.status(1, 0), 0);
    assert_eq!(machine.ok(1, n::MASK, &[]), 0);
    machine.ready(1, 0);
    machine.ready(1, PRIVATE_CRITICAL);
    machine.settle();
    assert!(!machine.pes[1].is_in_handler());
}

#[test]
fn a_pe_that_went_off_keeps_nothing() {
    let mut machine = Machine::new(2);
    machine.ok(0, n::BIND, &[PPI.into()]);
    for event in [0, PRIVATE_CRITICAL, PRIVATE_NORMAL, SLOT] {
        machine.ready(1, event);
    }
    machine.assert_irq(1, PPI);
    machine.settle();
    assert_eq!(machine.entered(1), SLOT);
    machine.raise(1, PRIVATE_CRITICAL).unwrap();
    machine.cpu_off(1);
    let irq = machine.irq(1, PPI);
    assert!(!irq.group0 && !irq.active);
    machine.pes[1].normal.x.fill(0);
    machine.pes[1].critical.x.fill(0);
    assert_eq!(machine.pes[1].events, Pe::new().events);
    assert!(!machine.pes[1].is_in_handler() && machine.pes[1].is_masked());
    machine.ok(0, n::RELEASE, &[number(SLOT)]);
}

#[test]
fn a_signal_that_arrives_while_the_pe_is_off_is_nothing() {
    let mut machine = Machine::new(2);
    machine.ready(1, 0);
    machine.signal(0, 1);
    machine.cpu_off(1);
    machine.on(1);
    machine.ready(1, 0);
    // The SGI is still pending in the redistributor.
    machine.settle();
    assert!(!machine.is_in(1, 0));
}

#[test]
fn registrations_survive_a_power_down() {
    let mut machine = Machine::new(2);
    machine.ready(1, 0);
    machine.suspend(1).unwrap();
    assert_eq!(machine.status(1, 0), 0b011);
    machine.signal(0, 1);
    machine.settle();
    assert!(!machine.is_in(1, 0));
    assert_eq!(machine.call(1, n::UNMASK, &[]), 0);
    assert_eq!(machine.entered(1), 0);
}

#[test]
fn a_power_down_is_denied_in_a_handler() {
    for event in [PRIVATE_CRITICAL, PRIVATE_NORMAL, SHARED_NORMAL] {
        let mut machine = Machine::new(1);
        machine.ready(0, event);
        machine.raise(0, event).unwrap();
        let before = machine.state();
        assert_eq!(machine.suspend(0), Err(Error::Denied));
        assert!(machine.state() == before);
        machine.call(0, n::COMPLETE, &[0]);
        assert_eq!(machine.suspend(0), Ok(()));
    }
}

#[test]
fn a_shared_handler_ends_with_its_pe() {
    let mut machine = Machine::new(2);
    machine.ready(0, SHARED_NORMAL);
    machine.ok(1, n::UNMASK, &[]);
    machine.raise(0, SHARED_NORMAL).unwrap();
    machine.raise(1, SHARED_NORMAL).unwrap();
    machine.settle();
    machine.cpu_off(0);
    // What was pending behind it is delivered to the other PE.
    machine.settle();
    assert_eq!(machine.entered(1), SHARED_NORMAL);
    assert_eq!(
        machine.call(1, n::UNREGISTER, &[number(SHARED_NORMAL)]),
        Error::Pending.code()
    );
    machine.cpu_off(1);
    machine.on(0);
    assert_eq!(machine.status(0, SHARED_NORMAL), 0);
}

#[test]
fn a_pe_may_be_reset_without_going_off() {
    let mut machine = Machine::new(2);
    machine.ready(1, 0);
    machine.ready(1, PRIVATE_CRITICAL);
    machine.raise(1, PRIVATE_CRITICAL).unwrap();
    machine.on(1);
    assert_eq!(machine.status(1, 0), 0);
    assert_eq!(machine.status(1, PRIVATE_CRITICAL), 0);
    assert!(!machine.pes[1].is_in_handler());
    machine.refused(0, n::SIGNAL, &[0, mpidr(1)], Error::InvalidParameters);
}

#[test]
fn signals_to_a_pe_that_failed_are_refused() {
    let mut machine = Machine::new(2);
    machine.ready(1, 0);
    machine.signal(0, 1);
    machine.dispatcher.pe_failed(mpidr(1));
    machine.refused(0, n::SIGNAL, &[0, mpidr(1)], Error::InvalidParameters);
    // MPIDRs that no PE has.
    machine.dispatcher.pe_failed(mpidr(2));
    machine.dispatcher.pe_failed(u64::MAX);
    machine.ready(0, 0);
    machine.signal(0, 0);
    assert_eq!(machine.entered(0), 0);
}

#[test]
fn a_pe_that_failed_is_asked_nothing_and_sent_nothing() {
    let mut machine = Machine::new(4);
    for pe in 1..4 {
        machine.ok(pe, n::UNMASK, &[]);
    }
    machine.register(0, SHARED_NORMAL);
    machine.ok(0, n::ENABLE, &[number(SHARED_NORMAL)]);
    machine.dispatcher.pe_failed(mpidr(1));
    // PE 0 is masked.
    machine.raise(0, SHARED_NORMAL).unwrap();
    assert!(!machine.hardware(|hw| hw.sgi[1]));
    machine.take_interrupt(2);
    assert_eq!(machine.entered(2), SHARED_NORMAL);
    machine.ok(0, n::BIND, &[SPI.into()]);
    machine.register(0, SHARED_SLOT);
    machine.cpu_off(0);
    assert_eq!(machine.irq(0, SPI).route, 2);
}

#[test]
fn what_a_pe_that_failed_had_to_do_others_do() {
    let mut machine = Machine::new(4);
    machine.ok(1, n::BIND, &[SPI.into()]);
    machine.register(1, SHARED_SLOT);
    machine.register(1, SHARED_NORMAL);
    machine.ok(1, n::ENABLE, &[number(SHARED_NORMAL)]);
    machine.ok(3, n::UNMASK, &[]);
    // PE 1 is asked, and fails.
    machine.raise(0, SHARED_NORMAL).unwrap();
    assert!(machine.hardware(|hw| core::mem::take(&mut hw.sgi[1])));
    machine.dispatcher.pe_failed(mpidr(1));
    assert!(!machine.hardware(|hw| hw.sgi.contains(&true)));
    // PE 0 looks, for whatever reason, and is masked: the question goes on.
    machine.signal_sgi(0);
    for pe in [0, 2] {
        machine.take_interrupt(pe);
    }
    machine.take_interrupt(3);
    assert_eq!(machine.entered(3), SHARED_NORMAL);
    // Another PE goes off, and the interrupt is sent to one that is on.
    assert_eq!(machine.irq(0, SPI).route, 1);
    machine.cpu_off(0);
    assert_eq!(machine.irq(0, SPI).route, 2);
}

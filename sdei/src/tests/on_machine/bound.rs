// SPDX-License-Identifier: MIT OR Apache-2.0

//! Events of interrupts, bound and fixed.

use super::machine::{
    FIXED_PPI, FIXED_SPI, Machine, PPI, PRIVATE_FIXED, SHARED_FIXED, SHARED_SLOT, SLOT, SPI, n,
    number,
};
use crate::Error;

/// An interrupt and its event, bound where it has to be.
fn bound(machine: &mut Machine, intid: u32) -> i32 {
    match intid {
        FIXED_PPI => PRIVATE_FIXED,
        FIXED_SPI => SHARED_FIXED,
        _ => i32::try_from(machine.ok(0, n::BIND, &[intid.into()])).unwrap(),
    }
}

const ALL: [u32; 4] = [PPI, SPI, FIXED_PPI, FIXED_SPI];

#[test]
fn an_interrupt_is_delivered_and_active_until_completion() {
    for intid in ALL {
        let mut machine = Machine::new(1);
        let event = bound(&mut machine, intid);
        machine.ready(0, event);
        machine.assert_irq(0, intid);
        machine.settle();
        assert_eq!(machine.entered(0), event);
        assert!(machine.irq(0, intid).active);
        // Again, while the handler runs: it waits in the interrupt controller.
        machine.assert_irq(0, intid);
        machine.settle();
        machine.call(0, n::COMPLETE, &[0]);
        assert!(!machine.is_in(0, event));
        machine.settle();
        assert_eq!(machine.entered(0), event);
        machine.call(0, n::COMPLETE, &[0]);
        machine.settle();
        assert!(!machine.is_in(0, event));
        assert!(!machine.irq(0, intid).active);
    }
}

#[test]
fn an_interrupt_is_el3s_exactly_while_its_event_is_registered() {
    for intid in [PPI, SPI] {
        let mut machine = Machine::new(2);
        let before = machine.irq(0, intid);
        let event = bound(&mut machine, intid);
        assert_eq!(machine.irq(0, intid), before);
        machine.hardware(|hw| {
            let irq = hw.irq(0, intid).unwrap();
            irq.enabled = true;
            irq.pending = true;
        });
        machine.register(0, event);
        let irq = machine.irq(0, intid);
        // Taken over disabled, and the old edge is gone.
        assert!(irq.group0 && !irq.enabled && !irq.pending);
        machine.ok(0, n::ENABLE, &[number(event)]);
        assert!(machine.irq(0, intid).enabled);
        machine.ok(0, n::DISABLE, &[number(event)]);
        assert!(!machine.irq(0, intid).enabled);
        machine.ok(0, n::ENABLE, &[number(event)]);
        machine.refused(0, n::RELEASE, &[number(event)], Error::Denied);
        machine.ok(0, n::UNREGISTER, &[number(event)]);
        let irq = machine.irq(0, intid);
        assert!(!irq.group0 && !irq.enabled);
        machine.ok(0, n::RELEASE, &[number(event)]);
        machine.refused(0, n::RELEASE, &[number(event)], Error::InvalidParameters);
        machine.refused(0, n::REGISTER, &[number(event), 0x1000], Error::Denied);
        // The slot is free for another.
        assert_eq!(bound(&mut machine, intid + 1), event);
    }
}

#[test]
fn a_fixed_interrupt_is_never_given_away() {
    for intid in [FIXED_PPI, FIXED_SPI] {
        let mut machine = Machine::new(1);
        let event = bound(&mut machine, intid);
        let before = machine.irq(0, intid);
        machine.ready(0, event);
        machine.ok(0, n::UNREGISTER, &[number(event)]);
        assert_eq!(machine.irq(0, intid), before);
        machine.refused(0, n::BIND, &[intid.into()], Error::InvalidParameters);
    }
}

#[test]
fn register_is_denied_while_the_interrupt_is_active_or_another_worlds() {
    for intid in ALL {
        let mut machine = Machine::new(1);
        let event = number(bound(&mut machine, intid));
        machine.hardware(|hw| hw.irq(0, intid).unwrap().active = true);
        machine.refused(0, n::REGISTER, &[event, 0x1000], Error::Denied);
        if [PPI, SPI].contains(&intid) {
            machine.refused(0, n::RELEASE, &[event], Error::Denied);
            machine.hardware(|hw| {
                let irq = hw.irq(0, intid).unwrap();
                irq.active = false;
                irq.secure = true;
            });
            machine.refused(0, n::REGISTER, &[event, 0x1000], Error::Denied);
        }
    }
}

#[test]
fn a_masked_pe_keeps_the_interrupt() {
    for intid in ALL {
        let mut machine = Machine::new(1);
        let event = bound(&mut machine, intid);
        machine.ready(0, event);
        machine.ok(0, n::MASK, &[]);
        machine.assert_irq(0, intid);
        machine.settle();
        assert!(!machine.is_in(0, event));
        machine.call(0, n::UNMASK, &[]);
        assert_eq!(machine.entered(0), event);
        machine.call(0, n::COMPLETE, &[0]);
        machine.settle();
        assert!(!machine.is_in(0, event));
    }
}

#[test]
fn a_disabled_event_keeps_the_interrupt() {
    for intid in ALL {
        let mut machine = Machine::new(1);
        let event = bound(&mut machine, intid);
        machine.register(0, event);
        machine.ok(0, n::UNMASK, &[]);
        machine.assert_irq(0, intid);
        machine.settle();
        assert!(!machine.is_in(0, event));
        machine.call(0, n::ENABLE, &[number(event)]);
        machine.settle();
        assert_eq!(machine.entered(0), event);
    }
}

#[test]
fn a_level_sensitive_interrupt_is_pending_as_long_as_its_line_is() {
    for intid in ALL {
        let mut machine = Machine::new(1);
        let event = bound(&mut machine, intid);
        machine.hardware(|hw| hw.irq(0, intid).unwrap().level = true);
        machine.ready(0, event);
        machine.ok(0, n::MASK, &[]);
        let line = |machine: &Machine, up| {
            machine.hardware(|hw| hw.irq(0, intid).unwrap().pending = up);
        };
        line(&machine, true);
        machine.settle();
        line(&machine, false);
        machine.ok(0, n::UNMASK, &[]);
        machine.settle();
        assert!(!machine.is_in(0, event));
        assert!(!machine.irq(0, intid).active);
        // And it can come again.
        line(&machine, true);
        machine.settle();
        assert_eq!(machine.entered(0), event);
        machine.call(0, n::COMPLETE, &[0]);
        machine.settle();
        assert_eq!(machine.entered(0), event);
        line(&machine, false);
        machine.call(0, n::COMPLETE, &[0]);
        machine.settle();
        assert!(!machine.is_in(0, event));
    }
}

#[test]
fn unregister_drops_an_interrupt_that_waits() {
    for intid in ALL {
        let mut machine = Machine::new(1);
        let event = bound(&mut machine, intid);
        machine.ready(0, event);
        machine.ok(0, n::MASK, &[]);
        machine.assert_irq(0, intid);
        machine.settle();
        assert!(machine.irq(0, intid).active);
        machine.ok(0, n::UNREGISTER, &[number(event)]);
        assert!(!machine.irq(0, intid).active);
        machine.ready(0, event);
        machine.settle();
        assert!(!machine.is_in(0, event));
    }
}

#[test]
fn unregister_in_the_handler_gives_the_interrupt_back_at_completion() {
    for intid in [PPI, SPI] {
        let mut machine = Machine::new(1);
        let event = bound(&mut machine, intid);
        machine.ready(0, event);
        machine.assert_irq(0, intid);
        machine.settle();
        assert_eq!(
            machine.call(0, n::UNREGISTER, &[number(event)]),
            Error::Pending.code()
        );
        machine.refused(0, n::RELEASE, &[number(event)], Error::Denied);
        let before = machine.state();
        assert_eq!(
            machine.call(0, n::UNREGISTER, &[number(event)]),
            Error::Pending.code()
        );
        machine.frames[0].x = before.frames[0].x;
        assert!(machine.state() == before);
        assert!(machine.irq(0, intid).group0 && machine.irq(0, intid).active);
        machine.call(0, n::COMPLETE, &[0]);
        let irq = machine.irq(0, intid);
        assert!(!irq.group0 && !irq.active && !irq.enabled);
        machine.ok(0, n::RELEASE, &[number(event)]);
    }
}

#[test]
fn a_private_slot_is_bound_for_every_pe() {
    let mut machine = Machine::new(3);
    assert_eq!(bound(&mut machine, PPI), SLOT);
    for pe in 0..3 {
        assert_eq!(machine.ok(pe, n::BIND, &[PPI.into()]), number(SLOT));
        machine.ready(pe, SLOT);
        // It answers the same while it belongs to EL3.
        assert_eq!(machine.ok(pe, n::BIND, &[PPI.into()]), number(SLOT));
    }
    machine.assert_irq(1, PPI);
    machine.settle();
    assert_eq!(machine.entered(1), SLOT);
    assert!(!machine.is_in(0, SLOT) && !machine.is_in(2, SLOT));
    machine.ok(0, n::UNREGISTER, &[number(SLOT)]);
    machine.refused(0, n::RELEASE, &[number(SLOT)], Error::Denied);
    machine.cpu_off(2);
    machine.call(1, n::COMPLETE, &[0]);
    machine.refused(0, n::RELEASE, &[number(SLOT)], Error::Denied);
    machine.ok(1, n::UNREGISTER, &[number(SLOT)]);
    machine.ok(0, n::RELEASE, &[number(SLOT)]);
}

#[test]
fn an_interrupt_of_no_event_is_the_integrators() {
    let mut machine = Machine::new(1);
    bound(&mut machine, PPI);
    let before = machine.state();
    let mut frame = machine.frames[0].clone();
    for intid in [0, 8, PPI, SPI, FIXED_PPI, 1023] {
        assert!(
            !machine
                .dispatcher
                .interrupt(&mut frame, &mut machine.pes[0], intid)
        );
    }
    assert!(machine.state() == before);
}

#[test]
fn a_shared_slot_is_bound_once() {
    let mut machine = Machine::new(2);
    assert_eq!(bound(&mut machine, SPI), SHARED_SLOT);
    assert_eq!(machine.ok(1, n::BIND, &[SPI.into()]), number(SHARED_SLOT));
    machine.ready(0, SHARED_SLOT);
    assert_eq!(machine.ok(1, n::BIND, &[SPI.into()]), number(SHARED_SLOT));
    machine.refused(1, n::RELEASE, &[number(SHARED_SLOT)], Error::Denied);
}

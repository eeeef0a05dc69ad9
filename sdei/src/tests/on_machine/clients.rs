// SPDX-License-Identifier: MIT OR Apache-2.0

//! What the real clients do, call by call, and what broke other dispatchers.

use super::machine::{
    Machine, PPI, PRIVATE_CRITICAL, PRIVATE_NORMAL, SHARED_NORMAL, SLOT, mpidr, n, number,
};
use crate::{Error, call};

const DENIED: u64 = Error::Denied.code();

/// Linux's driver when it finds the interface.
fn probe(machine: &mut Machine, pes: usize) {
    assert_eq!(machine.ok(0, n::VERSION, &[]) >> 48, 1);
    for pe in 0..pes {
        assert_eq!(machine.ok(pe, n::PRIVATE_RESET, &[]), 0);
    }
    assert_eq!(machine.ok(0, n::SHARED_RESET, &[]), 0);
    for pe in 0..pes {
        assert_eq!(machine.ok(pe, n::UNMASK, &[]), 0);
    }
}

/// Linux's driver when something registers event 0.
fn register_event0(machine: &mut Machine, pes: usize) {
    assert_eq!(machine.ok(0, n::GET_INFO, &[0, 2]), 0);
    assert_eq!(machine.ok(0, n::GET_INFO, &[0, 0]), 0);
    for pe in 0..pes {
        machine.register(pe, 0);
    }
    for pe in 0..pes {
        assert_eq!(machine.ok(pe, n::ENABLE, &[0]), 0);
    }
}

fn linux(pes: usize) -> Machine {
    let mut machine = Machine::new(pes);
    probe(&mut machine, pes);
    register_event0(&mut machine, pes);
    machine
}

/// Linux's hotplug callback on the dying CPU.
fn cpu_down(machine: &mut Machine, pe: usize) {
    assert_eq!(machine.ok(pe, n::UNREGISTER, &[0]), 0);
    assert_eq!(machine.ok(pe, n::MASK, &[]), 1);
    machine.cpu_off(pe);
}

fn cpu_up(machine: &mut Machine, pe: usize) {
    machine.on(pe);
    machine.register(pe, 0);
    assert_eq!(machine.ok(pe, n::ENABLE, &[0]), 0);
    assert_eq!(machine.ok(pe, n::UNMASK, &[]), 0);
}

#[test]
fn linux_takes_cpus_down_and_up() {
    let mut machine = linux(4);
    for round in 0..3 {
        for pe in 1..4 {
            cpu_down(&mut machine, pe);
            machine.refused(0, n::SIGNAL, &[0, mpidr(pe)], Error::InvalidParameters);
        }
        for pe in 1..4 {
            cpu_up(&mut machine, pe);
            machine.signal(0, pe);
            machine.settle();
            assert_eq!(machine.entered(pe), 0, "round {round}");
            machine.call(pe, n::COMPLETE, &[0]);
        }
    }
}

#[test]
fn linux_prints_backtraces() {
    let mut machine = linux(4);
    let before = machine.frames.clone();
    for pe in 1..4 {
        machine.signal(0, pe);
    }
    machine.settle();
    for (pe, before) in before.iter().enumerate().skip(1) {
        for i in 0..5 {
            assert_eq!(machine.ok(pe, n::CONTEXT, &[i]), before.x[i as usize]);
        }
        if pe == 1 {
            machine.call(pe, n::RESUME, &[0xffff_8000_0801_0280]);
            let exception = machine.hardware(|hw| hw.exception[pe]);
            assert_eq!(exception, Some((before.pc, before.pstate)));
            assert_eq!(machine.frames[pe].x, before.x);
        } else {
            machine.call(pe, n::COMPLETE, &[0]);
            assert_eq!(machine.frames[pe], *before);
        }
    }
}

#[test]
fn linux_idles_suspends_and_reboots() {
    let mut machine = linux(2);
    // Idle.
    assert_eq!(machine.ok(1, n::MASK, &[]), 1);
    machine.suspend(1).unwrap();
    assert_eq!(machine.ok(1, n::UNMASK, &[]), 0);
    assert_eq!(machine.status(1, 0), 0b011);
    // Suspend to RAM.
    for pe in 0..2 {
        machine.ok(pe, n::MASK, &[]);
    }
    machine.ok(1, n::UNREGISTER, &[0]);
    assert_eq!(machine.ok(1, n::MASK, &[]), 0);
    machine.cpu_off(1);
    assert_eq!(machine.ok(0, n::MASK, &[]), 0);
    machine.suspend(0).unwrap();
    machine.ok(0, n::UNMASK, &[]);
    cpu_up(&mut machine, 1);
    for pe in 0..2 {
        machine.ok(pe, n::UNMASK, &[]);
        assert_eq!(machine.status(pe, 0), 0b011);
    }
    // Reboot.
    for pe in 0..2 {
        machine.ok(pe, n::UNREGISTER, &[0]);
        machine.ok(pe, n::MASK, &[]);
    }
    for pe in 0..2 {
        machine.ok(pe, n::PRIVATE_RESET, &[]);
    }
    machine.ok(0, n::SHARED_RESET, &[]);
    for pe in 0..2 {
        assert_eq!(machine.ok(pe, n::MASK, &[]), 0);
    }
}

#[test]
fn linux_unregisters_what_never_was_registered() {
    let mut machine = Machine::new(2);
    probe(&mut machine, 2);
    for pe in 0..2 {
        machine.refused(pe, n::UNREGISTER, &[number(PRIVATE_NORMAL)], Error::Denied);
    }
}

/// Kdump: the CPU of the wedged handler ends in each of four ways, and the capture kernel starts
/// on CPU 0.
#[test]
fn cpu_off_in_a_handler() {
    for end in 0..4 {
        let mut machine = linux(4);
        // Healthy CPUs mask and go off with event 0 registered and enabled.
        machine.ok(2, n::MASK, &[]);
        machine.cpu_off(2);
        machine.ok(3, n::MASK, &[]);
        machine.cpu_off(3);
        machine.signal(0, 1);
        machine.settle();
        assert_eq!(machine.entered(1), 0);
        assert_eq!(machine.ok(1, n::MASK, &[]), 1);
        if end == 1 || end == 2 {
            machine.call(1, n::RESUME, &[0x8000]);
        }
        let is_off = end == 1 || end == 3;
        if is_off {
            machine.cpu_off(1);
        }
        machine.ok(0, n::MASK, &[]);

        // The capture kernel.
        probe(&mut machine, 1);
        register_event0(&mut machine, 1);
        machine.signal(0, 0);
        assert_eq!(machine.entered(0), 0);
        machine.call(0, n::COMPLETE, &[0]);
        let back: &[usize] = if is_off { &[1, 2, 3] } else { &[2, 3] };
        for &pe in back {
            machine.on(pe);
            machine.ready(pe, 0);
            machine.signal(0, pe);
            machine.settle();
            assert_eq!(machine.entered(pe), 0);
            machine.call(pe, n::COMPLETE, &[0]);
        }
    }
}

#[test]
fn a_signal_that_arrives_just_after_the_mask() {
    let mut machine = linux(2);
    machine.signal(0, 1);
    machine.ok(1, n::MASK, &[]);
    for _ in 0..3 {
        machine.settle();
        machine.signal(0, 1);
    }
    assert!(!machine.is_in(1, 0));
    machine.call(1, n::UNMASK, &[]);
    assert_eq!(machine.entered(1), 0);
    machine.call(1, n::COMPLETE, &[0]);
    machine.settle();
    assert!(!machine.is_in(1, 0));
}

#[test]
fn event_0_disabled_before_its_signal_arrives() {
    let mut machine = linux(2);
    machine.signal(0, 1);
    machine.ok(1, n::DISABLE, &[0]);
    // `settle` fails where an interrupt comes for ever.
    machine.settle();
    assert!(!machine.is_in(1, 0));
    machine.call(1, n::ENABLE, &[0]);
    assert_eq!(machine.entered(1), 0);
}

#[test]
fn shared_reset_with_a_private_binding_registered_elsewhere() {
    let mut machine = Machine::new(3);
    machine.ok(0, n::BIND, &[PPI.into()]);
    machine.ok(0, n::BIND, &[28]);
    machine.ready(1, SLOT);
    machine.ready(2, SLOT + 1);
    machine.cpu_off(2);
    machine.ok(0, n::SHARED_RESET, &[]);
    // PE 1 is live and keeps it; PE 2 is off and holds nothing.
    assert_eq!(machine.status(1, SLOT), 0b011);
    assert_eq!(machine.ok(0, n::BIND, &[PPI.into()]), number(SLOT));
    machine.assert_irq(1, PPI);
    machine.settle();
    assert_eq!(machine.entered(1), SLOT);
    machine.refused(0, n::RELEASE, &[number(SLOT + 1)], Error::InvalidParameters);
}

#[test]
fn a_ppi_fires_on_a_masked_pe() {
    let mut machine = Machine::new(2);
    machine.ok(0, n::BIND, &[PPI.into()]);
    machine.register_with(1, SLOT, 1, u64::MAX);
    machine.ok(1, n::ENABLE, &[number(SLOT)]);
    machine.assert_irq(1, PPI);
    machine.settle();
    assert!(!machine.is_in(1, SLOT));
    machine.call(1, n::UNMASK, &[]);
    assert_eq!(machine.entered(1), SLOT);
}

#[test]
fn a_context_survives_a_refused_completion() {
    let mut machine = linux(1);
    let before = machine.frames[0].x[5];
    machine.signal(0, 0);
    machine.refused(0, n::RESUME, &[2], Error::InvalidParameters);
    machine.refused(0, n::CONTEXT, &[18], Error::InvalidParameters);
    assert_ne!(machine.ok(0, n::CONTEXT, &[6]), before);
    machine.call(0, n::COMPLETE, &[0]);
    assert_eq!(machine.status(0, 0), 0b011);
}

#[test]
fn resets_in_a_handler_are_denied_not_pending() {
    let mut machine = linux(1);
    machine.signal(0, 0);
    assert_eq!(machine.call(0, n::PRIVATE_RESET, &[]), DENIED);
    machine.call(0, n::COMPLETE, &[0]);
    machine.ready(0, SHARED_NORMAL);
    machine.raise(0, SHARED_NORMAL).unwrap();
    assert_eq!(machine.call(0, n::SHARED_RESET, &[]), DENIED);
}

#[test]
fn masked_after_a_power_down() {
    let mut machine = linux(1);
    machine.suspend(0).unwrap();
    assert_eq!(machine.ok(0, n::MASK, &[]), 0);
}

#[test]
fn a_vendor_watchdog_signals_every_pe_from_a_handler() {
    let mut machine = linux(4);
    machine.ready(2, PRIVATE_CRITICAL);
    machine.raise(2, PRIVATE_CRITICAL).unwrap();
    for pe in 0..4 {
        machine.signal(2, pe);
    }
    machine.settle();
    for pe in [0, 1, 3] {
        assert_eq!(machine.entered(pe), 0);
    }
    machine.call(2, n::COMPLETE, &[0]);
    assert_eq!(machine.entered(2), 0);
}

#[test]
fn openeulers_watchdog_binds_on_every_cpu() {
    let mut machine = Machine::new(4);
    for pe in 0..4 {
        assert_eq!(machine.ok(pe, n::BIND, &[PPI.into()]), number(SLOT));
    }
    for pe in 0..4 {
        machine.register(pe, SLOT);
    }
    for pe in 0..4 {
        machine.ok(pe, n::ENABLE, &[number(SLOT)]);
        machine.ok(pe, n::DISABLE, &[number(SLOT)]);
    }
    machine.cpu_off(3);
    machine.on(3);
    assert_eq!(machine.call(3, n::ENABLE, &[number(SLOT)]), DENIED);
    machine.ready(3, SLOT);
    machine.assert_irq(3, PPI);
    machine.settle();
    assert_eq!(machine.entered(3), SLOT);
}

#[test]
fn agdis_handler_never_completes() {
    let mut machine = linux(2);
    machine.ready(0, SHARED_NORMAL);
    machine.raise(0, SHARED_NORMAL).unwrap();
    // The other PE is served all the same.
    machine.signal(0, 1);
    machine.settle();
    assert_eq!(machine.entered(1), 0);
    machine.call(1, n::COMPLETE, &[0]);
    assert_eq!(machine.ok(1, n::VERSION, &[]), call::VERSION);
    // The crashing CPU leaves its handler before the capture kernel starts.
    machine.ok(0, n::MASK, &[]);
    machine.call(0, n::RESUME, &[0x8000]);
    probe(&mut machine, 1);
}

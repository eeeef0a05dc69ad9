// SPDX-License-Identifier: MIT OR Apache-2.0

//! Shared events: routing, and PEs that can't take them.

use std::{vec, vec::Vec};

use super::machine::{
    FIXED_SPI, Machine, PRIVATE_CRITICAL, PRIVATE_NORMAL, SHARED_FIXED, SHARED_NORMAL, SHARED_SLOT,
    SPI, mpidr, n, number,
};
use crate::Error;

/// A machine with an SPI bound, its event registered by PE 0 and enabled, all PEs unmasked.
fn with_spi(pes: usize, flags: u64, target: usize) -> Machine {
    let mut machine = Machine::new(pes);
    machine.ok(0, n::BIND, &[SPI.into()]);
    machine.register_with(0, SHARED_SLOT, flags, mpidr(target));
    machine.ok(0, n::ENABLE, &[number(SHARED_SLOT)]);
    for pe in 0..pes {
        machine.ok(pe, n::UNMASK, &[]);
    }
    machine
}

/// The PE in the handler of the SPI's event, if there is one.
fn runner(machine: &Machine) -> Option<usize> {
    (0..machine.pes.len()).find(|&pe| machine.is_in(pe, SHARED_SLOT))
}

#[test]
fn one_registration_serves_the_system() {
    let mut machine = with_spi(2, 0, 0);
    machine.refused(
        1,
        n::REGISTER,
        &[number(SHARED_SLOT), 0x1000],
        Error::Denied,
    );
    assert_eq!(machine.status(1, SHARED_SLOT), 0b011);
    machine.assert_irq(0, SPI);
    machine.settle();
    assert_eq!(runner(&machine), Some(0));
    assert_eq!(machine.status(1, SHARED_SLOT), 0b111);
}

#[test]
fn rm_any_goes_to_a_pe_that_can_take_it() {
    let mut machine = with_spi(3, 0, 0);
    machine.ok(0, n::MASK, &[]);
    machine.ok(1, n::MASK, &[]);
    machine.assert_irq(0, SPI);
    machine.settle();
    assert_eq!(runner(&machine), Some(2));
    machine.call(2, n::COMPLETE, &[0]);
    assert!(!machine.irq(0, SPI).active);
    machine.settle();
    assert_eq!(runner(&machine), None);
}

#[test]
fn rm_any_waits_for_the_first_pe_that_can_take_it() {
    for first in 0..3 {
        let mut machine = with_spi(3, 0, 0);
        for pe in 0..3 {
            machine.ok(pe, n::MASK, &[]);
        }
        machine.assert_irq(0, SPI);
        machine.settle();
        assert_eq!(runner(&machine), None);
        machine.call(first, n::UNMASK, &[]);
        assert_eq!(runner(&machine), Some(first));
        for pe in 0..3 {
            machine.call(pe, n::UNMASK, &[]);
        }
        machine.settle();
        assert_eq!(runner(&machine), Some(first));
    }
}

#[test]
fn rm_any_passes_a_pe_whose_handler_is_parked() {
    let mut machine = with_spi(2, 0, 0);
    machine.ready(0, PRIVATE_NORMAL);
    machine.raise(0, PRIVATE_NORMAL).unwrap();
    machine.assert_irq(0, SPI);
    machine.settle();
    assert_eq!(runner(&machine), Some(1));
    assert_eq!(machine.entered(0), PRIVATE_NORMAL);
}

#[test]
fn rm_pe_goes_to_its_target_only() {
    let mut machine = with_spi(3, 1, 2);
    machine.assert_irq(0, SPI);
    machine.settle();
    assert_eq!(runner(&machine), Some(2));

    let mut machine = with_spi(3, 1, 2);
    machine.ok(2, n::MASK, &[]);
    machine.assert_irq(0, SPI);
    machine.settle();
    assert_eq!(runner(&machine), None);
    machine.call(2, n::UNMASK, &[]);
    assert_eq!(runner(&machine), Some(2));
}

#[test]
fn rm_pe_waits_for_a_target_that_is_off() {
    let mut machine = with_spi(2, 1, 1);
    machine.cpu_off(1);
    machine.assert_irq(0, SPI);
    machine.settle();
    assert_eq!(runner(&machine), None);
    assert_eq!(machine.status(0, SHARED_SLOT), 0b011);
    machine.on(1);
    machine.settle();
    assert_eq!(runner(&machine), None);
    machine.call(1, n::UNMASK, &[]);
    machine.settle();
    assert_eq!(runner(&machine), Some(1));
}

#[test]
fn what_waits_goes_to_the_new_target() {
    // Acknowledged by the old target while it was masked.
    let mut machine = with_spi(3, 1, 1);
    machine.ok(1, n::MASK, &[]);
    machine.assert_irq(0, SPI);
    machine.settle();
    let event = number(SHARED_SLOT);
    machine.ok(0, n::DISABLE, &[event]);
    machine.ok(0, n::ROUTING_SET, &[event, 1, mpidr(2)]);
    machine.ok(0, n::ENABLE, &[event]);
    machine.settle();
    assert_eq!(runner(&machine), Some(2));
    assert_eq!(machine.irq(0, SPI).route, 2);
    machine.call(2, n::COMPLETE, &[0]);
    machine.assert_irq(0, SPI);
    machine.settle();
    assert_eq!(runner(&machine), Some(2));
}

#[test]
fn rm_any_moves_away_from_a_pe_that_goes_off() {
    let mut machine = with_spi(3, 0, 0);
    machine.cpu_off(0);
    machine.assert_irq(0, SPI);
    machine.settle();
    assert_eq!(runner(&machine), Some(1));
    machine.cpu_off(1);
    assert_eq!(machine.status(2, SHARED_SLOT), 0b011);
    assert!(!machine.irq(0, SPI).active);
    machine.assert_irq(0, SPI);
    machine.settle();
    assert_eq!(runner(&machine), Some(2));
}

#[test]
fn what_waits_survives_the_pe_that_acknowledged_it() {
    let mut machine = with_spi(2, 0, 0);
    machine.ok(0, n::MASK, &[]);
    machine.ok(1, n::MASK, &[]);
    machine.assert_irq(0, SPI);
    machine.settle();
    machine.cpu_off(0);
    machine.call(1, n::UNMASK, &[]);
    assert_eq!(runner(&machine), Some(1));
}

#[test]
fn one_pe_at_a_time_runs_the_handler() {
    let mut machine = Machine::new(2);
    machine.ready(0, SHARED_NORMAL);
    machine.ok(1, n::UNMASK, &[]);
    machine.raise(0, SHARED_NORMAL).unwrap();
    assert_eq!(machine.entered(0), SHARED_NORMAL);
    // Raised on the other PE while it runs here.
    machine.raise(1, SHARED_NORMAL).unwrap();
    machine.settle();
    assert!(!machine.is_in(1, SHARED_NORMAL));
    machine.call(0, n::COMPLETE, &[0]);
    machine.settle();
    assert_eq!(machine.entered(0), SHARED_NORMAL);

    // Masked when it completes: the other one takes it.
    machine.raise(1, SHARED_NORMAL).unwrap();
    machine.ok(0, n::MASK, &[]);
    machine.call(0, n::COMPLETE, &[0]);
    machine.settle();
    assert_eq!(machine.entered(1), SHARED_NORMAL);
}

#[test]
fn enable_on_one_pe_lets_another_take_it() {
    let mut machine = Machine::new(2);
    machine.register(0, SHARED_NORMAL);
    machine.ok(1, n::UNMASK, &[]);
    machine.raise(0, SHARED_NORMAL).unwrap();
    machine.settle();
    // PE 0 is masked.
    machine.ok(0, n::ENABLE, &[number(SHARED_NORMAL)]);
    machine.settle();
    assert_eq!(machine.entered(1), SHARED_NORMAL);
}

#[test]
fn unregister_while_it_runs_elsewhere() {
    let mut machine = with_spi(2, 1, 1);
    machine.assert_irq(0, SPI);
    machine.settle();
    let event = number(SHARED_SLOT);
    assert_eq!(
        machine.call(0, n::UNREGISTER, &[event]),
        Error::Pending.code()
    );
    machine.refused(0, n::REGISTER, &[event, 0x1000], Error::Denied);
    machine.refused(0, n::RELEASE, &[event], Error::Denied);
    machine.refused(0, n::ROUTING_SET, &[event, 0, 0], Error::Denied);
    assert_eq!(machine.status(0, SHARED_SLOT), 0b100);
    machine.call(1, n::COMPLETE, &[0]);
    assert_eq!(machine.status(0, SHARED_SLOT), 0);
    machine.ok(0, n::RELEASE, &[event]);
}

#[test]
fn routing_is_kept_apart_from_running() {
    let mut machine = with_spi(2, 0, 0);
    machine.assert_irq(0, SPI);
    machine.settle();
    let event = number(SHARED_SLOT);
    machine.ok(1, n::DISABLE, &[event]);
    machine.refused(1, n::ROUTING_SET, &[event, 1, mpidr(1)], Error::Denied);
    machine.call(0, n::COMPLETE, &[0]);
    machine.ok(1, n::ROUTING_SET, &[event, 1, mpidr(1)]);
}

#[test]
fn shared_reset_drops_what_waits() {
    let mut machine = with_spi(1, 0, 0);
    machine.ready(0, SHARED_FIXED);
    machine.ok(0, n::MASK, &[]);
    machine.assert_irq(0, SPI);
    machine.settle();
    machine.ok(0, n::SHARED_RESET, &[]);
    assert!(!machine.irq(0, SPI).active && !machine.irq(0, SPI).group0);
    machine.refused(
        0,
        n::REGISTER,
        &[number(SHARED_SLOT), 0x1000],
        Error::Denied,
    );
    machine.ok(0, n::BIND, &[SPI.into()]);
    machine.ready(0, SHARED_SLOT);
    machine.settle();
    assert_eq!(runner(&machine), None);
}

/// The PEs to which the SGI of `notify` is on its way.
fn asked(machine: &Machine) -> Vec<usize> {
    machine.hardware(|hardware| {
        (0..hardware.sgi.len())
            .filter(|&pe| hardware.sgi[pe])
            .collect()
    })
}

/// A machine whose PEs are all on and unmasked, with an explicit shared event of RM_ANY.
fn with_explicit(pes: usize) -> Machine {
    let mut machine = Machine::new(pes);
    for pe in 0..pes {
        machine.ok(pe, n::UNMASK, &[]);
    }
    machine.ready(0, SHARED_NORMAL);
    machine
}

#[test]
fn rm_any_goes_to_a_pe_that_comes_on_after_the_last_one_went_off() {
    for (level, early) in [(false, false), (false, true), (true, false), (true, true)] {
        for event in [SHARED_SLOT, SHARED_FIXED] {
            let mut machine = Machine::new(3);
            machine.cpu_off(1);
            machine.cpu_off(2);
            let spi = if event == SHARED_SLOT { SPI } else { FIXED_SPI };
            if event == SHARED_SLOT {
                machine.ok(0, n::BIND, &[SPI.into()]);
            }
            machine.hardware(|hw| hw.irq(0, spi).unwrap().level = level);
            machine.ready(0, event);
            machine.cpu_off(0);
            if early {
                machine.assert_irq(0, spi);
            }
            machine.on(1);
            assert_eq!(machine.irq(0, spi).route, 1);
            machine.settle();
            machine.call(1, n::UNMASK, &[]);
            if !early {
                machine.assert_irq(0, spi);
            }
            machine.settle();
            assert_eq!(machine.entered(1), event);
            // And it stays with a PE that is on.
            machine.on(2);
            assert_eq!(machine.irq(0, spi).route, 1);
            machine.cpu_off(1);
            assert_eq!(machine.irq(0, spi).route, 2);
        }
    }
}

#[test]
fn rm_any_finds_its_way_back_to_the_same_pe() {
    let mut machine = with_spi(1, 0, 0);
    machine.cpu_off(0);
    machine.on(0);
    machine.ok(0, n::UNMASK, &[]);
    machine.assert_irq(0, SPI);
    machine.settle();
    assert_eq!(runner(&machine), Some(0));
}

#[test]
fn what_waits_outlives_all_pes() {
    // Acknowledged, or raised, by a PE that is masked and goes off as the last.
    for event in [SHARED_SLOT, SHARED_NORMAL] {
        for flags in [0, 1] {
            let mut machine = Machine::new(2);
            machine.cpu_off(1);
            if event == SHARED_SLOT {
                machine.ok(0, n::BIND, &[SPI.into()]);
            }
            machine.register_with(0, event, flags, mpidr(1));
            machine.ok(0, n::ENABLE, &[number(event)]);
            if event == SHARED_SLOT {
                machine.assert_irq(0, SPI);
            } else {
                machine.raise(0, event).unwrap();
            }
            machine.settle();
            machine.cpu_off(0);
            machine.on(1);
            machine.settle();
            machine.call(1, n::UNMASK, &[]);
            machine.settle();
            assert_eq!(machine.entered(1), event);
        }
    }
}

#[test]
fn a_handler_that_ends_with_the_last_pe_leaves_what_is_behind_it() {
    let mut machine = with_explicit(2);
    machine.cpu_off(1);
    machine.raise(0, SHARED_NORMAL).unwrap();
    machine.raise(0, SHARED_NORMAL).unwrap();
    machine.cpu_off(0);
    machine.on(1);
    assert_eq!(machine.call(1, n::STATUS, &[number(SHARED_NORMAL)]), 0b011);
    machine.call(1, n::UNMASK, &[]);
    assert_eq!(machine.entered(1), SHARED_NORMAL);
}

#[test]
fn rm_pe_stays_with_its_target_whoever_comes_on() {
    let mut machine = with_spi(3, 1, 1);
    machine.cpu_off(1);
    machine.cpu_off(0);
    machine.cpu_off(2);
    machine.on(2);
    machine.ok(2, n::UNMASK, &[]);
    machine.assert_irq(0, SPI);
    machine.settle();
    assert_eq!(runner(&machine), None);
    machine.on(1);
    machine.settle();
    machine.call(1, n::UNMASK, &[]);
    machine.settle();
    assert_eq!(runner(&machine), Some(1));
}

#[test]
fn a_round_asks_one_pe_at_a_time() {
    for pes in [2, 64, 65, 200, 512] {
        for start in [0, pes / 2, pes - 1] {
            let mut machine = with_explicit(pes);
            for pe in 0..pes {
                machine.ok(pe, n::MASK, &[]);
            }
            machine.raise(start, SHARED_NORMAL).unwrap();
            for step in 1..pes {
                let pe = (start + step) % pes;
                assert_eq!(asked(&machine), vec![pe], "{pes} PEs from {start}");
                machine.take_interrupt(pe);
            }
            assert!(asked(&machine).is_empty());
            assert_eq!(machine.call(start, n::UNMASK, &[]), number(SHARED_NORMAL));
            assert_eq!(machine.entered(start), SHARED_NORMAL);
        }
    }
}

#[test]
fn a_round_comes_to_the_one_pe_that_is_on_and_can() {
    const PES: usize = 512;
    for start in [0, 63, 64, 300, 511] {
        for able in [0, 1, 63, 64, 127, 128, 299, 301, 448, 510, 511] {
            if able == start {
                continue;
            }
            let mut machine = Machine::off(PES);
            machine.on(start);
            machine.on(able);
            machine.ready(able, SHARED_NORMAL);
            machine.raise(start, SHARED_NORMAL).unwrap();
            assert_eq!(asked(&machine), vec![able]);
            machine.settle();
            assert_eq!(machine.entered(able), SHARED_NORMAL);
        }
    }
}

#[test]
fn a_pe_that_is_asked_and_busy_passes_on() {
    for handler in [None, Some(PRIVATE_NORMAL), Some(PRIVATE_CRITICAL)] {
        for masked in [false, true] {
            if handler.is_none() && !masked {
                continue;
            }
            let mut machine = with_explicit(4);
            machine.ok(0, n::MASK, &[]);
            for pe in [1, 2] {
                if let Some(event) = handler {
                    machine.ready(pe, event);
                    machine.raise(pe, event).unwrap();
                }
                if masked {
                    machine.ok(pe, n::MASK, &[]);
                }
            }
            machine.raise(0, SHARED_NORMAL).unwrap();
            machine.settle();
            assert_eq!(machine.entered(3), SHARED_NORMAL);
        }
    }
}

#[test]
fn a_pe_that_is_asked_and_goes_off_passes_on() {
    for pes in [3, 4] {
        for gone in 1..pes - 1 {
            let mut machine = with_explicit(pes);
            machine.ok(0, n::MASK, &[]);
            machine.raise(0, SHARED_NORMAL).unwrap();
            for pe in 1..=gone {
                assert_eq!(asked(&machine), vec![pe]);
                machine.cpu_off(pe);
                // EL3 takes what comes while a PE is off.
                machine.hardware(|hw| hw.sgi[pe] = false);
            }
            machine.settle();
            assert_eq!(machine.entered(gone + 1), SHARED_NORMAL);
        }
    }
}

#[test]
fn a_pe_that_started_a_round_and_went_off_ends_it_all_the_same() {
    let mut machine = with_explicit(3);
    for pe in 0..3 {
        machine.ok(pe, n::MASK, &[]);
    }
    machine.raise(1, SHARED_NORMAL).unwrap();
    machine.cpu_off(1);
    machine.settle();
    machine.on(1);
    machine.settle();
    assert!(asked(&machine).is_empty());
    machine.call(1, n::UNMASK, &[]);
    assert_eq!(machine.entered(1), SHARED_NORMAL);
}

#[test]
fn a_new_round_replaces_the_old_one() {
    let mut machine = with_explicit(4);
    for pe in 0..4 {
        machine.ok(pe, n::MASK, &[]);
    }
    machine.raise(0, SHARED_NORMAL).unwrap();
    machine.take_interrupt(1);
    machine.raise(3, SHARED_NORMAL).unwrap();
    // PE 2 still has the SGI of the first round, and looks, but passes nothing on.
    assert_eq!(asked(&machine), vec![0, 2]);
    machine.take_interrupt(2);
    assert_eq!(asked(&machine), vec![0]);
    machine.settle();
    assert!(asked(&machine).is_empty());
    machine.call(2, n::UNMASK, &[]);
    assert_eq!(machine.entered(2), SHARED_NORMAL);
}

#[test]
fn a_disabled_event_ends_its_round_and_enable_starts_one() {
    let mut machine = with_explicit(3);
    machine.ok(0, n::MASK, &[]);
    machine.raise(0, SHARED_NORMAL).unwrap();
    let event = number(SHARED_NORMAL);
    machine.ok(0, n::DISABLE, &[event]);
    machine.settle();
    assert!(!machine.is_in(1, SHARED_NORMAL));
    machine.ok(0, n::ENABLE, &[event]);
    assert_eq!(asked(&machine), vec![1]);
    machine.settle();
    assert_eq!(machine.entered(1), SHARED_NORMAL);
}

#[test]
fn rm_pe_asks_its_target_only() {
    let mut machine = Machine::new(4);
    machine.register_with(0, SHARED_NORMAL, 1, mpidr(2));
    machine.ok(0, n::ENABLE, &[number(SHARED_NORMAL)]);
    machine.raise(0, SHARED_NORMAL).unwrap();
    assert_eq!(asked(&machine), vec![2]);
    machine.settle();
    assert!(asked(&machine).is_empty());
    for pe in [0, 1, 3] {
        machine.ok(pe, n::UNMASK, &[]);
    }
    machine.call(2, n::UNMASK, &[]);
    assert_eq!(machine.entered(2), SHARED_NORMAL);
}

// SPDX-License-Identifier: MIT OR Apache-2.0

//! How a handler is entered and left: registers and PSTATE.

use super::machine::{Machine, argument, handler, mpidr, n};
use crate::{Client, ClientEl, Control, PstateFeatures as Features, call::flags, pstate::Rules};

const DAIF: u64 = 0x3c0;

fn entry(el: ClientEl, interrupted: u64) -> u64 {
    let client = Client {
        el,
        features: Features::default(),
    };
    let control = Control {
        sctlr: 0,
        host: true,
    };
    Rules::new(client).entry(interrupted, control, || {
        unreachable!("there is no FEAT_GCS")
    })
}

const ALL: Features = Features {
    pan: true,
    ssbs: true,
    mte2: true,
    nmi: true,
    gcs: true,
    pm: true,
};

#[test]
fn pstate_without_any_feature() {
    // EL2h and EL1h, everything masked, whatever was interrupted.
    for (el, mode) in [(ClientEl::El1, 0b0101), (ClientEl::El2, 0b1001)] {
        for interrupted in [0, 0b0101, 0b1001, 0b1000, 0b1_0000, 0b1_0011] {
            assert_eq!(entry(el, interrupted), DAIF | mode);
        }
    }
}

#[test]
fn pstate_keeps_flags_and_clears_the_rest() {
    let entered = entry(ClientEl::El1, u64::MAX);
    let (nzcv, dit, pan) = (0xf000_0000, 1 << 24, 1 << 22);
    assert_eq!(entered, nzcv | dit | pan | DAIF | 0b0101);
}

#[test]
fn pstate_bit_by_bit() {
    let (span, dssbs, spintmask) = (1 << 23, 1 << 44, 1 << 62);
    let base = DAIF | 0b0101;
    let (exlock, pm) = (1 << 34, 1 << 32);
    let (tco, pan, allint, ssbs) = (1 << 25, 1 << 22, 1 << 13, 1 << 12);
    let with = |features, sctlr, host, exlock_enabled, interrupted| {
        let client = Client {
            el: ClientEl::El1,
            features,
        };
        let control = Control { sctlr, host };
        Rules::new(client).entry(interrupted, control, || exlock_enabled)
    };
    let none = Features::default();
    let rows = [
        // PAN is set where SPAN is clear, and else kept.
        (Features { pan: true, ..none }, 0, true, false, 0, pan),
        (Features { pan: true, ..none }, span, true, false, 0, 0),
        (Features { pan: true, ..none }, span, true, false, pan, pan),
        (Features { pan: true, ..none }, 0, false, false, 0, 0),
        (none, 0, true, false, 0, 0),
        // SSBS takes the value of DSSBS, not the interrupted one.
        (Features { ssbs: true, ..none }, dssbs, true, false, 0, ssbs),
        (Features { ssbs: true, ..none }, 0, true, false, ssbs, 0),
        (none, dssbs, true, false, 0, 0),
        // TCO is set with MTE2.
        (Features { mte2: true, ..none }, 0, true, false, 0, tco),
        // ALLINT is set where SPINTMASK is clear.
        (Features { nmi: true, ..none }, 0, true, false, 0, allint),
        (
            Features { nmi: true, ..none },
            spintmask,
            true,
            false,
            allint,
            0,
        ),
        // PM is set with any of its features.
        (Features { pm: true, ..none }, 0, true, false, 0, pm),
        (none, 0, true, false, pm, 0),
        // EXLOCK only where the exception stays at its EL.
        (
            Features { gcs: true, ..none },
            0,
            true,
            true,
            0b0101,
            exlock,
        ),
        (Features { gcs: true, ..none }, 0, true, true, 0b0000, 0),
        (Features { gcs: true, ..none }, 0, true, false, 0b0101, 0),
        (none, 0, true, true, 0b0101, 0),
        (
            ALL,
            dssbs,
            true,
            true,
            0b0100,
            exlock | pm | tco | pan | allint | ssbs,
        ),
    ];
    for (features, sctlr, host, exlock_enabled, interrupted, set) in rows {
        assert_eq!(
            with(features, sctlr, host, exlock_enabled, interrupted),
            base | set,
            "{features:?} SCTLR {sctlr:#x} EXLOCK {exlock_enabled} from {interrupted:#x}"
        );
    }
}

#[test]
fn client_el_of_an_spsr() {
    assert!(ClientEl::El1.is(0b0100) && ClientEl::El1.is(0b0101));
    assert!(ClientEl::El2.is(0b1000) && ClientEl::El2.is(0b1001));
    for spsr in [0b0000, 0b1000, 0b1001, 0b1100, 0b1_0100, 0b1_0101, 0b1_0011] {
        assert!(!ClientEl::El1.is(spsr), "{spsr:#b}");
    }
}

#[test]
fn a_handler_is_entered_with_its_arguments_and_nothing_else_changes() {
    let mut machine = Machine::new(2);
    machine.ready(1, 0);
    // A guest's user space, in AArch32.
    machine.frames[1].pc = 0x1234_5678;
    machine.frames[1].pstate = 0x2000_0030;
    let before = machine.frames[1].clone();
    machine.signal(0, 1);
    machine.settle();
    let entered = machine.frames[1].clone();
    assert_eq!(entered.x[..4], [0, argument(0), before.pc, before.pstate]);
    assert_eq!(entered.x[4..], before.x[4..]);
    assert_eq!(
        (entered.pc, entered.pstate),
        (handler(0), 0x2000_0000 | DAIF | 0b0101)
    );

    for (i, &value) in before.x.iter().enumerate() {
        assert_eq!(machine.ok(1, n::CONTEXT, &[i as u64]), value);
    }
    machine.frames[1].x.fill(0xbad);
    assert_eq!(machine.call(1, n::COMPLETE, &[0]), before.x[0]);
    assert_eq!(machine.frames[1], before);
    assert_eq!(machine.hardware(|hw| hw.exception.clone()), [None, None]);
}

#[test]
fn complete_and_resume_looks_like_an_exception() {
    let mut machine = Machine::new(2);
    machine.ready(1, 0);
    let before = machine.frames[1].clone();
    machine.frames[1].pstate = 0; // EL0
    machine.signal(0, 1);
    machine.settle();
    assert_eq!(machine.entered(1), 0);
    let vector = 0xffff_8000_0801_0480;
    machine.frames[1].x.fill(0xbad);
    machine.call(1, n::RESUME, &[vector]);
    assert_eq!(machine.frames[1].x, before.x);
    assert_eq!(machine.frames[1].pc, vector);
    assert_eq!(machine.frames[1].pstate, DAIF | 0b0101);
    assert_eq!(machine.hardware(|hw| hw.exception[1]), Some((before.pc, 0)));
    assert_eq!(machine.status(1, 0), 0b011);
}

#[test]
fn relative_mode_adds_vbar_at_dispatch() {
    let mut machine = Machine::new(1);
    machine.register_with(0, 0, flags::RELATIVE, 0);
    machine.ok(0, n::ENABLE, &[0]);
    machine.ok(0, n::UNMASK, &[]);
    let vbar = 0xffff_8000_0999_0000;
    machine.hardware(|hw| hw.vbar = vbar);
    machine.call(0, n::SIGNAL, &[0, mpidr(0)]);
    assert_eq!(machine.frames[0].pc, vbar + 0x1000);
}

#[test]
fn the_answer_of_a_call_is_in_the_context_that_it_interrupts() {
    let mut machine = Machine::new(1);
    machine.ready(0, 0);
    machine.call(0, n::SIGNAL, &[0, mpidr(0)]);
    assert_eq!(machine.entered(0), 0);
    assert_eq!(machine.ok(0, n::CONTEXT, &[0]), 0);
    assert_eq!(machine.call(0, n::COMPLETE, &[0]), 0);
}

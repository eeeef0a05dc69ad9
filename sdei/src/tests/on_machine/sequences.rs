// SPDX-License-Identifier: MIT OR Apache-2.0

//! Random sequences of calls, signals, interrupts and power changes on 1 to 4 PEs, compared step
//! by step with the [oracle](super::oracle).
//!
//! `PROPTEST_CASES` sets how many sequences are tried, of up to 400 steps each; 5000 of them make
//! a million steps.

use proptest::prelude::*;
use std::{vec, vec::Vec};

use super::{
    machine::{
        EL1H, FIXED_PPI, FIXED_SPI, Machine, PPI, PRIVATE_CRITICAL, PRIVATE_FIXED, PRIVATE_NORMAL,
        Registers, SECURE_PPI, SECURE_SPI, SHARED_CRITICAL, SHARED_FIXED, SHARED_NORMAL,
        SHARED_SLOT, SHARED_SLOT_CRITICAL, SLOT, SLOT_CRITICAL, SPI, mpidr, n, number,
    },
    oracle::{self, Expect, From, Oracle},
};
use crate::{Error, is_ppi};

#[derive(Clone, Debug)]
enum Step {
    Call(u32, [u64; 5]),
    /// Take one interrupt, if there is one.
    Interrupt,
    /// A device asserts an edge-triggered interrupt.
    Assert(u32),
    Raise(i32),
    Off,
    On,
    Suspend,
    /// Take interrupts everywhere until there are none.
    Settle,
}

fn an_event() -> impl Strategy<Value = u64> {
    prop_oneof![
        6 => Just(0),
        12 => prop::sample::select(&[
            PRIVATE_CRITICAL, PRIVATE_NORMAL, PRIVATE_FIXED, SLOT, SLOT_CRITICAL,
            SHARED_NORMAL, SHARED_CRITICAL, SHARED_FIXED, SHARED_SLOT, SHARED_SLOT + 1,
            SHARED_SLOT_CRITICAL,
        ]).prop_map(number),
        1 => an_edge(),
    ]
}

fn an_edge() -> impl Strategy<Value = u64> {
    prop_oneof![
        prop::sample::select(&[1, 2, 3, 4, 5, 17, 18, 1 << 31, 1 << 32, 1 << 63, u64::MAX]),
        any::<u64>(),
    ]
}

fn an_affinity() -> impl Strategy<Value = u64> {
    prop_oneof![20 => (0..4usize).prop_map(mpidr), 1 => an_edge()]
}

fn an_interrupt() -> impl Strategy<Value = u32> {
    prop::sample::select(&[
        PPI, 28, 30, 31, 25, FIXED_PPI, SPI, 51, 52, 53, 54, FIXED_SPI,
    ])
}

fn an_entry() -> impl Strategy<Value = u64> {
    prop_oneof![20 => (1..1000u64).prop_map(|page| page << 12), 1 => an_edge()]
}

fn a_call() -> impl Strategy<Value = Step> {
    let args =
        |a: BoxedStrategy<u64>, b: BoxedStrategy<u64>| (a, b).prop_map(|(a, b)| [a, b, 0, 0, 0]);
    let event = || an_event().boxed();
    let edge = || an_edge().boxed();
    let call = |number: u32, args: BoxedStrategy<[u64; 5]>| {
        args.prop_map(move |args| Step::Call(number, args)).boxed()
    };
    let flags = prop_oneof![20 => 0..4u64, 1 => an_edge()];
    let register = (an_event(), an_entry(), any::<u64>(), flags, an_affinity()).prop_map(
        |(event, entry, argument, flags, affinity)| [event, entry, argument, flags, affinity],
    );
    let routing = (
        an_event(),
        prop_oneof![10 => 0..2u64, 1 => an_edge()],
        an_affinity(),
    )
        .prop_map(|(event, mode, affinity)| [event, mode, affinity, 0, 0]);
    let interrupt = prop_oneof![
        10 => an_interrupt().prop_map(u64::from),
        1 => prop::sample::select(&[SECURE_PPI, SECURE_SPI]).prop_map(u64::from),
        1 => an_edge(),
    ];
    let item = prop_oneof![10 => 0..5u64, 1 => an_edge()];
    let index = prop_oneof![10 => 0..18u64, 1 => an_edge()];
    prop_oneof![
        1 => call(n::VERSION, args(edge(), edge()).boxed()),
        12 => call(n::REGISTER, register.boxed()),
        14 => call(n::ENABLE, args(event(), edge()).boxed()),
        4 => call(n::DISABLE, args(event(), edge()).boxed()),
        2 => call(n::CONTEXT, args(index.boxed(), edge()).boxed()),
        14 => call(n::COMPLETE, args(edge(), edge()).boxed()),
        4 => call(n::RESUME, args(an_entry().boxed(), edge()).boxed()),
        4 => call(n::UNREGISTER, args(event(), edge()).boxed()),
        4 => call(n::STATUS, args(event(), edge()).boxed()),
        3 => call(n::GET_INFO, args(event(), item.boxed()).boxed()),
        3 => call(n::ROUTING_SET, routing.boxed()),
        4 => call(n::MASK, args(edge(), edge()).boxed()),
        12 => call(n::UNMASK, args(edge(), edge()).boxed()),
        6 => call(n::BIND, args(interrupt.boxed(), edge()).boxed()),
        2 => call(n::RELEASE, args(event(), edge()).boxed()),
        12 => call(n::SIGNAL, args(prop_oneof![20 => Just(0), 1 => an_event()].boxed(), an_affinity().boxed()).boxed()),
        1 => call(n::FEATURES, args(prop_oneof![0..3u64, an_edge()].boxed(), edge()).boxed()),
        1 => call(n::PRIVATE_RESET, args(edge(), edge()).boxed()),
        1 => call(n::SHARED_RESET, args(edge(), edge()).boxed()),
    ]
}

fn a_step() -> impl Strategy<Value = (usize, Step)> {
    let explicit = prop::sample::select(&[
        PRIVATE_CRITICAL,
        PRIVATE_NORMAL,
        SHARED_NORMAL,
        SHARED_CRITICAL,
    ]);
    let step = prop_oneof![
        60 => a_call(),
        16 => Just(Step::Interrupt),
        10 => an_interrupt().prop_map(Step::Assert),
        6 => explicit.prop_map(Step::Raise),
        1 => Just(Step::Off),
        2 => Just(Step::On),
        1 => Just(Step::Suspend),
        4 => Just(Step::Settle),
    ];
    (0..4usize, step)
}

/// What decides which PE a shared event is delivered to.
fn a_step_of_shared_events() -> impl Strategy<Value = (usize, Step)> {
    let call = |number: u32| Just(Step::Call(number, [0; 5]));
    let events = || prop::sample::select(&SHARED_EVENTS).prop_map(number);
    let routing = (events(), 0..2u64, an_affinity())
        .prop_map(|(event, mode, affinity)| [event, mode, affinity, 0, 0])
        .prop_map(|args| Step::Call(n::ROUTING_SET, args));
    let of_event =
        |call: u32| events().prop_map(move |event| Step::Call(call, [event, 0, 0, 0, 0]));
    let step = prop_oneof![
        8 => call(n::MASK),
        8 => call(n::UNMASK),
        8 => call(n::COMPLETE),
        2 => of_event(n::DISABLE),
        4 => of_event(n::ENABLE),
        1 => routing,
        8 => prop::sample::select(&[SHARED_NORMAL, SHARED_CRITICAL]).prop_map(Step::Raise),
        6 => prop::sample::select(&[SPI, FIXED_SPI]).prop_map(Step::Assert),
        12 => Just(Step::Interrupt),
        6 => Just(Step::Off),
        12 => Just(Step::On),
        2 => Just(Step::Settle),
    ];
    (0..6usize, step)
}

/// Those of [`a_step_of_shared_events`].
const SHARED_EVENTS: [i32; 4] = [SHARED_NORMAL, SHARED_CRITICAL, SHARED_FIXED, SHARED_SLOT];

/// The machine and its oracle, in step.
struct Pair {
    machine: Machine,
    oracle: Oracle,
}

impl Pair {
    fn new(pes: usize) -> Self {
        Self {
            machine: Machine::new(pes),
            oracle: Oracle::new(pes),
        }
    }

    fn step(&mut self, pe: usize, step: Step) {
        let on = self.oracle.pes[pe].on;
        match step {
            Step::Call(call, args) if on => self.call(pe, call, &args),
            Step::Interrupt if on => self.interrupt(pe),
            Step::Assert(intid) => self.machine.assert_irq(pe, intid),
            Step::Raise(event) if on => self.raise(pe, event),
            // The last one too: PSCI lets it go while another is on its way.
            Step::Off if on => {
                self.machine.cpu_off(pe);
                self.oracle.off(pe);
            }
            Step::On if !on => {
                self.machine.on(pe);
                self.oracle.pes[pe].on = true;
            }
            Step::Suspend if on => {
                let denied = !self.oracle.pes[pe].running.is_empty();
                let expected = if denied { Err(Error::Denied) } else { Ok(()) };
                assert_eq!(self.machine.suspend(pe), expected);
                self.oracle.pes[pe].masked |= !denied;
            }
            Step::Settle => self.settle(),
            _ => {}
        }
        self.check();
    }

    fn call(&mut self, pe: usize, call: u32, args: &[u64; 5]) {
        let before = self.machine.state();
        let expect = self.oracle.call(pe, call, args);
        self.machine.call(pe, call, args);
        let mut interrupted = before.frames[pe].clone();
        interrupted.x[0] = 0xc400_0020 + u64::from(call);
        interrupted.x[1..6].copy_from_slice(args);
        match expect {
            Expect::Refuse(error) => {
                interrupted.x[0] = error.code();
                assert_eq!(self.machine.frames[pe], interrupted);
                let mut after = self.machine.state();
                after.frames.clone_from(&before.frames);
                assert!(after == before, "a refused call changed something");
                return;
            }
            Expect::Answer(value) => interrupted.x[0] = value,
            Expect::Later => interrupted.x[0] = Error::Pending.code(),
            Expect::Complete => interrupted = self.oracle.leave(pe),
            Expect::Resume(address) => {
                interrupted = self.oracle.leave(pe);
                assert_eq!(
                    self.machine.hardware(|hw| hw.exception[pe]),
                    Some((interrupted.pc, interrupted.pstate))
                );
                interrupted.pc = address;
                interrupted.pstate = interrupted.pstate & 0xf000_0000 | 0x3c5;
            }
        }
        let dispatches = matches!(call, n::ENABLE | n::COMPLETE | n::RESUME | n::UNMASK)
            || call == n::SIGNAL && args[1] & 0xff_00ff_ffff == mpidr(pe) & 0xff_00ff_ffff;
        self.entered(pe, interrupted, dispatches);
    }

    /// Compares the frame with what it must be: that of the interrupted context, or that of a
    /// handler for whose event it was time. `must` says that what is due must be dispatched.
    fn entered(&mut self, pe: usize, interrupted: Registers, must: bool) {
        let frame = &self.machine.frames[pe];
        let due: Vec<i32> = oracle::events()
            .filter(|&event| self.oracle.is_due(pe, event))
            .collect();
        if *frame == interrupted {
            assert!(
                !must || due.is_empty(),
                "PE {pe} was not dispatched events {due:?}"
            );
            return;
        }
        let event = frame.x[0] as u32 as i32;
        assert!(
            due.contains(&event),
            "PE {pe} was dispatched event {event}, due: {due:?}"
        );
        let is_critical = |event| oracle::event(event).unwrap().1;
        assert!(
            is_critical(event) || !due.iter().any(|&event| is_critical(event)),
            "a Critical event is due on PE {pe} before event {event}"
        );
        let handler = self.oracle.handler(pe, event);
        let mut expected = interrupted.clone();
        expected.x[0] = number(event);
        expected.x[1] = handler.argument;
        expected.x[2] = interrupted.pc;
        expected.x[3] = interrupted.pstate;
        expected.pc = handler.entry;
        if handler.relative {
            expected.pc = expected
                .pc
                .wrapping_add(self.machine.hardware(|hw| hw.vbar));
        }
        expected.pstate = interrupted.pstate & 0xf000_0000 | 0x3c5;
        assert_eq!(*frame, expected);
        self.oracle.enter(pe, event, interrupted);
        // The handler runs a bit, at the client EL.
        self.machine.frames[pe].pc += 4;
        self.machine.frames[pe].x[9] = number(event) << 32 | 0x5555;
    }

    fn interrupt(&mut self, pe: usize) {
        let interrupted = self.machine.frames[pe].clone();
        let Some(intid) = self.machine.take_interrupt(pe) else {
            return;
        };
        if intid != 0 {
            let event = oracle::events()
                .find(|&event| self.oracle.interrupt(event) == Some(intid))
                .expect("an interrupt of no event came to EL3");
            let handler = self.oracle.handler(pe, event);
            assert!(handler.registered && handler.enabled);
            assert!(!handler.running && !handler.pending);
            handler.pending = true;
        }
        self.entered(pe, interrupted, true);
    }

    fn raise(&mut self, pe: usize, event: i32) {
        let interrupted = self.machine.frames[pe].clone();
        let result = self.machine.raise(pe, event);
        let handler = self.oracle.handler(pe, event);
        if handler.registered {
            handler.pending = true;
            assert_eq!(result, Ok(()));
            self.entered(pe, interrupted, true);
        } else {
            assert_eq!(result, Err(Error::Denied));
            assert_eq!(self.machine.frames[pe], interrupted);
        }
    }

    fn settle(&mut self) {
        let mut rounds = 0;
        loop {
            let on = |pe: &usize| self.oracle.pes[*pe].on;
            let waiting = |pe: &usize| self.machine.is_interrupted(*pe);
            let Some(pe) = (0..self.oracle.pes.len()).filter(on).find(waiting) else {
                break;
            };
            self.interrupt(pe);
            rounds += 1;
            assert!(rounds < 1000, "an interrupt comes for ever");
        }
        // Nothing that was signalled is left behind.
        for pe in 0..self.oracle.pes.len() {
            for event in oracle::events() {
                assert!(
                    !self.oracle.is_due(pe, event),
                    "event {event} is due on PE {pe}"
                );
            }
        }
    }

    /// That the interrupt controller is as the events' states want it.
    fn check(&mut self) {
        for event in oracle::events() {
            let Some(intid) = self.oracle.interrupt(event) else {
                continue;
            };
            let pes = if is_ppi(intid) {
                self.oracle.pes.len()
            } else {
                1
            };
            for pe in 0..pes {
                let irq = self.machine.irq(pe, intid);
                let active = self.oracle.is_active(pe, event);
                let handler = self.oracle.handler(pe, event).clone();
                let used = handler.registered || handler.running;
                let fixed = matches!(oracle::event(event).unwrap().2, From::Fixed(_));
                assert_eq!(irq.group0, used || fixed, "INTID {intid} on PE {pe}");
                assert_eq!(irq.active, active, "INTID {intid} on PE {pe}");
                assert_eq!(irq.enabled, handler.enabled, "INTID {intid} on PE {pe}");
                if !is_ppi(intid) && handler.registered {
                    match handler.target {
                        Some(target) => assert_eq!(irq.route, target),
                        None => {
                            let any_on = self.oracle.pes.iter().any(|pe| pe.on);
                            assert!(!any_on || self.oracle.pes[irq.route].on);
                        }
                    }
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_sequences_are_as_the_specification_says(
        pes in 1..=4usize,
        steps in prop::collection::vec(a_step(), 1..400),
    ) {
        let mut pair = Pair::new(pes);
        assert!(pair.machine.frames.iter().all(|frame| frame.pstate == EL1H));
        for (pe, step) in steps {
            pair.step(pe % pes, step);
        }
        pair.settle();
    }

    #[test]
    fn a_shared_event_finds_the_pe_that_can_take_it(
        pes in 2..=6usize,
        steps in prop::collection::vec(a_step_of_shared_events(), 1..400),
    ) {
        let mut pair = Pair::new(pes);
        pair.step(0, Step::Call(n::BIND, [SPI.into(), 0, 0, 0, 0]));
        for (event, page) in SHARED_EVENTS.into_iter().zip(1..) {
            let event = number(event);
            pair.step(0, Step::Call(n::REGISTER, [event, page << 12, 0, 0, 0]));
            pair.step(0, Step::Call(n::ENABLE, [event, 0, 0, 0, 0]));
        }
        for (pe, step) in steps {
            pair.step(pe % pes, step);
        }
        pair.settle();
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0

//! Every order in which the atomics and locks of a few PEs can interleave, and every value that
//! the memory model lets them see, with the dispatcher's own code:
//!
//! ```sh
//! RUSTFLAGS="--cfg loom" cargo test -p sdei --lib
//! ```

use std::{boxed::Box, vec::Vec};

use loom::{
    sync::atomic::{
        AtomicBool, AtomicU32, AtomicUsize,
        Ordering::{Acquire, Relaxed, Release},
    },
    thread,
};

use super::registers::Registers;
use crate::{
    Client, ClientEl, Control, Dispatcher, Event, Events, Interrupts, Owner, Pe, Port, Priority,
    PstateFeatures, REGISTERS, SharedPe,
};

const REGISTER: u64 = 0xc400_0021;
const ENABLE: u64 = 0xc400_0022;
const COMPLETE: u64 = 0xc400_0025;
const UNREGISTER: u64 = 0xc400_0027;
const UNMASK: u64 = 0xc400_002c;
const SIGNAL: u64 = 0xc400_002f;

const SHARED: i32 = 300;
const START: u64 = 0x8000;
const INVALID_PARAMETERS: u64 = -2i64 as u64;

const EVENTS: Events<1, 1> =
    Events::new([Event::SIGNAL], [Event::explicit(SHARED, Priority::Normal)]);

/// The same with an interrupt.
const WITH_INTERRUPT: Events<1, 1> = Events::new(
    [Event::SIGNAL],
    [Event::interrupt(SHARED, 40, Priority::Normal)],
);

/// The SGIs on their way, a word of the client's memory per PE, and where the interrupt is sent.
struct Board {
    sgi: Vec<AtomicBool>,
    memory: Vec<AtomicU32>,
    route: AtomicUsize,
}

impl Port for &'static Board {
    fn pe_index(&self, affinity: u64) -> Option<usize> {
        Some(affinity as usize)
    }
    fn notify(&self, affinity: u64) {
        // The contract of `notify` is a release, and that of `signalled` the acquire. Both change
        // the word atomically: `loom` may order a plain store before a swap that did not see it.
        self.sgi[affinity as usize].swap(true, Release);
    }
    fn client(&self) -> Client {
        Client {
            el: ClientEl::El1,
            features: PstateFeatures::default(),
        }
    }
    fn control(&self, _: ClientEl) -> Control {
        Control {
            sctlr: 0,
            host: true,
        }
    }
    fn exlock_enabled(&self, _: ClientEl) -> bool {
        false
    }
    fn vbar(&self, _: ClientEl) -> u64 {
        0
    }
    fn take_exception(&self, _: ClientEl, _: u64, _: u64) {}
}

impl Interrupts for &'static Board {
    type Saved = ();
    fn owner(&self, _: u32) -> Option<Owner> {
        None
    }
    fn is_active(&self, _: u32) -> bool {
        false
    }
    fn claim(&self, _: u32) {}
    fn clear_pending(&self, _: u32) {}
    fn release(&self, _: u32, _: bool, _: Option<()>) {}
    fn route(&self, _: u32, affinity: u64) {
        // The caller has the event's lock.
        self.route.store(affinity as usize, Relaxed);
    }
    fn enable(&self, _: u32) {}
    fn disable(&self, _: u32) {}
    fn is_asserted(&self, _: u32) -> bool {
        true
    }
    fn deactivate(&self, _: u32) {}
}

type Sdei = Dispatcher<&'static Board, Vec<SharedPe>, &'static Board, 1, 1>;

/// A PE with its client.
struct Cpu {
    sdei: &'static Sdei,
    index: usize,
    pe: Pe,
    frame: Registers,
}

impl Cpu {
    fn call(&mut self, args: &[u64]) -> u64 {
        self.frame.x[..args.len()].copy_from_slice(args);
        self.sdei.call(&mut self.frame, &mut self.pe);
        self.frame.x[0]
    }

    fn register(&mut self, event: i32) {
        assert_eq!(self.call(&[REGISTER, event as u64, 0x1000, 0, 0, 0]), 0);
        self.call(&[ENABLE, event as u64]);
    }

    /// Takes the SGI, if it is there.
    fn interrupt(&mut self) {
        if self.sdei.port().sgi[self.index].swap(false, Acquire) {
            self.sdei.signalled(&mut self.frame, &mut self.pe);
        }
    }

    fn is_in_handler(&self) -> bool {
        self.frame.pc != START
    }
}

/// A machine whose PEs are on and masked.
fn machine<const N: usize>() -> [Cpu; N] {
    machine_with(EVENTS)
}

fn machine_with<const N: usize>(events: Events<1, 1>) -> [Cpu; N] {
    let board: &Board = Box::leak(Box::new(Board {
        sgi: (0..N).map(|_| AtomicBool::new(false)).collect(),
        memory: (0..N).map(|_| AtomicU32::new(0)).collect(),
        route: AtomicUsize::new(usize::MAX),
    }));
    let shared = (0..N).map(|_| SharedPe::new()).collect();
    let sdei: &Sdei = Box::leak(Box::new(Dispatcher::with_interrupts(
        events, shared, board, board,
    )));
    std::array::from_fn(|index| {
        let mut pe = Pe::new();
        sdei.pe_on(&mut pe, index as u64);
        Cpu {
            sdei,
            index,
            pe,
            frame: Registers {
                x: [0; REGISTERS],
                pc: START,
                pstate: 0b0101,
            },
        }
    })
}

#[test]
fn the_handler_sees_what_the_signaller_stored() {
    loom::model(|| {
        let [mut a, mut b] = machine();
        b.register(0);
        let signaller = thread::spawn(move || {
            a.sdei.port().memory[0].store(1, Relaxed);
            assert_eq!(a.call(&[SIGNAL, 0, 1]), 0);
        });
        // It finds the event pending, with the SGI still on its way, or it takes the SGI.
        b.call(&[UNMASK]);
        b.interrupt();
        if b.is_in_handler() {
            assert_eq!(b.sdei.port().memory[0].load(Relaxed), 1);
        }
        signaller.join().unwrap();
        if !b.is_in_handler() {
            b.interrupt();
            assert!(b.is_in_handler(), "the signal was lost");
        }
    });
}

#[test]
fn no_signal_is_lost_between_two_signallers_and_a_completion() {
    // Three times at the most, a PE is stopped where it could go on. With no bound it passes, too,
    // but takes 2 minutes.
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(|| {
        let [mut a, mut b, mut c] = machine();
        c.register(0);
        c.call(&[UNMASK]);
        let signal = |cpu: &mut Cpu| {
            cpu.sdei.port().memory[cpu.index].store(1, Relaxed);
            assert_eq!(cpu.call(&[SIGNAL, 0, 2]), 0);
        };
        let first = thread::spawn(move || signal(&mut a));
        let second = thread::spawn(move || signal(&mut b));
        c.interrupt();
        let seen: u32 = if c.is_in_handler() {
            let memory = &c.sdei.port().memory;
            let seen = memory[0].load(Relaxed) + memory[1].load(Relaxed);
            assert!(seen > 0, "a handler was entered without a signal");
            c.call(&[COMPLETE]);
            seen
        } else {
            0
        };
        first.join().unwrap();
        second.join().unwrap();
        c.interrupt();
        // A signal whose store no handler saw comes still.
        assert!(seen == 2 || c.is_in_handler(), "a signal was lost");
    });
}

#[test]
fn nothing_pending_outlives_an_unregister() {
    loom::model(|| {
        let [mut a, mut b] = machine();
        b.register(0);
        let signaller = thread::spawn(move || a.call(&[SIGNAL, 0, 1]));
        assert_eq!(b.call(&[UNREGISTER, 0]), 0);
        let answer = signaller.join().unwrap();
        assert!(answer == 0 || answer == INVALID_PARAMETERS);
        // Registered again after the signal: what was signalled before is gone.
        b.register(0);
        b.call(&[UNMASK]);
        b.interrupt();
        assert!(!b.is_in_handler());
    });
}

#[test]
fn a_signal_comes_before_a_reregistration_or_after_it() {
    loom::model(|| {
        let [mut a, mut b] = machine();
        b.register(0);
        let signaller = thread::spawn(move || a.call(&[SIGNAL, 0, 1]));
        assert_eq!(b.call(&[UNREGISTER, 0]), 0);
        b.register(0);
        b.call(&[UNMASK]);
        b.interrupt();
        let answer = signaller.join().unwrap();
        b.interrupt();
        // Delivered only if it was accepted. (Accepted and not delivered is one that came before
        // the unregister.)
        assert!(answer == 0 || !b.is_in_handler());
    });
}

#[test]
fn a_signal_races_with_cpu_off() {
    loom::model(|| {
        let [mut a, mut b] = machine();
        b.register(0);
        let signaller = thread::spawn(move || {
            a.call(&[SIGNAL, 0, 1]);
            a
        });
        b.sdei.pe_off(&mut b.pe);
        let mut a = signaller.join().unwrap();
        assert_eq!(a.call(&[SIGNAL, 0, 1]), INVALID_PARAMETERS);
        b.sdei.pe_on(&mut b.pe, 1);
        b.register(0);
        b.call(&[UNMASK]);
        b.interrupt();
        assert!(!b.is_in_handler());
    });
}

#[test]
fn a_shared_event_reaches_a_pe_that_is_just_unmasked() {
    loom::model(|| {
        let [mut a, mut b] = machine();
        a.register(SHARED);
        let raiser = thread::spawn(move || {
            // PE 0 is masked and passes it on.
            a.sdei.raise(&mut a.frame, &mut a.pe, SHARED).unwrap();
            assert!(!a.is_in_handler());
        });
        b.call(&[UNMASK]);
        raiser.join().unwrap();
        b.interrupt();
        assert!(b.is_in_handler(), "the event was lost");
    });
}

#[test]
fn a_shared_event_reaches_a_pe_that_is_just_turned_on() {
    loom::model(|| {
        let [mut a, mut b] = machine();
        a.register(SHARED);
        b.sdei.pe_off(&mut b.pe);
        let raiser = thread::spawn(move || {
            a.sdei.raise(&mut a.frame, &mut a.pe, SHARED).unwrap();
        });
        b.sdei.pe_on(&mut b.pe, 1);
        b.call(&[UNMASK]);
        raiser.join().unwrap();
        b.interrupt();
        assert!(b.is_in_handler(), "the event was lost");
    });
}

#[test]
fn a_shared_handler_runs_on_one_pe() {
    loom::model(|| {
        let [mut a, mut b] = machine();
        a.register(SHARED);
        a.call(&[UNMASK]);
        b.call(&[UNMASK]);
        let raise = |mut cpu: Cpu| {
            cpu.sdei.raise(&mut cpu.frame, &mut cpu.pe, SHARED).unwrap();
            cpu
        };
        let other = thread::spawn(move || raise(a));
        let mut b = raise(b);
        let mut a = other.join().unwrap();
        a.interrupt();
        b.interrupt();
        assert!(a.is_in_handler() != b.is_in_handler());
    });
}

#[test]
fn a_question_reaches_the_pe_behind_one_that_is_busy() {
    loom::model(|| {
        let [mut a, mut b, mut c] = machine();
        c.register(SHARED);
        c.call(&[UNMASK]);
        // PE 0 is masked and asks PE 1, which is masked, too.
        let raiser = thread::spawn(move || {
            a.sdei.raise(&mut a.frame, &mut a.pe, SHARED).unwrap();
        });
        b.interrupt();
        raiser.join().unwrap();
        b.interrupt();
        c.interrupt();
        assert!(c.is_in_handler(), "the event was lost");
    });
}

#[test]
fn a_question_reaches_the_pe_behind_one_that_goes_off() {
    loom::model(|| {
        let [mut a, mut b, mut c] = machine();
        c.register(SHARED);
        c.call(&[UNMASK]);
        let raiser = thread::spawn(move || {
            a.sdei.raise(&mut a.frame, &mut a.pe, SHARED).unwrap();
        });
        b.sdei.pe_off(&mut b.pe);
        raiser.join().unwrap();
        // The SGI to PE 1 may be on its way, but PE 1 does not look any more.
        c.interrupt();
        assert!(c.is_in_handler(), "the event was lost");
    });
}

#[test]
fn a_question_reaches_the_pe_behind_one_that_goes_off_while_it_looks() {
    loom::model(|| {
        let [mut a, mut b, mut c] = machine();
        c.register(SHARED);
        c.call(&[UNMASK]);
        a.sdei.raise(&mut a.frame, &mut a.pe, SHARED).unwrap();
        // PE 1 is asked, and PE 0, where the round started, goes off.
        let other = thread::spawn(move || a.sdei.pe_off(&mut a.pe));
        b.interrupt();
        b.sdei.pe_off(&mut b.pe);
        other.join().unwrap();
        c.interrupt();
        assert!(c.is_in_handler(), "the event was lost");
    });
}

#[test]
fn two_rounds_at_once_lose_nothing() {
    loom::model(|| {
        let [mut a, mut b, mut c] = machine();
        c.register(SHARED);
        c.call(&[UNMASK]);
        let other = thread::spawn(move || {
            a.sdei.raise(&mut a.frame, &mut a.pe, SHARED).unwrap();
            a
        });
        b.sdei.raise(&mut b.frame, &mut b.pe, SHARED).unwrap();
        let mut a = other.join().unwrap();
        // All are asked until nobody is any more; PE 2 comes last.
        for _ in 0..2 {
            a.interrupt();
            b.interrupt();
        }
        c.interrupt();
        assert!(c.is_in_handler(), "the event was lost");
    });
}

#[test]
fn a_question_on_its_way_finds_a_pe_that_is_just_turned_on() {
    loom::model(|| {
        let [mut a, mut b, mut c] = machine();
        a.register(SHARED);
        c.sdei.pe_off(&mut c.pe);
        let raiser = thread::spawn(move || {
            a.sdei.raise(&mut a.frame, &mut a.pe, SHARED).unwrap();
        });
        // PE 1 is asked and masked: it sees PE 2, or PE 2 finds the event.
        let asked = thread::spawn(move || {
            b.interrupt();
            b
        });
        c.sdei.pe_on(&mut c.pe, 2);
        c.call(&[UNMASK]);
        raiser.join().unwrap();
        asked.join().unwrap().interrupt();
        c.interrupt();
        assert!(c.is_in_handler(), "the event was lost");
    });
}

#[test]
fn an_interrupt_is_not_left_with_a_pe_that_goes_off() {
    loom::model(|| {
        let [mut a, mut b] = machine_with(WITH_INTERRUPT);
        b.sdei.pe_off(&mut b.pe);
        a.register(SHARED);
        let other = thread::spawn(move || a.sdei.pe_off(&mut a.pe));
        b.sdei.pe_on(&mut b.pe, 1);
        other.join().unwrap();
        assert_eq!(b.sdei.port().route.load(Relaxed), 1);
    });
}

#[test]
fn an_interrupt_that_is_just_registered_is_not_left_either() {
    loom::model(|| {
        let [mut a, mut b] = machine_with(WITH_INTERRUPT);
        b.sdei.pe_off(&mut b.pe);
        let other = thread::spawn(move || {
            assert_eq!(a.call(&[REGISTER, SHARED as u64, 0x1000, 0, 0, 0]), 0);
            a.sdei.pe_off(&mut a.pe);
        });
        b.sdei.pe_on(&mut b.pe, 1);
        other.join().unwrap();
        assert_eq!(b.sdei.port().route.load(Relaxed), 1);
    });
}

#[test]
fn an_interrupt_that_two_pes_leave_one_after_the_other_finds_the_third() {
    loom::model(|| {
        let [mut a, mut b, mut c] = machine_with(WITH_INTERRUPT);
        c.sdei.pe_off(&mut c.pe);
        let first = thread::spawn(move || {
            assert_eq!(a.call(&[REGISTER, SHARED as u64, 0x1000, 0, 0, 0]), 0);
            a.sdei.pe_off(&mut a.pe);
        });
        let second = thread::spawn(move || b.sdei.pe_off(&mut b.pe));
        c.sdei.pe_on(&mut c.pe, 2);
        first.join().unwrap();
        second.join().unwrap();
        assert_eq!(c.sdei.port().route.load(Relaxed), 2);
    });
}

#[test]
fn a_signal_races_with_a_pe_that_fails() {
    loom::model(|| {
        let [mut a, mut b] = machine();
        b.register(0);
        let signaller = thread::spawn(move || {
            let answer = a.call(&[SIGNAL, 0, 1]);
            assert!(answer == 0 || answer == INVALID_PARAMETERS);
            a
        });
        b.sdei.pe_failed(1);
        let mut a = signaller.join().unwrap();
        assert_eq!(a.call(&[SIGNAL, 0, 1]), INVALID_PARAMETERS);
    });
}

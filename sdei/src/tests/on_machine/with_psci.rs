// SPDX-License-Identifier: MIT OR Apache-2.0

//! PSCI and the dispatcher together: every interleaving of the steps in which an image has a PE
//! come on, go off, suspend and resume, and of what happens to a shared event's interrupt meanwhile.
//!
//! Each step of a PE is one call of one of the two libraries, in the order that `bl31` makes them:
//!
//! - turned on: `Psci::start`, `pe_on`;
//! - CPU_OFF: `Psci::call`, `pe_off`, `Psci::off`;
//! - suspended: `Psci::call`, then after the wake-up `Psci::resume`, `pe_resume`.
//!
//! What happens within a step is left to the `loom` tests of the two.

use std::{cell::RefCell, eprintln, format, string::String, time::Instant, vec, vec::Vec};

use psci::{Caller, ExecutionState, Outcome, Psci, recommended};
use stateright::{Checker, HasDiscoveries, Model, Property};

use super::machine::{Machine, SHARED_SLOT, SPI, START, State, n};
use crate::handler::Handler;

const CPU_SUSPEND: u32 = 0xc400_0001;
const CPU_OFF: u32 = 0x8400_0002;
const CPU_ON: u32 = 0xc400_0003;
const AFFINITY_INFO: u32 = 0xc400_0004;
const NODE_HW_STATE: u32 = 0xc400_000d;

const DENIED: Outcome = Outcome::Return(-3i64 as u64);
const ALREADY_ON: Outcome = Outcome::Return(-4i64 as u64);
const ON_PENDING: Outcome = Outcome::Return(-5i64 as u64);

/// Where a PE is in the order of steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Phase {
    Off,
    /// Another PE has turned it on.
    Pending,
    /// PSCI says that it is on; the dispatcher has not been told.
    Starting,
    /// Below EL3.
    Running,
    /// CPU_OFF was granted.
    Leaving,
    /// The dispatcher has been told; PSCI says that it is on.
    Left,
    Down,
    /// PSCI has been told that it runs again; the dispatcher has not.
    Waking,
}

use Phase::*;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Action {
    /// The next step of a PE that comes or goes.
    Next(usize),
    TurnOn(usize, usize),
    Off(usize),
    Suspend(usize),
    /// A call of the dispatcher.
    Call(usize, u32),
    /// The device asserts its interrupt.
    Assert,
    /// A PE takes one interrupt.
    Interrupt(usize),
}

/// Which dispatcher it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    Today,
    /// A PE that comes on leaves the routes as they are.
    WithoutAdoption,
}

struct System {
    pes: usize,
    order: Order,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Checked {
    state: State,
    phases: Vec<Phase>,
    wrong: Option<String>,
}

struct Board {
    pes: usize,
}

impl psci::Port for Board {
    fn pe_count(&self) -> usize {
        self.pes
    }
    fn affinity(&self, pe: usize) -> u64 {
        pe as u64
    }
    fn pe_index(&self, affinity: u64) -> Option<usize> {
        (affinity < self.pes as u64).then_some(affinity as usize)
    }
    fn power_on(&self, _pe: usize) -> Result<(), psci::PowerOnFailed> {
        Ok(())
    }
    fn is_nonsecure_ram(&self, _base: u64, _length: u64) -> bool {
        true
    }
    fn features(&self) -> psci::Features {
        psci::Features::NONE.node_hw_state()
    }
    fn power_states(&self) -> &'static psci::PowerStates {
        &psci::recommended::STATES
    }
}

fn call(psci: &Psci<'_, Board>, me: usize, fid: u32, args: [u64; 3]) -> Outcome {
    let caller = || Caller {
        state: ExecutionState::AArch64,
        big_endian: false,
        in_handler: false,
    };
    psci.call(me, caller, fid, &args)
}

fn turn_on(psci: &Psci<'_, Board>, me: usize, pe: usize) -> Outcome {
    call(psci, me, CPU_ON, [pe as u64, 0x4000_0000, 0])
}

fn suspend(psci: &Psci<'_, Board>, pe: usize) -> Outcome {
    let state = recommended::SYSTEM_DOWN.into();
    call(psci, pe, CPU_SUSPEND, [state, 0x4000_0000, 0])
}

/// Runs `f` on a PSCI whose PEs are in these phases. All that it keeps, but for statistics, follows
/// from them, so they are the state of the model.
fn with_psci<R>(phases: &[Phase], f: impl FnOnce(&Psci<'_, Board>) -> R) -> R {
    let board = Board { pes: phases.len() };
    let pes: Vec<_> = phases.iter().map(|_| psci::Pe::new()).collect();
    let clusters = [psci::Domain::new()];
    let psci = Psci::new(&board, &pes, &clusters);
    let on = |phase| phase != Off && phase != Pending;
    let of = |is: fn(Phase) -> bool| {
        let all = phases.iter().enumerate();
        all.filter(move |(_, phase)| is(**phase)).map(|(pe, _)| pe)
    };
    for (pe, _) in phases.iter().enumerate().filter(|(_, phase)| on(**phase)) {
        psci.boot(pe);
    }
    for pe in of(|phase| phase == Pending) {
        assert_eq!(turn_on(&psci, 0, pe), Outcome::Return(0));
    }
    for pe in of(|phase| phase == Leaving || phase == Left) {
        assert_eq!(call(&psci, pe, CPU_OFF, [0; 3]), Outcome::Off);
    }
    for pe in of(|phase| phase == Down) {
        assert!(matches!(suspend(&psci, pe), Outcome::PowerDown(_)));
    }
    f(&psci)
}

std::thread_local! {
    static MACHINE: RefCell<Option<Machine>> = const { RefCell::new(None) };
}

/// Runs `f` on a dispatcher in this state; one is kept per thread.
fn with<R>(state: &State, f: impl FnOnce(&mut Machine) -> R) -> R {
    MACHINE.with_borrow_mut(|machine| {
        let pes = state.pes.len();
        let machine = machine.get_or_insert_with(|| Machine::off(pes));
        machine.load(state);
        f(machine)
    })
}

/// Forgets what the model leaves out: the registers of contexts.
fn normalize(machine: &mut Machine) {
    for pe in &mut machine.pes {
        for context in [&mut pe.normal, &mut pe.critical] {
            context.x.fill(0);
            context.pc = START;
            context.pstate = super::machine::EL1H;
        }
    }
    for frame in &mut machine.frames {
        frame.x.fill(0);
        frame.pc = START;
        frame.pstate = super::machine::EL1H;
    }
    machine.hardware(|hardware| hardware.exception.fill(None));
}

/// The index of the bound event.
fn shared() -> usize {
    match super::machine::EVENTS.find(SHARED_SLOT) {
        Some(crate::event::Slot::Shared(i)) => i,
        _ => unreachable!(),
    }
}

impl System {
    /// Does a step; what it did wrong.
    fn step(
        &self,
        machine: &mut Machine,
        psci: &Psci<'_, Board>,
        phases: &mut [Phase],
        action: Action,
    ) -> Option<String> {
        match action {
            Action::Next(pe) => {
                phases[pe] = match phases[pe] {
                    Pending => {
                        psci.start(pe)?;
                        Starting
                    }
                    Starting => {
                        // What is left of before in the interrupt controller.
                        machine.hardware(|hardware| hardware.sgi[pe] = false);
                        let before = machine.state();
                        machine.on(pe);
                        if self.order == Order::WithoutAdoption {
                            undo_adoption(machine, &before);
                        }
                        Running
                    }
                    Leaving => {
                        machine.cpu_off(pe);
                        Left
                    }
                    Left => {
                        psci.off(pe);
                        Off
                    }
                    Down => {
                        psci.resume(pe)?;
                        Waking
                    }
                    Waking => {
                        let index = pe;
                        let own = &mut machine.pes[index];
                        machine.dispatcher.pe_resume(own);
                        Running
                    }
                    Off | Running => return Some("no next step".into()),
                };
            }
            Action::TurnOn(me, pe) => {
                let expected = match phases[pe] {
                    Off => Outcome::Return(0),
                    Pending => ON_PENDING,
                    _ => ALREADY_ON,
                };
                let answer = turn_on(psci, me, pe);
                if answer != expected {
                    return Some(format!("CPU_ON answered {answer:?}"));
                }
                if phases[pe] == Off {
                    phases[pe] = Pending;
                }
            }
            Action::Off(pe) => {
                let stays = |(_, phase): &(usize, &Phase)| ![Off, Leaving, Left].contains(*phase);
                let others = phases.iter().enumerate().filter(|(other, _)| *other != pe);
                let expected = match others.filter(stays).count() {
                    0 => DENIED,
                    _ => Outcome::Off,
                };
                let answer = call(psci, pe, CPU_OFF, [0; 3]);
                if answer != expected {
                    return Some(format!("CPU_OFF answered {answer:?}"));
                }
                if answer == Outcome::Off {
                    phases[pe] = Leaving;
                }
            }
            Action::Suspend(pe) => {
                let answer = suspend(psci, pe);
                if !matches!(answer, Outcome::PowerDown(_)) {
                    return Some(format!("CPU_SUSPEND answered {answer:?}"));
                }
                phases[pe] = Down;
            }
            Action::Call(pe, number) => {
                machine.call(pe, number, &[]);
            }
            Action::Assert => machine.assert_irq(0, SPI),
            Action::Interrupt(pe) => {
                machine.take_interrupt(pe);
            }
        }
        check_psci(psci, phases)
    }
}

/// What the other PEs are told of each.
fn check_psci(psci: &Psci<'_, Board>, phases: &[Phase]) -> Option<String> {
    for (pe, phase) in phases.iter().enumerate() {
        let affinity_info = match phase {
            Off => 1,
            Pending => 2,
            _ => 0,
        };
        let hw_state = u64::from(matches!(phase, Off | Down));
        for (fid, expected) in [(AFFINITY_INFO, affinity_info), (NODE_HW_STATE, hw_state)] {
            let answer = call(psci, 0, fid, [pe as u64, 0, 0]);
            if answer != Outcome::Return(expected) {
                return Some(format!("{fid:#x} of PE {pe}: {answer:?}"));
            }
        }
    }
    // If none runs or will, none ever does.
    let stays = |phase: &Phase| ![Off, Leaving, Left].contains(phase);
    (!phases.iter().any(stays)).then(|| "no PE is left".into())
}

/// Takes back that a PE that came on has adopted the interrupt of a PE that is off.
fn undo_adoption(machine: &mut Machine, before: &State) {
    let mut after = machine.state();
    let route = before.shared.shared[shared()].route;
    after.shared.shared[shared()].route = route;
    if let Some(irq) = after.hardware.irq(0, SPI) {
        irq.route = route;
    }
    machine.load(&after);
}

/// Whether the event is delivered in the end, if PEs take what is pending for them and are
/// unmasked. What is pending for a PE that is down wakes it; something else only does if all PEs are
/// down.
fn is_delivered(machine: &mut Machine, phases: &mut [Phase]) -> bool {
    let all_down = !phases.contains(&Running);
    for _ in 0..4 * phases.len() {
        for (pe, phase) in phases.iter_mut().enumerate() {
            if *phase == Down && (all_down || machine.is_interrupted(pe)) {
                machine.dispatcher.pe_resume(&mut machine.pes[pe]);
                *phase = Running;
            }
            if *phase != Running {
                continue;
            }
            while machine.take_interrupt(pe).is_some() {}
            if machine.pes[pe].masked {
                machine.call(pe, n::UNMASK, &[]);
            }
            if machine.is_in(pe, SHARED_SLOT) {
                return true;
            }
        }
    }
    false
}

impl Model for System {
    type State = Checked;
    type Action = Action;

    /// PE 0 is on, has the event registered and enabled, and is unmasked.
    fn init_states(&self) -> Vec<Checked> {
        let mut machine = Machine::off(self.pes);
        machine.on(0);
        machine.ok(0, n::BIND, &[SPI.into()]);
        machine.ready(0, SHARED_SLOT);
        normalize(&mut machine);
        let mut phases = vec![Off; self.pes];
        phases[0] = Running;
        vec![Checked {
            state: machine.state(),
            phases,
            wrong: None,
        }]
    }

    fn actions(&self, checked: &Checked, actions: &mut Vec<Action>) {
        if checked.wrong.is_some() {
            return;
        }
        actions.push(Action::Assert);
        for (pe, phase) in checked.phases.iter().enumerate() {
            match phase {
                Off => {}
                Running => {
                    let in_handler = checked.state.pes[pe].is_in_handler();
                    actions.extend((0..self.pes).map(|other| Action::TurnOn(pe, other)));
                    actions.push(Action::Off(pe));
                    if !in_handler {
                        actions.push(Action::Suspend(pe));
                    }
                    actions.push(Action::Interrupt(pe));
                    for number in [n::MASK, n::UNMASK, n::COMPLETE] {
                        actions.push(Action::Call(pe, number));
                    }
                }
                _ => actions.push(Action::Next(pe)),
            }
        }
    }

    fn next_state(&self, last: &Checked, action: Action) -> Option<Checked> {
        let mut phases = last.phases.clone();
        with(&last.state, |machine| {
            let wrong = with_psci(&last.phases, |psci| {
                self.step(machine, psci, &mut phases, action)
            });
            normalize(machine);
            let state = machine.state();
            let next = Checked {
                state,
                phases,
                wrong,
            };
            (next != *last).then_some(next)
        })
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("no step does anything wrong", |_, checked: &Checked| {
                checked.wrong.is_none()
            }),
            Property::always(LOST, |_, checked: &Checked| {
                let state = &checked.state;
                let event = &state.shared.shared[shared()];
                let raised = event.pending || state.hardware.clone().irq(0, SPI).unwrap().pending;
                let quiescent = |phase: &Phase| [Off, Running, Down].contains(phase);
                // While the handler runs, or where it was abandoned, nothing is due.
                event.registration.handler != Handler::Enabled
                    || !raised
                    || !checked.phases.iter().all(quiescent)
                    || with(state, |machine| {
                        is_delivered(machine, &mut checked.phases.clone())
                    })
            }),
            Property::always(
                "the interrupt goes to a PE that is on",
                |_, checked: &Checked| {
                    let on = |pe: usize| ![Off, Pending, Starting].contains(&checked.phases[pe]);
                    let settled = |phase: &Phase| [Off, Running, Down].contains(phase);
                    let route = checked.state.hardware.clone().irq(0, SPI).unwrap().route;
                    !checked.phases.iter().all(settled) || on(route)
                },
            ),
        ]
    }
}

const LOST: &str = "a raised event is delivered in the end";

/// Looks at the states; whether an event is lost in one.
fn explore(pes: usize, order: Order) -> bool {
    let started = Instant::now();
    let limit = match order {
        Order::Today => std::env::var("SDEI_MODEL_STATES").map_or(30_000, |n| n.parse().unwrap()),
        // Until it is found.
        Order::WithoutAdoption => usize::MAX,
    };
    let until = match order {
        Order::Today => HasDiscoveries::Any,
        Order::WithoutAdoption => HasDiscoveries::AllOf([LOST].into()),
    };
    let checker = System { pes, order }
        .checker()
        .threads(2)
        .target_state_count(limit)
        .finish_when(until)
        .spawn_bfs()
        .join();
    eprintln!(
        "PSCI and SDEI, {pes} PEs, {order:?}: {} states ({} different), depth {}, {:?}{}",
        checker.state_count(),
        checker.unique_state_count(),
        checker.max_depth(),
        started.elapsed(),
        if checker.discoveries().is_empty() && checker.state_count() < limit {
            ", all there are"
        } else {
            ", then stopped"
        }
    );
    if order == Order::Today {
        checker.assert_properties();
    }
    checker.discovery(LOST).is_some()
}

#[test]
fn no_event_is_lost_between_psci_and_the_dispatcher_on_two_pes() {
    assert!(!explore(2, Order::Today));
}

#[test]
fn no_event_is_lost_between_psci_and_the_dispatcher_on_three_pes() {
    assert!(!explore(3, Order::Today));
}

/// The model finds what happened before `pe_on` adopted interrupts: PE 0 turns PE 1 on and goes off
/// before PE 1 has come on, and the interrupt stays with PE 0.
#[test]
fn without_adoption_an_event_is_lost() {
    for pes in [2, 3] {
        assert!(explore(pes, Order::WithoutAdoption));
    }
}

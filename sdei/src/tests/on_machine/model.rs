// SPDX-License-Identifier: MIT OR Apache-2.0

//! Every interleaving of calls, signals, interrupts, masks, completions and power changes of a
//! few PEs over a few events: the dispatcher itself, run by a model checker.
//!
//! A step is one entry into EL3: what happens within it to other PEs' atomics is left to `loom`.
//! The registers of the interrupted contexts are left out (the random sequences compare them).

use std::{cell::RefCell, eprintln, format, string::String, time::Instant, vec, vec::Vec};

use stateright::{Checker, Model, Property};

use super::machine::{
    EL1H, EVENTS, Machine, PPI, PRIVATE_CRITICAL, SHARED, SHARED_CRITICAL, SHARED_NORMAL,
    SHARED_SLOT, SLOT, SPI, START, State, handler, mpidr, n, number,
};
use crate::{
    Error, Priority, Source,
    event::Slot,
    handler::Handler,
    is_ppi,
    shared::{Round, Routing},
};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Action {
    Call(usize, u32, [u64; 3]),
    /// A PE takes one interrupt.
    Interrupt(usize),
    Assert(usize, u32),
    Raise(usize, i32),
    Off(usize),
    On(usize),
}

/// What there is to be interleaved.
struct System {
    name: &'static str,
    pes: usize,
    events: &'static [i32],
    power: bool,
    resets: bool,
    /// Bind and release, too; else everything is bound from the start.
    binding: bool,
    /// Register, enable, disable and unregister, too; else everything is registered and enabled
    /// from the start, on PEs that are unmasked.
    lifecycle: bool,
    /// So many states are enough: there are too many to see all.
    enough: usize,
}

/// A state, and what a step on the way to it did wrong.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Checked {
    state: State,
    wrong: Option<String>,
}

std::thread_local! {
    static MACHINE: RefCell<Vec<Machine>> = const { RefCell::new(Vec::new()) };
}

/// Runs `f` on a machine in this state. One machine per thread and number of PEs is kept, since
/// the dispatcher borrows its PEs' atomics for good.
fn with<R>(state: &State, f: impl FnOnce(&mut Machine) -> R) -> R {
    MACHINE.with_borrow_mut(|machines| {
        let pes = state.pes.len();
        while machines.len() <= pes {
            machines.push(Machine::off(machines.len()));
        }
        machines[pes].load(state);
        f(&mut machines[pes])
    })
}

/// Forgets what the model leaves out: the registers of contexts. So a frame is elsewhere than at
/// `START` after a step exactly when the step entered a handler.
fn normalize(machine: &mut Machine) {
    for pe in &mut machine.pes {
        for context in [&mut pe.normal, &mut pe.critical] {
            context.x.fill(0);
            context.pc = START;
            context.pstate = EL1H;
        }
    }
    for frame in &mut machine.frames {
        frame.x.fill(0);
        frame.pc = START;
        frame.pstate = EL1H;
    }
    machine.hardware(|hardware| hardware.exception.fill(None));
}

fn slot(event: i32) -> Slot {
    EVENTS.find(event).unwrap()
}

fn intid(event: i32) -> Option<u32> {
    match event {
        SLOT => Some(PPI),
        SHARED_SLOT => Some(SPI),
        _ => None,
    }
}

/// The state of an event's handler as a PE sees it, and whether it is pending in EL3.
fn event_state(state: &State, pe: usize, event: i32) -> (Handler, bool) {
    match slot(event) {
        Slot::Private(0) => (
            state.pes[pe].events[0].handler,
            state.shared.pes[pe].0 & 2 != 0,
        ),
        Slot::Private(i) => (
            state.pes[pe].events[i].handler,
            state.pes[pe].pending & (1 << i) != 0,
        ),
        Slot::Shared(i) => (
            state.shared.shared[i].registration.handler,
            state.shared.shared[i].pending,
        ),
    }
}

/// Whether a PE that the event is due on is going to look at it: an interrupt for EL3 is on its
/// way to it, or to a PE that asks it in turn if it does not take the event.
fn is_coming(machine: &Machine, state: &State, pe: usize, event: i32) -> bool {
    if machine.is_interrupted(pe) {
        return true;
    }
    let Slot::Shared(i) = slot(event) else {
        return false;
    };
    let Some(Round { asked, end }) = state.shared.shared[i].round else {
        return false;
    };
    let distance = |to: usize| (to + state.pes.len() - asked) % state.pes.len();
    state.pes[asked].index == asked
        && machine.hardware(|hardware| hardware.sgi[asked])
        && distance(pe) < distance(end)
}

/// Whether the event should have been dispatched on this PE.
fn is_due(state: &State, pe: usize, event: i32) -> bool {
    let own = &state.pes[pe];
    let (handler, pending) = event_state(state, pe, event);
    let is_critical = EVENTS.get(slot(event)).unwrap().priority == Priority::Critical;
    let is_target = match slot(event) {
        Slot::Private(_) => true,
        Slot::Shared(i) => state.shared.shared[i].routing.allows(pe),
    };
    own.index == pe
        && !own.masked
        && pending
        && handler == Handler::Enabled
        && is_target
        && own.critical.event.is_none()
        && (is_critical || own.normal.event.is_none())
}

impl System {
    /// Event 0's signals, and raises and interrupts of the others, are what can be lost.
    fn occurrences(&self, pe: usize, actions: &mut Vec<Action>) {
        for &event in self.events {
            match EVENTS.get(slot(event)).unwrap().source {
                Source::Signal => {
                    for to in 0..self.pes {
                        actions.push(Action::Call(pe, n::SIGNAL, [0, mpidr(to), 0]));
                    }
                }
                Source::Explicit => actions.push(Action::Raise(pe, event)),
                Source::Interrupt(_) | Source::Dynamic => {
                    if let Some(intid) = intid(event)
                        && (is_ppi(intid) || pe == 0)
                    {
                        actions.push(Action::Assert(pe, intid));
                    }
                }
            }
        }
    }

    fn calls(&self, pe: usize, actions: &mut Vec<Action>) {
        let mut call = |number, args| actions.push(Action::Call(pe, number, args));
        for &event in self.events {
            let is_shared = matches!(slot(event), Slot::Shared(_));
            let event = number(event);
            if self.lifecycle {
                call(n::REGISTER, [event, 0x1000, 0]);
                for operation in [n::ENABLE, n::DISABLE, n::UNREGISTER] {
                    call(operation, [event, 0, 0]);
                }
            }
            if is_shared {
                call(n::ROUTING_SET, [event, 0, 0]);
                for to in 0..self.pes {
                    call(n::ROUTING_SET, [event, 1, mpidr(to)]);
                }
            }
            if self.binding {
                call(n::RELEASE, [event, 0, 0]);
            }
        }
        if self.binding {
            for intid in [PPI, SPI] {
                call(n::BIND, [intid.into(), 0, 0]);
            }
        }
        call(n::COMPLETE, [0; 3]);
        call(n::MASK, [0; 3]);
        call(n::UNMASK, [0; 3]);
        if self.resets {
            call(n::PRIVATE_RESET, [0; 3]);
            call(n::SHARED_RESET, [0; 3]);
        }
    }

    /// Does a step; what it did wrong.
    fn step(&self, machine: &mut Machine, action: Action) -> Option<String> {
        let before = machine.state();
        let pe = match action {
            Action::Call(pe, call, args) => {
                let mut args = args.to_vec();
                if call == n::REGISTER {
                    // The entry point says which handler was entered.
                    let event = i32::try_from(args[0]).unwrap();
                    args = vec![args[0], handler(event), 0, 0, 0];
                }
                let answer = machine.call(pe, call, &args);
                let refused = (answer as i64) < 0 && answer != Error::Pending.code();
                if refused && machine.frames[pe].pc == START {
                    normalize(machine);
                    if machine.state() != before {
                        return Some(format!("refused with {answer:#x} and changed something"));
                    }
                }
                pe
            }
            Action::Interrupt(pe) => {
                machine.take_interrupt(pe);
                pe
            }
            Action::Assert(pe, intid) => {
                machine.assert_irq(pe, intid);
                pe
            }
            Action::Raise(pe, event) => {
                let result = machine.raise(pe, event);
                if result.is_err() && machine.state() != before {
                    return Some("a refused raise changed something".into());
                }
                pe
            }
            Action::Off(pe) => {
                machine.cpu_off(pe);
                machine.frames[pe].pc = START;
                pe
            }
            Action::On(pe) => {
                // What came while it was off, EL3 took.
                machine.hardware(|hardware| hardware.sgi[pe] = false);
                machine.on(pe);
                pe
            }
        };
        let entered = machine.frames[pe].pc != START;
        if entered && machine.pes[pe].masked {
            return Some("dispatched on a masked PE".into());
        }
        if entered && before.pes[pe].critical.event.is_some() && !completes(action) {
            return Some("dispatched over a Critical handler".into());
        }
        self.lost(&before, machine, action)
    }

    /// Whether a step made an event that was pending disappear without an entry of its handler.
    fn lost(&self, before: &State, machine: &Machine, action: Action) -> Option<String> {
        let after = machine.state();
        let drops = match action {
            Action::Off(_) | Action::On(_) => true,
            Action::Call(_, call, _) => {
                [n::UNREGISTER, n::PRIVATE_RESET, n::SHARED_RESET].contains(&call)
            }
            _ => false,
        };
        for (pe, frame) in machine.frames.iter().enumerate() {
            for &event in self.events {
                let (_, was) = event_state(before, pe, event);
                let (_, is) = event_state(&after, pe, event);
                let entered = machine
                    .frames
                    .iter()
                    .any(|frame| frame.pc == handler(event));
                let off = after.pes[pe].index != pe;
                if was && !is && !entered && !drops && !off && frame.pc == START {
                    return Some(format!("event {event} was lost on PE {pe}"));
                }
            }
        }
        None
    }

    fn explore(self) {
        let started = Instant::now();
        let name = self.name;
        let limit = std::env::var("SDEI_MODEL_STATES")
            .map_or(30_000, |n| n.parse().unwrap())
            .min(self.enough);
        let checker = self
            .checker()
            .threads(2)
            .target_state_count(limit)
            .spawn_bfs()
            .join();
        eprintln!(
            "{name}: {} states ({} different), depth {}, {:?}{}",
            checker.state_count(),
            checker.unique_state_count(),
            checker.max_depth(),
            started.elapsed(),
            if checker.state_count() < limit {
                ", all there are"
            } else {
                ", then stopped"
            }
        );
        checker.assert_properties();
    }
}

/// Whether the action ends a handler, so that another may be entered in its place.
fn completes(action: Action) -> bool {
    matches!(action, Action::Call(_, n::COMPLETE, _))
}

impl Model for System {
    type State = Checked;
    type Action = Action;

    fn init_states(&self) -> Vec<Checked> {
        let mut machine = Machine::new(self.pes);
        if !self.binding {
            for intid in [PPI, SPI] {
                machine.ok(0, n::BIND, &[intid.into()]);
            }
        }
        if !self.lifecycle {
            for pe in 0..self.pes {
                for &event in self.events {
                    if pe == 0 || matches!(slot(event), Slot::Private(_)) {
                        machine.ok(pe, n::REGISTER, &[number(event), handler(event), 0, 0, 0]);
                        machine.ok(pe, n::ENABLE, &[number(event)]);
                    }
                }
                machine.ok(pe, n::UNMASK, &[]);
            }
        }
        normalize(&mut machine);
        vec![Checked {
            state: machine.state(),
            wrong: None,
        }]
    }

    fn actions(&self, checked: &Checked, actions: &mut Vec<Action>) {
        for (pe, own) in checked.state.pes.iter().enumerate() {
            if own.index != pe {
                actions.push(Action::On(pe));
                continue;
            }
            self.calls(pe, actions);
            self.occurrences(pe, actions);
            actions.push(Action::Interrupt(pe));
            // The last one too: PSCI lets it go while another is on its way.
            if self.power {
                actions.push(Action::Off(pe));
            }
        }
    }

    fn next_state(&self, last: &Checked, action: Action) -> Option<Checked> {
        with(&last.state, |machine| {
            let wrong = self.step(machine, action);
            normalize(machine);
            let state = machine.state();
            (state != last.state || wrong.is_some()).then_some(Checked { state, wrong })
        })
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("no step does anything wrong", |_, checked: &Checked| {
                checked.wrong.is_none()
            }),
            Property::always(
                "nothing is left behind",
                |model: &Self, checked: &Checked| {
                    let state = &checked.state;
                    with(state, |machine| {
                        (0..model.pes).all(|pe| {
                            model.events.iter().all(|&event| {
                                !is_due(state, pe, event) || is_coming(machine, state, pe, event)
                            })
                        })
                    })
                },
            ),
            Property::always(
                "interrupts are sent to PEs that are on",
                |_, checked: &Checked| {
                    let mut hardware = checked.state.hardware.clone();
                    let shared = &checked.state.shared;
                    let any_on = shared.pes.iter().any(|(_, on, _)| *on != 0);
                    shared.shared.iter().all(|event| {
                        let is_target = match event.routing {
                            Routing::Any => !any_on || shared.is_on(event.route),
                            Routing::Pe { index, .. } => event.route == index,
                        };
                        let intid = event.registration.interrupt.intid;
                        intid == 0
                            || shared.has_routes
                                && is_target
                                && hardware.irq(0, intid).unwrap().route == event.route
                    })
                },
            ),
            Property::always("one handler per priority and PE", |_, checked: &Checked| {
                let state = &checked.state;
                let is_running = |handler: Handler| usize::from(handler.is_running());
                let running: usize = state
                    .pes
                    .iter()
                    .flat_map(|pe| pe.events.iter().map(|event| is_running(event.handler)))
                    .chain(
                        state
                            .shared
                            .shared
                            .iter()
                            .map(|event| is_running(event.registration.handler)),
                    )
                    .sum();
                let contexts = state
                    .pes
                    .iter()
                    .flat_map(|pe| [pe.normal.event, pe.critical.event])
                    .flatten()
                    .count();
                running == contexts
            }),
            Property::always(
                "interrupts are EL3's exactly while registered",
                |model: &Self, checked: &Checked| {
                    let mut hardware = checked.state.hardware.clone();
                    model.events.iter().all(|&event| {
                        intid(event).is_none_or(|intid| {
                            (0..model.pes).all(|pe| {
                                let (handler, pending) = event_state(&checked.state, pe, event);
                                let irq = hardware.irq(pe, intid).unwrap();
                                irq.group0 == (handler != Handler::Unregistered)
                                    && irq.active == (pending || handler.is_running())
                                    && irq.enabled == (handler.status() & 2 != 0)
                            })
                        })
                    })
                },
            ),
            Property::always(
                "what PEs see of each other agrees",
                |_, checked: &Checked| {
                    let state = &checked.state;
                    let waiting = (0..SHARED)
                        .filter(|&i| state.shared.shared[i].pending)
                        .fold(0, |bits, i| bits | 1 << i);
                    waiting == state.shared.waiting
                        && state.pes.iter().zip(&state.shared.pes).enumerate().all(
                            |(index, (pe, (word, _, _)))| {
                                let registered = pe.events[0].handler.is_registered();
                                (*word & 1 != 0) == registered
                                    && (registered || *word == 0)
                                    && (pe.index != usize::MAX) == state.shared.is_on(index)
                            },
                        )
                },
            ),
        ]
    }
}

#[test]
fn event_0_and_a_critical_event_on_two_pes() {
    System {
        name: "event 0 and a Critical event, 2 PEs",
        pes: 2,
        events: &[0, PRIVATE_CRITICAL],
        power: true,
        resets: true,
        binding: false,
        lifecycle: true,
        enough: usize::MAX,
    }
    .explore();
}

#[test]
fn event_0_on_three_pes() {
    System {
        name: "event 0, 3 PEs",
        pes: 3,
        events: &[0],
        power: true,
        resets: false,
        binding: false,
        lifecycle: true,
        enough: usize::MAX,
    }
    .explore();
}

#[test]
fn a_bound_private_event_and_event_0_on_two_pes() {
    System {
        name: "event 0 and a bound private event, 2 PEs",
        pes: 2,
        events: &[0, SLOT],
        power: true,
        resets: false,
        binding: false,
        lifecycle: true,
        enough: usize::MAX,
    }
    .explore();
}

#[test]
fn a_bound_shared_event_on_three_pes() {
    System {
        name: "a bound shared event, 3 PEs",
        pes: 3,
        events: &[SHARED_SLOT],
        power: true,
        resets: true,
        binding: false,
        lifecycle: true,
        enough: usize::MAX,
    }
    .explore();
}

#[test]
fn a_bound_shared_event_that_occurs_on_three_pes() {
    System {
        name: "a bound shared event once registered and enabled, 3 PEs",
        pes: 3,
        events: &[SHARED_SLOT],
        power: true,
        resets: false,
        binding: false,
        lifecycle: false,
        enough: usize::MAX,
    }
    .explore();
}

#[test]
fn an_explicit_shared_event_that_occurs_on_four_pes() {
    System {
        name: "a shared event once registered and enabled, 4 PEs",
        pes: 4,
        events: &[SHARED_NORMAL],
        power: true,
        resets: false,
        binding: false,
        lifecycle: false,
        enough: usize::MAX,
    }
    .explore();
}

#[test]
fn shared_events_behind_each_other_on_three_pes() {
    System {
        name: "a Normal and a Critical shared event once registered and enabled, 3 PEs",
        pes: 3,
        events: &[SHARED_NORMAL, SHARED_CRITICAL],
        power: true,
        resets: false,
        binding: false,
        lifecycle: false,
        enough: usize::MAX,
    }
    .explore();
}

#[test]
fn explicit_shared_events_on_two_pes() {
    System {
        name: "a Normal and a Critical shared event, 2 PEs",
        pes: 2,
        events: &[SHARED_NORMAL, SHARED_CRITICAL],
        power: true,
        resets: true,
        binding: false,
        lifecycle: true,
        enough: usize::MAX,
    }
    .explore();
}

#[test]
fn binding_and_releasing_on_two_pes() {
    System {
        name: "bind and release, 2 PEs",
        pes: 2,
        events: &[SLOT, SHARED_SLOT],
        power: true,
        resets: true,
        binding: true,
        lifecycle: true,
        enough: usize::MAX,
    }
    .explore();
}

#[test]
fn everything_on_two_pes() {
    System {
        name: "event 0, a bound private, a bound shared and a Critical event, 2 PEs",
        pes: 2,
        events: &[0, SLOT, SHARED_SLOT, PRIVATE_CRITICAL],
        power: true,
        resets: true,
        binding: false,
        lifecycle: true,
        enough: 500_000,
    }
    .explore();
}

#[test]
fn everything_that_occurs_on_two_pes() {
    System {
        name: "all four once registered and enabled, 2 PEs",
        pes: 2,
        events: &[0, SLOT, SHARED_SLOT, PRIVATE_CRITICAL],
        power: false,
        resets: false,
        binding: false,
        lifecycle: false,
        enough: usize::MAX,
    }
    .explore();
}

//! `attack`: every PE makes random calls and random writes to the GIC, in event handlers too, and looks after each whether
//! anything of EL3's shows or is wrong.
//!
//! Words of the command line: `seed=N`, `calls=N` (in total), `patience=SECONDS` (of the counter, that a PE may do nothing),
//! and `no-gic`, `no-waker`, `no-nmi`, `no-states` (HCR_EL2 and PSTATE.IL), `no-power` (going off and sleeping), which leave out. One
//! thread that runs the PEs in turn makes a seed repeatable.

mod calls;
mod handler;
mod lines;
pub mod nmi;
mod perform;
mod random;
mod rest;
pub mod rows;
mod state;
mod values;
mod watch;
mod writes;

use crate::arch::{self, Code};
use crate::event::{PRIVATE, SHARED_CRITICAL};
use crate::machine::Machine;
use crate::pe::Pe;
use crate::sdei::Function;
use crate::{gic, psci, say, sdei};
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering::*};
use handler::Context;
use random::Random;
use spin::Once;
use watch::{Kind, Record, Watch};

/// The most PEs that attack.
const MAX: usize = 8;

/// What is left out.
#[derive(Clone, Copy, Debug)]
struct Options {
    no_gic: bool,
    no_waker: bool,
    no_nmi: bool,
    no_states: bool,
    no_power: bool,
}

/// What a PE attacks with.
struct Fuzzer {
    random: Random,
    /// Goes on as long as this PE does.
    beats: AtomicU64,
    /// Handlers entered.
    events: AtomicU64,
    /// What it did last.
    record: Record,
    /// What it knows of the others.
    watches: [Watch; MAX],
    /// What its handlers interrupted.
    normal: Context,
    critical: Context,
    /// A handler ended a call by COMPLETE_AND_RESUME.
    resumed: AtomicBool,
    /// A handler changed HCR_EL2 in this step.
    hcr_changed: AtomicBool,
    /// This PE may hold the console.
    printing: AtomicBool,
    /// This PE makes a call in which it may sleep.
    sleeping: AtomicBool,
}

static FUZZERS: [Fuzzer; MAX] = [const { Fuzzer::new() }; MAX];
static OPTIONS: Once<Options> = Once::new();
static SEED: AtomicU64 = AtomicU64::new(0);
/// How many calls are to be made.
static CALLS: AtomicU64 = AtomicU64::new(0);
/// How many were made.
static MADE: AtomicU64 = AtomicU64::new(0);
/// PEs that start attack.
static ACTIVE: AtomicBool = AtomicBool::new(false);

/// How many calls lie between two lines that say how far it is.
const PROGRESS: u64 = 50_000;

impl Fuzzer {
    const fn new() -> Self {
        Self {
            random: Random::new(),
            beats: AtomicU64::new(0),
            events: AtomicU64::new(0),
            record: Record::new(),
            watches: [const { Watch::new() }; MAX],
            normal: Context::new(),
            critical: Context::new(),
            resumed: AtomicBool::new(false),
            hcr_changed: AtomicBool::new(false),
            printing: AtomicBool::new(false),
            sleeping: AtomicBool::new(false),
        }
    }

    /// That of the PE at `index`.
    fn of(index: usize) -> &'static Self {
        &FUZZERS[index]
    }

    fn is_critical(&self, context: &Context) -> bool {
        core::ptr::eq(context, &self.critical)
    }

    fn is_in_handler(&self) -> bool {
        self.normal.is_running() || self.critical.is_running()
    }

    fn options(&self) -> Options {
        *OPTIONS.wait()
    }

    /// Does one thing.
    fn step(&self, pe: &'static Pe, in_handler: bool) {
        // In this order: a handler may come in between.
        if !in_handler {
            self.hcr_changed.store(false, Relaxed);
        }
        state::reset();
        self.beats.fetch_add(1, Relaxed);
        match self.random.below(100) {
            0..14 if !self.options().no_gic => self.write(),
            14..20 => lines::act(self),
            20..23 => gic::send(Pe::at(self.random.below(Machine::get().pes as u64) as usize)),
            23 if !in_handler => arch::set_sctlr_entry(self.random.next() & arch::SCTLR_ENTRY),
            24..28 if !in_handler => arch::take_interrupts(),
            28..31 if !in_handler => self.arrange(),
            _ => {
                let call = self.call(pe, in_handler);
                // Whoever prints has the console; and the PE that booted wakes those that nothing else does.
                let stays = self.options().no_power
                    || self.printing.load(Relaxed)
                    || pe.index() == Machine::get().boot;
                if !(stays && call.sleeps) {
                    self.perform(pe, call);
                }
            }
        }
        if !in_handler && self.random.one_in(16) {
            arch::relax();
        }
    }

    /// Makes the calls that have an event come, which seldom come in this order by chance.
    fn arrange(&self) {
        let event = self.random.pick(&values::EVENTS);
        if let PRIVATE..=SHARED_CRITICAL = event {
            let line = self.random.pick(&lines::RAISED);
            sdei::call1(Function::Bind, line.intid());
        }
        self.note(Kind::Arrange, event, &[]);
        let to_any = [event, handler::entry(), 0, 0, 0];
        sdei::call(Function::Register, to_any);
        sdei::enable(event);
        sdei::pe_unmask();
    }

    /// Everything up to the last call.
    fn attack(&self, pe: &'static Pe) {
        let mut steps = 0_u64;
        loop {
            let made = MADE.load(Relaxed);
            if made >= CALLS.load(Relaxed) {
                return;
            }
            self.step(pe, false);
            steps += 1;
            if steps.is_multiple_of(64) {
                self.look_around(pe);
                self.tell(made);
            }
        }
    }

    /// Says now and then how far it is.
    fn tell(&self, made: u64) {
        static TOLD: AtomicU64 = AtomicU64::new(0);
        let told = TOLD.load(Relaxed);
        let is_time = made / PROGRESS > told / PROGRESS;
        if is_time && TOLD.compare_exchange(told, made, Relaxed, Relaxed).is_ok() {
            let events: u64 = FUZZERS.iter().map(|of| of.events.load(Relaxed)).sum();
            self.while_printing(|| say!("attack: {made} calls made, {events} events handled"));
        }
    }
}

/// The index of the PE that runs this.
fn own_index() -> usize {
    Pe::current().index()
}

/// Whether PEs attack: interrupts come that nobody asked for.
pub fn is_active() -> bool {
    ACTIVE.load(Acquire)
}

/// An interrupt was taken while PEs attack; a line that is up would be one again at once.
pub fn interrupted() {
    lines::lower();
    // At EL1 under EL2 no mask keeps an interrupt away from between here and the call that sleeps.
    if Fuzzer::of(own_index()).sleeping.load(Relaxed) {
        lines::WAKE_UP.raise_after(20 * lines::microsecond());
    } else {
        lines::WAKE_UP.lower();
    }
}

/// What a PE does that was turned on, or came back from a power-down.
pub fn start(pe: &'static Pe) {
    let index = pe.index();
    let fuzzer = Fuzzer::of(index);
    fuzzer.note(Kind::On, pe.mpidr(), &[]);
    fuzzer.printing.store(false, Relaxed);
    fuzzer.sleeping.store(false, Relaxed);
    fuzzer.resumed.store(false, Relaxed);
    pe.entered.store(0, Relaxed);
    pe.words[0].store(fuzzer.normal.place(index), Relaxed);
    pe.words[1].store(fuzzer.critical.place(index), Relaxed);
    for x in &pe.entry_x {
        fuzzer.no_address_of_el3("a register of a PE that starts", x.load(Relaxed));
    }
    let is_own = (pe.mpidr() ^ arch::mpidr()) & arch::AFFINITY == 0;
    fuzzer.expect_that("a PE starts as another", is_own, arch::mpidr());
    fuzzer.attack(pe);
    rest::come(fuzzer, pe);
}

/// The attack, by all PEs, from the one that booted.
pub fn run(machine: &'static Machine) {
    let number = |key| {
        machine
            .argument(key)
            .and_then(|word| word.parse::<u64>().ok())
    };
    let has = |word| {
        machine
            .bootargs
            .split_ascii_whitespace()
            .any(|is| is == word)
    };
    OPTIONS.call_once(|| Options {
        no_gic: has("no-gic"),
        no_waker: has("no-waker"),
        no_nmi: has("no-nmi"),
        no_states: has("no-states"),
        no_power: has("no-power"),
    });
    if machine.pes > MAX {
        say!("payload: no more than {MAX} PEs can attack");
        return;
    }
    watch::init(machine);
    state::init();
    writes::init();
    let seed = number("seed=").unwrap_or(1);
    SEED.store(seed, Relaxed);
    CALLS.store(number("calls=").unwrap_or(PROGRESS), Relaxed);
    say!("run attack.fuzz, seed {seed}");
    let of_seed = Random::new();
    of_seed.seed(seed);
    for fuzzer in &FUZZERS {
        fuzzer.random.seed(of_seed.next());
    }
    sdei::pe_mask();
    ACTIVE.store(true, Release);
    for index in (0..machine.pes).filter(|&index| index != machine.boot) {
        let pe = Pe::at(index);
        let context: *const Pe = pe;
        psci::cpu_on(pe.mpidr(), Code::Secondary.address(), context as u64);
    }
    start(Pe::at(machine.boot));
}

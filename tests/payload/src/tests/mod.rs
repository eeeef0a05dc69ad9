//! The tests, and how they are run.

mod aarch32;
mod architecture;
pub mod bound;
mod bugs;
mod calls;
mod clients;
mod edges;
mod explicit;
mod fixed;
mod handler;
mod handover;
pub mod interrupted;
pub mod linux;
mod power;
mod psci_arguments;
mod psci_states;
mod routing;
pub mod shared;
mod signals;
mod smccc;
mod stress;
mod suspend;
mod trng;

use crate::check::Outcome;
use crate::machine::Machine;
use crate::pe::Pe;
use crate::{attack, line, psci, say, sdei};
use core::sync::atomic::Ordering::Release;

/// One question to the firmware.
pub struct Test {
    /// `area.what`.
    pub name: &'static str,
    /// How many PEs it needs; with fewer it is not run.
    pub pes: usize,
    /// What it does.
    pub run: fn(&'static Env) -> Outcome,
}

/// A module's tests: `tests! { "area": 1 function, 2 function }`, each with the PEs it needs.
macro_rules! tests {
    ($area:literal: $($pes:literal $function:ident),* $(,)?) => {
        /// What this module asks.
        pub const TESTS: &[$crate::tests::Test] = &[
            $($crate::tests::Test { name: concat!($area, ".", stringify!($function)), pes: $pes, run: $function }),*
        ];
    };
}
pub(crate) use tests;

/// What every test gets: the machine, with all PEs but the one that runs it off.
pub struct Env {
    /// The machine.
    pub machine: &'static Machine,
    /// What the very first PE_MASK answered.
    pub first_mask: i64,
}

static ENV: spin::Once<Env> = spin::Once::new();

impl Env {
    /// Takes the machine as it was handed over; masks this PE.
    pub fn new(machine: &'static Machine) -> &'static Self {
        ENV.call_once(|| Self {
            machine,
            first_mask: sdei::pe_mask(),
        })
    }

    /// The PE that runs the tests.
    pub fn me(&self) -> &'static Pe {
        Pe::at(self.machine.boot)
    }

    /// The other PEs.
    pub fn others(&self) -> impl Iterator<Item = &'static Pe> + Clone {
        let boot = self.machine.boot;
        (0..self.machine.pes)
            .filter(move |&index| index != boot)
            .map(Pe::at)
    }

    /// The `n`th of the other PEs, turned on.
    pub fn other(&self, n: usize) -> Outcome<&'static Pe> {
        let Some(pe) = self.others().nth(n) else {
            return crate::check::fail("too few PEs");
        };
        if !pe.is_ready() {
            pe.turn_on()?;
        }
        Ok(pe)
    }

    /// Turns every PE on.
    pub fn all_on(&self) -> Outcome {
        self.others()
            .filter(|pe| !pe.is_ready())
            .try_for_each(Pe::begin)?;
        self.others().try_for_each(Pe::await_ready)
    }

    /// Leaves things as every test finds them: the others off, their words 0, no line raised, nothing registered or
    /// bound, this PE masked.
    fn tidy(&self) -> Outcome {
        self.others()
            .filter(|pe| pe.is_ready())
            .try_for_each(|pe| pe.turn_off())?;
        for pe in self.others() {
            crate::check::equal(
                "a PE was left on",
                psci::affinity_info(pe.mpidr(), 0),
                psci::OFF,
            )?;
        }
        for index in 0..self.machine.pes {
            Pe::at(index)
                .words
                .iter()
                .for_each(|word| word.store(0, Release));
        }
        line::lower_all();
        sdei::pe_mask();
        crate::check::equal("PRIVATE_RESET after the test", sdei::private_reset(), 0)?;
        crate::check::equal("SHARED_RESET after the test", sdei::shared_reset(), 0)?;
        crate::check::equal("EVENT_STATUS(0) after the test", sdei::status(0), 0)
    }
}

const AREAS: &[&[Test]] = &[
    psci_states::TESTS,
    smccc::TESTS,
    architecture::TESTS,
    trng::TESTS,
    calls::TESTS,
    handler::TESTS,
    handover::TESTS,
    power::TESTS,
    psci_arguments::TESTS,
    signals::TESTS,
    stress::TESTS,
    suspend::TESTS,
    linux::TESTS,
    bugs::TESTS,
    bound::TESTS,
    shared::TESTS,
    routing::TESTS,
    explicit::TESTS,
    edges::TESTS,
    clients::TESTS,
    aarch32::TESTS,
];

/// Runs the tests that the command line asks for.
pub fn run(machine: &'static Machine) {
    let filter = machine.argument("filter=").unwrap_or("");
    let env = Env::new(machine);
    let (mut passed, mut failed) = (0, 0);
    // Those of the attacks, and of fixed events, have runs of their own.
    let areas: &[&[Test]] = if filter.starts_with("attack") {
        &[attack::rows::TESTS, attack::nmi::TESTS]
    } else if filter.starts_with("fixed") {
        &[fixed::TESTS]
    } else {
        AREAS
    };
    let wanted = |name: &str| filter.split(',').any(|part| name.contains(part));
    for test in areas.iter().copied().flatten() {
        if test.pes > machine.pes || !wanted(test.name) {
            continue;
        }
        say!("run {}", test.name);
        let outcome = (test.run)(env);
        let tidied = env.tidy();
        match outcome.and(tidied) {
            Ok(()) => {
                passed += 1;
                say!("ok {}", test.name);
            }
            Err(why) => {
                failed += 1;
                say!("not ok {}: {why}", test.name);
            }
        }
        if tidied.is_err() {
            say!("payload: cannot go on after this");
            break;
        }
    }
    say!("payload: {passed} passed, {failed} failed");
}

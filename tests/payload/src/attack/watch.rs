//! What each PE did last, whether each gets on, and what is said when something is wrong.

use super::Fuzzer;
use crate::machine::Machine;
use crate::pe::Pe;
use crate::{arch, console, gic, psci, say, sdei};
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering::*};

/// How many of the things that a PE did last are kept.
const KEPT: usize = 24;

/// Something that a PE did.
#[derive(Clone, Copy, Debug)]
#[repr(u64)]
pub enum Kind {
    /// It made a call.
    Call,
    /// What the call answered.
    Answer,
    /// It wrote to the GIC's memory.
    Write,
    /// It used the GIC's CPU interface.
    Interface,
    /// An event interrupted it.
    Event,
    /// It changed HCR_EL2.
    Hcr,
    /// It raised or lowered an interrupt line.
    Line,
    /// A handler turned the PE off.
    Off,
    /// It was turned on, or came back from a power-down.
    On,
    /// It has come to the end.
    End,
    /// It registered and enabled an event.
    Arrange,
}

impl Kind {
    fn name(number: u64) -> &'static str {
        const NAMES: [&str; 11] = [
            "call",
            "answer",
            "write",
            "interface",
            "event",
            "HCR_EL2",
            "line",
            "off",
            "on",
            "end",
            "arrange",
        ];
        NAMES.get(number as usize).copied().unwrap_or("nothing")
    }
}

/// What one PE did last.
pub struct Record {
    next: AtomicU64,
    entries: [[AtomicU64; 8]; KEPT],
}

impl Record {
    /// Of nothing.
    pub const fn new() -> Self {
        Self {
            next: AtomicU64::new(0),
            entries: [const { [const { AtomicU64::new(0) }; 8] }; KEPT],
        }
    }

    fn add(&self, kind: Kind, what: u64, more: &[u64]) {
        let number = self.next.fetch_add(1, Relaxed);
        let entry = &self.entries[number as usize % KEPT];
        entry[0].store(number, Relaxed);
        entry[1].store(kind as u64, Relaxed);
        entry[2].store(what, Relaxed);
        for (index, word) in entry[3..].iter().enumerate() {
            word.store(more.get(index).copied().unwrap_or(0), Relaxed);
        }
    }

    fn show(&self) {
        let next = self.next.load(Relaxed);
        for number in next.saturating_sub(KEPT as u64)..next {
            let entry = self.entries[number as usize % KEPT]
                .each_ref()
                .map(|word| word.load(Relaxed));
            say!(
                "    {number} {} {:#x} {:#x} {:#x} {:#x} {:#x} {:#x}",
                Kind::name(entry[1]),
                entry[2],
                entry[3],
                entry[4],
                entry[5],
                entry[6],
                entry[7]
            );
        }
    }
}

/// What one PE knows of whether another gets on.
pub struct Watch {
    beats: AtomicU64,
    since: AtomicU64,
}

impl Watch {
    /// Of one that was never looked at.
    pub const fn new() -> Self {
        Self {
            beats: AtomicU64::new(0),
            since: AtomicU64::new(0),
        }
    }
}

/// Seconds that a PE which is on may be seen to do nothing: `patience=` of the command line.
static PATIENCE: AtomicU64 = AtomicU64::new(60);

/// Reads the command line.
pub fn init(machine: &Machine) {
    if let Some(patience) = machine
        .argument("patience=")
        .and_then(|word| word.parse().ok())
    {
        PATIENCE.store(patience, Relaxed);
    }
}

/// How many ticks of the counter a PE may be seen to do nothing.
pub fn patience() -> u64 {
    PATIENCE.load(Relaxed) * arch::counter_frequency()
}

/// Wakes a PE that might sleep.
pub fn poke(pe: &Pe) {
    sdei::signal(pe.mpidr());
    gic::send(pe);
}

impl Fuzzer {
    /// Notes something that this PE does.
    pub fn note(&self, kind: Kind, what: u64, more: &[u64]) {
        self.record.add(kind, what, more);
    }

    /// Does something that holds the console, or what others need: no handler turns this PE off or sleeps meanwhile.
    pub fn while_printing(&self, print: impl FnOnce()) {
        let before = self.printing.swap(true, Relaxed);
        print();
        self.printing.store(before, Relaxed);
    }

    /// Looks whether the other PEs get on, and wakes those that do not for a while.
    pub fn look_around(&self, pe: &'static Pe) {
        let now = arch::counter();
        for index in (0..Machine::get().pes).filter(|&index| index != pe.index()) {
            let (other, watch) = (Fuzzer::of(index), &self.watches[index]);
            let beats = other.beats.load(Relaxed);
            let is_off = || psci::affinity_info(Pe::at(index).mpidr(), 0) == psci::OFF;
            if beats != watch.beats.swap(beats, Relaxed) || is_off() {
                watch.since.store(now, Relaxed);
                continue;
            }
            let silent = now.saturating_sub(watch.since.load(Relaxed));
            if silent > patience() {
                self.fail("a PE that is on does nothing", index as u64);
            }
            if silent > patience() / 256 {
                poke(Pe::at(index));
            }
        }
    }

    /// Fails unless `condition` holds.
    #[track_caller]
    pub fn expect_that(&self, what: &str, condition: bool, value: u64) {
        if !condition {
            self.fail(what, value);
        }
    }

    /// Fails if this is an address at which EL3 lives.
    #[track_caller]
    pub fn no_address_of_el3(&self, what: &str, value: u64) {
        if Machine::get().board.el3.contains(&value) {
            self.fail(what, value);
        }
    }

    /// Says what was wrong and what every PE did last, and ends the run.
    #[track_caller]
    pub fn fail(&self, what: &str, value: u64) -> ! {
        static FAILED: AtomicBool = AtomicBool::new(false);
        self.printing.store(true, Relaxed);
        sdei::pe_mask();
        if FAILED.swap(true, AcqRel) {
            // Another PE says so already.
            loop {
                arch::relax();
            }
        }
        // A PE that does nothing any more may have done so while it had the console.
        console::take();
        say!("attack: {what}: {value:#x}");
        let at = core::panic::Location::caller();
        let machine = Machine::get();
        for index in 0..machine.pes {
            let pe = Pe::at(index);
            say!(
                "PE {index}, AFFINITY_INFO {}, {} steps; what it did last:",
                psci::affinity_info(pe.mpidr(), 0),
                Fuzzer::of(index).beats.load(Relaxed)
            );
            Fuzzer::of(index).record.show();
        }
        say!("the payload is at {:#x}", arch::load_address());
        say!(
            "not ok attack.fuzz: seed {}, after {} calls, PE {}: {what}: {value:#x} ({}:{})",
            super::SEED.load(Relaxed),
            super::MADE.load(Relaxed),
            super::own_index(),
            at.file(),
            at.line()
        );
        say!("payload: 0 passed, 1 failed");
        psci::system_off()
    }
}

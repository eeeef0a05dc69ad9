//! The bare-metal BL33 that asks the real image questions: on which machines it
//! runs, and what it says.

use std::path::Path;

use regex::Regex;

use crate::board::Board;
use crate::fvp;
use crate::linux::RME;
use crate::machine::{Machine, Qemu};
use crate::session::{Failure, Session};
use crate::tally::Tally;

/// Lines that no run of the payload shows.
const FORBIDDEN: &[&str] = &["bl31: cannot boot", "bl31: EL3 crash"];

/// The command line with which the payload makes the firmware crash.
const CRASHES: &str = "stage=crash";

/// One machine on which the payload runs.
#[derive(Clone, Debug)]
pub struct Run {
    /// Its name, which says what is different about it.
    pub name: String,
    /// The board.
    pub board: Board,
    /// CPU model.
    pub cpu: &'static str,
    /// Number of PEs.
    pub cpus: u32,
    /// Whether the PEs have EL2.
    pub el2: bool,
    /// Whether the PEs take turns on one thread of the host, switching where they
    /// yield: the same every time, and quick where PEs wait for each other. Else
    /// they run at the same time, and race.
    pub in_turn: bool,
    /// Whether it is also run on the oldest QEMU there is.
    pub old_qemu: bool,
    /// The payload's command line, unless there is another one.
    pub append: String,
    /// Whether it needs the image whose table has [events of fixed interrupts](FIXED_EVENTS).
    pub fixed_events: bool,
    /// Whether it runs on the minimal firmware beside `sdei-aarch64`, not on the image.
    pub on_minimal: bool,
    /// RAM, as QEMU writes sizes, if not what the board has.
    pub memory: Option<&'static str>,
    /// NUMA nodes: how many, and the size of each in KiB. That is the
    /// machine's RAM then.
    pub nodes: (u32, u32),
}

/// On each board, with EL2 and without, on 1, 2, 4 and 8 PEs that take turns, and
/// on some that run at the same time: what the board can do of this; on CPUs that
/// have less, and are affected by more; and on as many PEs as there can be.
pub fn runs() -> Vec<Run> {
    let mut runs = Vec::new();
    for board in Board::ALL {
        let can = board.abilities();
        let els: &[bool] = if can.without_el2 {
            &[true, false]
        } else {
            &[true]
        };
        for el2 in els {
            runs.extend(can.cpus.iter().map(|cpus| run_on(board, *cpus, *el2, true)));
        }
        if can.at_once {
            for (cpus, el2) in [(2, true), (4, true), (4, false)] {
                runs.push(run_on(board, cpus, el2, false));
            }
        }
    }
    for cpu in ["cortex-a57", "neoverse-n1", RME] {
        let mut run = run_on(Board::QemuVirt, 2, true, true);
        run.name = format!("{}, {cpu}", run.name);
        run.cpu = cpu;
        runs.push(run);
    }
    // As many as a GICv3 has on QEMU: each is turned on, gets event 0, and goes off.
    let mut all = run_on(Board::QemuVirt, 512, true, true);
    all.name = format!("{}, signals", all.name);
    all.append = "filter=signal".into();
    runs.push(all);
    runs.extend(fixed_events());
    runs.extend(memory());
    runs.extend(resets());
    runs.extend(on_minimal());
    for board in Board::ALL {
        let cpus = board
            .abilities()
            .cpus
            .iter()
            .max()
            .map_or(4, |most| 4.min(*most));
        let mut crashes = run_on(board, cpus, true, true);
        crashes.name = format!("{}, crashes", crashes.name);
        crashes.append = CRASHES.into();
        crashes.old_qemu = false;
        runs.push(crashes);
    }
    runs
}

/// The cargo feature of the image with events of fixed interrupts, which its boards have not.
pub const FIXED_EVENTS: &str = "fixed_events";

/// Events of fixed interrupts.
fn fixed_events() -> impl Iterator<Item = Run> {
    Board::ALL.into_iter().map(|board| {
        let cpus = 2.min(*board.abilities().cpus.last().unwrap_or(&1));
        let mut run = run_on(board, cpus, true, true);
        run.name = format!("{}, fixed events", run.name);
        run.append = "filter=fixed".into();
        run.fixed_events = true;
        run
    })
}

/// The tests that need event 0 and the least of PSCI, for the minimal firmware.
const EVENT_0: &str = "filter=signal.,handler.,stress.,bug.,linux.";

/// Where the minimal firmware enters the Normal world.
const MINIMAL_BL33: u64 = 0x4020_0000;

/// On the minimal firmware, what a firmware can do that has `sdei` and `sdei-aarch64`
/// and little else.
fn on_minimal() -> impl Iterator<Item = Run> {
    [(1, true), (4, true), (8, true), (4, false)]
        .into_iter()
        .map(|(cpus, in_turn)| {
            let mut run = run_on(Board::QemuVirt, cpus, true, in_turn);
            let how = if in_turn { "in turn" } else { "at once" };
            run.name = format!("second integrator, {cpus} PEs {how}, event 0");
            run.append = EVENT_0.into();
            run.on_minimal = true;
            run
        })
}

/// All PEs, through resets.
fn resets() -> impl Iterator<Item = Run> {
    Board::ALL.into_iter().map(|board| {
        let cpus = *board.abilities().cpus.last().unwrap_or(&1);
        let mut run = run_on(board, cpus, true, true);
        run.name = format!("{}, resets", run.name);
        run.append = "stage=reset".into();
        run.memory = Some("512M");
        run
    })
}

/// RAM that the device tree has in pieces, and memory that is protected over a reset.
fn memory() -> impl Iterator<Item = Run> {
    let ragged = (16, (16 << 10) + 4);
    [
        ((6, 64 << 10), "filter=mem_protect"),
        (ragged, "filter=mem_protect"),
        (ragged, "stage=protect"),
    ]
    .into_iter()
    .map(|(nodes, append)| {
        let mut run = run_on(Board::QemuVirt, 1, true, true);
        run.name = format!(
            "{}, {} nodes of {} KiB, {append}",
            run.name, nodes.0, nodes.1
        );
        run.nodes = nodes;
        run.append = append.into();
        run
    })
}

pub(crate) fn run_on(board: Board, cpus: u32, el2: bool, in_turn: bool) -> Run {
    let el = if el2 { "EL2" } else { "no EL2" };
    let how = if in_turn { "in turn" } else { "at once" };
    Run {
        name: format!("{}payload, {cpus} PEs {how}, {el}", board.prefix()),
        board,
        cpu: "max",
        cpus,
        el2,
        in_turn,
        old_qemu: board.abilities().old_qemu && cpus == 4 && el2 && in_turn,
        append: String::new(),
        fixed_events: false,
        on_minimal: false,
        memory: None,
        nodes: (0, 0),
    }
}

impl Run {
    /// The machine of this run. `append` is the payload's command line, if it shall be
    /// another one than the run's.
    pub fn machine(&self, qemu: &Qemu, firmware: &Path, payload: &Path, append: &str) -> Machine {
        let mut machine = Machine::new(qemu, firmware);
        machine.cpu = self.cpu.into();
        machine.cpus = self.cpus;
        machine.el2 = self.el2;
        if let Some(memory) = self.memory {
            machine.memory = memory.into();
        }
        match self.board {
            Board::QemuVirt => {
                machine.kernel = Some(payload.to_owned());
                if self.in_turn {
                    machine.extra = vec!["-icount".into(), "shift=1,sleep=off".into()];
                }
            }
            Board::FvpBase => machine.preload = Some((payload.to_owned(), fvp::IMAGE)),
        }
        let (nodes, size) = self.nodes;
        if nodes > 0 {
            machine.memory = format!("{}K", nodes * size);
        }
        for node in 0..nodes {
            machine.extra.extend([
                "-object".into(),
                format!("memory-backend-ram,id=node{node},size={size}K"),
                "-numa".into(),
                format!("node,memdev=node{node}"),
            ]);
        }
        if self.on_minimal {
            // It enters what is there; QEMU takes a command line only with a kernel.
            machine.preload = Some((payload.to_owned(), MINIMAL_BL33));
        }
        // What its tests of explicit events are driven with.
        machine.options.push(("test-timer".into(), "on".into()));
        // What it renames to see that the firmware does not believe it.
        if self.append == "stage=reset" {
            machine.options.push(("later".into(), "panic".into()));
        }
        let append = if append.is_empty() {
            &self.append
        } else {
            append
        };
        if !append.is_empty() {
            machine.append = Some(append.into());
        }
        machine
    }
}

/// What one run of the payload came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// How many of its tests passed and failed.
    pub tally: Tally,
    /// Each failed test, as `NAME: why`.
    pub failures: Vec<String>,
}

/// Runs the payload on `machine` to its end.
///
/// # Errors
///
/// When it does not come to an end, or does not power the machine off.
pub fn run(machine: &Machine, name: &str, logs: &Path) -> Result<(Verdict, Session), Failure> {
    let crashes = machine.append.as_deref() == Some(CRASHES);
    let forbidden = if crashes { &FORBIDDEN[..1] } else { FORBIDDEN };
    let mut session = Session::start(machine, name, logs, forbidden)?;
    if crashes {
        session.expect_crash();
    }
    finish(session)
}

/// Waits for the payload's end in a session, and for the machine's.
///
/// # Errors
///
/// As [`run`].
pub fn finish(mut session: Session) -> Result<(Verdict, Session), Failure> {
    let last = session.expect(r"^payload: \d+ passed, \d+ failed$")?;
    session.power_off()?;
    let verdict = verdict(&session.text());
    let counted = format!("payload: {}", verdict.tally);
    if counted == last {
        Ok((verdict, session))
    } else {
        Err(session.failure(format!(
            "the payload's lines add up to '{counted}', but it says '{last}'"
        )))
    }
}

fn verdict(text: &str) -> Verdict {
    let mut verdict = Verdict::default();
    for line in text.lines() {
        if line.starts_with("ok ") {
            verdict.tally += Tally::PASSED;
        } else if let Some(failure) = line.strip_prefix("not ok ") {
            verdict.tally += Tally::FAILED;
            verdict.failures.push(failure.to_owned());
        }
    }
    verdict
}

/// The `bench KEY COUNT` lines in what the payload printed.
pub fn bench(text: &str) -> Vec<(String, u64)> {
    let line = Regex::new(r"(?m)^bench (\S+) (\d+)$").expect("a constant");
    line.captures_iter(text)
        .filter_map(|captures| Some((captures[1].to_owned(), captures[2].parse().ok()?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_counted() {
        let verdict = verdict("ok a\nnot ok b: was 3\nok c\nsomething\n");
        assert_eq!(verdict.tally.to_string(), "2 passed, 1 failed");
        assert_eq!(verdict.failures, ["b: was 3"]);
    }

    #[test]
    fn figures_are_read() {
        let text = "bench smccc_version 58\nok x\nbench broadcast 640\nbench bad x\n";
        assert_eq!(
            bench(text),
            [("smccc_version".into(), 58), ("broadcast".into(), 640)]
        );
    }
}

//! The payload as an attacker of the image: random calls by every PE, and the attacks that worked once.

use std::path::Path;

use crate::board::Board;
use crate::machine::Machine;
use crate::payload::{self, Run, Verdict, run_on};
use crate::session::{Failure, Session};

/// The seed of the first run, unless there is another one. The others' follow.
pub const SEED: u64 = 1;

/// Calls of all random runs, and of all with `--slow`.
const CALLS: u64 = 2_100_000;
const SLOW: u64 = 100_000_000;

/// How a random run differs from the others, and what share of the calls it makes,
/// in percent. The PEs of one that is repeatable take turns.
const WAYS: [(bool, bool, u64); 4] = [
    (true, true, 45),
    (true, false, 25),
    (false, true, 20),
    (false, false, 10),
];

/// The random runs, the first with this seed.
pub fn random(seed: u64, slow: bool) -> Vec<Run> {
    let calls = if slow { SLOW } else { CALLS };
    (seed..)
        .zip(WAYS)
        .map(|(seed, (in_turn, el2, percent))| {
            let mut run = run_on(Board::QemuVirt, 4, el2, in_turn);
            // Of the counter. At once it is the host's time, which others may take.
            let patience = if in_turn { 10 } else { 120 };
            run.name = run.name.replace("payload", "attack, random");
            run.append = format!(
                "attack seed={seed} calls={} patience={patience}",
                calls / 100 * percent
            );
            run.old_qemu = false;
            run
        })
        .collect()
}

/// The attacks that worked once. Some need PEs that run at once, and one that they
/// take turns.
pub fn known() -> Vec<Run> {
    let ways = [
        (4, true, true),
        (4, true, false),
        (2, false, true),
        (4, false, false),
    ];
    ways.into_iter()
        .map(|(cpus, el2, in_turn)| {
            let mut run = run_on(Board::QemuVirt, cpus, el2, in_turn);
            run.name = run.name.replace("payload", "attack, known");
            run.append = "filter=attack".into();
            run.old_qemu = run.old_qemu && in_turn;
            run
        })
        .collect()
}

/// What a machine of a random run has besides.
pub fn prepare(machine: &mut Machine) {
    // The CPU's random numbers are the same every time, too.
    machine.extra.extend(["-seed".into(), "1".into()]);
}

/// Runs a random attack to its end.
///
/// # Errors
///
/// As [`payload::run`], and when EL3 says that it crashed: only once the other PEs have
/// said what each did last, if they still can.
pub fn run(machine: &Machine, name: &str, logs: &Path) -> Result<(Verdict, Session), Failure> {
    let mut session = Session::start(machine, name, logs, &["bl31: cannot boot"])?;
    session.expect_crash();
    let (verdict, session) = payload::finish(session)?;
    let text = session.text();
    let secure = session.secure_text();
    if secure.is_empty() && !text.contains("bl31: EL3 crash") {
        Ok((verdict, session))
    } else {
        let failures = verdict.failures.join("\n");
        Err(session.failure(format!("{failures}\nEL3 crashed:\n{secure}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn enough_calls_are_made() {
        let calls = |slow| -> u64 {
            let runs = random(SEED, slow);
            runs.iter()
                .flat_map(|run| run.append.split(' '))
                .filter_map(|word| word.strip_prefix("calls=")?.parse::<u64>().ok())
                .sum()
        };
        assert!(calls(false) >= 2_000_000);
        assert!(calls(true) >= 100_000_000);
    }
}

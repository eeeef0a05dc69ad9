// SPDX-License-Identifier: MIT OR Apache-2.0

//! Every order in which a few steps of two or three PEs can happen, and every value that the
//! memory model lets them see:
//!
//! ```sh
//! RUSTFLAGS="--cfg loom" cargo test --release -p psci-el3 --lib
//! ```

use crate::{Caller, Domain, Entry, ExecutionState, Features, Outcome, Pe, Port, PowerLevel};
use crate::{PowerOnFailed, PowerStates, Psci, recommended};
use ::loom::sync::atomic::{AtomicU64, Ordering::Relaxed};
use ::loom::thread;

const CPU_SUSPEND: u32 = 0xc400_0001;
const CPU_OFF: u32 = 0x8400_0002;
const CPU_ON: u32 = 0xc400_0003;
const AFFINITY_INFO: u32 = 0xc400_0004;
const NODE_HW_STATE: u32 = 0xc400_000d;
const SYSTEM_SUSPEND: u32 = 0xc400_000e;
const SET_SUSPEND_MODE: u32 = 0x8400_000f;

const ENTRY: u64 = 0x4000_0000;
const STANDBY: u64 = 0x1;
const PE_DOWN: u64 = 0x4000_0002;
const CLUSTER_DOWN: u64 = 0x4000_1022;
const SYSTEM_DOWN: u64 = 0x4000_2222;

const SUCCESS: Outcome = Outcome::Return(0);
const OFF: Outcome = Outcome::Return(1);
const INVALID: Outcome = Outcome::Return(-2i64 as u64);
const DENIED: Outcome = Outcome::Return(-3i64 as u64);
const ALREADY_ON: Outcome = Outcome::Return(-4i64 as u64);
const ON_PENDING: Outcome = Outcome::Return(-5i64 as u64);
const INTERNAL_FAILURE: Outcome = Outcome::Return(-6i64 as u64);

/// Three PEs.
struct Board {
    /// Whether PE 1 is in a cluster of its own.
    two_clusters: bool,
    /// Whether the hardware says that PEs don't come on.
    fails: bool,
}

impl Port for Board {
    fn pe_count(&self) -> usize {
        3
    }
    fn affinity(&self, pe: usize) -> u64 {
        pe as u64
    }
    fn pe_index(&self, affinity: u64) -> Option<usize> {
        (affinity < 3).then_some(affinity as usize)
    }
    fn domain(&self, pe: usize, _level: PowerLevel) -> usize {
        usize::from(self.two_clusters && pe == 1)
    }
    fn power_on(&self, _pe: usize) -> Result<(), PowerOnFailed> {
        match self.fails {
            true => Err(PowerOnFailed),
            false => Ok(()),
        }
    }
    fn is_nonsecure_ram(&self, _base: u64, _length: u64) -> bool {
        true
    }
    fn features(&self) -> Features {
        Features::NONE
            .os_initiated()
            .system_suspend()
            .node_hw_state()
    }
    fn power_states(&self) -> &'static PowerStates {
        &recommended::STATES
    }
}

type Machine = Psci<'static, Board>;

/// A machine of one cluster with these PEs on, and a word of its Normal world's memory.
fn machine(on: &[usize]) -> (&'static Machine, &'static AtomicU64) {
    let board = Board {
        two_clusters: false,
        fails: false,
    };
    (
        board_with(board, on),
        Box::leak(Box::new(AtomicU64::new(0))),
    )
}

/// A machine with these PEs on, and PE 1 in a cluster of its own.
fn two_clusters(on: &[usize]) -> &'static Machine {
    let board = Board {
        two_clusters: true,
        fails: false,
    };
    board_with(board, on)
}

fn board_with(board: Board, on: &[usize]) -> &'static Machine {
    let pes = Box::leak(Box::new([Pe::new(), Pe::new(), Pe::new()]));
    let domains = Box::leak(Box::new([Domain::new(), Domain::new()]));
    let psci = Psci::new(&*Box::leak(Box::new(board)), pes, domains);
    for &pe in on {
        psci.boot(pe);
    }
    Box::leak(Box::new(psci))
}

fn call(psci: &Machine, me: usize, fid: u32, args: [u64; 3]) -> Outcome {
    let caller = || Caller {
        state: ExecutionState::AArch64,
        big_endian: false,
        in_handler: false,
    };
    psci.call(me, caller, fid, &args)
}

/// Turns PE `target` on, at an address that goes with the context.
fn cpu_on(psci: &Machine, me: usize, target: usize) -> Outcome {
    let context = me as u64;
    let args = [target as u64, ENTRY + 4 * context, context];
    call(psci, me, CPU_ON, args)
}

/// Turns the calling PE off.
fn go_off(psci: &Machine, me: usize) {
    assert_eq!(call(psci, me, CPU_OFF, [0; 3]), Outcome::Off);
    psci.off(me);
}

#[test]
fn of_two_callers_exactly_one_turns_a_pe_on() {
    ::loom::model(|| {
        let (psci, word) = machine(&[0, 1]);
        let callers: Vec<_> = (0..2)
            .map(|me| {
                thread::spawn(move || {
                    if me == 0 {
                        word.store(1, Relaxed);
                    }
                    cpu_on(psci, me, 2)
                })
            })
            .collect();
        // PE 2 looks while they try, and once more after they have.
        let check = |entry: Entry| {
            assert_eq!(entry.address, ENTRY + 4 * entry.context);
            // What the winner wrote before its call is there.
            assert!(entry.context != 0 || word.load(Relaxed) == 1);
            entry.context as usize
        };
        let early = psci.start(2).map(check);
        let answers: Vec<_> = callers.into_iter().map(|c| c.join().unwrap()).collect();
        let late = psci.start(2).map(check);
        let winner = early.xor(late).expect("one start");
        assert_eq!(answers[winner], SUCCESS);
        assert!([ALREADY_ON, ON_PENDING].contains(&answers[1 - winner]));
    });
}

#[test]
fn a_pe_that_goes_off_can_be_turned_on_at_once() {
    ::loom::model(|| {
        let (psci, word) = machine(&[0, 1]);
        let off = thread::spawn(move || {
            assert_eq!(call(psci, 1, CPU_OFF, [0; 3]), Outcome::Off);
            word.store(1, Relaxed);
            psci.off(1);
            psci.start(1)
        });
        let answer = cpu_on(psci, 0, 1);
        if answer == SUCCESS {
            // It was off, so what it did before is done.
            assert_eq!(word.load(Relaxed), 1);
        } else {
            assert_eq!(answer, ALREADY_ON);
        }
        let early = off.join().unwrap();
        let late = psci.start(1);
        assert_eq!(answer == SUCCESS, early.xor(late).is_some());
    });
}

#[test]
fn who_sees_a_pe_off_sees_all_that_it_did_and_may_suspend_the_system() {
    ::loom::model(|| {
        let (psci, word) = machine(&[0, 1]);
        let off = thread::spawn(move || {
            word.store(1, Relaxed);
            go_off(psci, 1);
        });
        if call(psci, 0, AFFINITY_INFO, [1, 0, 0]) == OFF {
            assert_eq!(word.load(Relaxed), 1);
            let outcome = call(psci, 0, SYSTEM_SUSPEND, [ENTRY, 0, 0]);
            assert_eq!(outcome, Outcome::SystemSuspend);
        }
        off.join().unwrap();
    });
}

#[test]
fn the_system_never_suspends_while_a_pe_turns_another_on() {
    ::loom::model(|| {
        let (psci, _) = machine(&[0, 1]);
        let other = thread::spawn(move || {
            assert_eq!(cpu_on(psci, 1, 2), SUCCESS);
            go_off(psci, 1);
        });
        assert_eq!(call(psci, 0, SYSTEM_SUSPEND, [ENTRY, 0, 0]), DENIED);
        other.join().unwrap();
    });
}

#[test]
fn exactly_one_of_two_is_the_last_to_suspend() {
    ::loom::model(|| {
        let (psci, _) = machine(&[0, 1]);
        let suspend = |me| call(psci, me, CPU_SUSPEND, [CLUSTER_DOWN, ENTRY, 0]);
        let other = thread::spawn(move || suspend(1));
        let mine = suspend(0);
        let others = other.join().unwrap();
        let cluster = Outcome::PowerDown(PowerLevel::Level1);
        assert!((mine == cluster) ^ (others == cluster));
        // The second to resume finds its own entry, whatever the first one did.
        assert_eq!(psci.resume(1).unwrap().address, ENTRY);
        assert_eq!(psci.resume(0).unwrap().address, ENTRY);
    });
}

#[test]
fn the_os_is_denied_the_cluster_while_the_other_pe_comes_on() {
    ::loom::model(|| {
        let (psci, _) = machine(&[0, 1]);
        assert_eq!(call(psci, 0, SET_SUSPEND_MODE, [1, 0, 0]), SUCCESS);
        let other = thread::spawn(move || {
            assert_eq!(cpu_on(psci, 1, 2), SUCCESS);
            go_off(psci, 1);
        });
        let outcome = call(psci, 0, CPU_SUSPEND, [CLUSTER_DOWN, ENTRY, 0]);
        assert_eq!(outcome, DENIED);
        other.join().unwrap();
    });
}

#[test]
fn a_pe_that_starts_and_goes_off_at_once_is_off() {
    ::loom::model(|| {
        let (psci, _) = machine(&[0]);
        let caller = thread::spawn(move || assert_eq!(cpu_on(psci, 0, 2), SUCCESS));
        let started = psci.start(2).is_some();
        if started {
            go_off(psci, 2);
        }
        caller.join().unwrap();
        let suspend = call(psci, 0, SYSTEM_SUSPEND, [ENTRY, 0, 0]);
        let expected = if started {
            Outcome::SystemSuspend
        } else {
            DENIED
        };
        assert_eq!(suspend, expected);
    });
}

#[test]
fn one_of_the_last_two_stays_on() {
    ::loom::model(|| {
        let (psci, _) = machine(&[0, 1]);
        let leave = |me| {
            let off = call(psci, me, CPU_OFF, [0; 3]) == Outcome::Off;
            if off {
                psci.off(me);
            }
            off
        };
        let other = thread::spawn(move || leave(1));
        let mine = leave(0);
        assert!(mine ^ other.join().unwrap());
    });
}

#[test]
fn a_domain_with_a_pe_that_is_on_or_coming_is_never_off() {
    ::loom::model(|| {
        let (psci, _) = machine(&[1]);
        let other = thread::spawn(move || {
            assert_eq!(cpu_on(psci, 1, 2), SUCCESS);
            go_off(psci, 1);
        });
        // Of all PEs: one turns another on and goes off.
        assert_ne!(call(psci, 0, AFFINITY_INFO, [0, 1, 0]), OFF);
        other.join().unwrap();
        assert_ne!(call(psci, 0, AFFINITY_INFO, [0, 1, 0]), OFF);
    });
}

fn suspend(psci: &Machine, me: usize, state: u64) -> Outcome {
    call(psci, me, CPU_SUSPEND, [state, ENTRY, 0])
}

fn is_up(psci: &Machine, pe: u64, level: u64) -> bool {
    call(psci, 0, NODE_HW_STATE, [pe, level, 0]) == SUCCESS
}

const SYSTEM: Outcome = Outcome::PowerDown(PowerLevel::Level2);

#[test]
fn exactly_one_of_two_clusters_is_the_last_to_go_down() {
    ::loom::model(|| {
        let psci = two_clusters(&[0, 1]);
        let other = thread::spawn(move || suspend(psci, 1, SYSTEM_DOWN));
        let mine = suspend(psci, 0, SYSTEM_DOWN);
        let others = other.join().unwrap();
        assert!((mine == SYSTEM) ^ (others == SYSTEM));
        assert!(!is_up(psci, 0, 1) && !is_up(psci, 1, 1) && !is_up(psci, 0, 2));
    });
}

#[test]
fn a_cluster_that_comes_up_while_the_other_goes_down_has_the_system_up() {
    ::loom::model(|| {
        let psci = two_clusters(&[0, 1]);
        assert_ne!(suspend(psci, 1, SYSTEM_DOWN), SYSTEM);
        let other = thread::spawn(move || psci.resume(1).unwrap());
        // Which of the two is first.
        let mine = suspend(psci, 0, SYSTEM_DOWN);
        assert!(mine == SYSTEM || mine == Outcome::PowerDown(PowerLevel::Level1));
        other.join().unwrap();
        assert!(!is_up(psci, 0, 1) && is_up(psci, 1, 1) && is_up(psci, 0, 2));
    });
}

#[test]
fn a_cluster_that_another_pe_is_turned_on_in_stays_up() {
    ::loom::model(|| {
        let psci = two_clusters(&[0, 1]);
        // PE 1 turns PE 2 on, which is in PE 0's cluster, and goes down.
        let other = thread::spawn(move || {
            assert_eq!(cpu_on(psci, 1, 2), SUCCESS);
            assert_ne!(suspend(psci, 1, SYSTEM_DOWN), SYSTEM);
        });
        assert_ne!(suspend(psci, 0, SYSTEM_DOWN), SYSTEM);
        other.join().unwrap();
        assert!(is_up(psci, 0, 1) && is_up(psci, 0, 2) && !is_up(psci, 1, 1));
        psci.start(2).unwrap();
        assert_eq!(suspend(psci, 2, SYSTEM_DOWN), SYSTEM);
    });
}

#[test]
fn the_os_never_takes_a_cluster_down_with_a_pe_in_standby() {
    ::loom::model(|| {
        let (psci, _) = machine(&[0, 1]);
        assert_eq!(call(psci, 0, SET_SUSPEND_MODE, [1, 0, 0]), SUCCESS);
        let other = thread::spawn(move || {
            assert_eq!(suspend(psci, 1, STANDBY), Outcome::Standby);
            psci.standby_end(1);
        });
        let mine = suspend(psci, 0, CLUSTER_DOWN);
        assert!(mine == DENIED || mine == INVALID);
        other.join().unwrap();
        assert!(is_up(psci, 0, 1));
    });
}

#[test]
fn the_os_takes_the_system_down_with_the_last_of_two_clusters_alone() {
    ::loom::model(|| {
        let psci = two_clusters(&[0, 1]);
        assert_eq!(call(psci, 0, SET_SUSPEND_MODE, [1, 0, 0]), SUCCESS);
        let other = thread::spawn(move || suspend(psci, 1, CLUSTER_DOWN));
        let mine = suspend(psci, 0, SYSTEM_DOWN);
        let cluster = Outcome::PowerDown(PowerLevel::Level1);
        assert_eq!(other.join().unwrap(), cluster);
        assert!([SYSTEM, DENIED, INVALID].contains(&mine), "{mine:?}");
        assert_eq!(is_up(psci, 0, 2), mine != SYSTEM);
        assert_eq!(is_up(psci, 0, 1), mine != SYSTEM);
    });
}

#[test]
fn a_pe_that_fails_to_come_on_is_off_or_has_started() {
    ::loom::model(|| {
        let board = Board {
            two_clusters: false,
            fails: true,
        };
        let psci = board_with(board, &[0]);
        let caller = thread::spawn(move || cpu_on(psci, 0, 2));
        let started = psci.start(2).is_some();
        let answer = caller.join().unwrap();
        let expected = if started { SUCCESS } else { INTERNAL_FAILURE };
        assert_eq!(answer, expected);
        assert!(psci.start(2).is_none());
        assert_eq!(call(psci, 0, AFFINITY_INFO, [2, 0, 0]) == OFF, !started);
        // What is counted is so, too.
        if started {
            assert_eq!(
                suspend(psci, 2, PE_DOWN),
                Outcome::PowerDown(PowerLevel::Pe)
            );
            psci.resume(2).unwrap();
            go_off(psci, 2);
        }
        assert_eq!(call(psci, 0, CPU_OFF, [0; 3]), DENIED);
        let outcome = call(psci, 0, SYSTEM_SUSPEND, [ENTRY, 0, 0]);
        assert_eq!(outcome, Outcome::SystemSuspend);
    });
}

#[test]
fn of_two_callers_whose_target_fails_none_succeeds() {
    ::loom::model(|| {
        let board = Board {
            two_clusters: false,
            fails: true,
        };
        let psci = board_with(board, &[0, 1]);
        let other = thread::spawn(move || cpu_on(psci, 1, 2));
        let answers = [cpu_on(psci, 0, 2), other.join().unwrap()];
        assert!(answers.contains(&INTERNAL_FAILURE));
        assert!(!answers.contains(&SUCCESS));
        assert_eq!(call(psci, 0, AFFINITY_INFO, [2, 0, 0]), OFF);
        go_off(psci, 1);
        let outcome = call(psci, 0, SYSTEM_SUSPEND, [ENTRY, 0, 0]);
        assert_eq!(outcome, Outcome::SystemSuspend);
    });
}

#[test]
fn a_pe_that_starts_and_is_in_standby_at_once_is_so() {
    ::loom::model(|| {
        let (psci, _) = machine(&[0]);
        let caller = thread::spawn(move || assert_eq!(cpu_on(psci, 0, 2), SUCCESS));
        let started = psci.start(2).is_some();
        if started {
            assert_eq!(suspend(psci, 2, STANDBY), Outcome::Standby);
        }
        caller.join().unwrap();
        let state = call(psci, 0, NODE_HW_STATE, [2, 0, 0]);
        assert_eq!(state, Outcome::Return(if started { 2 } else { 0 }));
    });
}

// SPDX-License-Identifier: MIT OR Apache-2.0

//! PEs as threads. What exactly one of them may get, exactly one gets; `src/loom.rs` tries every
//! order of a few steps, this many orders of many steps.

use crate::common::*;
use psci_el3::Outcome;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::thread;

const ROUNDS: usize = 2000;

#[test]
fn of_racing_callers_exactly_one_turns_a_pe_on() {
    let (psci, _) = machine(ALL);
    for pe in 1..4 {
        turn_on(psci, pe);
    }
    let wins = AtomicUsize::new(0);
    let starts = AtomicUsize::new(0);
    let done = AtomicBool::new(false);
    let barrier = Barrier::new(4);
    thread::scope(|scope| {
        // PE 9, off: starts, checks what it got, goes off.
        scope.spawn(|| {
            while !done.load(SeqCst) {
                if let Some(entry) = psci.start(9) {
                    assert_eq!(entry.address, ENTRY + 4 * entry.context);
                    starts.fetch_add(1, SeqCst);
                    assert_eq!(call(psci, 9, CPU_OFF, [0; 3]), Outcome::Off);
                    psci.off(9);
                }
                thread::yield_now();
            }
        });
        let callers: Vec<_> = (0..4)
            .map(|me| {
                let (wins, barrier) = (&wins, &barrier);
                scope.spawn(move || {
                    for _ in 0..ROUNDS {
                        barrier.wait();
                        let context = me as u64;
                        let args = [MPIDRS[9], ENTRY + 4 * context, context];
                        match value(psci, me, CPU_ON, args) as i64 {
                            0 => _ = wins.fetch_add(1, SeqCst),
                            ALREADY_ON | ON_PENDING => {}
                            other => panic!("{other}"),
                        }
                    }
                })
            })
            .collect();
        for caller in callers {
            caller.join().unwrap();
        }
        done.store(true, SeqCst);
    });
    if psci.start(9).is_some() {
        starts.fetch_add(1, SeqCst);
        turn_off(psci, 9);
    }
    assert_eq!(affinity_info(psci, 9), OFF);
    // Each success is one start, neither more nor less.
    assert_eq!(wins.load(SeqCst), starts.load(SeqCst));
    assert_ne!(wins.load(SeqCst), 0);
    // Whatever happened, the counts of the tree are still right.
    for pe in 1..4 {
        turn_off(psci, pe);
    }
    let outcome = call(psci, 0, SYSTEM_SUSPEND, [ENTRY, 0, 0]);
    assert_eq!(outcome, Outcome::SystemSuspend);
}

#[test]
fn the_last_of_racing_suspends_takes_the_domains_down() {
    let (psci, _) = machine(ALL);
    for pe in 1..4 {
        turn_on(psci, pe);
    }
    let barrier = Barrier::new(4);
    let systems = AtomicUsize::new(0);
    thread::scope(|scope| {
        for me in 0..4 {
            let (systems, barrier) = (&systems, &barrier);
            scope.spawn(move || {
                for _ in 0..ROUNDS {
                    barrier.wait();
                    if power_down(psci, me, SYSTEM_DOWN) == psci_el3::PowerLevel::Level2 {
                        systems.fetch_add(1, SeqCst);
                    }
                    barrier.wait();
                    let _ = psci.resume(me);
                }
            });
        }
    });
    assert_eq!(systems.load(SeqCst), ROUNDS);
    assert_eq!(
        value(psci, 0, STAT_COUNT, [0, SYSTEM_DOWN, 0]),
        ROUNDS as u64
    );
}

#[test]
fn the_last_of_racing_clusters_takes_the_system_down() {
    const PES: [usize; 4] = [0, 1, 4, 8];
    let (psci, _) = machine(ALL);
    for pe in &PES[1..] {
        turn_on(psci, *pe);
    }
    let barrier = Barrier::new(PES.len());
    let systems = AtomicUsize::new(0);
    thread::scope(|scope| {
        for me in PES {
            let (systems, barrier) = (&systems, &barrier);
            scope.spawn(move || {
                for round in 0..ROUNDS {
                    barrier.wait();
                    // Some come back while others go down.
                    for _ in 0..(round + me) % 3 {
                        power_down(psci, me, [CLUSTER_DOWN, SYSTEM_DOWN][me % 2]);
                        psci.resume(me).unwrap();
                    }
                    barrier.wait();
                    if power_down(psci, me, SYSTEM_DOWN) == psci_el3::PowerLevel::Level2 {
                        systems.fetch_add(1, SeqCst);
                    }
                    barrier.wait();
                    psci.resume(me).unwrap();
                }
            });
        }
    });
    assert_eq!(systems.load(SeqCst), ROUNDS);
    for pe in PES {
        assert_eq!(hw_state(psci, pe, 1), ON);
    }
    for pe in &PES[1..] {
        turn_off(psci, *pe);
        assert_eq!(hw_state(psci, *pe, 1), if *pe == 1 { ON } else { OFF });
    }
}

#[test]
fn of_racing_last_pes_exactly_one_is_not_denied() {
    let (psci, _) = machine(ALL);
    assert_eq!(value(psci, 0, SET_SUSPEND_MODE, [1, 0, 0]), 0);
    turn_on(psci, 1);
    let barrier = Barrier::new(2);
    let granted = AtomicUsize::new(0);
    thread::scope(|scope| {
        for me in 0..2 {
            let (granted, barrier) = (&granted, &barrier);
            scope.spawn(move || {
                for _ in 0..ROUNDS {
                    barrier.wait();
                    // Linux's way: as the last one, and if that is denied as one of several.
                    match call(psci, me, CPU_SUSPEND, [CLUSTER_DOWN, ENTRY, 0]) {
                        Outcome::PowerDown(_) => _ = granted.fetch_add(1, SeqCst),
                        other => {
                            assert_eq!(other, error(DENIED));
                            let alone = call(psci, me, CPU_SUSPEND, [PE_DOWN, ENTRY, 0]);
                            assert_eq!(alone, Outcome::PowerDown(psci_el3::PowerLevel::Pe));
                        }
                    }
                    barrier.wait();
                    let _ = psci.resume(me);
                }
            });
        }
    });
    // Both are denied if each asked while the other one ran.
    assert!(granted.load(SeqCst) <= ROUNDS);
}

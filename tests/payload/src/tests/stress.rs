//! Many signals, from many PEs, to many: none is lost.

use super::signals::{complete, signal_busy, told_to_leave};
use super::{Env, tests};
use crate::arch;
use crate::check::{Outcome, check, equal, wait};
use crate::gic;
use crate::pe::{Finish, Job, Pe};
use crate::sdei::{self, INVALID_PARAMETERS};
use core::sync::atomic::Ordering::*;

tests! { "stress":
    2 all_to_one,
    2 one_to_all,
    2 all_in_a_ring,
    2 each_other_at_once,
    1 ten_thousand_to_self,
    2 ten_thousand,
    2 ten_thousand_while_masking,
    2 ten_thousand_while_disabling,
    2 while_registering,
}

/// Signals of which none may be lost.
const MANY: u64 = 10_000;

/// For signals from many: each sender counts in its `words[0]`; the target's handler copies that to `words[1]`, so
/// that a sender knows of its own signal.
fn acknowledge(_: &'static Pe) -> Finish {
    for index in 0..crate::machine::Machine::get().pes {
        let sender = Pe::at(index);
        let sent = sender.words[0].load(Acquire);
        sender.words[1].store(sent, Release);
    }
    Finish::complete()
}

/// How often each of the PEs does its part: the more there are, the longer each round takes on few host cores.
fn rounds() -> u64 {
    1000 / crate::machine::Machine::get().pes as u64
}

/// Signals the PE at `target` [`rounds`] times, each once the one before was acknowledged.
fn send_many(pe: &'static Pe, target: u64) -> Outcome {
    for round in 1..=rounds() {
        pe.words[0].store(round, Release);
        equal("SIGNAL", sdei::signal(Pe::at(target as usize).mpidr()), 0)?;
        wait("a signal among many was lost", || {
            pe.words[1].load(Acquire) == round
        })?;
    }
    Ok(())
}

fn forget_words(env: &'static Env) {
    for index in 0..env.machine.pes {
        for word in &Pe::at(index).words {
            word.store(0, Release);
        }
    }
}

fn all_to_one(env: &'static Env) -> Outcome {
    env.all_on()?;
    forget_words(env);
    env.me().listen(acknowledge)?;
    for pe in env.others() {
        pe.start(send_many, env.machine.boot as u64)?;
    }
    env.others().try_for_each(Pe::finish)?;
    let sent = rounds() * (env.machine.pes as u64 - 1);
    let count = env.me().handling.count();
    check(
        "as many entries as signals at most",
        (rounds()..=sent).contains(&count),
    )?;
    check("interrupts still arrive", gic::interrupts_work())
}

fn one_to_all(env: &'static Env) -> Outcome {
    env.all_on()?;
    for pe in env.others() {
        pe.leave.store(0, Release);
        pe.run(|pe, _| pe.listen(complete), 0)?;
        pe.start(
            |pe, _| {
                while !told_to_leave(pe) {
                    arch::wfi();
                }
                Ok(())
            },
            0,
        )?;
    }
    for round in 1..=rounds() {
        arch::publish();
        for pe in env.others() {
            equal("SIGNAL", sdei::signal(pe.mpidr()), 0)?;
        }
        env.others().try_for_each(|pe| pe.await_count(round))?;
    }
    for pe in env.others() {
        pe.leave.store(1, Release);
        // It sleeps, having looked before that store.
        while !pe.is_ready() {
            equal("SIGNAL", sdei::signal(pe.mpidr()), 0)?;
            arch::relax();
        }
        pe.finish()?;
    }
    Ok(())
}

/// Each signals the next, this PE included, all at the same time.
fn all_in_a_ring(env: &'static Env) -> Outcome {
    env.all_on()?;
    let pes = env.machine.pes;
    for index in 0..pes {
        Pe::at(index).words[0].store(0, Release);
    }
    let listen: Job = |pe, _| pe.listen(complete);
    env.others().try_for_each(|pe| pe.run(listen, 0))?;
    listen(env.me(), 0)?;
    let turn: Job = |pe, pes| {
        let next = Pe::at((pe.index() + 1) % pes as usize);
        for round in 1..=rounds() {
            equal("SIGNAL", sdei::signal(next.mpidr()), 0)?;
            wait("a signal in the ring was lost", || {
                next.handling.count() >= round
            })?;
        }
        // Stay for the one before.
        pe.await_count(rounds())
    };
    env.others().try_for_each(|pe| pe.start(turn, pes as u64))?;
    turn(env.me(), pes as u64)?;
    env.others().try_for_each(Pe::finish)
}

/// Everyone signals everyone, itself included, from inside a handler too.
fn each_other_at_once(env: &'static Env) -> Outcome {
    env.all_on()?;
    let listen: Job = |pe, _| {
        pe.listen(|pe| {
            if pe.handling.count() < 100 {
                for index in 0..crate::machine::Machine::get().pes {
                    sdei::signal(Pe::at(index).mpidr());
                }
            }
            Finish::complete()
        })
    };
    env.others().try_for_each(|pe| pe.run(listen, 0))?;
    listen(env.me(), 0)?;
    let wait_for_100: Job = |pe, _| {
        wait("the handler was not entered often enough", || {
            pe.handling.count() > 100
        })
    };
    env.others().try_for_each(|pe| pe.start(wait_for_100, 0))?;
    equal("SIGNAL", sdei::signal(env.me().mpidr()), 0)?;
    wait_for_100(env.me(), 0)?;
    env.others().try_for_each(Pe::finish)
}

fn ten_thousand_to_self(env: &'static Env) -> Outcome {
    let me = env.me();
    me.listen(complete)?;
    for round in 1..=MANY {
        equal("SIGNAL", sdei::signal(me.mpidr()), 0)?;
        me.await_count(round)?;
    }
    check("interrupts still arrive", gic::interrupts_work())
}

fn ten_thousand(env: &'static Env) -> Outcome {
    signal_busy(env, MANY, |pe, _| {
        while !told_to_leave(pe) {
            arch::relax();
        }
        Ok(())
    })
}

fn ten_thousand_while_masking(env: &'static Env) -> Outcome {
    signal_busy(env, MANY, |pe, _| {
        while !told_to_leave(pe) {
            equal("PE_MASK", sdei::pe_mask(), 1)?;
            equal("PE_UNMASK", sdei::pe_unmask(), 0)?;
            arch::relax();
        }
        Ok(())
    })
}

fn ten_thousand_while_disabling(env: &'static Env) -> Outcome {
    signal_busy(env, MANY, |pe, _| {
        while !told_to_leave(pe) {
            equal("DISABLE", sdei::disable(0), 0)?;
            equal("ENABLE", sdei::enable(0), 0)?;
            arch::relax();
        }
        Ok(())
    })
}

/// Registered or not, the answer is one of two, and the PE stays in order.
fn while_registering(env: &'static Env) -> Outcome {
    let pe = env.other(0)?;
    pe.leave.store(0, Release);
    pe.handling.set(complete);
    pe.run(|_, _| equal("PE_UNMASK", sdei::pe_unmask(), 0), 0)?;
    pe.start(
        |pe, _| {
            let entry = crate::arch::Code::Event.address();
            while !told_to_leave(pe) {
                equal(
                    "REGISTER",
                    sdei::register(0, entry, pe.handling_address()),
                    0,
                )?;
                equal("ENABLE", sdei::enable(0), 0)?;
                equal("UNREGISTER", sdei::unregister(0), 0)?;
                arch::relax();
            }
            check("interrupts still arrive", gic::interrupts_work())
        },
        0,
    )?;
    let mut accepted = 0;
    for _ in 0..MANY {
        match sdei::signal(pe.mpidr()) {
            0 => accepted += 1,
            answer => equal("SIGNAL", answer, INVALID_PARAMETERS)?,
        }
        arch::relax();
    }
    pe.leave.store(1, Release);
    pe.finish()?;
    check(
        "no more entries than signals",
        pe.handling.count() <= accepted,
    )?;
    pe.run(
        |pe, _| {
            pe.listen(complete)?;
            equal("SIGNAL", sdei::signal(pe.mpidr()), 0)?;
            pe.await_count(1)
        },
        0,
    )
}

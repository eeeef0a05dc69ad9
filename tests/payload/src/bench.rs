//! `bench`: what calls cost, in instructions.
//!
//! Under `-icount shift=0,sleep=off` a nanosecond of the counter is one instruction, EL3's included. Each call is
//! made in a loop that has five instructions besides the SMC; they are counted too.

use crate::check::{Outcome, equal, wait};
use crate::machine::Machine;
use crate::pe::{Job, Pe};
use crate::sdei::Function;
use crate::tests::Env;
use crate::{arch, longest, psci, say, sdei};
use core::arch::{asm, global_asm};
use core::mem::offset_of;
use core::sync::atomic::{AtomicU64, Ordering::*};

/// How often each call is made.
const ROUNDS: u64 = 100;

/// What a handler of the benchmark leaves.
#[repr(C)]
struct Mark {
    /// The counter at its first instruction.
    counter: AtomicU64,
    /// How often it ran.
    count: AtomicU64,
}

static MARKS: [Mark; crate::pe::MAX] = [const {
    Mark {
        counter: AtomicU64::new(0),
        count: AtomicU64::new(0),
    }
}; crate::pe::MAX];

unsafe extern "C" {
    fn bench_calls(function: u64, x1: u64, x2: u64, rounds: u64) -> u64;
    fn bench_event();
    fn bench_started();
    fn bench_begin();
    fn bench_end();
}

// bench_begin, bench_end: around each measurement, for who follows the instructions one by one.
// bench_calls: the counter's ticks for `rounds` calls. bench_event: the shortest handler that can be; x1 is its
// `Mark`. bench_started: where CPU_ON starts a PE that says when it did in the word at x0, MMU off, and goes off.
global_asm!(
    ".section .text.bench, \"ax\"",
    ".global bench_calls, bench_event, bench_started, bench_begin, bench_end",
    "bench_begin:",
    "ret",
    "bench_end:",
    "ret",
    "bench_calls:",
    "stp x29, x30, [sp, #-48]!",
    "stp x19, x20, [sp, #16]",
    "stp x21, x22, [sp, #32]",
    "mov x19, x0",
    "mov x20, x1",
    "mov x21, x2",
    "mov x22, x3",
    "mrs x29, cntpct_el0",
    "1:",
    "mov x0, x19",
    "mov x1, x20",
    "mov x2, x21",
    "smc #0",
    "subs x22, x22, #1",
    "b.ne 1b",
    "mrs x0, cntpct_el0",
    "sub x0, x0, x29",
    "ldp x21, x22, [sp, #32]",
    "ldp x19, x20, [sp, #16]",
    "ldp x29, x30, [sp], #48",
    "ret",
    "bench_event:",
    "mrs x4, cntpct_el0",
    "ldr x5, [x1, #{count}]",
    "add x5, x5, #1",
    "str x4, [x1, #{counter}]",
    "str x5, [x1, #{count}]",
    "movz x0, #0x25",
    "movk x0, #0xc400, lsl #16",
    "mov x1, #0",
    "smc #0",
    "b .",
    "bench_started:",
    "mrs x1, cntpct_el0",
    "str x1, [x0]",
    "movz x0, #2",
    "movk x0, #0x8400, lsl #16",
    "smc #0",
    "b .",
    count = const offset_of!(Mark, count),
    counter = const offset_of!(Mark, counter),
);

/// Runs the benchmark; `entered` is the counter at the payload's first instruction.
pub fn run(machine: &'static Machine, entered: u64) {
    let outcome = if machine.argument("longest").is_some() {
        longest::run(Env::new(machine))
    } else {
        say!("bench rounds {ROUNDS}");
        report("reset_to_bl33", entered, 1);
        let env = Env::new(machine);
        calls(env)
            .and_then(|()| own_signals(env))
            .and_then(|()| others(env))
    };
    if let Err(why) = outcome {
        say!("payload: the benchmark failed: {why}");
    }
}

/// Prints `ticks` for `times` times something as instructions for one.
fn report(key: &str, ticks: u64, times: u64) {
    end();
    say!("bench {key} {}", instructions(ticks) / times);
}

/// Ticks of the counter as instructions.
pub fn instructions(ticks: u64) -> u64 {
    ticks * (1_000_000_000 / arch::counter_frequency())
}

/// A measurement begins.
fn begin() {
    // SAFETY: returns at once.
    unsafe { bench_begin() };
}

/// It ended.
fn end() {
    // SAFETY: returns at once.
    unsafe { bench_end() };
}

fn time(function: u64, x1: u64, x2: u64, rounds: u64) -> u64 {
    begin();
    // SAFETY: The calls made here keep x18 and up; dispatches they cause come back where they were.
    unsafe { bench_calls(function, x1, x2, rounds) }
}

fn calls(_: &'static Env) -> Outcome {
    let measured = [
        ("smccc_version", u64::from(smccc::arch::SMCCC_VERSION)),
        ("psci_version", smccc::psci::PSCI_VERSION.into()),
        ("sdei_version", Function::Version.id()),
        ("sdei_status", Function::Status.id()),
        ("unknown_fid", 0xc400_ff00),
    ];
    for (key, function) in measured {
        report(key, time(function, 0, 0, ROUNDS), ROUNDS);
    }
    Ok(())
}

/// Registers the short handler on this PE.
fn listen(pe: &'static Pe) -> Outcome {
    let mark: *const Mark = &raw const MARKS[pe.index()];
    equal(
        "REGISTER",
        sdei::register(0, bench_event as *const () as u64, mark as u64),
        0,
    )?;
    equal("ENABLE", sdei::enable(0), 0)?;
    equal("PE_UNMASK", sdei::pe_unmask(), 0)
}

fn own_signals(env: &'static Env) -> Outcome {
    let me = env.me();
    let mark = &MARKS[me.index()];
    listen(me)?;
    let mut entered = 0;
    begin();
    for _ in 0..ROUNDS {
        let before = counter_then_signal(me.mpidr());
        entered += mark.counter.load(Acquire) - before;
    }
    report("signal_self_entered", entered, ROUNDS);
    report(
        "signal_self_completed",
        time(Function::Signal.id(), 0, me.mpidr(), ROUNDS),
        ROUNDS,
    );
    equal("handlers run", mark.count.load(Acquire), 2 * ROUNDS)?;
    equal("UNREGISTER", sdei::unregister(0), 0)
}

/// SIGNAL; returns the counter just before it.
fn counter_then_signal(target: u64) -> u64 {
    let before;
    // SAFETY: SIGNAL follows the SMC calling convention, and writes no memory of ours.
    unsafe {
        asm!(
            "mrs {before}, cntpct_el0",
            "smc #0",
            before = out(reg) before,
            inout("x0") Function::Signal.id() => _,
            inout("x1") 0_u64 => _,
            inout("x2") target => _,
            out("x3") _,
            options(nostack),
        );
    }
    before
}

fn others(env: &'static Env) -> Outcome {
    let Some(first) = env.others().next() else {
        return Ok(());
    };
    let started = AtomicU64::new(0);
    let mut ticks = 0;
    begin();
    for _ in 0..ROUNDS {
        started.store(0, Release);
        let before = arch::counter();
        let answer = psci::cpu_on(
            first.mpidr(),
            bench_started as *const () as u64,
            started.as_ptr() as u64,
        );
        while started.load(Acquire) == 0 {
            arch::relax();
        }
        // By the counter of the PE itself: what it does next, going off, may come before this PE
        // sees that it came on.
        ticks += started.load(Acquire) - before;
        equal("CPU_ON", answer, 0)?;
        first.await_off()?;
    }
    report("cpu_on", ticks, ROUNDS);

    env.all_on()?;
    let spin: Job = |pe, _| {
        listen(pe)?;
        pe.words[0].store(1, Release);
        while pe.leave.load(Acquire) == 0 {
            arch::relax();
        }
        Ok(())
    };
    for pe in env.others() {
        pe.leave.store(0, Release);
        pe.start(spin, 0)?;
        wait("a PE that listens", || pe.words[0].load(Acquire) == 1)?;
    }

    let mark = &MARKS[first.index()];
    let (mut call, mut entered) = (0, 0);
    begin();
    for round in 1..=ROUNDS {
        let before = counter_then_signal(first.mpidr());
        call += arch::counter() - before;
        while mark.count.load(Acquire) != round {
            arch::relax();
        }
        entered += mark.counter.load(Acquire) - before;
    }
    report("signal_other_call", call, ROUNDS);
    report("signal_other_entered", entered, ROUNDS);

    let pes = env.machine.pes as u64 - 1;
    for pe in env.others() {
        MARKS[pe.index()].count.store(0, Release);
    }
    let mut ticks = 0;
    begin();
    for round in 1..=ROUNDS {
        let before = arch::counter();
        for pe in env.others() {
            counter_then_signal(pe.mpidr());
        }
        for pe in env.others() {
            while MARKS[pe.index()].count.load(Acquire) != round {
                arch::relax();
            }
        }
        ticks += arch::counter() - before;
    }
    report("broadcast_per_pe", ticks, ROUNDS * pes);
    for pe in env.others() {
        pe.leave.store(1, Release);
        pe.finish()?;
    }
    Ok(())
}

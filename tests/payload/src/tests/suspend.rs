//! CPU_SUSPEND to power-down, where the machine offers it: the row 'idle that loses context', and bug 10 of other
//! dispatchers, a PE that came back unmasked.

use super::bound::{LEVEL, lowering};
use super::{Env, tests};
use crate::arch::{self, Code};
use crate::check::{Outcome, check, equal, fail, wait};
use crate::event::{self, PRIVATE, bind};
use crate::line::{self, Line};
use crate::machine::Machine;
use crate::pe::{Finish, Job, Pe};
use crate::{gic, psci, sdei};
use core::sync::atomic::Ordering::*;

tests! { "suspend":
    1 refused,
    2 wakes_at_the_entry_point,
    2 bug_10_masked_after_power_down,
    2 idle_that_loses_context,
    2 signal_while_powered_down,
    2 bound_event_over_power_down,
}

fn complete(_: &'static Pe) -> Finish {
    Finish::complete()
}

/// Nothing of these suspends.
fn refused(env: &'static Env) -> Outcome {
    let entry = Code::Secondary.address();
    for bad in [u32::MAX, 0x00ff_0000, 1 << 31, 0x0000_0fff] {
        let answer = psci::power_down(bad, entry, 0);
        equal("CPU_SUSPEND, power_state", answer, psci::INVALID_PARAMETERS)?;
    }
    let Some(power_down) = env.machine.power_down else {
        return Ok(());
    };
    let board = env.machine.board;
    for bad in [
        0,
        board.uart as u64,
        board.el3.start,
        env.machine.ram.end,
        1 << 63,
    ] {
        let answer = psci::power_down(power_down, bad, 0);
        equal(
            "CPU_SUSPEND to what is not RAM",
            answer,
            psci::INVALID_ADDRESS,
        )?;
    }
    Ok(())
}

/// Suspends; the PE comes back as one that was turned on. `words[1]` says if the call came back instead.
const SUSPEND: Job = |pe, _| {
    let Some(power_down) = Machine::get().power_down else {
        return fail("no power-down");
    };
    let context: *const Pe = pe;
    pe.words[0].store(1, Release);
    let answer = psci::power_down(power_down, Code::Secondary.address(), context as u64);
    pe.words[1].store(1, Release);
    equal("CPU_SUSPEND to power-down", answer, psci::SUCCESS)
};

/// Has `pe` run `before`, suspend, and be woken by `wake`; returns whether it lost its context.
fn suspend(pe: &'static Pe, before: Job, wake: fn(&'static Pe)) -> Outcome<bool> {
    pe.run(before, 0)?;
    pe.words[0].store(0, Release);
    pe.words[1].store(0, Release);
    pe.entry_x[0].store(0, Release);
    pe.entry_sctlr.store(u64::MAX, Release);
    pe.start(SUSPEND, 0)?;
    wait("the PE is about to suspend", || {
        pe.words[0].load(Acquire) == 1
    })?;
    // Not needed for the outcome: likely it sleeps by then.
    for _ in 0..10_000 {
        arch::relax();
    }
    wake(pe);
    pe.await_ready()?;
    pe.finish()?;
    Ok(pe.words[1].load(Acquire) == 0)
}

fn by_interrupt(pe: &'static Pe) {
    gic::send(pe);
}

/// Takes the interrupt that woke this PE.
const TAKE_INTERRUPT: Job = |pe, _| {
    let before = pe.interrupts.load(Acquire);
    wait("the interrupt that woke this PE", || {
        arch::take_interrupts();
        pe.interrupts.load(Acquire) > before
    })?;
    check("interrupts still arrive", gic::interrupts_work())
};

fn wakes_at_the_entry_point(env: &'static Env) -> Outcome {
    if env.machine.power_down.is_none() {
        return Ok(());
    }
    let pe = env.other(0)?;
    let mut slept = 0;
    for _ in 0..20 {
        if suspend(pe, |_, _| Ok(()), by_interrupt)? {
            slept += 1;
            let context: *const Pe = pe;
            equal(
                "x0, the context ID",
                pe.entry_x[0].load(Acquire),
                context as u64,
            )?;
            equal("CurrentEL", pe.entry_el.load(Acquire) >> 2, arch::el())?;
            equal(
                "SCTLR's M, C and I",
                pe.entry_sctlr.load(Acquire) & (1 | 1 << 2 | 1 << 12),
                0,
            )?;
            equal("DAIF", pe.entry_daif.load(Acquire), arch::DAIF)?;
        }
        pe.run(TAKE_INTERRUPT, 0)?;
        equal("AFFINITY_INFO", psci::affinity_info(pe.mpidr(), 0), 0)?;
    }
    check("the PE lost its context at least once", slept > 0)
}

/// It was unmasked when it went down; what is registered survives.
fn bug_10_masked_after_power_down(env: &'static Env) -> Outcome {
    if env.machine.power_down.is_none() {
        return Ok(());
    }
    let pe = env.other(0)?;
    pe.run(|pe, _| pe.listen(complete), 0)?;
    for round in 1..=20 {
        if suspend(
            pe,
            |_, _| equal("PE_UNMASK", sdei::pe_unmask(), 0),
            by_interrupt,
        )? {
            pe.run(
                |_, _| equal("PE_MASK after power-down", sdei::pe_mask(), 0),
                0,
            )?;
        }
        pe.run(
            |_, _| {
                equal("STATUS", sdei::status(0), sdei::REGISTERED | sdei::ENABLED)?;
                equal("PE_UNMASK", sdei::pe_unmask(), 0)
            },
            0,
        )?;
        pe.run(TAKE_INTERRUPT, 0)?;
        equal("SIGNAL", sdei::signal(pe.mpidr()), 0)?;
        pe.await_count(round)?;
    }
    Ok(())
}

/// PE_MASK; CPU_SUSPEND; PE_UNMASK, and no registering anew.
fn idle_that_loses_context(env: &'static Env) -> Outcome {
    if env.machine.power_down.is_none() {
        return Ok(());
    }
    let pe = env.other(0)?;
    pe.run(|pe, _| pe.listen(complete), 0)?;
    for round in 1..=20 {
        suspend(
            pe,
            |_, _| equal("PE_MASK", sdei::pe_mask(), 1),
            by_interrupt,
        )?;
        pe.run(|_, _| equal("PE_UNMASK", sdei::pe_unmask(), 0), 0)?;
        pe.run(TAKE_INTERRUPT, 0)?;
        equal("SIGNAL", sdei::signal(pe.mpidr()), 0)?;
        pe.await_count(round)?;
    }
    Ok(())
}

/// What is signalled meanwhile waits for PE_UNMASK.
fn signal_while_powered_down(env: &'static Env) -> Outcome {
    if env.machine.power_down.is_none() {
        return Ok(());
    }
    let pe = env.other(0)?;
    pe.run(|pe, _| pe.listen(complete), 0)?;
    for round in 1..=20 {
        suspend(
            pe,
            |_, _| equal("PE_MASK", sdei::pe_mask(), 1),
            |pe| {
                sdei::signal(pe.mpidr());
                gic::send(pe);
            },
        )?;
        equal("entries of the handler", pe.handling.count(), round - 1)?;
        pe.run(|_, _| equal("PE_UNMASK", sdei::pe_unmask(), 0), 0)?;
        pe.await_count(round)?;
        pe.run(TAKE_INTERRUPT, 0)?;
    }
    Ok(())
}

/// A bound interrupt's event stays registered and EL3's over a power-down, and what comes meanwhile wakes the PE
/// and waits until it unmasks.
fn bound_event_over_power_down(env: &'static Env) -> Outcome {
    if env.machine.power_down.is_none() {
        return Ok(());
    }
    equal("BIND", bind(Line::Virtual.intid()), PRIVATE as i64)?;
    let pe = env.other(0)?;
    for round in 0..5 {
        let register: Job = |_, _| {
            if sdei::status(PRIVATE) == 0 {
                line::set(Line::Virtual.intid(), LEVEL);
                event::listen(PRIVATE, lowering(Line::Virtual))?;
            }
            sdei::pe_mask();
            Line::Virtual.raise_after(100_000);
            Ok(())
        };
        // The timer wakes it; the SGI does if that came before it slept.
        suspend(pe, register, by_interrupt)?;
        equal("entries while masked", pe.handling.count(), round)?;
        pe.run(TAKE_INTERRUPT, 0)?;
        pe.run(
            |pe, round| {
                let state = sdei::REGISTERED | sdei::ENABLED;
                equal("STATUS", sdei::status(PRIVATE), state)?;
                equal("PE_MASK", sdei::pe_mask(), 0)?;
                line::out_of_reach(Line::Virtual.intid())?;
                if Machine::get().board.timers_stop {
                    // Its line went down with the PE, and took the interrupt along if nobody had taken it.
                    Line::Virtual.raise();
                }
                equal("PE_UNMASK", sdei::pe_unmask(), 0)?;
                wait("the event that waited", || pe.handling.count() > round)?;
                equal("entries of the handler", pe.handling.count(), round + 1)
            },
            round,
        )?;
    }
    pe.run(
        |_, _| {
            equal("UNREGISTER", sdei::unregister(PRIVATE), 0)?;
            line::usable(Line::Virtual)
        },
        0,
    )
}

//! Shared events between PEs: who gets them, and what the others can do meanwhile.

use super::shared::{bind_first, done, ended, entries, handled, settings, unmask};
use super::{Env, tests};
use crate::check::{Outcome, check, equal, wait};
use crate::event::{self, SHARED, SHARED_CRITICAL, TO_PE};
use crate::event::{
    bind, count, forget_notes, listen, note, noted, release, routing_set, try_register,
};
use crate::line::{self, Line, SPIS};
use crate::pe::{Finish, Pe};
use crate::sdei::{self, DENIED, ENABLED, PENDING, REGISTERED, RUNNING};
use crate::{arch, gic, psci};
use core::sync::atomic::{AtomicU64, Ordering::*};

tests! { "routing":
    2 any_pe_that_can,
    2 routed,
    2 routed_to_a_masked_pe,
    2 routed_to_a_pe_that_is_off,
    2 route_changes_while_pending,
    2 again_while_its_handler_runs,
    2 unregister_while_it_runs_elsewhere,
    2 reset_while_it_runs_elsewhere,
    2 off_in_handler,
    2 any_pe_goes_off,
    2 storm,
}

/// The PE, by its index, that entered the shared handler last.
static RAN_ON: AtomicU64 = AtomicU64::new(0);

/// Lowers all SPIs and notes the PE.
fn lower_and_note(_: &'static Pe) -> Finish {
    RAN_ON.store(Pe::current().index() as u64, Release);
    SPIS.into_iter().for_each(Line::lower);
    Finish::complete()
}

#[track_caller]
fn ran_on(pe: &Pe) -> Outcome {
    equal(
        "the PE that handled it",
        RAN_ON.load(Acquire),
        pe.index() as u64,
    )
}

/// Has other PEs mask or unmask themselves.
#[track_caller]
fn set_masked(pe: &'static Pe, masked: bool) -> Outcome {
    pe.run(
        |_, masked| {
            if masked == 1 {
                sdei::pe_mask();
                Ok(())
            } else {
                unmask()
            }
        },
        masked.into(),
    )
}

/// RM_ANY: some PE that is unmasked takes it, whichever the interrupt was sent to.
fn any_pe_that_can(env: &'static Env) -> Outcome {
    env.all_on()?;
    let me = env.me();
    for line in SPIS {
        bind_first(line, false)?;
        listen(SHARED, lower_and_note)?;
        equal("routing mode", sdei::get_info(SHARED, 3), 0)?;
        // This PE is masked, one other is not, each in its turn.
        let mut times = 0;
        for pe in env.others() {
            set_masked(pe, false)?;
            line.raise();
            times += 1;
            handled(times)?;
            ran_on(pe)?;
            set_masked(pe, true)?;
        }
        unmask()?;
        line.raise();
        handled(times + 1)?;
        ran_on(me)?;
        // All masked: it waits for the first that unmasks.
        equal("PE_MASK", sdei::pe_mask(), 1)?;
        line.raise();
        check("interrupts arrive", gic::interrupts_work())?;
        handled(times + 1)?;
        let last = env.other(env.machine.pes - 2)?;
        set_masked(last, false)?;
        handled(times + 2)?;
        ran_on(last)?;
        set_masked(last, true)?;
        done()?;
    }
    Ok(())
}

/// RM_PE: that PE and no other.
fn routed(env: &'static Env) -> Outcome {
    env.all_on()?;
    let me = env.me();
    for pe in env.others() {
        set_masked(pe, false)?;
    }
    for line in SPIS {
        bind_first(line, false)?;
        let first = env.other(0)?;
        let answer = try_register(SHARED, TO_PE, first.mpidr(), lower_and_note);
        equal("REGISTER to another PE", answer, 0)?;
        equal("routing mode", sdei::get_info(SHARED, 3), 1)?;
        equal(
            "routing affinity",
            sdei::get_info(SHARED, 4),
            first.mpidr() as i64,
        )?;
        equal("ENABLE", sdei::enable(SHARED), 0)?;
        unmask()?;
        line.raise();
        handled(1)?;
        ran_on(first)?;
        let mut times = 1;
        for target in env.others().chain([me]) {
            equal(
                "ROUTING_SET, enabled",
                routing_set(SHARED, 1, target.mpidr()),
                DENIED,
            )?;
            equal("DISABLE", sdei::disable(SHARED), 0)?;
            ended()?;
            equal("ROUTING_SET", routing_set(SHARED, 1, target.mpidr()), 0)?;
            equal(
                "routing affinity",
                sdei::get_info(SHARED, 4),
                target.mpidr() as i64,
            )?;
            equal("ENABLE", sdei::enable(SHARED), 0)?;
            line.raise();
            times += 1;
            handled(times)?;
            ran_on(target)?;
        }
        done()?;
    }
    Ok(())
}

/// Registers the real-time clock's event to another PE, which is masked, and raises it.
fn raised_at_a_masked_pe(env: &'static Env) -> Outcome<&'static Pe> {
    let pe = env.other(0)?;
    bind_first(Line::Rtc, false)?;
    let answer = try_register(SHARED, TO_PE, pe.mpidr(), lower_and_note);
    equal("REGISTER to another PE", answer, 0)?;
    equal("ENABLE", sdei::enable(SHARED), 0)?;
    unmask()?;
    Line::Rtc.raise();
    pe.run(|_, _| check("interrupts arrive", gic::interrupts_work()), 0)?;
    check("interrupts arrive", gic::interrupts_work())?;
    handled(0)?;
    Ok(pe)
}

fn routed_to_a_masked_pe(env: &'static Env) -> Outcome {
    let pe = raised_at_a_masked_pe(env)?;
    set_masked(pe, false)?;
    handled(1)?;
    ran_on(pe)?;
    done()
}

/// It waits in the interrupt controller, and costs the PE that is off no sleep, until that is back.
fn routed_to_a_pe_that_is_off(env: &'static Env) -> Outcome {
    let edge_of = |edge: bool| -> Outcome {
        let pe = env.other(0)?;
        pe.turn_off()?;
        bind_first(Line::Rtc, edge)?;
        let answer = try_register(SHARED, TO_PE, pe.mpidr(), lower_and_note);
        equal("REGISTER to a PE that is off", answer, 0)?;
        equal("ENABLE", sdei::enable(SHARED), 0)?;
        unmask()?;
        Line::Rtc.pulse();
        check("interrupts arrive", gic::interrupts_work())?;
        handled(0)?;
        equal(
            "AFFINITY_INFO",
            psci::affinity_info(pe.mpidr(), 0),
            psci::OFF,
        )?;
        pe.turn_on()?;
        handled(0)?;
        set_masked(pe, false)?;
        handled(1)?;
        ran_on(pe)?;
        // It goes off with one that waits, acknowledged already or not.
        for unmasked_before in [false, true] {
            if !unmasked_before {
                set_masked(pe, true)?;
                Line::Rtc.pulse();
                pe.run(|_, _| check("interrupts arrive", gic::interrupts_work()), 0)?;
            }
            pe.turn_off()?;
            if unmasked_before {
                Line::Rtc.pulse();
            }
            pe.turn_on()?;
            let before = entries();
            set_masked(pe, false)?;
            handled(before + 1)?;
            ran_on(pe)?;
        }
        done()
    };
    edge_of(false)?;
    edge_of(true)?;
    line::set(Line::Rtc.intid(), settings(false, env.me()));
    Ok(())
}

/// Re-routed while it waits for a PE that is masked or off.
fn route_changes_while_pending(env: &'static Env) -> Outcome {
    for off in [false, true] {
        let pe = raised_at_a_masked_pe(env)?;
        if off {
            pe.turn_off()?;
        }
        equal("DISABLE", sdei::disable(SHARED), 0)?;
        equal("ROUTING_SET", routing_set(SHARED, 1, env.me().mpidr()), 0)?;
        handled(0)?;
        equal("ENABLE", sdei::enable(SHARED), 0)?;
        handled(1)?;
        ran_on(env.me())?;
        done()?;
    }
    Ok(())
}

/// Starts the handler on another PE, which stays in it until `pe.words[0]` is set.
fn held_elsewhere(env: &'static Env, edge: bool) -> Outcome<&'static Pe> {
    let pe = env.other(0)?;
    pe.words[0].store(0, Release);
    pe.words[1].store(0, Release);
    bind_first(Line::Rtc, edge)?;
    let answer = try_register(SHARED, 0, 0, |_| {
        let pe = Pe::current();
        // Never twice at a time.
        note(pe.words[1].fetch_add(1, AcqRel));
        Line::Rtc.lower();
        let _ = wait("leave to complete", || pe.words[0].load(Acquire) == 1);
        pe.words[1].fetch_sub(1, AcqRel);
        Finish::complete()
    });
    equal("REGISTER", answer, 0)?;
    equal("ENABLE", sdei::enable(SHARED), 0)?;
    forget_notes();
    pe.start(
        |pe, _| {
            unmask()?;
            wait("leave to end", || pe.words[0].load(Acquire) == 1)
        },
        0,
    )?;
    Line::Rtc.raise();
    wait("the handler elsewhere", || pe.words[1].load(Acquire) == 1)?;
    let running = REGISTERED | ENABLED | RUNNING;
    equal(
        "STATUS of an event that runs elsewhere",
        sdei::status(SHARED),
        running,
    )?;
    Ok(pe)
}

/// The same event again while its handler runs on another PE: it waits for that one's end.
fn again_while_its_handler_runs(env: &'static Env) -> Outcome {
    for edge in [false, true] {
        let pe = held_elsewhere(env, edge)?;
        // This PE could take it.
        env.me().words[0].store(1, Release);
        env.me().words[1].store(0, Release);
        unmask()?;
        Line::Rtc.pulse();
        check("interrupts arrive", gic::interrupts_work())?;
        equal("completed handlers", entries(), 0)?;
        noted("one handler at a time", &[0])?;
        pe.words[0].store(1, Release);
        handled(2)?;
        pe.finish()?;
        noted("one handler after another", &[0, 0])?;
        equal("STATUS", sdei::status(SHARED), REGISTERED | ENABLED)?;
        Line::Rtc.pulse();
        handled(3)?;
        set_masked(pe, true)?;
        done()?;
    }
    line::set(Line::Rtc.intid(), settings(false, env.me()));
    Ok(())
}

fn unregister_while_it_runs_elsewhere(env: &'static Env) -> Outcome {
    let pe = held_elsewhere(env, false)?;
    equal(
        "ROUTING_SET while it runs",
        routing_set(SHARED, 0, 0),
        DENIED,
    )?;
    equal(
        "UNREGISTER while it runs",
        sdei::unregister(SHARED),
        PENDING,
    )?;
    equal("STATUS", sdei::status(SHARED), RUNNING)?;
    equal("UNREGISTER again", sdei::unregister(SHARED), PENDING)?;
    equal("REGISTER", sdei::register(SHARED, 4, 0), DENIED)?;
    equal("ENABLE", sdei::enable(SHARED), DENIED)?;
    equal("routing mode", sdei::get_info(SHARED, 3), DENIED)?;
    equal("RELEASE", release(SHARED), DENIED)?;
    Line::Rtc.pulse();
    unmask()?;
    equal("completed handlers", entries(), 0)?;
    pe.words[0].store(1, Release);
    pe.finish()?;
    equal("STATUS", sdei::status(SHARED), 0)?;
    equal("entries of the handler", entries(), 1)?;
    Line::Rtc.lower();
    line::usable(Line::Rtc)?;
    equal("RELEASE", release(SHARED), 0)
}

fn reset_while_it_runs_elsewhere(env: &'static Env) -> Outcome {
    let pe = held_elsewhere(env, false)?;
    equal("SHARED_RESET", sdei::shared_reset(), DENIED)?;
    equal("PRIVATE_RESET", sdei::private_reset(), 0)?;
    let running = REGISTERED | ENABLED | RUNNING;
    equal("STATUS", sdei::status(SHARED), running)?;
    pe.words[0].store(1, Release);
    pe.finish()?;
    equal("SHARED_RESET", sdei::shared_reset(), 0)?;
    equal("STATUS", sdei::status(SHARED), 0)?;
    equal("RELEASE", release(SHARED), sdei::INVALID_PARAMETERS)
}

/// CPU_OFF in a shared event's handler ends it; the event lives on elsewhere.
fn off_in_handler(env: &'static Env) -> Outcome {
    for event in [SHARED, SHARED_CRITICAL] {
        for (intid, slot) in [(50, SHARED), (51, SHARED + 1)] {
            if event == SHARED_CRITICAL {
                equal("BIND", bind(intid), slot as i64)?;
            }
        }
        let pe = env.other(0)?;
        line::set(Line::Rtc.intid(), settings(false, env.me()));
        equal("BIND", bind(Line::Rtc.intid()), event as i64)?;
        listen(event, |_| {
            Line::Rtc.lower();
            Pe::current().gone();
            let _ = psci::cpu_off();
            Finish::complete()
        })?;
        pe.start(
            |_, _| {
                unmask()?;
                wait("the PE to go off", || false)
            },
            0,
        )?;
        Line::Rtc.raise();
        pe.await_off()?;
        equal("STATUS", sdei::status(event), REGISTERED | ENABLED)?;
        event::handling(event, env.me()).set(lower_and_note);
        Line::Rtc.raise();
        unmask()?;
        wait("the handler here", || count(event, env.me()) == 1)?;
        ran_on(env.me())?;
        pe.turn_on()?;
        pe.run(
            |_, _| equal("PE_MASK of a PE that is back", sdei::pe_mask(), 0),
            0,
        )?;
        equal("PE_MASK", sdei::pe_mask(), 1)?;
        equal("SHARED_RESET", sdei::shared_reset(), 0)?;
    }
    Ok(())
}

/// The PE that an RM_ANY event's interrupt was sent to goes off.
fn any_pe_goes_off(env: &'static Env) -> Outcome {
    let pe = env.other(0)?;
    for waiting in [false, true] {
        bind_first(Line::Rtc, false)?;
        // Sent to the PE that registers it.
        pe.run(|_, _| listen(SHARED, lower_and_note), 0)?;
        if waiting {
            Line::Rtc.raise();
            pe.run(|_, _| check("interrupts arrive", gic::interrupts_work()), 0)?;
        }
        pe.turn_off()?;
        if !waiting {
            Line::Rtc.raise();
        }
        handled(0)?;
        unmask()?;
        handled(1)?;
        ran_on(env.me())?;
        done()?;
        pe.turn_on()?;
    }
    Ok(())
}

/// PEs mask and unmask in loops while the interrupt comes again and again: each time it is handled once.
fn storm(env: &'static Env) -> Outcome {
    const ROUNDS: u64 = 500;
    env.all_on()?;
    for line in SPIS {
        bind_first(line, false)?;
        listen(SHARED, lower_and_note)?;
        for pe in env.others() {
            pe.words[0].store(0, Release);
            pe.start(
                |pe, _| {
                    while pe.words[0].load(Acquire) == 0 {
                        unmask()?;
                        arch::relax();
                        equal("PE_MASK", sdei::pe_mask(), 1)?;
                        check("no interrupt is active", gic::idle())?;
                    }
                    Ok(())
                },
                0,
            )?;
        }
        for round in 1..=ROUNDS {
            line.raise();
            handled(round)?;
            equal("STATUS", sdei::status(SHARED) & REGISTERED, REGISTERED)?;
        }
        for pe in env.others() {
            pe.words[0].store(1, Release);
            pe.finish()?;
        }
        equal("entries of the handler", entries(), ROUNDS)?;
        done()?;
    }
    Ok(())
}

//! What clients other than Linux's own do, replayed, and the bugs of other dispatchers that need more than event 0.

use super::bound::{LEVEL, lowering};
use super::interrupted::{Place, Spin, in_loop};
use super::{Env, tests};
use crate::arch::{self, DAIF};
use crate::check::{Outcome, check, equal, wait};
use crate::event::{
    self, PRIVATE, PRIVATE_CRITICAL, SHARED, SHARED_CRITICAL, TIMER, TIMER_CRITICAL,
};
use crate::event::{arm_timer, bind, count, listen, register, release};
use crate::line::{self, Line};
use crate::pe::{Behaviour, Finish, Pe};
use crate::sdei::{self, DENIED, ENABLED, REGISTERED};
use crate::{gic, psci};
use core::sync::atomic::Ordering::*;

tests! { "client":
    2 openeuler_watchdog,
    2 vendor_watchdog_signals_all_from_a_handler,
    2 agdi_never_completes,
    1 firmware_first_errors,
    1 wedged_pe_meets_its_watchdog,
    2 bug_5_shared_reset_with_private_events_elsewhere,
    1 bug_6_ppi_on_a_masked_pe,
    1 bug_12_explicit_event_leaves_the_gic_alone,
    2 everything_at_once,
}

#[track_caller]
fn unmask() -> Outcome {
    equal("PE_UNMASK", sdei::pe_unmask(), 0)
}

/// Ticks until a watchdog is to bark in a loop; if it does before, it is wound up again.
const SOON: u64 = 10_000;

/// A watchdog's handler that lets the loop which it interrupts end.
fn leave_loop(pe: &'static Pe, line: Line) -> Finish {
    line.lower();
    if in_loop(pe) {
        pe.leave.store(1, Release);
    } else {
        line.raise_after(SOON);
    }
    Finish::complete()
}

/// [`leave_loop`] for a timer.
fn ending_loop(line: Line) -> Behaviour {
    match line {
        Line::Physical => |pe| leave_loop(pe, Line::Physical),
        Line::Virtual => |pe| leave_loop(pe, Line::Virtual),
        _ => |pe| leave_loop(pe, Line::Hypervisor),
    }
}

/// openEuler's hard-lockup watchdog: a PPI is bound on the boot CPU and then, again, on every CPU; handlers come
/// and go per CPU, and after a hotplug it enables before it registers.
fn openeuler_watchdog(env: &'static Env) -> Outcome {
    let line = Line::Physical;
    env.all_on()?;
    equal("BIND on the boot CPU", bind(line.intid()), PRIVATE as i64)?;
    let start: fn(&'static Pe, u64) -> Outcome = |_, _| {
        line::set(Line::Physical.intid(), LEVEL);
        equal(
            "BIND on every CPU",
            bind(Line::Physical.intid()),
            PRIVATE as i64,
        )?;
        register(PRIVATE, lowering(Line::Physical))?;
        equal("ENABLE", sdei::enable(PRIVATE), 0)?;
        unmask()
    };
    let barks: fn(&'static Pe, u64) -> Outcome = |pe, _| {
        // A CPU that is stuck with interrupts masked.
        let mut spin = Spin::new(pe, Place::Here, DAIF);
        event::handling(PRIVATE, pe).set(ending_loop(Line::Physical));
        Line::Physical.raise_after(SOON);
        spin.run();
        spin.check_exact()?;
        check("the handler was entered", pe.handling.count() > 0)
    };
    start(env.me(), 0)?;
    for pe in env.others() {
        pe.run(start, 0)?;
    }
    for pe in env.others() {
        pe.run(barks, 0)?;
    }
    barks(env.me(), 0)?;
    for _ in 0..3 {
        for pe in env.others() {
            pe.run(
                |_, _| {
                    equal("DISABLE", sdei::disable(PRIVATE), 0)?;
                    equal("ENABLE", sdei::enable(PRIVATE), 0)?;
                    equal("DISABLE", sdei::disable(PRIVATE), 0)
                },
                0,
            )?;
            // It goes off with the handler registered.
            pe.turn_off()?;
            pe.turn_on()?;
            pe.run(
                |_, _| equal("ENABLE before REGISTER", sdei::enable(PRIVATE), DENIED),
                0,
            )?;
            pe.run(start, 0)?;
            pe.run(barks, 0)?;
        }
    }
    barks(env.me(), 0)?;
    for pe in env.others() {
        equal("RELEASE while CPUs have it", release(PRIVATE), DENIED)?;
        pe.run(|_, _| equal("UNREGISTER", sdei::unregister(PRIVATE), 0), 0)?;
    }
    equal("UNREGISTER", sdei::unregister(PRIVATE), 0)?;
    line::usable(line)?;
    equal("RELEASE", release(PRIVATE), 0)
}

/// A watchdog whose handler signals event 0 to every CPU, itself among them, and only then completes.
fn vendor_watchdog_signals_all_from_a_handler(env: &'static Env) -> Outcome {
    env.all_on()?;
    for pe in env.others() {
        pe.run(|pe, _| pe.listen(|_| Finish::complete()), 0)?;
    }
    let watchdog: Behaviour = |_| {
        for index in 0..crate::machine::Machine::get().pes {
            let answer = sdei::signal(Pe::at(index).mpidr());
            if answer != 0 {
                event::note(answer.cast_unsigned());
            }
        }
        // All but this one handle it while the watchdog's handler runs.
        for pe in (0..crate::machine::Machine::get().pes).map(Pe::at) {
            if pe.index() != Pe::current().index()
                && wait("the others", || pe.handling.count() == 1).is_err()
            {
                event::note(pe.index() as u64);
            }
        }
        line::lower_all();
        Finish::complete()
    };
    let me = env.me();
    for event in [TIMER_CRITICAL, PRIVATE_CRITICAL, SHARED] {
        event::forget_notes();
        me.listen(|_| Finish::complete())?;
        env.others()
            .for_each(|pe| pe.handling.set(|_| Finish::complete()));
        match event {
            TIMER_CRITICAL => {}
            SHARED => equal("BIND", bind(Line::Rtc.intid()), SHARED as i64)?,
            _ => {
                for (intid, event) in [(20, PRIVATE), (21, PRIVATE + 1)] {
                    equal("BIND", bind(intid), event as i64)?;
                }
                let answer = bind(Line::Virtual.intid());
                equal("BIND", answer, PRIVATE_CRITICAL as i64)?;
            }
        }
        listen(event, watchdog)?;
        if event == SHARED {
            // So that it is this PE that handles it.
            equal("DISABLE", sdei::disable(event), 0)?;
            equal("ROUTING_SET", event::routing_set(event, 1, me.mpidr()), 0)?;
            equal("ENABLE", sdei::enable(event), 0)?;
        }
        unmask()?;
        match event {
            TIMER_CRITICAL => equal("arming the Secure timer", arm_timer(event, 0), 0)?,
            SHARED => Line::Rtc.raise(),
            _ => Line::Virtual.raise(),
        }
        wait("the watchdog's handler", || count(event, me) == 1)?;
        event::noted("signals from the handler", &[])?;
        // And this one afterwards.
        me.await_count(1)?;
        equal("PE_MASK", sdei::pe_mask(), 1)?;
        equal("PRIVATE_RESET", sdei::private_reset(), 0)?;
        equal("SHARED_RESET", sdei::shared_reset(), 0)?;
    }
    Ok(())
}

/// AGDI's handler panics and never completes; the machine goes on as it must for a crash dump.
fn agdi_never_completes(env: &'static Env) -> Outcome {
    env.all_on()?;
    let pe = env.other(0)?;
    pe.words[0].store(0, Release);
    equal("BIND", bind(Line::Rtc.intid()), SHARED as i64)?;
    line::set(
        Line::Rtc.intid(),
        line::Settings {
            route: env.me().mpidr(),
            ..LEVEL
        },
    );
    listen(SHARED, |_| {
        let pe = Pe::current();
        Line::Rtc.lower();
        sdei::pe_mask();
        pe.words[0].store(1, Release);
        while pe.words[0].load(Acquire) != 2 {
            arch::relax();
        }
        pe.gone();
        let _ = psci::cpu_off();
        Finish::complete()
    })?;
    pe.start(
        |_, _| {
            unmask()?;
            wait("never", || false)
        },
        0,
    )?;
    Line::Rtc.raise();
    wait("the handler that never completes", || {
        pe.words[0].load(Acquire) == 1
    })?;
    equal("PRIVATE_RESET", sdei::private_reset(), 0)?;
    equal("SHARED_RESET while it runs", sdei::shared_reset(), DENIED)?;
    // Everything else goes on: event 0, other events, and interrupts.
    for other in env.others().skip(1).chain([env.me()]) {
        let works: fn(&'static Pe, u64) -> Outcome = |pe, _| {
            pe.listen(|_| Finish::complete())?;
            equal("SIGNAL", sdei::signal(pe.mpidr()), 0)?;
            pe.await_count(1)?;
            equal("UNREGISTER", sdei::unregister(0), 0)?;
            listen(TIMER_CRITICAL, |_| Finish::complete())?;
            equal("arming the Secure timer", arm_timer(TIMER_CRITICAL, 0), 0)?;
            wait("the Critical event", || count(TIMER_CRITICAL, pe) == 1)?;
            check("interrupts arrive", gic::interrupts_work())?;
            equal("UNREGISTER", sdei::unregister(TIMER_CRITICAL), 0)
        };
        if other.index() == env.me().index() {
            works(other, 0)?;
        } else {
            other.run(works, 0)?;
        }
    }
    pe.words[0].store(2, Release);
    pe.await_off()?;
    equal("SHARED_RESET once its PE is off", sdei::shared_reset(), 0)
}

/// GHES: GET_INFO twice, REGISTER with no flags, ENABLE; a shared Normal event and a private Critical one.
fn firmware_first_errors(env: &'static Env) -> Outcome {
    line::set(
        Line::Rtc.intid(),
        line::Settings {
            route: env.me().mpidr(),
            ..LEVEL
        },
    );
    equal("BIND", bind(Line::Rtc.intid()), SHARED as i64)?;
    for (event, priority, kind) in [(SHARED, 0, 1), (TIMER_CRITICAL, 1, 0)] {
        equal("priority", sdei::get_info(event, 2), priority)?;
        equal("priority", sdei::get_info(event, 2), priority)?;
        equal("type", sdei::get_info(event, 0), kind)?;
        listen(event, lowering(Line::Rtc))?;
    }
    unmask()?;
    Line::Rtc.raise();
    wait("the shared event", || count(SHARED, env.me()) == 1)?;
    equal("arming the Secure timer", arm_timer(TIMER_CRITICAL, 0), 0)?;
    wait("the private event", || count(TIMER_CRITICAL, env.me()) == 1)
}

/// A watchdog of the PE itself: bound to its timer, it interrupts a loop with everything masked.
fn wedged_pe_meets_its_watchdog(env: &'static Env) -> Outcome {
    let me = env.me();
    for line in line::PPIS.into_iter().filter(|line| line.exists()) {
        line::set(line.intid(), LEVEL);
        equal("BIND", bind(line.intid()), PRIVATE as i64)?;
        listen(PRIVATE, ending_loop(line))?;
        let mut spin = Spin::new(me, Place::Here, DAIF);
        unmask()?;
        line.raise_after(SOON);
        spin.run();
        spin.check_exact()?;
        check("the handler was entered", me.handling.count() > 0)?;
        equal("UNREGISTER", sdei::unregister(PRIVATE), 0)?;
        equal("RELEASE", release(PRIVATE), 0)?;
        equal("PE_MASK", sdei::pe_mask(), 1)?;
    }
    Ok(())
}

/// SHARED_RESET succeeds though other PEs have private bound events; what a live PE has stays bound, an off PE has
/// nothing.
fn bug_5_shared_reset_with_private_events_elsewhere(env: &'static Env) -> Outcome {
    let pe = env.other(0)?;
    equal("BIND", bind(Line::Virtual.intid()), PRIVATE as i64)?;
    equal("BIND", bind(Line::Physical.intid()), (PRIVATE + 1) as i64)?;
    pe.run(
        |_, _| {
            line::set(Line::Virtual.intid(), LEVEL);
            listen(PRIVATE, lowering(Line::Virtual))
        },
        0,
    )?;
    equal("SHARED_RESET", sdei::shared_reset(), 0)?;
    // Its own binding is gone, the other PE's is not.
    equal("RELEASE", release(PRIVATE + 1), sdei::INVALID_PARAMETERS)?;
    equal("RELEASE", release(PRIVATE), DENIED)?;
    pe.run(
        |pe, _| {
            equal("STATUS", sdei::status(PRIVATE), REGISTERED | ENABLED)?;
            unmask()?;
            Line::Virtual.raise();
            wait("the handler", || pe.handling.count() == 1)
        },
        0,
    )?;
    pe.turn_off()?;
    equal("SHARED_RESET with that PE off", sdei::shared_reset(), 0)?;
    equal("RELEASE", release(PRIVATE), sdei::INVALID_PARAMETERS)
}

/// A PPI that fires on a masked PE, with a routing and an affinity that mean nothing for it.
fn bug_6_ppi_on_a_masked_pe(env: &'static Env) -> Outcome {
    for affinity in [0, env.me().mpidr(), 0xff_00ff_ffff, u64::MAX] {
        for flags in [0, event::TO_PE] {
            line::set(Line::Virtual.intid(), LEVEL);
            equal("BIND", bind(Line::Virtual.intid()), PRIVATE as i64)?;
            let answer = event::try_register(PRIVATE, flags, affinity, lowering(Line::Virtual));
            equal("REGISTER", answer, 0)?;
            equal("ENABLE", sdei::enable(PRIVATE), 0)?;
            Line::Virtual.raise();
            check("interrupts arrive", gic::interrupts_work())?;
            equal("entries while masked", env.me().handling.count(), 0)?;
            unmask()?;
            env.me().await_count(1)?;
            equal("PE_MASK", sdei::pe_mask(), 1)?;
            equal("UNREGISTER", sdei::unregister(PRIVATE), 0)?;
            equal("RELEASE", release(PRIVATE), 0)?;
        }
    }
    Ok(())
}

/// ICC_PMR_EL1, the running priority and the group enables are the client's own.
fn bug_12_explicit_event_leaves_the_gic_alone(env: &'static Env) -> Outcome {
    use arm_gic::gicv3::GicCpuInterface;
    for event in [TIMER, TIMER_CRITICAL] {
        for mask in [0xff, 0xf0, 0x80, 0x40, 0] {
            listen(event, |_| {
                event::note(GicCpuInterface::get_priority_mask().into());
                event::note(gic::idle().into());
                Finish::complete()
            })?;
            event::forget_notes();
            unmask()?;
            GicCpuInterface::set_priority_mask(mask);
            let before = u64::from(GicCpuInterface::get_priority_mask());
            equal("arming the Secure timer", arm_timer(event, 0), 0)?;
            let came = wait("the handler", || count(event, env.me()) == 1);
            let after = u64::from(GicCpuInterface::get_priority_mask());
            GicCpuInterface::set_priority_mask(0xff);
            came?;
            equal("ICC_PMR_EL1 afterwards", after, before)?;
            event::noted("PMR, and nothing active, in the handler", &[before, 1])?;
            check("interrupts arrive", gic::interrupts_work())?;
            equal("PE_MASK", sdei::pe_mask(), 1)?;
            equal("UNREGISTER", sdei::unregister(event), 0)?;
        }
    }
    Ok(())
}

/// All kinds of events in play on all PEs, in every state; then the probe's resets, and everything is as at first.
fn everything_at_once(env: &'static Env) -> Outcome {
    for _ in 0..3 {
        env.all_on()?;
        for (intid, event) in [(20, PRIVATE), (27, PRIVATE + 1), (30, PRIVATE_CRITICAL)] {
            equal("BIND", bind(intid), event as i64)?;
        }
        for (intid, event) in [(40, SHARED), (33, SHARED + 1), (34, SHARED_CRITICAL)] {
            equal("BIND", bind(intid), event as i64)?;
        }
        let join: fn(&'static Pe, u64) -> Outcome = |pe, _| {
            for intid in [27, 30] {
                line::set(intid, LEVEL);
            }
            // Masked, all of them pending.
            pe.listen(|_| Finish::complete())?;
            for event in [
                PRIVATE,
                PRIVATE + 1,
                PRIVATE_CRITICAL,
                TIMER,
                TIMER_CRITICAL,
            ] {
                listen(event, |_| {
                    line::lower_all();
                    Finish::complete()
                })?;
            }
            Line::Virtual.raise();
            Line::Physical.raise();
            for event in [TIMER, TIMER_CRITICAL] {
                equal("arming the Secure timer", arm_timer(event, 0), 0)?;
                check("interrupts arrive", gic::interrupts_work())?;
            }
            equal("SIGNAL", sdei::signal(pe.mpidr()), 0)
        };
        for pe in env.others() {
            pe.run(join, 0)?;
        }
        join(env.me(), 0)?;
        for event in [SHARED, SHARED + 1, SHARED_CRITICAL] {
            listen(event, |_| {
                line::SPIS.into_iter().for_each(Line::lower);
                Finish::complete()
            })?;
        }
        line::SPIS.into_iter().for_each(Line::raise);
        // One PE goes off with all that, one goes through everything, the rest are reset.
        let last = env.other(env.machine.pes - 2)?;
        last.turn_off()?;
        let reset: fn(&'static Pe, u64) -> Outcome = |_, _| {
            equal("PRIVATE_RESET", sdei::private_reset(), 0)?;
            for event in [
                0,
                PRIVATE,
                PRIVATE + 1,
                PRIVATE_CRITICAL,
                TIMER,
                TIMER_CRITICAL,
            ] {
                equal("STATUS", sdei::status(event), 0)?;
            }
            unmask()?;
            for line in [Line::Virtual, Line::Physical] {
                line::usable(line)?;
            }
            equal("PE_MASK", sdei::pe_mask(), 1)?;
            Ok(())
        };
        for pe in env.others().filter(|pe| pe.is_ready()) {
            pe.run(reset, 0)?;
        }
        reset(env.me(), 0)?;
        line::SPIS.into_iter().for_each(Line::raise);
        equal("SHARED_RESET", sdei::shared_reset(), 0)?;
        line::lower_all();
        for (event, line) in [(SHARED + 1, Line::Uart), (SHARED_CRITICAL, Line::Rtc)] {
            equal("STATUS", sdei::status(event), 0)?;
            line::set(
                line.intid(),
                line::Settings {
                    route: env.me().mpidr(),
                    ..LEVEL
                },
            );
            line::usable(line)?;
        }
        for event in [PRIVATE, PRIVATE_CRITICAL, SHARED, SHARED_CRITICAL] {
            equal("RELEASE", release(event), sdei::INVALID_PARAMETERS)?;
        }
    }
    Ok(())
}

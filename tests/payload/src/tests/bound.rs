//! Private events of bound PPIs: this PE's timers.

use super::{Env, tests};
use crate::check::{Outcome, check, equal, wait};
use crate::event::{self, PRIVATE, PRIVATE_CRITICAL, bind, count, listen, register, release};
use crate::line::{self, Line, PPIS, Settings};
use crate::pe::{Behaviour, Finish, Pe};
use crate::sdei::{self, DENIED, ENABLED, PENDING, REGISTERED, RUNNING};
use crate::{arch, gic, psci};
use core::sync::atomic::Ordering::*;

tests! { "bound":
    1 comes_and_goes,
    1 client_settings_survive,
    1 level,
    1 edge,
    1 old_edge_is_dropped,
    1 unregister_drops_what_is_pending,
    1 unregister_in_handler,
    1 disable_in_handler,
    1 handler_takes_interrupts,
    1 private_reset,
    1 active_interrupt,
    2 each_pe_its_own,
    2 off_in_handler,
    2 registered_pe_goes_off,
    2 critical_off_in_handler,
}

/// Trigger and priority as a client might set them for a PPI.
pub const LEVEL: Settings = Settings {
    priority: 0xa0,
    edge: false,
    route: 0,
};
/// The same for an edge.
pub const EDGE: Settings = Settings {
    edge: true,
    ..LEVEL
};

/// Priorities, in the Normal world's terms. The upper half is what Linux uses where it masks interrupts by
/// priority: 0x80 for pseudo-NMIs, 0xc0 for the rest. 0 and 0xe0 are the first and the last that ICC_PMR_EL1 can let
/// through with the four bits that a GIC with two Security states has at least for the Normal world.
pub const PRIORITIES: [u8; 5] = [0, 0x20, 0x80, 0xc0, 0xe0];

/// The lines of this PE that there are.
fn ppis() -> impl Iterator<Item = Line> {
    PPIS.into_iter().filter(|line| line.exists())
}

/// A behaviour that lowers the given line of this PE and completes.
pub fn lowering(line: Line) -> Behaviour {
    match line {
        Line::Physical => |_| lower_and_complete(Line::Physical),
        Line::Virtual => |_| lower_and_complete(Line::Virtual),
        Line::Hypervisor => |_| lower_and_complete(Line::Hypervisor),
        Line::Rtc => |_| lower_and_complete(Line::Rtc),
        Line::Uart => |_| lower_and_complete(Line::Uart),
    }
}

fn lower_and_complete(line: Line) -> Finish {
    line.lower();
    Finish::complete()
}

/// Binds a PPI with these settings to the first slot.
#[track_caller]
fn bind_first(line: Line, settings: Settings) -> Outcome {
    line.lower();
    line::set(line.intid(), settings);
    equal("BIND", bind(line.intid()), PRIVATE as i64)
}

#[track_caller]
fn unmask() -> Outcome {
    equal("PE_UNMASK", sdei::pe_unmask(), 0)
}

/// Checks how often the private event in the first slot was handled here, once it was so often.
#[track_caller]
fn handled(times: u64) -> Outcome {
    let me = Pe::current();
    wait("the bound event's handler", || count(PRIVATE, me) >= times)?;
    equal("entries of the handler", count(PRIVATE, me), times)
}

fn comes_and_goes(_: &'static Env) -> Outcome {
    for line in ppis() {
        bind_first(line, LEVEL)?;
        equal("BIND again", bind(line.intid()), PRIVATE as i64)?;
        register(PRIVATE, lowering(line))?;
        equal("STATUS", sdei::status(PRIVATE), REGISTERED)?;
        line::out_of_reach(line.intid())?;
        line.raise();
        equal("entries while disabled", count(PRIVATE, Pe::current()), 0)?;
        equal("ENABLE", sdei::enable(PRIVATE), 0)?;
        equal("entries while masked", count(PRIVATE, Pe::current()), 0)?;
        unmask()?;
        handled(1)?;
        equal("x0 of the handler", Pe::current().handling.x(0), PRIVATE)?;
        for times in 2..5 {
            line.raise();
            handled(times)?;
        }
        equal("STATUS", sdei::status(PRIVATE), REGISTERED | ENABLED)?;
        // Masked and disabled PEs and events keep it.
        equal("PE_MASK", sdei::pe_mask(), 1)?;
        line.raise();
        equal("entries while masked", count(PRIVATE, Pe::current()), 4)?;
        unmask()?;
        handled(5)?;
        equal("DISABLE", sdei::disable(PRIVATE), 0)?;
        line.raise();
        equal("entries while disabled", count(PRIVATE, Pe::current()), 5)?;
        equal("ENABLE", sdei::enable(PRIVATE), 0)?;
        handled(6)?;
        equal("RELEASE while registered", release(PRIVATE), DENIED)?;
        equal("UNREGISTER", sdei::unregister(PRIVATE), 0)?;
        line::usable(line)?;
        equal("RELEASE", release(PRIVATE), 0)?;
        equal("RELEASE again", release(PRIVATE), sdei::INVALID_PARAMETERS)?;
        equal("PE_MASK", sdei::pe_mask(), 1)?;
    }
    Ok(())
}

/// Trigger and priority are the client's, before and after: Linux masks interrupts by priority.
fn client_settings_survive(_: &'static Env) -> Outcome {
    for line in ppis() {
        let at = |priority| Settings { priority, ..EDGE };
        for settings in [LEVEL, EDGE].into_iter().chain(PRIORITIES.map(at)) {
            bind_first(line, settings)?;
            line::enable(line.intid(), true);
            check("as set", line::settings(line.intid()) == settings)?;
            for _ in 0..2 {
                listen(PRIVATE, lowering(line))?;
                unmask()?;
                line.raise();
                handled(1)?;
                line::out_of_reach(line.intid())?;
                equal("UNREGISTER", sdei::unregister(PRIVATE), 0)?;
                check("as it was", line::settings(line.intid()) == settings)?;
                line::usable(line)?;
            }
            equal("RELEASE", release(PRIVATE), 0)?;
            check("as it was", line::settings(line.intid()) == settings)?;
            sdei::pe_mask();
        }
        line::set(line.intid(), LEVEL);
    }
    Ok(())
}

/// A level-sensitive interrupt is pending as long as its line is up.
fn level(_: &'static Env) -> Outcome {
    for line in ppis() {
        bind_first(line, LEVEL)?;
        listen(PRIVATE, |pe| {
            // Only the third time it finds the device's reason.
            if pe.handling.count() == 2 {
                line::lower_all();
            }
            Finish::complete()
        })?;
        unmask()?;
        line.raise();
        handled(3)?;
        // It went down before it could be delivered.
        event::handling(PRIVATE, Pe::current()).set(lowering(line));
        equal("PE_MASK", sdei::pe_mask(), 1)?;
        line.raise();
        line.lower();
        unmask()?;
        equal(
            "entries for a line that is down",
            count(PRIVATE, Pe::current()),
            0,
        )?;
        equal("DISABLE", sdei::disable(PRIVATE), 0)?;
        line.raise();
        line.lower();
        equal("ENABLE", sdei::enable(PRIVATE), 0)?;
        equal(
            "entries for a line that is down",
            count(PRIVATE, Pe::current()),
            0,
        )?;
        // And comes again after that.
        line.raise();
        handled(1)?;
        equal("UNREGISTER", sdei::unregister(PRIVATE), 0)?;
        equal("RELEASE", release(PRIVATE), 0)?;
        sdei::pe_mask();
    }
    Ok(())
}

/// An edge counts once, whatever the line does later.
fn edge(_: &'static Env) -> Outcome {
    for line in ppis() {
        bind_first(line, EDGE)?;
        check("edge-triggered", line::settings(line.intid()).edge)?;
        listen(PRIVATE, |_| Finish::complete())?;
        unmask()?;
        line.pulse();
        handled(1)?;
        // It is still up, and that is no new edge.
        check("interrupts arrive", gic::interrupts_work())?;
        handled(1)?;
        equal("PE_MASK", sdei::pe_mask(), 1)?;
        line.pulse();
        line.lower();
        equal("entries while masked", count(PRIVATE, Pe::current()), 1)?;
        unmask()?;
        handled(2)?;
        equal("DISABLE", sdei::disable(PRIVATE), 0)?;
        line.pulse();
        line.pulse();
        line.lower();
        equal("ENABLE", sdei::enable(PRIVATE), 0)?;
        handled(3)?;
        // One that comes while the handler runs is delivered afterwards.
        match line {
            Line::Physical => {
                event::handling(PRIVATE, Pe::current()).set(|pe| again(pe, Line::Physical))
            }
            Line::Virtual => {
                event::handling(PRIVATE, Pe::current()).set(|pe| again(pe, Line::Virtual))
            }
            _ => event::handling(PRIVATE, Pe::current()).set(|pe| again(pe, Line::Hypervisor)),
        }
        line.pulse();
        handled(3)?;
        equal("UNREGISTER", sdei::unregister(PRIVATE), 0)?;
        equal("RELEASE", release(PRIVATE), 0)?;
        sdei::pe_mask();
        line::set(line.intid(), LEVEL);
    }
    Ok(())
}

/// A handler during which its edge comes again, twice.
fn again(pe: &'static Pe, line: Line) -> Finish {
    if pe.handling.count() < 2 {
        line.pulse();
    }
    Finish::complete()
}

/// Registration clears an edge that came before.
fn old_edge_is_dropped(_: &'static Env) -> Outcome {
    for line in ppis() {
        bind_first(line, EDGE)?;
        line.pulse();
        line.lower();
        check("pending", line::is_pending(line.intid()))?;
        listen(PRIVATE, |_| Finish::complete())?;
        unmask()?;
        equal("entries for an old edge", count(PRIVATE, Pe::current()), 0)?;
        line.pulse();
        handled(1)?;
        equal("UNREGISTER", sdei::unregister(PRIVATE), 0)?;
        equal("RELEASE", release(PRIVATE), 0)?;
        sdei::pe_mask();
        line::set(line.intid(), LEVEL);
    }
    Ok(())
}

fn unregister_drops_what_is_pending(_: &'static Env) -> Outcome {
    for line in ppis() {
        for settings in [LEVEL, EDGE] {
            bind_first(line, settings)?;
            listen(PRIVATE, lowering(line))?;
            // EL3 acknowledges it and keeps it, since the PE is masked.
            line.pulse();
            equal("UNREGISTER", sdei::unregister(PRIVATE), 0)?;
            line.lower();
            listen(PRIVATE, lowering(line))?;
            unmask()?;
            equal(
                "entries for what was dropped",
                count(PRIVATE, Pe::current()),
                0,
            )?;
            line.pulse();
            handled(1)?;
            equal("UNREGISTER", sdei::unregister(PRIVATE), 0)?;
            line::usable(line)?;
            equal("RELEASE", release(PRIVATE), 0)?;
            sdei::pe_mask();
        }
        line::set(line.intid(), LEVEL);
    }
    Ok(())
}

fn unregister_in_handler(_: &'static Env) -> Outcome {
    for line in ppis() {
        bind_first(line, LEVEL)?;
        listen(PRIVATE, |pe| {
            // The line stays up: the interrupt must not come again.
            let answers = [
                sdei::status(PRIVATE),
                sdei::unregister(PRIVATE),
                sdei::status(PRIVATE),
                sdei::register(PRIVATE, 4, 0),
                sdei::enable(PRIVATE),
                sdei::unregister(PRIVATE),
                release(PRIVATE),
            ];
            let want = [
                REGISTERED | ENABLED | RUNNING,
                PENDING,
                RUNNING,
                DENIED,
                DENIED,
                PENDING,
                DENIED,
            ];
            pe.words[0].store(u64::from(answers == want), Release);
            Finish::complete()
        })?;
        unmask()?;
        line.raise();
        handled(1)?;
        equal(
            "answers in the handler",
            Pe::current().words[0].load(Acquire),
            1,
        )?;
        equal("STATUS afterwards", sdei::status(PRIVATE), 0)?;
        line::usable(line)?;
        equal("entries of the handler", count(PRIVATE, Pe::current()), 1)?;
        equal("RELEASE", release(PRIVATE), 0)?;
        sdei::pe_mask();
    }
    Ok(())
}

/// Disabled by its own handler, with the line up: quiet until it is enabled again.
fn disable_in_handler(_: &'static Env) -> Outcome {
    for line in ppis() {
        bind_first(line, LEVEL)?;
        listen(PRIVATE, |_| {
            sdei::disable(PRIVATE);
            Finish::complete()
        })?;
        unmask()?;
        line.raise();
        for times in 1..4 {
            handled(times)?;
            check("interrupts arrive", gic::interrupts_work())?;
            equal("STATUS", sdei::status(PRIVATE), REGISTERED)?;
            handled(times)?;
            equal("ENABLE", sdei::enable(PRIVATE), 0)?;
        }
        line.lower();
        equal("UNREGISTER", sdei::unregister(PRIVATE), 0)?;
        equal("RELEASE", release(PRIVATE), 0)?;
        sdei::pe_mask();
    }
    Ok(())
}

/// The priority was dropped when EL3 acknowledged it: a handler can take interrupts of the Normal world.
fn handler_takes_interrupts(_: &'static Env) -> Outcome {
    for line in ppis() {
        bind_first(line, LEVEL)?;
        listen(PRIVATE, |pe| {
            let works = gic::idle() && gic::interrupts_work();
            pe.words[0].store(u64::from(works), Release);
            line::lower_all();
            Finish::complete()
        })?;
        Pe::current().words[0].store(0, Release);
        unmask()?;
        line.raise();
        handled(1)?;
        equal(
            "interrupts in the handler",
            Pe::current().words[0].load(Acquire),
            1,
        )?;
        check("interrupts arrive", gic::interrupts_work())?;
        equal("UNREGISTER", sdei::unregister(PRIVATE), 0)?;
        equal("RELEASE", release(PRIVATE), 0)?;
        sdei::pe_mask();
    }
    Ok(())
}

fn private_reset(_: &'static Env) -> Outcome {
    let line = Line::Physical;
    bind_first(line, LEVEL)?;
    listen(PRIVATE, |pe| {
        pe.words[0].store(sdei::private_reset().cast_unsigned(), Release);
        line::lower_all();
        Finish::complete()
    })?;
    unmask()?;
    line.raise();
    handled(1)?;
    let answer = Pe::current().words[0].load(Acquire).cast_signed();
    equal("PRIVATE_RESET in the handler", answer, DENIED)?;
    equal("PE_MASK", sdei::pe_mask(), 1)?;
    line.raise();
    equal("PRIVATE_RESET with one pending", sdei::private_reset(), 0)?;
    equal("STATUS", sdei::status(PRIVATE), 0)?;
    line.lower();
    line::usable(line)?;
    // It stays bound, so that other PEs can still register it.
    listen(PRIVATE, lowering(line))?;
    unmask()?;
    equal(
        "entries for what was dropped",
        count(PRIVATE, Pe::current()),
        0,
    )?;
    line.raise();
    handled(1)
}

/// An interrupt that the Normal world is handling can't be taken from it.
fn active_interrupt(_: &'static Env) -> Outcome {
    use arm_gic::{InterruptGroup::Group1, gicv3::GicCpuInterface};
    let line = Line::Physical;
    bind_first(line, LEVEL)?;
    line::enable(line.intid(), true);
    line.raise();
    wait("the Normal world's interrupt", gic::waiting)?;
    let Some(taken) = GicCpuInterface::get_and_acknowledge_interrupt(Group1) else {
        return crate::check::fail("nothing to acknowledge");
    };
    let answers = [
        event::try_register(PRIVATE, 0, 0, lowering(line)),
        release(PRIVATE),
    ];
    line.lower();
    GicCpuInterface::end_interrupt(taken, Group1);
    equal("REGISTER while active", answers[0], DENIED)?;
    equal("RELEASE while active", answers[1], DENIED)?;
    check("still the Normal world's", line::is_enabled(line.intid()))?;
    line::enable(line.intid(), false);
    equal("STATUS", sdei::status(PRIVATE), 0)?;
    register(PRIVATE, lowering(line))
}

/// A PPI's event on every PE, each with its own state.
fn each_pe_its_own(env: &'static Env) -> Outcome {
    env.all_on()?;
    let line = Line::Virtual;
    bind_first(line, LEVEL)?;
    for pe in env.others() {
        pe.run(
            |pe, _| {
                line::set(Line::Virtual.intid(), LEVEL);
                equal(
                    "BIND elsewhere",
                    bind(Line::Virtual.intid()),
                    PRIVATE as i64,
                )?;
                equal("STATUS elsewhere", sdei::status(PRIVATE), 0)?;
                listen(PRIVATE, lowering(Line::Virtual))?;
                unmask()?;
                // The others' lines are nothing to this one.
                for times in 1..20 {
                    Line::Virtual.raise();
                    handled(times)?;
                }
                equal("STATUS", sdei::status(PRIVATE), REGISTERED | ENABLED)?;
                equal("entries of the handler", count(PRIVATE, pe), 19)
            },
            0,
        )?;
    }
    equal("STATUS here", sdei::status(PRIVATE), 0)?;
    line::usable(line)?;
    equal("RELEASE while others have it", release(PRIVATE), DENIED)?;
    for pe in env.others() {
        equal("RELEASE while others have it", release(PRIVATE), DENIED)?;
        pe.run(
            |_, _| {
                equal("UNREGISTER", sdei::unregister(PRIVATE), 0)?;
                line::usable(Line::Virtual)
            },
            0,
        )?;
    }
    equal("RELEASE", release(PRIVATE), 0)
}

/// A PE that registers `event`, bound to the virtual timer, and whose handler turns it off; then the same again.
fn off_and_on_again(env: &'static Env, event: u64) -> Outcome {
    for _ in 0..3 {
        let pe = env.other(0)?;
        pe.start(
            |pe, event| {
                line::set(Line::Virtual.intid(), LEVEL);
                listen(event, |pe| {
                    pe.gone();
                    let _ = psci::cpu_off();
                    Finish::complete()
                })?;
                unmask()?;
                Line::Virtual.raise();
                wait("the handler that turns the PE off", || {
                    count(event, pe) == u64::MAX
                })
            },
            event,
        )?;
        pe.await_off()?;
        pe.turn_on()?;
        pe.run(
            |pe, event| {
                equal("STATUS of a PE that is back", sdei::status(event), 0)?;
                equal("PE_MASK of a PE that is back", sdei::pe_mask(), 0)?;
                line::usable(Line::Virtual)?;
                line::set(Line::Virtual.intid(), LEVEL);
                listen(event, lowering(Line::Virtual))?;
                unmask()?;
                Line::Virtual.raise();
                wait("the handler", || count(event, pe) > 0)?;
                check("interrupts arrive", gic::interrupts_work())
            },
            event,
        )?;
        pe.turn_off()?;
    }
    Ok(())
}

fn off_in_handler(env: &'static Env) -> Outcome {
    equal("BIND", bind(Line::Virtual.intid()), PRIVATE as i64)?;
    off_and_on_again(env, PRIVATE)?;
    // A PE that is off holds nothing.
    equal("RELEASE", release(PRIVATE), 0)
}

fn critical_off_in_handler(env: &'static Env) -> Outcome {
    for (intid, event) in [
        (16, PRIVATE),
        (17, PRIVATE + 1),
        (Line::Virtual.intid(), PRIVATE_CRITICAL),
    ] {
        equal("BIND", bind(intid), event as i64)?;
    }
    off_and_on_again(env, PRIVATE_CRITICAL)?;
    equal("RELEASE", release(PRIVATE_CRITICAL), 0)
}

/// What an off PE had registered does not keep the slot, whether it fired, waited, or neither.
fn registered_pe_goes_off(env: &'static Env) -> Outcome {
    for raise in [false, true] {
        let pe = env.other(0)?;
        equal("BIND", bind(Line::Virtual.intid()), PRIVATE as i64)?;
        pe.run(
            |_, raise| {
                line::set(Line::Virtual.intid(), LEVEL);
                listen(PRIVATE, |_| Finish::complete())?;
                if raise == 1 {
                    Line::Virtual.raise();
                }
                Ok(())
            },
            raise.into(),
        )?;
        equal(
            "RELEASE while registered elsewhere",
            release(PRIVATE),
            DENIED,
        )?;
        pe.turn_off()?;
        equal("RELEASE", release(PRIVATE), 0)?;
        pe.turn_on()?;
        pe.run(|_, _| line::usable(Line::Virtual), 0)?;
        arch::relax();
    }
    Ok(())
}

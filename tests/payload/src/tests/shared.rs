//! Shared events of bound SPIs: the real-time clock's and the UART's.

use super::bound::{PRIORITIES, lowering};
use super::{Env, tests};
use crate::check::{Outcome, check, equal, wait};
use crate::event::try_register;
use crate::event::{self, SHARED, SHARED_CRITICAL, TIMER, TO_PE};
use crate::event::{arm_timer, bind, count, forget_notes, listen, note, noted, register, release};
use crate::gic;
use crate::line::{self, Line, SPIS, Settings};
use crate::pe::{Finish, Pe};
use crate::sdei::{self, DENIED, ENABLED, PENDING, REGISTERED, RUNNING};

tests! { "shared":
    1 comes_and_goes,
    1 client_settings_survive,
    1 level,
    1 edge,
    1 unregister_in_handler,
    1 shared_reset,
    1 critical_preempts_normal,
    1 relative,
}

/// Settings as a client might make them for an SPI.
pub fn settings(edge: bool, route: &Pe) -> Settings {
    Settings {
        priority: 0xa0,
        edge,
        route: route.mpidr(),
    }
}

/// Binds an SPI to the first slot.
#[track_caller]
pub fn bind_first(line: Line, edge: bool) -> Outcome {
    line.lower();
    line::set(line.intid(), settings(edge, Pe::current()));
    equal("BIND", bind(line.intid()), SHARED as i64)
}

/// PE_UNMASK.
#[track_caller]
pub fn unmask() -> Outcome {
    equal("PE_UNMASK", sdei::pe_unmask(), 0)
}

/// Waits until the shared event in the first slot was handled so often, and checks that it was not more.
#[track_caller]
pub fn handled(times: u64) -> Outcome {
    wait("the shared event's handler", || entries() >= times)?;
    equal("entries of the handler", entries(), times)
}

/// How often it was.
pub fn entries() -> u64 {
    count(SHARED, Pe::at(0))
}

/// Waits until its handler, which was entered, has ended on whichever PE it was.
#[track_caller]
pub fn ended() -> Outcome {
    wait("the end of the shared event's handler", || {
        sdei::status(SHARED) & RUNNING == 0
    })
}

/// Undoes [`bind_first`] and REGISTER.
#[track_caller]
pub fn done() -> Outcome {
    SPIS.into_iter().for_each(Line::lower);
    ended()?;
    equal("UNREGISTER", sdei::unregister(SHARED), 0)?;
    equal("RELEASE", release(SHARED), 0)?;
    sdei::pe_mask();
    Ok(())
}

fn comes_and_goes(env: &'static Env) -> Outcome {
    for line in SPIS {
        bind_first(line, false)?;
        equal("BIND again", bind(line.intid()), SHARED as i64)?;
        register(SHARED, lowering(line))?;
        equal("STATUS", sdei::status(SHARED), REGISTERED)?;
        line::out_of_reach(line.intid())?;
        line.raise();
        equal("entries while disabled", entries(), 0)?;
        equal("ENABLE", sdei::enable(SHARED), 0)?;
        equal("entries while masked", entries(), 0)?;
        unmask()?;
        handled(1)?;
        equal(
            "x0 of the handler",
            event::handling(SHARED, env.me()).x(0),
            SHARED,
        )?;
        for times in 2..5 {
            line.raise();
            handled(times)?;
        }
        equal("STATUS", sdei::status(SHARED), REGISTERED | ENABLED)?;
        equal("DISABLE", sdei::disable(SHARED), 0)?;
        line.raise();
        equal("entries while disabled", entries(), 4)?;
        equal("ENABLE", sdei::enable(SHARED), 0)?;
        handled(5)?;
        equal("RELEASE while registered", release(SHARED), DENIED)?;
        equal("UNREGISTER", sdei::unregister(SHARED), 0)?;
        line::usable(line)?;
        equal("RELEASE", release(SHARED), 0)?;
        equal("PE_MASK", sdei::pe_mask(), 1)?;
    }
    Ok(())
}

/// Trigger, priority and target are the client's, before and after.
fn client_settings_survive(env: &'static Env) -> Outcome {
    let targets = [env.me(), env.others().next().unwrap_or(env.me())];
    for line in SPIS {
        for edge in [false, true] {
            for target in targets {
                survives(env, line, settings(edge, target))?;
            }
        }
        for priority in PRIORITIES {
            let want = Settings {
                priority,
                ..settings(false, env.me())
            };
            survives(env, line, want)?;
        }
        line::set(line.intid(), settings(false, env.me()));
        line::usable(line)?;
    }
    Ok(())
}

/// Binds the line with these settings; they come back at UNREGISTER and RELEASE.
#[track_caller]
fn survives(env: &'static Env, line: Line, want: Settings) -> Outcome {
    line.lower();
    line::set(line.intid(), want);
    line::enable(line.intid(), true);
    check("as set", line::settings(line.intid()) == want)?;
    equal("BIND", bind(line.intid()), SHARED as i64)?;
    for flags in [0, TO_PE] {
        let answer = try_register(SHARED, flags, env.me().mpidr(), lowering(line));
        equal("REGISTER", answer, 0)?;
        equal("ENABLE", sdei::enable(SHARED), 0)?;
        unmask()?;
        line.pulse();
        handled(1)?;
        line::out_of_reach(line.intid())?;
        equal("UNREGISTER", sdei::unregister(SHARED), 0)?;
        check("not enabled", !line::is_enabled(line.intid()))?;
        check("as it was", line::settings(line.intid()) == want)?;
    }
    equal("RELEASE", release(SHARED), 0)?;
    check("as it was", line::settings(line.intid()) == want)?;
    sdei::pe_mask();
    Ok(())
}

/// A level-sensitive interrupt is pending as long as its line is up.
fn level(_: &'static Env) -> Outcome {
    for line in SPIS {
        bind_first(line, false)?;
        listen(SHARED, |_| {
            if entries() == 2 {
                SPIS.into_iter().for_each(Line::lower);
            }
            Finish::complete()
        })?;
        unmask()?;
        line.raise();
        handled(3)?;
        equal("PE_MASK", sdei::pe_mask(), 1)?;
        line.raise();
        line.lower();
        unmask()?;
        equal("entries for a line that is down", entries(), 3)?;
        event::handling(SHARED, Pe::current()).change(lowering(line));
        line.raise();
        handled(4)?;
        done()?;
    }
    Ok(())
}

/// An edge counts once, whatever the line does later.
fn edge(_: &'static Env) -> Outcome {
    for line in SPIS {
        bind_first(line, true)?;
        listen(SHARED, |_| Finish::complete())?;
        unmask()?;
        line.pulse();
        handled(1)?;
        check("interrupts arrive", gic::interrupts_work())?;
        handled(1)?;
        equal("PE_MASK", sdei::pe_mask(), 1)?;
        line.pulse();
        line.lower();
        equal("entries while masked", entries(), 1)?;
        unmask()?;
        handled(2)?;
        equal("DISABLE", sdei::disable(SHARED), 0)?;
        line.pulse();
        line.lower();
        equal("ENABLE", sdei::enable(SHARED), 0)?;
        handled(3)?;
        done()?;
        line::set(line.intid(), settings(false, Pe::current()));
    }
    Ok(())
}

fn unregister_in_handler(_: &'static Env) -> Outcome {
    for line in SPIS {
        bind_first(line, false)?;
        listen(SHARED, |_| {
            let answers = [
                sdei::status(SHARED),
                sdei::unregister(SHARED),
                sdei::status(SHARED),
                sdei::register(SHARED, 4, 0),
                sdei::enable(SHARED),
                release(SHARED),
                sdei::shared_reset(),
                sdei::private_reset(),
            ];
            let want = [
                REGISTERED | ENABLED | RUNNING,
                PENDING,
                RUNNING,
                DENIED,
                DENIED,
                DENIED,
                DENIED,
                0,
            ];
            note(u64::from(answers == want));
            Finish::complete()
        })?;
        forget_notes();
        unmask()?;
        line.raise();
        handled(1)?;
        noted("answers in the handler", &[1])?;
        equal("STATUS afterwards", sdei::status(SHARED), 0)?;
        line::usable(line)?;
        equal("RELEASE", release(SHARED), 0)?;
        sdei::pe_mask();
    }
    Ok(())
}

/// SHARED_RESET unregisters, drops what is pending and releases; private events stay.
fn shared_reset(env: &'static Env) -> Outcome {
    for line in SPIS {
        bind_first(line, false)?;
        listen(SHARED, lowering(line))?;
        equal(
            "BIND of a PPI",
            bind(Line::Virtual.intid()),
            event::PRIVATE as i64,
        )?;
        register(event::PRIVATE, lowering(Line::Virtual))?;
        register(TIMER, |_| Finish::complete())?;
        line.raise();
        equal("SHARED_RESET with one pending", sdei::shared_reset(), 0)?;
        equal("STATUS", sdei::status(SHARED), 0)?;
        equal("STATUS", sdei::status(event::PRIVATE), REGISTERED)?;
        equal("STATUS", sdei::status(TIMER), REGISTERED)?;
        line.lower();
        line::usable(line)?;
        equal(
            "RELEASE after SHARED_RESET",
            release(SHARED),
            sdei::INVALID_PARAMETERS,
        )?;
        bind_first(line, false)?;
        listen(SHARED, lowering(line))?;
        unmask()?;
        equal("entries for what was dropped", entries(), 0)?;
        line.raise();
        handled(1)?;
        equal("PRIVATE_RESET", sdei::private_reset(), 0)?;
        equal("STATUS", sdei::status(SHARED), REGISTERED | ENABLED)?;
        equal("SHARED_RESET", sdei::shared_reset(), 0)?;
        equal(
            "RELEASE after SHARED_RESET",
            release(event::PRIVATE),
            sdei::INVALID_PARAMETERS,
        )?;
        equal("PE_MASK", sdei::pe_mask(), 1)?;
    }
    equal("entries of a private handler", count(TIMER, env.me()), 0)
}

/// Normal and Critical ones, shared and private.
fn critical_preempts_normal(_: &'static Env) -> Outcome {
    const RTC_EVENT: u64 = SHARED;
    bind_first(Line::Rtc, false)?;
    equal("BIND", bind(50), (SHARED + 1) as i64)?;
    line::set(Line::Uart.intid(), settings(false, Pe::current()));
    equal("BIND", bind(Line::Uart.intid()), SHARED_CRITICAL as i64)?;
    listen(RTC_EVENT, |_| {
        note(RTC_EVENT);
        Line::Uart.raise();
        let _ = gic::interrupts_work();
        Line::Rtc.lower();
        note(0);
        Finish::complete()
    })?;
    listen(SHARED_CRITICAL, |_| {
        note(SHARED_CRITICAL);
        Line::Uart.lower();
        // A private Normal one waits, too.
        arm_timer(TIMER, 0);
        let _ = gic::interrupts_work();
        note(1);
        Finish::complete()
    })?;
    listen(TIMER, |_| {
        note(TIMER);
        Finish::complete()
    })?;
    forget_notes();
    unmask()?;
    Line::Rtc.raise();
    wait("the handlers", || count(TIMER, Pe::current()) == 1)?;
    let order = [RTC_EVENT, SHARED_CRITICAL, 1, 0, TIMER];
    noted("order of the handlers", &order)?;
    // Both waiting: Critical first.
    equal("PE_MASK", sdei::pe_mask(), 1)?;
    event::handling(RTC_EVENT, Pe::current()).change(|_| {
        note(RTC_EVENT);
        Line::Rtc.lower();
        Finish::complete()
    });
    event::handling(SHARED_CRITICAL, Pe::current()).change(|_| {
        note(SHARED_CRITICAL);
        Line::Uart.lower();
        Finish::complete()
    });
    forget_notes();
    Line::Rtc.raise();
    Line::Uart.raise();
    check("interrupts arrive", gic::interrupts_work())?;
    noted("nothing while masked", &[])?;
    unmask()?;
    noted("order of the handlers", &[SHARED_CRITICAL, RTC_EVENT])
}

fn relative(_: &'static Env) -> Outcome {
    bind_first(Line::Rtc, false)?;
    let answer = try_register(SHARED, event::RELATIVE, 0, lowering(Line::Rtc));
    equal("REGISTER, relative", answer, 0)?;
    equal("ENABLE", sdei::enable(SHARED), 0)?;
    unmask()?;
    Line::Rtc.raise();
    handled(1)?;
    done()
}

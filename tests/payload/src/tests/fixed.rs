//! Events of fixed interrupts, which are EL3's from boot on: of an image that is built for these tests, with the EL1
//! physical timer and the real-time clock.

use super::bound::lowering;
use super::shared::unmask;
use super::{Env, tests};
use crate::check::{Outcome, equal, wait};
use crate::event::{self, FIXED_PRIVATE, FIXED_SHARED, TO_PE, bind, count, listen, register};
use crate::line::{self, Line};
use crate::pe::Pe;
use crate::sdei::{self, DENIED, ENABLED, INVALID_PARAMETERS, REGISTERED};

tests! { "fixed":
    1 is_never_the_clients,
    1 private_comes_and_goes,
    1 shared_comes_and_goes,
    2 each_pe_its_own,
    2 goes_off_and_on,
    2 routed,
}

const EVENTS: [(u64, Line); 2] = [(FIXED_PRIVATE, Line::Physical), (FIXED_SHARED, Line::Rtc)];

fn is_never_the_clients(_: &'static Env) -> Outcome {
    for (event, line) in EVENTS {
        line::out_of_reach(line.intid())?;
        equal("BIND", bind(line.intid()), INVALID_PARAMETERS)?;
        equal("RELEASE", event::release(event), INVALID_PARAMETERS)?;
        equal("ENABLE", sdei::enable(event), DENIED)?;
        // Raised without a handler, it comes to nobody, and not later either.
        unmask()?;
        line.raise();
        line.lower();
        register(event, lowering(line))?;
        equal("ENABLE", sdei::enable(event), 0)?;
        equal("entries of the handler", count(event, Pe::current()), 0)?;
        equal("UNREGISTER", sdei::unregister(event), 0)?;
        line::out_of_reach(line.intid())?;
        sdei::pe_mask();
    }
    Ok(())
}

/// Each event's interrupt, masked and disabled, and again.
fn comes_and_goes(event: u64, line: Line) -> Outcome {
    let handled = |times| {
        let entries = || count(event, Pe::current());
        wait("the fixed event's handler", || entries() >= times)?;
        equal("entries of the handler", entries(), times)
    };
    line.lower();
    register(event, lowering(line))?;
    equal("STATUS", sdei::status(event), REGISTERED)?;
    line.raise();
    equal("ENABLE", sdei::enable(event), 0)?;
    handled(0)?;
    unmask()?;
    handled(1)?;
    for times in 2..5 {
        line.raise();
        handled(times)?;
    }
    equal("STATUS", sdei::status(event), REGISTERED | ENABLED)?;
    equal("DISABLE", sdei::disable(event), 0)?;
    line.raise();
    handled(4)?;
    equal("ENABLE", sdei::enable(event), 0)?;
    handled(5)?;
    equal("UNREGISTER", sdei::unregister(event), 0)?;
    line::out_of_reach(line.intid())?;
    line.raise();
    handled(5)?;
    line.lower();
    sdei::pe_mask();
    Ok(())
}

fn private_comes_and_goes(_: &'static Env) -> Outcome {
    comes_and_goes(FIXED_PRIVATE, Line::Physical)?;
    comes_and_goes(FIXED_PRIVATE, Line::Physical)
}

fn shared_comes_and_goes(_: &'static Env) -> Outcome {
    comes_and_goes(FIXED_SHARED, Line::Rtc)?;
    comes_and_goes(FIXED_SHARED, Line::Rtc)
}

/// The timer's event on another PE while this one has none.
fn on_other(env: &'static Env) -> Outcome {
    let other = env.other(0)?;
    other.run(
        |pe, _| {
            listen(FIXED_PRIVATE, lowering(Line::Physical))?;
            unmask()?;
            Line::Physical.raise();
            wait("the fixed event's handler", || {
                count(FIXED_PRIVATE, pe) == 1
            })
        },
        0,
    )?;
    equal("STATUS here", sdei::status(FIXED_PRIVATE), 0)
}

fn each_pe_its_own(env: &'static Env) -> Outcome {
    on_other(env)?;
    comes_and_goes(FIXED_PRIVATE, Line::Physical)
}

fn goes_off_and_on(env: &'static Env) -> Outcome {
    for _ in 0..3 {
        on_other(env)?;
        let other = env.other(0)?;
        other.run(
            |_, _| {
                equal("PE_MASK", sdei::pe_mask(), 1)?;
                Line::Physical.raise();
                Ok(())
            },
            0,
        )?;
        other.turn_off()?;
        other.turn_on()?;
        other.run(
            |_, _| {
                Line::Physical.lower();
                equal("STATUS", sdei::status(FIXED_PRIVATE), 0)?;
                line::out_of_reach(Line::Physical.intid())
            },
            0,
        )?;
        other.turn_off()?;
    }
    Ok(())
}

fn routed(env: &'static Env) -> Outcome {
    let other = env.other(0)?;
    Line::Rtc.lower();
    let answer = event::try_register(FIXED_SHARED, TO_PE, other.mpidr(), lowering(Line::Rtc));
    equal("REGISTER", answer, 0)?;
    equal("ENABLE", sdei::enable(FIXED_SHARED), 0)?;
    unmask()?;
    Line::Rtc.raise();
    equal(
        "entries with the target masked",
        count(FIXED_SHARED, Pe::current()),
        0,
    )?;
    other.run(|_, _| unmask(), 0)?;
    wait("the fixed event's handler", || {
        count(FIXED_SHARED, Pe::current()) == 1
    })?;
    wait("its end", || {
        sdei::status(FIXED_SHARED) & sdei::RUNNING == 0
    })
}

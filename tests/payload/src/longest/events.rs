//! SDEI: its calls, and the interrupts that are events.

use super::*;

pub(super) fn queries(state: &State) {
    state.sdei("", Version, 0, 0, 0);
    for event in [0, PRIVATE, SHARED_CRITICAL, TIMER_CRITICAL, ABSENT] {
        state.sdei("the last event, or none", Status, event, 0, 0);
        for item in 0..6 {
            state.sdei("the last event, or none", GetInfo, event, item, 0);
        }
    }
    for feature in 0..3 {
        state.sdei("any", Features, feature, 0, 0);
    }
    state.sdei("no handler", Context, 0, 0, 0);
    state.sdei("no handler", Complete, 0, 0, 0);
    state.sdei("no handler", CompleteAndResume, 0, 0, 0);
}

pub(super) fn event0(state: &State) -> Outcome {
    let me = state.env.me().mpidr();
    let last = state.env.others().last().map_or(me, |pe| pe.mpidr());
    state.sdei("of nobody", Signal, 0, NOBODY, 0);
    state.sdei("of the last PE", Signal, 0, last, 0);
    state.register("event 0", 0, 0, 0)?;
    state.sdei("event 0", Enable, 0, 0, 0);
    state.sdei("to itself, masked", Signal, 0, me, 0);
    state.sdei("event 0 pending", PeUnmask, 0, 0, 0);
    state.sdei("to itself", Signal, 0, me, 0);
    for (function, argument) in [
        (Complete, 1),
        (CompleteAndResume, longest_resume as *const () as u64),
    ] {
        let mark = state.mark();
        mark.function.store(function.id(), Relaxed);
        mark.argument.store(argument, Relaxed);
        // Signalled by its handler, event 0 is pending when it ends: it would interrupt what was to be resumed.
        mark.calls.store((function == Complete).into(), Relaxed);
        arch::relax();
        let (before, after, answer) = counted(Signal.id(), [0, me, 0, 0, 0]);
        state.say_parts("SDEI_EVENT_SIGNAL", "to itself", mark, before, after);
        equal("SIGNAL", answer, 0)?;
    }
    let mark = &MARKS[state.env.me().index()];
    for (function, time) in [
        (Context, &mark.context),
        (Signal, &mark.signal),
        (Status, &mark.status),
    ] {
        state.say(name(function), "in a handler", time.load(Relaxed));
    }
    state.sdei("", PeMask, 0, 0, 0);
    state.sdei("event 0", Disable, 0, 0, 0);
    equal("UNREGISTER", state.sdei("event 0", Unregister, 0, 0, 0), 0)
}

/// Events that the Secure timer raises.
pub(super) fn explicit(state: &State) -> Outcome {
    for event in [TIMER, TIMER_CRITICAL] {
        state.register("the Secure timer's", event, 0, 0)?;
        state.sdei("the Secure timer's", Enable, event, 0, 0);
        state.sdei("", PeUnmask, 0, 0, 0);
        let mark = state.mark();
        let was = mark.count.load(Acquire);
        equal("arming the Secure timer", arm_timer(event, SOON), 0)?;
        state.await_handler("the Secure timer's", mark, was);
        state.sdei("", PeMask, 0, 0, 0);
        equal("arming the Secure timer", arm_timer(event, 0), 0)?;
        state.sdei("the Secure timer's, pending", Disable, event, 0, 0);
        state.sdei("the Secure timer's, pending", Enable, event, 0, 0);
        state.sdei("the Secure timer's, pending", PeUnmask, 0, 0, 0);
        state.sdei("", PeMask, 0, 0, 0);
        let answer = state.sdei("the Secure timer's", Unregister, event, 0, 0);
        equal("UNREGISTER", answer, 0)?;
    }
    Ok(())
}

pub(super) fn private(state: &State) -> Outcome {
    let lines = || PPIS.into_iter().filter(|line| line.exists());
    let events = || (PRIVATE..).zip(lines());
    for round in 0..2 {
        for (event, line) in events() {
            line.lower();
            let answer = state.sdei("a PPI", Bind, line.intid(), 0, 0);
            equal("BIND", answer, event.cast_signed())?;
        }
        state.sdei("a PPI, all slots taken", Bind, 23, 0, 0);
        state.register("event 0", 0, 0, 0)?;
        state.sdei("event 0", Enable, 0, 0, 0);
        for (event, line) in events() {
            state.register("a bound PPI", event, 0, 0)?;
            state.sdei("a bound PPI", Enable, event, 0, 0);
            state.raise("a bound PPI, masked", line);
            // Still pending in the GIC, and going.
            line.lower();
            state.sdei("a bound PPI whose line is down again", Disable, event, 0, 0);
            state.sdei("a bound PPI", Enable, event, 0, 0);
            state.raise("a bound PPI, masked", line);
        }
        sdei::signal(state.env.me().mpidr());
        if round == 1 {
            break;
        }
        for (event, _) in events() {
            state.sdei("a bound PPI, pending", Disable, event, 0, 0);
            state.sdei("a bound PPI, pending", Enable, event, 0, 0);
        }
        state.sdei("bound PPIs pending", PeUnmask, 0, 0, 0);
        for (_, line) in events() {
            let mark = state.mark();
            let was = mark.count.load(Acquire);
            line.raise_after(SOON);
            state.await_handler("a bound PPI", mark, was);
        }
        state.sdei("", PeMask, 0, 0, 0);
        for (event, _) in events() {
            let answer = state.sdei("a bound PPI", Unregister, event, 0, 0);
            equal("UNREGISTER", answer, 0)?;
            let answer = state.sdei("a PPI", Release, event, 0, 0);
            equal("RELEASE", answer, 0)?;
        }
        sdei::unregister(0);
    }
    let answer = state.sdei("bound PPIs pending", PrivateReset, 0, 0, 0);
    line::lower_all();
    equal("PRIVATE_RESET", answer, 0)?;
    // Bound private slots are every PE's: this gives them back.
    let answer = state.sdei("bound PPIs", SharedReset, 0, 0, 0);
    equal("SHARED_RESET", answer, 0)
}

pub(super) fn shared(state: &State) -> Outcome {
    let me = state.env.me().mpidr();
    let last = state.env.others().last().map_or(me, |pe| pe.mpidr());
    let events = || (SHARED..).zip(SPIS);
    for round in 0..2 {
        for (event, line) in events() {
            line.lower();
            let answer = state.sdei("an SPI", Bind, line.intid(), 0, 0);
            equal("BIND", answer, event.cast_signed())?;
        }
        let answer = state.sdei("an SPI, all slots but one taken", Bind, NO_DEVICE, 0, 0);
        equal("BIND", answer, SHARED_CRITICAL.cast_signed())?;
        state.sdei("an SPI, all slots taken", Bind, NO_DEVICE + 1, 0, 0);
        for (event, line) in events() {
            state.register("a bound SPI for this PE", event, TO_PE, me)?;
            state.sdei("to nobody", RoutingSet, event, 1, NOBODY);
            state.sdei("to the last PE", RoutingSet, event, 1, last);
            state.sdei("to any PE", RoutingSet, event, 0, 0);
            state.sdei("a bound SPI", Enable, event, 0, 0);
            state.raise("a bound SPI of any PE, masked", line);
            state.sdei("a bound SPI, pending", Disable, event, 0, 0);
            state.sdei("a bound SPI, pending", Enable, event, 0, 0);
        }
        if round == 1 {
            break;
        }
        state.sdei("bound SPIs pending", PeUnmask, 0, 0, 0);
        for (_, line) in events() {
            line.lower();
            state.raise("a bound SPI of any PE", line);
        }
        state.sdei("", PeMask, 0, 0, 0);
        SPIS.into_iter().for_each(Line::lower);
        for (event, _) in events() {
            let answer = state.sdei("a bound SPI", Unregister, event, 0, 0);
            equal("UNREGISTER", answer, 0)?;
            let answer = state.sdei("an SPI", Release, event, 0, 0);
            equal("RELEASE", answer, 0)?;
        }
        let answer = state.sdei("an SPI", Release, SHARED_CRITICAL, 0, 0);
        equal("RELEASE", answer, 0)?;
    }
    let answer = state.sdei("bound SPIs pending", SharedReset, 0, 0, 0);
    line::lower_all();
    equal("SHARED_RESET", answer, 0)
}

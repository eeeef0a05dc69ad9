//! PEs that come and go, suspended or off, with nothing registered and with every event.

use super::*;

/// CPU_ON and what it starts; CPU_OFF of that PE, which is off before and afterwards.
pub(super) fn turn_on_and_off(state: &State, pe: &'static Pe, full: bool) -> Outcome {
    static STARTED: [AtomicU64; 2] = [const { AtomicU64::new(0) }; 2];
    static LEFT: AtomicU64 = AtomicU64::new(0);
    let context: *const Pe = pe;
    STARTED[0].store(0, Relaxed);
    STARTED[1].store(context as u64, Relaxed);
    let entry = longest_started as *const () as u64;
    let arguments = [pe.mpidr(), entry, STARTED.as_ptr() as u64, 0, 0];
    arch::relax();
    let (before, after, answer) = counted(power::PSCI_CPU_ON_64.into(), arguments);
    pe.await_ready()?;
    state.say("PSCI_CPU_ON", "of a PE that is off", after - before);
    equal("CPU_ON", answer, 0)?;
    let started = STARTED[0].load(Acquire);
    state.say("start of a PE", "after CPU_ON", started - after);

    LEFT.store(0, Relaxed);
    pe.start(
        |pe, fill_first| {
            if fill_first != 0 {
                fill()?;
                // Enabled, they would be passed on to a PE whose turn comes before the end can be seen: what is left
                // out is finding that PE and an SGI for each of them.
                for event in [SHARED, SHARED + 1] {
                    equal("DISABLE", sdei::disable(event), 0)?;
                }
            }
            pe.gone();
            LEFT.store(arch::counter(), Ordering::Release);
            crate::psci::cpu_off()
        },
        full.into(),
    )?;
    let now = loop {
        arch::relax();
        let now = arch::counter();
        if LEFT.load(Acquire) != 0 {
            break now;
        }
    };
    let what = if full {
        "until it waits, every event pending there, the shared ones disabled"
    } else {
        "until it waits"
    };
    state.say("PSCI_CPU_OFF", what, now - LEFT.load(Acquire));
    pe.await_off()?;
    line::lower_all();
    let answer = state.sdei("", SharedReset, 0, 0, 0);
    equal("SHARED_RESET", answer, 0)
}

/// Registers all events on this PE, which is masked, and makes all pending but one, which has no device's interrupt.
fn fill() -> Outcome {
    let lines = || PPIS.into_iter().filter(|line| line.exists());
    let bound = (PRIVATE..).zip(lines()).chain((SHARED..).zip(SPIS));
    for (event, line) in bound.clone() {
        line.lower();
        equal("BIND", event::bind(line.intid()), event.cast_signed())?;
    }
    equal(
        "BIND",
        event::bind(NO_DEVICE),
        SHARED_CRITICAL.cast_signed(),
    )?;
    let others = [0, TIMER, TIMER_CRITICAL, SHARED_CRITICAL];
    for event in bound.clone().map(|(event, _)| event).chain(others) {
        let entry = longest_event as *const () as u64;
        equal("REGISTER", sdei::register(event, entry, 0), 0)?;
        equal("ENABLE", sdei::enable(event), 0)?;
    }
    bound.for_each(|(_, line)| line.raise());
    for event in [TIMER, TIMER_CRITICAL] {
        equal("arming the Secure timer", arm_timer(event, 0), 0)?;
        arch::synchronize();
    }
    equal("SIGNAL", sdei::signal(Pe::current().mpidr()), 0)
}

/// Calls with every event pending.
pub(super) fn full(state: &State) -> Outcome {
    fill()?;
    state.sdei("every event pending", PeUnmask, 0, 0, 0);
    state.sdei("", PeMask, 0, 0, 0);
    for call in [PrivateReset, SharedReset] {
        line::lower_all();
        let answer = state.sdei("every event registered", call, 0, 0, 0);
        equal("a reset", answer, 0)?;
    }
    for order in [[PrivateReset, SharedReset], [SharedReset, PrivateReset]] {
        fill()?;
        for call in order {
            let answer = state.sdei("every event pending", call, 0, 0, 0);
            equal("a reset", answer, 0)?;
        }
        line::lower_all();
        // What was bound and registered on this PE at the first one.
        sdei::shared_reset();
    }
    Ok(())
}

/// The calls by which this PE waits, with the interrupt pending that ends that; the other PEs are off.
pub(super) fn suspend(state: &State) -> Outcome {
    let me = state.env.me();
    gic::send(me);
    let parameter = state.env.machine.standby.into();
    state.psci(
        "PSCI_CPU_SUSPEND",
        "to standby, an interrupt pending",
        power::PSCI_CPU_SUSPEND_64,
        parameter,
        0,
        0,
    );
    take_interrupt()?;
    let woken = longest_woken as *const () as u64;
    let cell = &raw const CELL as u64;
    let mut calls = [None; 3];
    if let Some(parameter) = state.env.machine.power_down {
        let parameter = parameter.into();
        calls[0] = Some((
            "PSCI_CPU_SUSPEND",
            power::PSCI_CPU_SUSPEND_64,
            [parameter, woken, cell],
        ));
    }
    for (call, function) in [
        (
            "PSCI_CPU_DEFAULT_SUSPEND",
            power::PSCI_CPU_DEFAULT_SUSPEND_64,
        ),
        ("PSCI_SYSTEM_SUSPEND", power::PSCI_SYSTEM_SUSPEND_64),
    ] {
        let free = calls.iter_mut().find(|call| call.is_none());
        if let Some(free) = free.filter(|_| crate::psci::features(function) >= 0) {
            *free = Some((call, function, [woken, cell, 0]));
        }
    }
    for (call, function, arguments) in calls.into_iter().flatten() {
        gic::send(me);
        CELL.counter.store(0, Relaxed);
        arch::relax();
        let before = arch::counter();
        let answer = arch::go_away(function, arguments, &CELL.stack);
        let after = arch::counter();
        let woken = CELL.counter.load(Acquire);
        let what = if woken == 0 {
            equal("going away", answer, 0)?;
            "an interrupt pending, not worth it"
        } else {
            // What a power-down loses.
            pe::adopt(me.index());
            "an interrupt pending, until it is back"
        };
        let end = if woken == 0 { after } else { woken };
        state.say(call, what, end - before);
        take_interrupt()?;
        sdei::pe_mask();
    }
    Ok(())
}

pub(super) fn take_interrupt() -> Outcome {
    let me = Pe::current();
    let before = me.interrupts.load(Acquire);
    wait("the interrupt", || {
        arch::take_interrupts();
        me.interrupts.load(Acquire) > before
    })
}

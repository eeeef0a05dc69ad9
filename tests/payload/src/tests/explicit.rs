//! Events that EL3 raises itself, driven by the Secure timer, and the two priorities.

use super::interrupted::{PLACES, Spin, is_in_loop};
use super::{Env, tests};
use crate::arch::{self, Code, DAIF, Registers};
use crate::check::{Outcome, check, equal, wait};
use crate::event::{self, RELATIVE, TIMER, TIMER_CRITICAL};
use crate::event::{arm_timer, count, forget_notes, listen, note, noted, register};
use crate::pe::{Behaviour, Finish, Job, Pe};
use crate::sdei::{self, DENIED, ENABLED, REGISTERED, RUNNING};
use crate::{gic, psci};
use core::sync::atomic::Ordering::*;

tests! { "explicit":
    1 dispatched_while_interrupts_are_masked,
    1 kept_until_it_can_be_dispatched,
    1 nothing_without_a_handler,
    1 critical_preempts_normal,
    1 critical_preempts_event_0,
    1 normal_waits_for_critical,
    1 both_pending_critical_first,
    1 nested_resume,
    1 masked_in_a_handler,
    1 resets_in_nested_handlers,
    1 relative,
    2 parked_handler_does_not_stop_critical,
    2 off_in_nested_handlers,
    2 armed_pe_goes_off,
}

/// Ticks until a timer is over that is to interrupt a loop; if it is over before, it is armed again.
const SOON: u64 = 10_000;

/// What marks a handler's end among the notes.
const END: u64 = 1 << 32;

/// Arms the timer; it is over at once, and EL3's interrupt comes on the way out of the call.
#[track_caller]
fn raise(event: u64) -> Outcome {
    equal(
        "arming the Secure timer (fw_cfg's opt/bl31/test-timer=on)",
        arm_timer(event, 0),
        0,
    )
}

#[track_caller]
fn handled(event: u64, times: u64) -> Outcome {
    let me = Pe::current();
    wait("the explicit event's handler", || count(event, me) >= times)?;
    equal("entries of the handler", count(event, me), times)
}

/// Waits long enough for a timer that was over before.
fn settle() -> Outcome {
    check("interrupts arrive", gic::interrupts_work())
}

/// DAIF, PMR and all: nothing the Normal world does holds it off, and what it interrupts goes on as it was.
fn dispatched_while_interrupts_are_masked(env: &'static Env) -> Outcome {
    let me = env.me();
    for event in [TIMER, TIMER_CRITICAL] {
        listen(event, |pe| {
            // What it is, this one's or the other's.
            let event = pe.words[0].load(Acquire);
            if is_in_loop(event::handling(event, pe).x(2)) {
                pe.leave.store(1, Release);
            } else {
                arm_timer(event, SOON);
            }
            Finish::complete()
        })?;
        me.words[0].store(event, Release);
        equal("PE_UNMASK", sdei::pe_unmask(), 0)?;
        for place in PLACES.into_iter().filter(|place| place.exists()) {
            let mut spin = Spin::new(me, place, DAIF);
            equal("arming the Secure timer", arm_timer(event, SOON), 0)?;
            spin.run();
            spin.check_exact()?;
            let seen = event::handling(event, me);
            equal("x0 of the handler", seen.x(0), event)?;
            spin.check_pc(seen.x(2))?;
            equal("x3 of the handler", seen.x(3), spin.pstate())?;
        }
        equal("UNREGISTER", sdei::unregister(event), 0)?;
        equal("PE_MASK", sdei::pe_mask(), 1)?;
    }
    settle()
}

fn kept_until_it_can_be_dispatched(_: &'static Env) -> Outcome {
    for event in [TIMER, TIMER_CRITICAL] {
        listen(event, |_| Finish::complete())?;
        raise(event)?;
        settle()?;
        raise(event)?;
        settle()?;
        handled(event, 0)?;
        equal("PE_UNMASK", sdei::pe_unmask(), 0)?;
        // Twice before it was delivered counts once.
        handled(event, 1)?;
        equal("DISABLE", sdei::disable(event), 0)?;
        raise(event)?;
        settle()?;
        handled(event, 1)?;
        equal("ENABLE", sdei::enable(event), 0)?;
        handled(event, 2)?;
        // Unregistering drops it.
        equal("DISABLE", sdei::disable(event), 0)?;
        raise(event)?;
        settle()?;
        equal("UNREGISTER", sdei::unregister(event), 0)?;
        listen(event, |_| Finish::complete())?;
        settle()?;
        handled(event, 0)?;
        equal("UNREGISTER", sdei::unregister(event), 0)?;
        equal("PE_MASK", sdei::pe_mask(), 1)?;
    }
    Ok(())
}

fn nothing_without_a_handler(_: &'static Env) -> Outcome {
    equal("PE_UNMASK", sdei::pe_unmask(), 0)?;
    for event in [TIMER, TIMER_CRITICAL, 0, 1000, 2000, 4, u64::MAX] {
        raise(event)?;
        settle()?;
    }
    for event in [TIMER, TIMER_CRITICAL] {
        listen(event, |_| Finish::complete())?;
        settle()?;
        handled(event, 0)?;
    }
    // Only what is explicit is raised so: not event 0.
    Pe::current().listen(|_| Finish::complete())?;
    raise(0)?;
    settle()?;
    handled(0, 0)
}

/// Registers both with these behaviours and unmasks.
#[track_caller]
fn both(normal: Behaviour, critical: Behaviour) -> Outcome {
    forget_notes();
    listen(TIMER, normal)?;
    listen(TIMER_CRITICAL, critical)?;
    equal("PE_UNMASK", sdei::pe_unmask(), 0)
}

/// A Critical handler that notes that it runs.
fn noting_critical(_: &'static Pe) -> Finish {
    note(TIMER_CRITICAL);
    note(TIMER_CRITICAL | END);
    Finish::complete()
}

/// A Normal handler that notes that it runs.
fn noting_normal(_: &'static Pe) -> Finish {
    note(TIMER);
    note(TIMER | END);
    Finish::complete()
}

/// A Normal handler in which the Critical event comes.
fn preempted(_: &'static Pe) -> Finish {
    note(TIMER);
    arm_timer(TIMER_CRITICAL, 0);
    settle().unwrap_or_else(|_| note(0));
    // Its context is that of the handler which is innermost again.
    note(sdei::context(0).cast_unsigned());
    note(TIMER | END);
    Finish::complete()
}

fn critical_preempts_normal(_: &'static Env) -> Outcome {
    both(preempted, |_| {
        note(TIMER_CRITICAL);
        note((sdei::status(TIMER) | sdei::status(TIMER_CRITICAL) << 8).cast_unsigned());
        note(TIMER_CRITICAL | END);
        Finish::complete()
    })?;
    let running = (REGISTERED | ENABLED | RUNNING).cast_unsigned();
    raise(TIMER)?;
    handled(TIMER, 1)?;
    handled(TIMER_CRITICAL, 1)?;
    let order = [
        TIMER,
        TIMER_CRITICAL,
        running | running << 8,
        TIMER_CRITICAL | END,
        // x0 of the interrupted call of the firmware: its answer.
        0,
        TIMER | END,
    ];
    noted("order of the handlers", &order)?;
    let critical = event::handling(TIMER_CRITICAL, Pe::current());
    equal(
        "DAIF of the Critical handler",
        critical.daif.load(Acquire),
        DAIF,
    )?;
    equal(
        "EL of what it interrupted",
        critical.x(3) & 0xf,
        arch::here(),
    )?;
    equal("CONTEXT: no handler runs", sdei::context(0), DENIED)
}

fn critical_preempts_event_0(env: &'static Env) -> Outcome {
    let me = env.me();
    both(noting_normal, noting_critical)?;
    equal("UNREGISTER", sdei::unregister(TIMER), 0)?;
    me.listen(preempted)?;
    equal("SIGNAL", sdei::signal(me.mpidr()), 0)?;
    handled(TIMER_CRITICAL, 1)?;
    let order = [TIMER, TIMER_CRITICAL, TIMER_CRITICAL | END, 0, TIMER | END];
    noted("order of the handlers", &order)
}

fn normal_waits_for_critical(env: &'static Env) -> Outcome {
    let me = env.me();
    both(noting_normal, |pe| {
        note(TIMER_CRITICAL);
        arm_timer(TIMER, 0);
        settle().unwrap_or_else(|_| note(0));
        // Event 0 is Normal too; nobody registered it here, which the answer says.
        note(sdei::signal(pe.mpidr()).cast_unsigned());
        note(TIMER_CRITICAL | END);
        Finish::complete()
    })?;
    raise(TIMER_CRITICAL)?;
    handled(TIMER_CRITICAL, 1)?;
    handled(TIMER, 1)?;
    let no_handler = sdei::INVALID_PARAMETERS.cast_unsigned();
    let order = [
        TIMER_CRITICAL,
        no_handler,
        TIMER_CRITICAL | END,
        TIMER,
        TIMER | END,
    ];
    noted("order of the handlers", &order)?;
    // Nor does a Normal one start while another Normal one runs.
    forget_notes();
    event::handling(TIMER, me).change(|_| {
        note(TIMER);
        if event::handling(TIMER, Pe::current()).count() < 3 {
            arm_timer(TIMER, 0);
            settle().unwrap_or_else(|_| note(0));
        }
        note(TIMER | END);
        Finish::complete()
    });
    raise(TIMER)?;
    handled(TIMER, 4)?;
    noted(
        "Normal handlers one after another",
        &[TIMER, TIMER | END].repeat_three(),
    )
}

/// Three times the same.
trait RepeatThree {
    fn repeat_three(self) -> [u64; 6];
}

impl RepeatThree for [u64; 2] {
    fn repeat_three(self) -> [u64; 6] {
        core::array::from_fn(|index| self[index % 2])
    }
}

fn both_pending_critical_first(env: &'static Env) -> Outcome {
    let me = env.me();
    for with_event_0 in [false, true] {
        both(noting_normal, noting_critical)?;
        equal("PE_MASK", sdei::pe_mask(), 1)?;
        if with_event_0 {
            equal("UNREGISTER", sdei::unregister(TIMER), 0)?;
            me.register(noting_normal)?;
            equal("ENABLE", sdei::enable(0), 0)?;
            equal("SIGNAL", sdei::signal(me.mpidr()), 0)?;
        } else {
            raise(TIMER)?;
            settle()?;
        }
        raise(TIMER_CRITICAL)?;
        settle()?;
        noted("nothing while masked", &[])?;
        equal("PE_UNMASK", sdei::pe_unmask(), 0)?;
        let order = [TIMER_CRITICAL, TIMER_CRITICAL | END, TIMER, TIMER | END];
        noted("order of the handlers", &order)?;
        equal("PE_MASK", sdei::pe_mask(), 1)?;
        equal("PRIVATE_RESET", sdei::private_reset(), 0)?;
    }
    Ok(())
}

/// COMPLETE_AND_RESUME out of a nested handler leads into the interrupted handler's EL, and ends only that one.
fn nested_resume(_: &'static Env) -> Outcome {
    both(
        |pe| {
            // Left through `Code::Leave` as if by an exception, here inside the handler.
            let mut registers = Registers::pattern(Code::SpinThenSvc.address());
            pe.leave.store(0, Release);
            registers.x[29] = pe.leave.as_ptr() as u64;
            arm_timer(TIMER_CRITICAL, SOON);
            // SAFETY: The snippet ends with SVC, or before it in COMPLETE_AND_RESUME.
            unsafe { arch::enter(&mut registers) };
            note(registers.pstate & 0xf);
            note(registers.x[5]);
            note(u64::from(sdei::status(TIMER_CRITICAL) & RUNNING == 0));
            note(u64::from(sdei::status(TIMER) & RUNNING != 0));
            Finish::complete()
        },
        |pe| {
            if !is_in_loop(event::handling(TIMER_CRITICAL, pe).x(2)) {
                arm_timer(TIMER_CRITICAL, SOON);
                return Finish::complete();
            }
            note(TIMER_CRITICAL);
            Finish::resume(Code::Leave.address())
        },
    )?;
    raise(TIMER)?;
    handled(TIMER, 1)?;
    let x5 = Registers::pattern(0).x[5];
    noted(
        "what was resumed",
        &[TIMER_CRITICAL, arch::here(), x5, 1, 1],
    )?;
    equal("STATUS", sdei::status(TIMER), REGISTERED | ENABLED)?;
    check("interrupts arrive", gic::interrupts_work())?;
    equal("CONTEXT: no handler runs", sdei::context(0), DENIED)
}

/// PE_MASK in a Normal handler holds a Critical event off too, until PE_UNMASK.
fn masked_in_a_handler(_: &'static Env) -> Outcome {
    both(
        |_| {
            note(sdei::pe_mask().cast_unsigned());
            arm_timer(TIMER_CRITICAL, 0);
            settle().unwrap_or_else(|_| note(0));
            note(TIMER);
            note(sdei::pe_unmask().cast_unsigned());
            note(TIMER | END);
            Finish::complete()
        },
        noting_critical,
    )?;
    raise(TIMER)?;
    handled(TIMER, 1)?;
    let order = [
        1,
        TIMER,
        TIMER_CRITICAL,
        TIMER_CRITICAL | END,
        0,
        TIMER | END,
    ];
    noted("order of the handlers", &order)
}

fn resets_in_nested_handlers(_: &'static Env) -> Outcome {
    both(
        |_| {
            arm_timer(TIMER_CRITICAL, 0);
            settle().unwrap_or_else(|_| note(0));
            note(sdei::private_reset().cast_unsigned());
            note(sdei::unregister(TIMER_CRITICAL).cast_unsigned());
            Finish::complete()
        },
        |_| {
            note(sdei::private_reset().cast_unsigned());
            // The handler below is running, too.
            note(sdei::unregister(TIMER).cast_unsigned());
            note(sdei::private_reset().cast_unsigned());
            Finish::complete()
        },
    )?;
    raise(TIMER)?;
    handled(TIMER, 1)?;
    let [denied, pending] = [DENIED, sdei::PENDING].map(i64::cast_unsigned);
    noted(
        "answers in the handlers",
        &[denied, pending, denied, denied, 0],
    )?;
    equal("STATUS", sdei::status(TIMER), 0)?;
    equal("STATUS", sdei::status(TIMER_CRITICAL), 0)?;
    equal("PRIVATE_RESET", sdei::private_reset(), 0)
}

/// The entry point is an offset from VBAR, which is read when the handler is entered.
fn relative(env: &'static Env) -> Outcome {
    for event in [TIMER, TIMER_CRITICAL] {
        let answer = event::try_register(event, RELATIVE, 0, |_| Finish::complete());
        equal("REGISTER, relative", answer, 0)?;
        equal("ENABLE", sdei::enable(event), 0)?;
        equal("PE_UNMASK", sdei::pe_unmask(), 0)?;
        raise(event)?;
        handled(event, 1)?;
        equal("PE_MASK", sdei::pe_mask(), 1)?;
    }
    equal("x0 of the handler", env.me().handling.x(0), TIMER)
}

/// A handler that never completes costs no Critical event.
fn parked_handler_does_not_stop_critical(env: &'static Env) -> Outcome {
    let pe = env.other(0)?;
    pe.words[0].store(0, Release);
    pe.start(
        |_, _| {
            listen(TIMER, |pe| {
                // Parked, but for a Critical event now and then.
                while pe.words[0].load(Acquire) == 0 {
                    let before = count(TIMER_CRITICAL, pe);
                    arm_timer(TIMER_CRITICAL, 1000);
                    let _ = wait("a Critical event", || count(TIMER_CRITICAL, pe) > before);
                }
                pe.gone();
                let _ = psci::cpu_off();
                Finish::complete()
            })?;
            listen(TIMER_CRITICAL, |_| Finish::complete())?;
            equal("PE_UNMASK", sdei::pe_unmask(), 0)?;
            raise(TIMER)?;
            wait("never, since the handler does not complete", || false)
        },
        0,
    )?;
    wait("Critical events over a parked handler", || {
        count(TIMER_CRITICAL, pe) >= 20
    })?;
    equal(
        "entries of the parked handler, complete",
        pe.handling.count(),
        0,
    )?;
    pe.words[0].store(1, Release);
    pe.await_off()
}

/// CPU_OFF in a Critical handler on top of a Normal one abandons both.
fn off_in_nested_handlers(env: &'static Env) -> Outcome {
    for _ in 0..3 {
        let pe = env.other(0)?;
        pe.start(
            |_, _| {
                listen(TIMER, |_| {
                    arm_timer(TIMER_CRITICAL, 0);
                    let _ = settle();
                    Finish::complete()
                })?;
                listen(TIMER_CRITICAL, |pe| {
                    pe.gone();
                    let _ = psci::cpu_off();
                    Finish::complete()
                })?;
                equal("PE_UNMASK", sdei::pe_unmask(), 0)?;
                raise(TIMER)?;
                wait("the PE to go off", || false)
            },
            0,
        )?;
        pe.await_off()?;
        pe.turn_on()?;
        pe.run(
            |pe, _| {
                for event in [TIMER, TIMER_CRITICAL] {
                    equal("STATUS of a PE that is back", sdei::status(event), 0)?;
                }
                equal("CONTEXT: no handler runs", sdei::context(0), DENIED)?;
                equal("PE_MASK of a PE that is back", sdei::pe_mask(), 0)?;
                both(noting_normal, noting_critical)?;
                raise(TIMER)?;
                handled(TIMER, 1)?;
                raise(TIMER_CRITICAL)?;
                handled(TIMER_CRITICAL, 1)?;
                check("interrupts arrive", gic::interrupts_work())?;
                pe.listen(|_| Finish::complete())?;
                equal("SIGNAL", sdei::signal(pe.mpidr()), 0)?;
                pe.await_count(1)
            },
            0,
        )?;
        pe.turn_off()?;
    }
    Ok(())
}

/// A timer that is armed when its PE goes off raises nothing, neither while the PE is off nor once it is back.
fn armed_pe_goes_off(env: &'static Env) -> Outcome {
    // The latter 20 ms, until which the PE is back.
    for ticks in [10_000, arch::counter_frequency() / 50] {
        let pe = env.other(0)?;
        let arm: Job = |_, ticks| {
            register(TIMER, |_| Finish::complete())?;
            equal("arming the Secure timer", arm_timer(TIMER, ticks), 0)
        };
        pe.run(arm, ticks)?;
        let over = arch::counter() + ticks;
        pe.turn_off()?;
        if ticks < 100_000 {
            wait("the timer's time", || arch::counter() > over)?;
        }
        equal(
            "AFFINITY_INFO",
            psci::affinity_info(pe.mpidr(), 0),
            psci::OFF,
        )?;
        pe.turn_on()?;
        pe.run(
            |_, over| {
                listen(TIMER, |_| Finish::complete())?;
                equal("PE_UNMASK", sdei::pe_unmask(), 0)?;
                wait("the timer's time", || arch::counter() > over)?;
                settle()?;
                handled(TIMER, 0)?;
                raise(TIMER)?;
                handled(TIMER, 1)
            },
            over,
        )?;
        pe.turn_off()?;
    }
    Ok(())
}

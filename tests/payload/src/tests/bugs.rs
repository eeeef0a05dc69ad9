//! Bugs of other dispatchers, replayed.

use super::interrupted::{Place, Spin, start_spinning};
use super::linux::{event_0_row, on_each, probe_row};
use super::{Env, tests};
use crate::arch::{self, Code, Registers};
use crate::check::{Outcome, check, equal, wait};
use crate::pe::{Behaviour, Finish, Pe};
use crate::{gic, psci, sdei};
use core::sync::atomic::Ordering::*;

tests! { "bug":
    2 off_in_handler_then_on,
    2 resume_then_off,
    2 resume_then_park,
    2 parked_then_off,
    2 parked_costs_others_nothing,
    1 crashing_pe_resumes_while_masked,
    2 sgi_just_after_mask,
    2 disabled_between_check_and_arrival,
}

/// Registers `behaviour` on the first other PE, signals it, and returns it.
fn wedge_and_signal(env: &'static Env, behaviour: Behaviour) -> Outcome<&'static Pe> {
    env.all_on()?;
    probe_row(env)?;
    event_0_row(env)?;
    let pe = env.other(0)?;
    pe.words[0].store(0, Release);
    start_spinning(
        pe,
        |pe, _| {
            let mut spin = Spin::new(pe, Place::Here, arch::DAIF);
            spin.run();
            spin.check_registers(0..0)?;
            // Resumed as if by an exception: the end of a wedged kernel.
            pe.words[0].store(1, Release);
            if pe.words[1].load(Acquire) == 1 {
                while pe.words[2].load(Acquire) == 0 {
                    arch::relax();
                }
            }
            pe.gone();
            psci::cpu_off()
        },
        0,
        behaviour,
    )?;
    // The others are stopped first, with event 0 registered and enabled.
    for other in env.others().skip(1) {
        other.start(
            |pe, _| {
                equal("PE_MASK", sdei::pe_mask(), 1)?;
                pe.gone();
                psci::cpu_off()
            },
            0,
        )?;
        other.await_off()?;
    }
    equal("SIGNAL", sdei::signal(pe.mpidr()), 0)?;
    equal("PE_MASK of the crashing PE", sdei::pe_mask(), 1)?;
    Ok(pe)
}

/// The capture kernel finds SDEI in order, and brings up every PE that is off.
fn capture_kernel(env: &'static Env) -> Outcome {
    equal("PRIVATE_RESET", sdei::private_reset(), 0)?;
    equal("SHARED_RESET", sdei::shared_reset(), 0)?;
    env.all_on()?;
    probe_row(env)?;
    event_0_row(env)?;
    for pe in env.others() {
        let before = pe.handling.count();
        equal("SIGNAL", sdei::signal(pe.mpidr()), 0)?;
        pe.await_count(before + 1)?;
    }
    on_each(env, |_, _| {
        check("interrupts arrive", gic::interrupts_work())
    })?;
    on_each(env, |_, _| equal("UNREGISTER", sdei::unregister(0), 0))
}

/// Bare CPU_OFF in the handler.
fn off_in_handler_then_on(env: &'static Env) -> Outcome {
    for _ in 0..5 {
        let pe = wedge_and_signal(env, |pe| {
            pe.gone();
            let _ = psci::cpu_off();
            Finish::complete()
        })?;
        pe.await_off()?;
        capture_kernel(env)?;
    }
    Ok(())
}

/// COMPLETE_AND_RESUME, then CPU_OFF; masked, as the kernel stops a CPU.
fn resume_then_off(env: &'static Env) -> Outcome {
    for _ in 0..5 {
        env.others().for_each(|pe| pe.words[1].store(0, Release));
        let pe = wedge_and_signal(env, |_| {
            sdei::pe_mask();
            Finish::resume(Code::Leave.address())
        })?;
        pe.await_off()?;
        capture_kernel(env)?;
    }
    Ok(())
}

/// COMPLETE_AND_RESUME, then park: the PE stays on, and the rest goes on without it.
fn resume_then_park(env: &'static Env) -> Outcome {
    for pe in env.others() {
        pe.words[1].store(1, Release);
        pe.words[2].store(0, Release);
    }
    let pe = wedge_and_signal(env, |_| {
        sdei::pe_mask();
        Finish::resume(Code::Leave.address())
    })?;
    wait("the PE that resumed", || pe.words[0].load(Acquire) == 1)?;
    without(env, pe, |pe| pe.words[2].store(1, Release))
}

/// What the rest of the machine does while `parked` is parked; then it is let go and comes back too.
fn without(env: &'static Env, parked: &'static Pe, release: fn(&Pe)) -> Outcome {
    equal("PRIVATE_RESET", sdei::private_reset(), 0)?;
    equal("SHARED_RESET with a parked PE", sdei::shared_reset(), 0)?;
    equal(
        "AFFINITY_INFO of the parked PE",
        psci::affinity_info(parked.mpidr(), 0),
        0,
    )?;
    equal(
        "CPU_ON of the parked PE",
        psci::cpu_on(parked.mpidr(), Code::Secondary.address(), 0),
        psci::ALREADY_ON,
    )?;
    let me = env.me();
    me.listen(|_| Finish::complete())?;
    equal("SIGNAL to self", sdei::signal(me.mpidr()), 0)?;
    me.await_count(1)?;
    for pe in env.others().skip(1) {
        pe.turn_on()?;
        pe.run(|pe, _| pe.listen(|_| Finish::complete()), 0)?;
        equal("SIGNAL", sdei::signal(pe.mpidr()), 0)?;
        pe.await_count(1)?;
    }
    check("interrupts arrive", gic::interrupts_work())?;
    equal("UNREGISTER", sdei::unregister(0), 0)?;
    release(parked);
    parked.await_off()?;
    capture_kernel(env)
}

/// Parked in the handler, uncompleted, and turned off from there in the end.
fn parked_then_off(env: &'static Env) -> Outcome {
    env.others().for_each(|pe| pe.words[2].store(0, Release));
    let pe = wedge_and_signal(env, |pe| {
        sdei::pe_mask();
        pe.words[0].store(1, Release);
        while pe.words[2].load(Acquire) == 0 {
            arch::relax();
        }
        pe.gone();
        let _ = psci::cpu_off();
        Finish::complete()
    })?;
    wait("the PE that parks", || pe.words[0].load(Acquire) == 1)?;
    without(env, pe, |pe| pe.words[2].store(1, Release))
}

/// Signals to a PE that never completes are accepted and block no one.
fn parked_costs_others_nothing(env: &'static Env) -> Outcome {
    env.others().for_each(|pe| pe.words[2].store(0, Release));
    let pe = wedge_and_signal(env, |pe| {
        pe.words[0].store(1, Release);
        while pe.words[2].load(Acquire) == 0 {
            arch::wfi();
        }
        pe.gone();
        let _ = psci::cpu_off();
        Finish::complete()
    })?;
    wait("the PE that parks", || pe.words[0].load(Acquire) == 1)?;
    for _ in 0..1000 {
        equal("SIGNAL to a parked PE", sdei::signal(pe.mpidr()), 0)?;
    }
    without(env, pe, |pe| {
        pe.words[2].store(1, Release);
        // It sleeps: an interrupt wakes it, taken or not.
        while psci::affinity_info(pe.mpidr(), 0) != psci::OFF {
            gic::send(pe);
            arch::relax();
        }
    })
}

/// The crashing PE may be in a handler itself: it masks, then resumes out of it while masked.
fn crashing_pe_resumes_while_masked(env: &'static Env) -> Outcome {
    let me = env.me();
    for _ in 0..20 {
        me.listen(|pe| {
            sdei::pe_mask();
            // Still to come when it is unmasked, were it not for the reset below.
            sdei::signal(pe.mpidr());
            Finish::resume(Code::Leave.address())
        })?;
        let mut registers = Registers::pattern(Code::SmcThenSvc.address());
        registers.x[..3].copy_from_slice(&[sdei::Function::Signal.id(), 0, me.mpidr()]);
        // SAFETY: The snippet ends with SVC, or before it in the handler's COMPLETE_AND_RESUME.
        unsafe { arch::enter(&mut registers) };
        equal(
            "ELR, the interrupted PC",
            registers.pc,
            Code::SmcThenSvc.address() + 4,
        )?;
        equal("entries of the handler", me.handling.count(), 1)?;
        equal("CONTEXT: no handler runs", sdei::context(0), sdei::DENIED)?;
        equal("PE_MASK: masked", sdei::pe_mask(), 0)?;
        equal("PRIVATE_RESET", sdei::private_reset(), 0)?;
        equal("SHARED_RESET", sdei::shared_reset(), 0)?;
        check("interrupts arrive", gic::interrupts_work())?;
        me.listen(|_| Finish::complete())?;
        equal("entries of the handler", me.handling.count(), 0)?;
        equal("SIGNAL", sdei::signal(me.mpidr()), 0)?;
        me.await_count(1)?;
        equal("PRIVATE_RESET", sdei::private_reset(), 0)?;
    }
    Ok(())
}

/// Two PEs mask and unmask while everyone signals them: interrupts still arrive afterwards, and no signal is lost.
fn sgi_just_after_mask(env: &'static Env) -> Outcome {
    env.all_on()?;
    let pe = env.other(0)?;
    let targets = [env.me(), pe];
    pe.run(|pe, _| pe.listen(|_| Finish::complete()), 0)?;
    env.me().listen(|_| Finish::complete())?;
    let flood: crate::pe::Job = |pe, boot| {
        let me = pe.mpidr();
        let peer = Pe::at(boot as usize).mpidr();
        for round in 0..20_000_u64 {
            equal("PE_MASK", sdei::pe_mask(), 1)?;
            equal("SIGNAL", sdei::signal(peer), 0)?;
            if round % 16 == 0 {
                equal("SIGNAL to self", sdei::signal(me), 0)?;
            }
            equal("PE_UNMASK", sdei::pe_unmask(), 0)?;
            check("no interrupt is active", gic::idle())?;
            arch::relax();
        }
        Ok(())
    };
    pe.start(flood, env.machine.boot as u64)?;
    for other in env.others().skip(1) {
        other.start(
            |_, target| {
                for _ in 0..20_000 {
                    equal("SIGNAL", sdei::signal(Pe::at(target as usize).mpidr()), 0)?;
                }
                Ok(())
            },
            pe.index() as u64,
        )?;
    }
    flood(env.me(), pe.index() as u64)?;
    env.others().try_for_each(Pe::finish)?;
    for target in targets {
        check("handlers ran", target.handling.count() >= 1250)?;
        let before = target.handling.count();
        equal("SIGNAL", sdei::signal(target.mpidr()), 0)?;
        target.await_count(before + 1)?;
    }
    on_each(env, |_, _| {
        check("interrupts still arrive", gic::interrupts_work())
    })
}

/// Event 0 disabled, or its PE masked, when the interrupt arrives: the PE gets on with its work meanwhile.
fn disabled_between_check_and_arrival(env: &'static Env) -> Outcome {
    let pe = env.other(0)?;
    for disable in [true, false] {
        pe.run(
            |pe, disable| {
                pe.listen(|_| Finish::complete())?;
                if disable == 1 {
                    equal("DISABLE", sdei::disable(0), 0)
                } else {
                    equal("PE_MASK", sdei::pe_mask(), 1)
                }
            },
            disable.into(),
        )?;
        pe.words[0].store(0, Release);
        pe.leave.store(0, Release);
        pe.start(
            |pe, _| {
                while pe.leave.load(Acquire) == 0 {
                    pe.words[0].fetch_add(1, AcqRel);
                    arch::relax();
                }
                Ok(())
            },
            0,
        )?;
        for _ in 0..1000 {
            equal("SIGNAL", sdei::signal(pe.mpidr()), 0)?;
            let before = pe.words[0].load(Acquire);
            wait("the target gets on with its work", || {
                pe.words[0].load(Acquire) > before + 10
            })?;
        }
        equal("entries of the handler", pe.handling.count(), 0)?;
        pe.leave.store(1, Release);
        pe.finish()?;
        pe.run(
            |pe, disable| {
                if disable == 1 {
                    equal("ENABLE", sdei::enable(0), 0)?;
                } else {
                    equal("PE_UNMASK", sdei::pe_unmask(), 0)?;
                }
                equal("entries of the handler", pe.handling.count(), 1)?;
                check("interrupts still arrive", gic::interrupts_work())?;
                equal("PRIVATE_RESET", sdei::private_reset(), 0)
            },
            disable.into(),
        )?;
    }
    Ok(())
}

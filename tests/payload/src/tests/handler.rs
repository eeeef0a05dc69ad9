//! How a handler is entered and left (DEN0054 chapter 4), and what it may call.

use super::interrupted::{PLACES, SCTLR_SETTINGS, Spin, in_loop, pstates};
use super::smccc::{exact, untouched};
use super::{Env, tests};
use crate::arch::{self, Code, DAIF, Registers};
use crate::check::{Outcome, check, equal, wait};
use crate::machine::Machine;
use crate::pe::{Finish, Pe};
use crate::sdei::{self, DENIED, ENABLED, Function, INVALID_PARAMETERS, REGISTERED, RUNNING};
use crate::{psci, say};
use core::sync::atomic::{AtomicU64, Ordering::*};

tests! { "handler":
    1 signal_to_self,
    1 signal_to_self_masked_by_sp,
    2 entry_and_completion,
    2 complete_failed,
    2 complete_and_resume,
    2 resume_keeps_x18_up,
    1 dispatch_on_the_way_out,
    1 context,
    1 calls_inside,
    1 unregister_inside,
    1 signal_inside,
    1 refused_resume,
    1 mask_inside,
    1 registers_kept_inside,
}

/// Leaves the interrupted loop.
fn complete(pe: &'static Pe) -> Finish {
    pe.leave.store(1, Release);
    Finish::complete()
}

/// SIGNAL to self with a different value in every register: all of them come back.
fn signal_to_self(env: &'static Env) -> Outcome {
    let me = env.me();
    me.listen(complete)?;
    for round in 1..=100 {
        let arguments = [0, me.mpidr()];
        let after = exact(Code::SmcThenSvc, Function::Signal.id(), &arguments);
        equal("SIGNAL", after.x[0], 0)?;
        untouched("SIGNAL to self", &after, &arguments)?;
        me.await_count(round)?;
        equal(
            "x2, the interrupted PC",
            me.handling.x(2),
            Code::SmcThenSvc.address() + 4,
        )?;
        equal("x3, the interrupted PSTATE", me.handling.x(3), after.pstate)?;
        for (index, want) in Registers::pattern(0).x.into_iter().enumerate().skip(4) {
            let got = me.handling.x(index);
            check(
                "x4..x17 of the handler",
                got == want || index < 18 && got == 0,
            )?;
        }
    }
    Ok(())
}

/// The same from code that uses SP_EL0.
fn signal_to_self_masked_by_sp(env: &'static Env) -> Outcome {
    let me = env.me();
    me.listen(complete)?;
    let mut registers = Registers::pattern(Code::SmcThenSvc.address());
    registers.x[..3].copy_from_slice(&[Function::Signal.id(), 0, me.mpidr()]);
    registers.pstate &= !1;
    // SAFETY: The snippet needs no stack and ends with SVC.
    unsafe { arch::enter(&mut registers) };
    equal("SIGNAL", registers.x[0], 0)?;
    equal("SPSel of the handler", me.handling.spsel.load(Acquire), 1)?;
    equal(
        "SP of the handler",
        me.handling.sp.load(Acquire),
        registers.sp,
    )?;
    me.await_count(1)
}

/// Whether the target's loop may be signalled.
fn about_to_spin(pe: &'static Pe) {
    pe.words[0].store(1, Release);
}

/// Signals `pe` once it is about to spin, again if that came before the loop, and waits for its job.
fn signal_spinning(pe: &'static Pe) -> Outcome {
    wait("the target is about to spin", || {
        pe.words[0].swap(0, AcqRel) == 1 || pe.is_ready()
    })?;
    while pe.leave.load(Acquire) == 0 && !pe.is_ready() {
        let before = pe.handling.count();
        equal("SIGNAL", sdei::signal(pe.mpidr()), 0)?;
        wait("the handler was not entered", || {
            pe.handling.count() > before
        })?;
    }
    pe.finish()
}

/// Runs `job` once per place, PSTATE and setting of SCTLR on another PE, signalling it each time.
fn everywhere(env: &'static Env, job: crate::pe::Job) -> Outcome {
    let pe = env.other(0)?;
    for (number, place) in PLACES
        .into_iter()
        .enumerate()
        .filter(|(_, place)| place.exists())
    {
        for pstate in pstates(place) {
            for (setting, &sctlr) in SCTLR_SETTINGS.iter().enumerate() {
                let present = arch::readable_pstate().0;
                let without =
                    |sctlr_bit, pstate_bit| sctlr & sctlr_bit != 0 && present & pstate_bit == 0;
                if without(arch::SCTLR_DSSBS, arch::PSTATE_SSBS)
                    || without(arch::SCTLR_SPINTMASK, arch::PSTATE_ALLINT)
                {
                    continue;
                }
                pe.start(job, number as u64 | (setting as u64) << 2 | pstate)?;
                let outcome = signal_spinning(pe);
                if outcome.is_err() {
                    say!("at place {number}, PSTATE {pstate:#x}, SCTLR {sctlr:#x}");
                    return outcome;
                }
            }
        }
    }
    Ok(())
}

/// Unpacks what [`everywhere`] gave, sets SCTLR, spins, and restores SCTLR.
fn spin(pe: &'static Pe, argument: u64, check: fn(&'static Pe, &Spin) -> Outcome) -> Outcome {
    // Bits 0..4 are the place and SCTLR's setting, all of them 0 in the PSTATE bits used.
    arch::set_sctlr_entry(SCTLR_SETTINGS[(argument >> 2 & 7) as usize]);
    let mut spin = Spin::new(pe, PLACES[(argument & 3) as usize], argument & !0x1f);
    about_to_spin(pe);
    spin.run();
    let outcome = check(pe, &spin);
    arch::set_sctlr_entry(arch::SCTLR_SPAN);
    equal("UNREGISTER", sdei::unregister(0), 0)?;
    equal("PE_MASK", sdei::pe_mask(), 1)?;
    outcome
}

fn entry_and_completion(env: &'static Env) -> Outcome {
    everywhere(env, |pe, argument| {
        pe.listen(leave_if_in_loop)?;
        spin(pe, argument, |pe, spin| {
            spin.check_exact()?;
            spin.check_entry(pe)
        })
    })
}

/// Completes, and ends the loop if that was what it interrupted.
fn leave_if_in_loop(pe: &'static Pe) -> Finish {
    if in_loop(pe) {
        pe.leave.store(1, Release);
    }
    Finish::complete()
}

/// COMPLETE's status is for the platform to know; the client is resumed all the same.
fn complete_failed(env: &'static Env) -> Outcome {
    everywhere(env, |pe, argument| {
        pe.listen(|pe| {
            leave_if_in_loop(pe);
            Finish::complete_failed()
        })?;
        spin(pe, argument, |_, spin| spin.check_exact())
    })
}

fn resume_leave(pe: &'static Pe) -> Finish {
    if in_loop(pe) {
        pe.leave.store(1, Release);
        Finish::resume(Code::Leave.address())
    } else {
        Finish::complete()
    }
}

/// Checks what COMPLETE_AND_RESUME came out with, but x18..x30.
fn check_resumed(pe: &'static Pe, spin: &Spin) -> Outcome {
    spin.check_pc(spin.registers.pc)?;
    equal(
        "ELR, the interrupted PC",
        spin.registers.pc,
        pe.handling.x(2),
    )?;
    equal(
        "SPSR, the interrupted PSTATE",
        spin.registers.pstate,
        spin.pstate(),
    )?;
    equal(
        "DAIF after it",
        arm_sysregs::el0::accessors::read_daif().bits(),
        DAIF,
    )?;
    spin.check_registers(18..29)?;
    check("no handler runs", sdei::context(0) == DENIED)?;
    equal("STATUS", sdei::status(0), REGISTERED | ENABLED)
}

/// As if an exception had been taken at the interrupted place, from the client's EL's point of view.
fn complete_and_resume(env: &'static Env) -> Outcome {
    everywhere(env, |pe, argument| {
        pe.listen(resume_leave)?;
        spin(pe, argument, |pe, spin| {
            equal(
                "PSTATE after it",
                arch::readable_pstate().1,
                spin.entry_pstate(),
            )?;
            check_resumed(pe, spin)?;
            spin.check_registers(0..0)?;
            spin.check_entry(pe)
        })
    })
}

/// x18..x30 and SP are the handler's own.
fn resume_keeps_x18_up(env: &'static Env) -> Outcome {
    const STEP: u64 = 0x1234_0000_0000_5678;
    everywhere(env, |pe, argument| {
        pe.listen(|pe| {
            let finish = resume_leave(pe);
            if in_loop(pe) {
                for index in 18..31 {
                    pe.handling.x[index].store(STEP.wrapping_mul(index as u64), Release);
                }
                pe.handling.sp.fetch_sub(256, AcqRel);
            }
            finish
        })?;
        spin(pe, argument, |pe, spin| {
            check_resumed(pe, spin)?;
            for index in 18..31 {
                equal(
                    "x18..x30 after it",
                    spin.registers.x[index],
                    STEP.wrapping_mul(index as u64),
                )?;
            }
            equal(
                "SP after it",
                spin.registers.sp,
                pe.handling.sp.load(Acquire),
            )
        })
    })
}

/// What was pending runs on the way out of the call that removes the last blocker; the caller's registers and the
/// call's answer come back.
fn dispatch_on_the_way_out(env: &'static Env) -> Outcome {
    let me = env.me();
    me.listen(complete)?;
    let blockers = [
        (Function::PeMask, Function::PeUnmask),
        (Function::Disable, Function::Enable),
    ];
    for (block, unblock) in blockers {
        for _ in 0..20 {
            let before = me.handling.count();
            check("the call that blocks", sdei::call1(block, 0) >= 0)?;
            equal("SIGNAL", sdei::signal(me.mpidr()), 0)?;
            equal("entries while blocked", me.handling.count(), before)?;
            let after = exact(Code::SmcThenSvc, unblock.id(), &[0]);
            equal("the call that unblocks", after.x[0], 0)?;
            untouched("the call that unblocks", &after, &[0])?;
            equal("entries after it", me.handling.count(), before + 1)?;
            equal("x0, the event", me.handling.x(0), 0)?;
            equal("x1, the argument", me.handling.x(1), me.handling_address())?;
            equal(
                "x2, the interrupted PC",
                me.handling.x(2),
                Code::SmcThenSvc.address() + 4,
            )?;
            equal("x3, the interrupted PSTATE", me.handling.x(3), after.pstate)?;
            for (index, want) in Registers::pattern(0).x.into_iter().enumerate().skip(4) {
                let got = me.handling.x(index);
                check(
                    "x4..x30 of the handler",
                    got == want || index < 18 && got == 0,
                )?;
            }
        }
    }
    Ok(())
}

/// What a check inside a handler found, for the test outside.
static INSIDE: spin::mutex::SpinMutex<Option<Outcome>> = spin::mutex::SpinMutex::new(None);

/// Signals this PE, runs `inside` in the handler, and returns what it found.
fn inside(env: &'static Env, behaviour: crate::pe::Behaviour) -> Outcome {
    let me = env.me();
    *INSIDE.lock() = None;
    me.listen(behaviour)?;
    equal("SIGNAL", sdei::signal(me.mpidr()), 0)?;
    me.await_count(1)?;
    let outcome = *INSIDE.lock();
    outcome.unwrap_or_else(|| crate::check::fail("the handler found nothing"))
}

fn found(outcome: Outcome) -> Finish {
    *INSIDE.lock() = Some(outcome);
    Finish::complete()
}

/// CONTEXT gives the interrupted x0..x17, whatever the handler has done to its own.
fn context(env: &'static Env) -> Outcome {
    static SEEN: [AtomicU64; 18] = [const { AtomicU64::new(0) }; 18];
    let me = env.me();
    *INSIDE.lock() = None;
    me.listen(|_| {
        for (index, seen) in SEEN.iter().enumerate() {
            seen.store(sdei::context(index as u64).cast_unsigned(), Release);
        }
        let bad = [18, 19, 31, 0xffff_ffff, u64::MAX, 1 << 63, 1 << 31];
        found(bad.into_iter().try_for_each(|index| {
            equal(
                "CONTEXT beyond x17",
                sdei::context(index),
                INVALID_PARAMETERS,
            )
        }))
    })?;
    let arguments = [0, me.mpidr()];
    let after = exact(Code::SmcThenSvc, Function::Signal.id(), &arguments);
    untouched("SIGNAL to self", &after, &arguments)?;
    let outcome = *INSIDE.lock();
    outcome.unwrap_or_else(|| crate::check::fail("the handler found nothing"))?;
    let pattern = Registers::pattern(0);
    for (index, seen) in SEEN.iter().enumerate() {
        let want = match index {
            0 => 0,
            1 => 0,
            2 => me.mpidr(),
            _ => pattern.x[index],
        };
        equal("CONTEXT", seen.load(Acquire), want)?;
    }
    Ok(())
}

fn calls_inside(env: &'static Env) -> Outcome {
    inside(env, |pe| {
        let check = || -> Outcome {
            let status = |want| equal("STATUS", sdei::status(0), want);
            status(REGISTERED | ENABLED | RUNNING)?;
            equal(
                "REGISTER",
                sdei::register(0, Code::Event.address(), 0),
                DENIED,
            )?;
            equal("PRIVATE_RESET", sdei::private_reset(), DENIED)?;
            status(REGISTERED | ENABLED | RUNNING)?;
            equal("SHARED_RESET", sdei::shared_reset(), 0)?;
            equal("DISABLE", sdei::disable(0), 0)?;
            status(REGISTERED | RUNNING)?;
            equal("ENABLE", sdei::enable(0), 0)?;
            status(REGISTERED | ENABLED | RUNNING)?;
            equal("GET_INFO", sdei::get_info(0, 0), 0)?;
            equal("ENABLE of no event", sdei::enable(77), INVALID_PARAMETERS)?;
            equal("AFFINITY_INFO", psci::affinity_info(pe.mpidr(), 0), 0)?;
            if let Some(power_down) = Machine::get().power_down {
                let answer = psci::power_down(power_down, Code::Secondary.address(), 0);
                equal("CPU_SUSPEND to power-down", answer, psci::DENIED)?;
            }
            status(REGISTERED | ENABLED | RUNNING)
        };
        found(check())
    })?;
    equal(
        "STATUS after the handler",
        sdei::status(0),
        REGISTERED | ENABLED,
    )
}

fn unregister_inside(env: &'static Env) -> Outcome {
    inside(env, |pe| {
        let check = || -> Outcome {
            equal("SIGNAL", sdei::signal(pe.mpidr()), 0)?;
            equal("UNREGISTER", sdei::unregister(0), sdei::PENDING)?;
            equal("STATUS", sdei::status(0), RUNNING)?;
            equal("ENABLE", sdei::enable(0), DENIED)?;
            equal("DISABLE", sdei::disable(0), DENIED)?;
            equal(
                "REGISTER",
                sdei::register(0, Code::Event.address(), 0),
                DENIED,
            )?;
            equal("SIGNAL", sdei::signal(pe.mpidr()), INVALID_PARAMETERS)?;
            equal("STATUS", sdei::status(0), RUNNING)
        };
        found(check())
    })?;
    equal("STATUS after the handler", sdei::status(0), 0)?;
    // What was signalled before went with the registration.
    env.me().listen(|_| Finish::complete())?;
    equal("entries of the handler", env.me().handling.count(), 0)
}

/// A signal to a running handler is kept: it runs again when it has completed, once for any number of signals.
fn signal_inside(env: &'static Env) -> Outcome {
    let me = env.me();
    me.listen(|pe| {
        if pe.handling.count() < 3 {
            for _ in 0..3 {
                sdei::signal(pe.mpidr());
            }
        }
        Finish::complete()
    })?;
    let arguments = [0, me.mpidr()];
    let after = exact(Code::SmcThenSvc, Function::Signal.id(), &arguments);
    equal("SIGNAL", after.x[0], 0)?;
    untouched("SIGNAL to self", &after, &arguments)?;
    me.await_count(4)
}

/// Everything is checked before anything is given up: the handler still runs after a bad COMPLETE_AND_RESUME.
fn refused_resume(env: &'static Env) -> Outcome {
    inside(env, |pe| {
        let check = || -> Outcome {
            for address in [1, 2, 3, Code::Leave.address() + 1, u64::MAX] {
                let answer = sdei::call1(Function::CompleteAndResume, address);
                equal(
                    "COMPLETE_AND_RESUME at a bad address",
                    answer,
                    INVALID_PARAMETERS,
                )?;
                equal("STATUS", sdei::status(0), REGISTERED | ENABLED | RUNNING)?;
                equal("CONTEXT", sdei::context(2).cast_unsigned(), pe.mpidr())?;
            }
            Ok(())
        };
        found(check())
    })
}

/// A handler that masks its PE leaves it masked; what is signalled meanwhile waits for PE_UNMASK.
fn mask_inside(env: &'static Env) -> Outcome {
    let me = env.me();
    inside(env, |pe| {
        found(
            equal("PE_MASK", sdei::pe_mask(), 1)
                .and_then(|()| equal("SIGNAL", sdei::signal(pe.mpidr()), 0)),
        )
    })?;
    me.await_count(1)?;
    equal("PE_MASK", sdei::pe_mask(), 0)?;
    me.handling.change(|_| Finish::complete());
    equal("PE_UNMASK", sdei::pe_unmask(), 0)?;
    me.await_count(2)
}

fn registers_kept_inside(env: &'static Env) -> Outcome {
    inside(env, |_| {
        let check = || -> Outcome {
            for function in Function::ALL {
                let after = match function {
                    Function::Complete | Function::CompleteAndResume => continue,
                    Function::Context => exact(Code::SmcThenSvc, function.id(), &[3]),
                    _ => exact(Code::SmcThenSvc, function.id(), &[]),
                };
                untouched(
                    "an SDEI call in a handler",
                    &after,
                    if function == Function::Context {
                        &[3]
                    } else {
                        &[]
                    },
                )?;
            }
            Ok(())
        };
        found(check())
    })
}

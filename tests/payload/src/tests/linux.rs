//! What Linux's SDEI client does, call by call: the phases of `drivers/firmware/arm_sdei.c` and
//! `drivers/firmware/arm_sdei_nmi.c`.

use super::interrupted::{Place, Spin, start_spinning};
use super::{Env, tests};
use crate::arch::{self, Code, DAIF, Registers};
use crate::check::{Outcome, check, equal, wait};
use crate::pe::{Behaviour, Finish, Job, Pe};
use crate::sdei::{self, DENIED, Function, INVALID_PARAMETERS};
use crate::{gic, psci};
use core::sync::atomic::Ordering::*;

tests! { "linux":
    1 probe,
    1 event_0,
    1 event_that_is_not_there,
    2 cpu_down_and_up,
    1 reboot_power_off_kexec,
    2 backtrace,
    2 backtrace_with_interrupt,
    2 panic_kdump,
}

/// Runs `job` on every PE, as `on_each_cpu` does.
pub fn on_each(env: &'static Env, job: Job) -> Outcome {
    env.others().try_for_each(|pe| pe.start(job, 0))?;
    job(env.me(), 0)?;
    env.others().try_for_each(Pe::finish)
}

/// The row 'probe', on PEs that are on.
pub fn probe_row(env: &'static Env) -> Outcome {
    let version = sdei::call1(Function::Version, 0);
    check("bit 63 of the version", version >= 0)?;
    equal("major version", version >> 48, 1)?;
    on_each(env, |_, _| equal("PRIVATE_RESET", sdei::private_reset(), 0))?;
    equal("SHARED_RESET", sdei::shared_reset(), 0)?;
    let unmask: Job = |_, _| equal("PE_UNMASK", sdei::pe_unmask(), 0);
    unmask(env.me(), 0)?;
    env.others().try_for_each(|pe| pe.run(unmask, 0))
}

/// The row 'event 0', on PEs that are on.
pub fn event_0_row(env: &'static Env) -> Outcome {
    equal("GET_INFO, priority", sdei::get_info(0, 2), 0)?;
    equal("GET_INFO, type", sdei::get_info(0, 0), 0)?;
    on_each(env, |pe, _| pe.register(backtrace_handler))?;
    on_each(env, |_, _| equal("ENABLE", sdei::enable(0), 0))
}

/// Reads the interrupted registers that the kernel reads with page-table isolation on; x4 goes where x0 was.
fn backtrace_handler(pe: &'static Pe) -> Finish {
    for index in 0..5 {
        pe.words[(index & 3) as usize].store(sdei::context(index).cast_unsigned(), Release);
    }
    Finish::complete()
}

fn probe(env: &'static Env) -> Outcome {
    env.all_on()?;
    probe_row(env)?;
    // And once more, as after a kexec.
    probe_row(env)
}

fn event_0(env: &'static Env) -> Outcome {
    env.all_on()?;
    probe_row(env)?;
    event_0_row(env)?;
    signal_everyone(env)
}

/// Signals every PE, this one included, and waits until all have handled it.
fn signal_everyone(env: &'static Env) -> Outcome {
    let counts = || {
        (0..env.machine.pes)
            .map(|index| Pe::at(index).handling.count())
            .sum::<u64>()
    };
    let before = counts();
    arch::publish();
    for index in 0..env.machine.pes {
        equal("SIGNAL", sdei::signal(Pe::at(index).mpidr()), 0)?;
    }
    wait("every PE's handler", || {
        counts() == before + env.machine.pes as u64
    })
}

/// A driver whose event the platform does not have: REGISTER fails, then UNREGISTER of what was never registered.
fn event_that_is_not_there(env: &'static Env) -> Outcome {
    env.all_on()?;
    probe_row(env)?;
    equal(
        "GET_INFO, priority",
        sdei::get_info(804, 2),
        INVALID_PARAMETERS,
    )?;
    equal("GET_INFO, type", sdei::get_info(804, 0), INVALID_PARAMETERS)?;
    on_each(env, |_, _| {
        equal(
            "REGISTER",
            sdei::register(804, Code::Event.address(), 0),
            INVALID_PARAMETERS,
        )
    })?;
    on_each(env, |_, _| {
        equal("UNREGISTER", sdei::unregister(804), INVALID_PARAMETERS)
    })?;
    // And event 0, on PEs on which it was not registered.
    on_each(env, |_, _| equal("UNREGISTER", sdei::unregister(0), DENIED))
}

/// The row 'CPU down' on the PE that goes.
const DOWN: Job = |pe, _| {
    equal("UNREGISTER, enabled", sdei::unregister(0), 0)?;
    equal("PE_MASK", sdei::pe_mask(), 1)?;
    pe.gone();
    psci::cpu_off()
};

/// The row 'CPU up' on the PE that comes.
const UP: Job = |pe, _| {
    pe.register(backtrace_handler)?;
    equal("ENABLE", sdei::enable(0), 0)?;
    equal("PE_UNMASK", sdei::pe_unmask(), 0)
};

fn cpu_down_and_up(env: &'static Env) -> Outcome {
    env.all_on()?;
    probe_row(env)?;
    event_0_row(env)?;
    for _ in 0..20 {
        for pe in env.others() {
            pe.start(DOWN, 0)?;
            pe.await_off()?;
        }
        for pe in env.others() {
            pe.turn_on()?;
            pe.run(UP, 0)?;
        }
        signal_everyone(env)?;
    }
    Ok(())
}

fn reboot_power_off_kexec(env: &'static Env) -> Outcome {
    env.all_on()?;
    for _ in 0..5 {
        probe_row(env)?;
        event_0_row(env)?;
        signal_everyone(env)?;
        on_each(env, |_, _| {
            equal("UNREGISTER", sdei::unregister(0), 0)?;
            equal("PE_MASK", sdei::pe_mask(), 1)
        })?;
        on_each(env, |_, _| equal("PRIVATE_RESET", sdei::private_reset(), 0))?;
        equal("SHARED_RESET", sdei::shared_reset(), 0)?;
        on_each(env, |_, _| equal("PE_MASK once more", sdei::pe_mask(), 0))?;
        // kexec turns the others off, and the next kernel brings them back.
        for pe in env.others() {
            pe.turn_off()?;
            pe.turn_on()?;
        }
    }
    probe_row(env)
}

/// Starts code on `pe` that is wedged with `pstate` and patterns in its registers until `leave` is set; event 0
/// then meets `behaviour`.
fn wedge(pe: &'static Pe, pstate: u64, behaviour: Behaviour) -> Outcome {
    pe.interrupts.store(0, Release);
    let job: Job = |pe, pstate| {
        let mut spin = Spin::new(pe, Place::Here, pstate);
        spin.run();
        spin.check_exact()
    };
    start_spinning(pe, job, pstate, behaviour)
}

fn backtrace(env: &'static Env) -> Outcome {
    env.all_on()?;
    probe_row(env)?;
    event_0_row(env)?;
    for _ in 0..50 {
        for pe in env.others() {
            wedge(pe, DAIF, backtrace_handler)?;
        }
        arch::publish();
        for pe in env.others() {
            equal("SIGNAL", sdei::signal(pe.mpidr()), 0)?;
        }
        for pe in env.others() {
            pe.await_count(1)?;
        }
        for pe in env.others() {
            let pattern = Registers::pattern(0);
            for index in 1..5 {
                equal(
                    "x1..x4 of the wedged code",
                    pe.words[index & 3].load(Acquire),
                    pattern.x[index],
                )?;
            }
            pe.leave.store(1, Release);
            pe.finish()?;
        }
    }
    Ok(())
}

/// Where an interrupt waits, the handler ends with COMPLETE_AND_RESUME at the vector that takes it.
fn backtrace_with_interrupt(env: &'static Env) -> Outcome {
    env.all_on()?;
    probe_row(env)?;
    event_0_row(env)?;
    for round in 0..50 {
        for pe in env.others() {
            // Interrupts unmasked, as the kernel would have them; the vector is taken with them masked.
            wedge(pe, DAIF & !arch::PSTATE_I, |pe| {
                let _ = backtrace_handler(pe);
                pe.leave.store(1, Release);
                gic::send(pe);
                while !gic::waiting() {
                    arch::relax();
                }
                // 'IRQ from the current EL with SP_ELx'.
                Finish::resume(arch::vbar() + 0x280)
            })?;
        }
        for pe in env.others() {
            equal("SIGNAL", sdei::signal(pe.mpidr()), 0)?;
            pe.finish()?;
            equal(
                "interrupts taken by the vector",
                pe.interrupts.swap(0, AcqRel),
                1,
            )?;
        }
        if round == 0 {
            on_each(env, |_, _| {
                check("interrupts still arrive", gic::interrupts_work())
            })?;
        }
    }
    Ok(())
}

/// The row 'panic, kdump': healthy PEs mask and go off with event 0 registered and enabled; one that is wedged is
/// signalled and goes off in its handler; the crashing PE masks; the capture kernel starts with 'probe'.
fn panic_kdump(env: &'static Env) -> Outcome {
    for _ in 0..5 {
        env.all_on()?;
        probe_row(env)?;
        event_0_row(env)?;
        let mut others = env.others();
        let Some(wedged) = others.next() else {
            return Ok(());
        };
        wedge(wedged, DAIF, |pe| {
            for index in 0..18 {
                let _ = sdei::context(index);
            }
            sdei::pe_mask();
            pe.gone();
            let _ = psci::cpu_off();
            Finish::complete()
        })?;
        for pe in others.clone() {
            pe.start(
                |pe, _| {
                    equal("PE_MASK", sdei::pe_mask(), 1)?;
                    pe.gone();
                    psci::cpu_off()
                },
                0,
            )?;
        }
        others.try_for_each(Pe::await_off)?;
        arch::publish();
        equal("SIGNAL", sdei::signal(wedged.mpidr()), 0)?;
        equal("PE_MASK of the crashing PE", sdei::pe_mask(), 1)?;
        wedged.await_off()?;
        // The capture kernel starts with one PE, and may bring up others.
        equal("VERSION", sdei::call1(Function::Version, 0) >> 48, 1)?;
        equal("PRIVATE_RESET", sdei::private_reset(), 0)?;
        equal("SHARED_RESET", sdei::shared_reset(), 0)?;
        equal("PE_UNMASK", sdei::pe_unmask(), 0)?;
        equal("STATUS", sdei::status(0), 0)?;
        env.all_on()?;
        probe_row(env)?;
        event_0_row(env)?;
        signal_everyone(env)?;
        on_each(env, |_, _| equal("UNREGISTER", sdei::unregister(0), 0))?;
        on_each(env, |_, _| equal("PE_MASK", sdei::pe_mask(), 1))?;
    }
    Ok(())
}

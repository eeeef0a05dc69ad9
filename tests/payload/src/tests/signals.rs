//! Event 0 to other PEs: whatever they do, nothing is lost, and what cannot be delivered yet is delivered later.

use super::{Env, tests};
use crate::arch;
use crate::check::{Outcome, check, equal, wait};
use crate::pe::{Finish, Job, Pe};
use crate::sdei::{self, INVALID_PARAMETERS};
use crate::{gic, psci};
use arm_gic::gicv3::GicCpuInterface;
use core::sync::atomic::Ordering::*;

tests! { "signal":
    2 to_daif_masked,
    2 to_interrupts_unmasked,
    2 to_priority_masked,
    2 to_group_1_disabled,
    2 to_wfi,
    2 to_standby,
    2 to_caller_of_el3,
    2 to_interrupted,
    2 coalesce_while_masked,
    1 coalesce_to_self,
    2 kept_while_disabled,
    2 kept_while_running,
    2 dropped_by_unregister,
    2 to_off_or_unregistered,
    2 stores_are_visible,
}

/// Rounds of what is done to a PE in each state.
const ROUNDS: u64 = 200;

/// Just completes.
pub fn complete(_: &'static Pe) -> Finish {
    Finish::complete()
}

/// Has the first other PE listen and do `busy` over and over until told to leave, and signals it `rounds`
/// times, each after the one before was handled.
pub fn signal_busy(env: &'static Env, rounds: u64, busy: Job) -> Outcome {
    let pe = env.other(0)?;
    pe.leave.store(0, Release);
    pe.run(|pe, _| pe.listen(complete), 0)?;
    pe.start(busy, 0)?;
    for round in 1..=rounds {
        equal("SIGNAL", sdei::signal(pe.mpidr()), 0)?;
        pe.await_count(round)?;
    }
    pe.leave.store(1, Release);
    // It may sleep, having looked before that store.
    let mut count = rounds;
    while !pe.is_ready() {
        sdei::signal(pe.mpidr());
        count += 1;
        wait("the last handlers", || pe.handling.count() >= count)?;
    }
    pe.finish()?;
    pe.await_count(count)?;
    pe.run(
        |_, _| check("interrupts still arrive", gic::interrupts_work()),
        0,
    )
}

/// Whether this PE's work is over.
pub fn told_to_leave(pe: &Pe) -> bool {
    pe.leave.load(Acquire) != 0
}

fn to_daif_masked(env: &'static Env) -> Outcome {
    signal_busy(env, ROUNDS, |pe, _| {
        while !told_to_leave(pe) {
            arch::relax();
        }
        Ok(())
    })
}

fn to_interrupts_unmasked(env: &'static Env) -> Outcome {
    signal_busy(env, ROUNDS, |pe, _| {
        pe.interrupts.store(0, Release);
        while !told_to_leave(pe) {
            arch::take_interrupts();
            arch::relax();
        }
        equal("interrupts taken", pe.interrupts.swap(0, AcqRel), 0)
    })
}

fn to_priority_masked(env: &'static Env) -> Outcome {
    signal_busy(env, ROUNDS, |pe, _| {
        GicCpuInterface::set_priority_mask(0);
        while !told_to_leave(pe) {
            arch::relax();
        }
        let mask = GicCpuInterface::get_priority_mask();
        GicCpuInterface::set_priority_mask(0xff);
        equal("ICC_PMR_EL1 after the events", u64::from(mask), 0)
    })
}

fn to_group_1_disabled(env: &'static Env) -> Outcome {
    signal_busy(env, ROUNDS, |pe, _| {
        GicCpuInterface::enable_group1(false);
        while !told_to_leave(pe) {
            arch::relax();
        }
        GicCpuInterface::enable_group1(true);
        Ok(())
    })
}

fn to_wfi(env: &'static Env) -> Outcome {
    signal_busy(env, ROUNDS, |pe, _| {
        while !told_to_leave(pe) {
            arch::wfi();
        }
        Ok(())
    })
}

fn to_standby(env: &'static Env) -> Outcome {
    signal_busy(env, ROUNDS, |pe, _| {
        while !told_to_leave(pe) {
            equal(
                "CPU_SUSPEND to standby",
                psci::standby(crate::machine::Machine::get().standby),
                psci::SUCCESS,
            )?;
        }
        Ok(())
    })
}

fn to_caller_of_el3(env: &'static Env) -> Outcome {
    signal_busy(env, 5 * ROUNDS, |pe, _| {
        let version = sdei::call1(sdei::Function::Version, 0);
        while !told_to_leave(pe) {
            equal(
                "SDEI_VERSION",
                sdei::call1(sdei::Function::Version, 0),
                version,
            )?;
            equal("STATUS", sdei::status(0), sdei::REGISTERED | sdei::ENABLED)?;
            equal("AFFINITY_INFO", psci::affinity_info(pe.mpidr(), 0), 0)?;
            arch::relax();
        }
        Ok(())
    })
}

/// With interrupts of the Normal world coming in all the time as well.
fn to_interrupted(env: &'static Env) -> Outcome {
    let pe = env.other(0)?;
    pe.leave.store(0, Release);
    pe.interrupts.store(0, Release);
    pe.run(|pe, _| pe.listen(complete), 0)?;
    pe.start(
        |pe, _| {
            while !told_to_leave(pe) {
                arch::take_interrupts();
                arch::relax();
            }
            check("no interrupt is active", gic::idle())
        },
        0,
    )?;
    for round in 1..=ROUNDS {
        gic::send(pe);
        equal("SIGNAL", sdei::signal(pe.mpidr()), 0)?;
        pe.await_count(round)?;
        wait("the interrupt was not taken", || {
            pe.interrupts.load(Acquire) >= round
        })?;
    }
    pe.leave.store(1, Release);
    pe.finish()?;
    equal("interrupts taken", pe.interrupts.swap(0, AcqRel), ROUNDS)
}

fn coalesce_while_masked(env: &'static Env) -> Outcome {
    let pe = env.other(0)?;
    pe.run(
        |pe, _| {
            pe.listen(complete)
                .and_then(|()| equal("PE_MASK", sdei::pe_mask(), 1))
        },
        0,
    )?;
    for round in 1..=ROUNDS {
        for _ in 0..2 {
            equal("SIGNAL", sdei::signal(pe.mpidr()), 0)?;
        }
        pe.run(
            |pe, before| {
                equal("entries while masked", pe.handling.count(), before)?;
                equal("PE_UNMASK", sdei::pe_unmask(), 0)?;
                equal("entries after PE_UNMASK", pe.handling.count(), before + 1)?;
                equal("PE_MASK", sdei::pe_mask(), 1)
            },
            round - 1,
        )?;
    }
    pe.run(
        |_, _| check("interrupts still arrive", gic::interrupts_work()),
        0,
    )
}

fn coalesce_to_self(env: &'static Env) -> Outcome {
    let me = env.me();
    me.listen(complete)?;
    for round in 1..=ROUNDS {
        equal("PE_MASK", sdei::pe_mask(), 1)?;
        for _ in 0..3 {
            equal("SIGNAL", sdei::signal(me.mpidr()), 0)?;
        }
        equal("entries while masked", me.handling.count(), round - 1)?;
        equal("PE_UNMASK", sdei::pe_unmask(), 0)?;
        equal("entries after PE_UNMASK", me.handling.count(), round)?;
    }
    check("interrupts still arrive", gic::interrupts_work())
}

fn kept_while_disabled(env: &'static Env) -> Outcome {
    let pe = env.other(0)?;
    pe.run(
        |pe, _| {
            pe.listen(complete)
                .and_then(|()| equal("DISABLE", sdei::disable(0), 0))
        },
        0,
    )?;
    for round in 1..=ROUNDS {
        for _ in 0..2 {
            equal("SIGNAL", sdei::signal(pe.mpidr()), 0)?;
        }
        pe.run(
            |pe, before| {
                equal("entries while disabled", pe.handling.count(), before)?;
                equal("PE_MASK", sdei::pe_mask(), 1)?;
                equal("ENABLE", sdei::enable(0), 0)?;
                equal("entries while masked", pe.handling.count(), before)?;
                equal("PE_UNMASK", sdei::pe_unmask(), 0)?;
                equal("entries after PE_UNMASK", pe.handling.count(), before + 1)?;
                equal("DISABLE", sdei::disable(0), 0)
            },
            round - 1,
        )?;
        equal("SIGNAL", sdei::signal(pe.mpidr()), 0)?;
        pe.run(
            |pe, before| {
                equal("entries while disabled", pe.handling.count(), before)?;
                equal("ENABLE", sdei::enable(0), 0)?;
                equal("entries after ENABLE", pe.handling.count(), before + 1)?;
                // For the next round's count.
                pe.handling.count.fetch_sub(1, AcqRel);
                equal("DISABLE", sdei::disable(0), 0)
            },
            round,
        )?;
    }
    Ok(())
}

fn kept_while_running(env: &'static Env) -> Outcome {
    let pe = env.other(0)?;
    pe.leave.store(0, Release);
    pe.words[0].store(0, Release);
    pe.run(
        |pe, _| {
            pe.listen(|pe| {
                // The first run stays until it is told to go on.
                if pe.handling.count() == 0 {
                    pe.words[0].store(1, Release);
                    while pe.words[0].load(Acquire) != 2 {
                        arch::relax();
                    }
                }
                Finish::complete()
            })
        },
        0,
    )?;
    pe.start(
        |pe, _| {
            while !told_to_leave(pe) {
                arch::relax();
            }
            Ok(())
        },
        0,
    )?;
    equal("SIGNAL", sdei::signal(pe.mpidr()), 0)?;
    wait("the handler was not entered", || {
        pe.words[0].load(Acquire) == 1
    })?;
    for _ in 0..3 {
        equal("SIGNAL to a running handler", sdei::signal(pe.mpidr()), 0)?;
    }
    equal("completed handlers", pe.handling.count(), 0)?;
    pe.words[0].store(2, Release);
    pe.await_count(2)?;
    pe.leave.store(1, Release);
    pe.finish()?;
    equal("entries of the handler", pe.handling.count(), 2)
}

fn dropped_by_unregister(env: &'static Env) -> Outcome {
    let pe = env.other(0)?;
    pe.run(|pe, _| pe.register(complete), 0)?;
    equal("SIGNAL", sdei::signal(pe.mpidr()), 0)?;
    pe.run(
        |pe, _| {
            equal("UNREGISTER", sdei::unregister(0), 0)?;
            pe.listen(complete)?;
            equal("entries of the handler", pe.handling.count(), 0)?;
            equal("DISABLE", sdei::disable(0), 0)
        },
        0,
    )?;
    equal("SIGNAL", sdei::signal(pe.mpidr()), 0)?;
    pe.run(
        |pe, _| {
            equal("PRIVATE_RESET", sdei::private_reset(), 0)?;
            pe.listen(complete)?;
            equal("entries of the handler", pe.handling.count(), 0)
        },
        0,
    )
}

fn to_off_or_unregistered(env: &'static Env) -> Outcome {
    let Some(pe) = env.others().next() else {
        return Ok(());
    };
    equal(
        "SIGNAL to an off PE",
        sdei::signal(pe.mpidr()),
        INVALID_PARAMETERS,
    )?;
    pe.turn_on()?;
    equal(
        "SIGNAL to an unregistered PE",
        sdei::signal(pe.mpidr()),
        INVALID_PARAMETERS,
    )?;
    pe.run(|pe, _| pe.register(complete), 0)?;
    equal("SIGNAL to a registered PE", sdei::signal(pe.mpidr()), 0)?;
    pe.turn_off()?;
    equal(
        "SIGNAL to an off PE",
        sdei::signal(pe.mpidr()),
        INVALID_PARAMETERS,
    )?;
    pe.turn_on()?;
    equal(
        "SIGNAL to an unregistered PE",
        sdei::signal(pe.mpidr()),
        INVALID_PARAMETERS,
    )?;
    // What was pending when it went off is gone.
    pe.run(
        |pe, _| {
            pe.listen(complete)?;
            equal("entries of the handler", pe.handling.count(), 0)
        },
        0,
    )
}

/// Plain stores before SIGNAL, with no barrier between, are seen by the handler.
fn stores_are_visible(env: &'static Env) -> Outcome {
    let pe = env.other(0)?;
    pe.leave.store(0, Release);
    pe.run(
        |pe, _| {
            pe.listen(|pe| {
                let seen = pe.words[0].load(Relaxed);
                pe.words[1].store(seen, Relaxed);
                Finish::complete()
            })
        },
        0,
    )?;
    pe.start(
        |pe, _| {
            while !told_to_leave(pe) {
                arch::relax();
            }
            Ok(())
        },
        0,
    )?;
    for round in 1..=5 * ROUNDS {
        pe.words[0].store(round, Relaxed);
        equal("SIGNAL", sdei::signal(pe.mpidr()), 0)?;
        pe.await_count(round)?;
        equal("what the handler saw", pe.words[1].load(Relaxed), round)?;
    }
    pe.leave.store(1, Release);
    pe.finish()
}

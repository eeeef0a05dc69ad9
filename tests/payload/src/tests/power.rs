//! PSCI (DEN0022): answers, states, races.

use super::smccc::{exact, untouched};
use super::{Env, tests};
use crate::arch::{self, Code};
use crate::check::{Outcome, check, equal, fail, wait};
use crate::pe::{Finish, Job, Pe};
use crate::psci::{
    self, ALREADY_ON, INVALID_ADDRESS, INVALID_PARAMETERS, NOT_SUPPORTED, OFF, ON_PENDING,
};
use crate::{gic, sdei};
use arm_gic::InterruptGroup;
use arm_gic::gicv3::GicCpuInterface;
use core::sync::atomic::{AtomicI64, AtomicU64, Ordering::*};
use smccc::psci as id;

tests! { "psci":
    1 version,
    1 features,
    1 features_are_truthful,
    1 migrate_info_type,
    1 cpu_on_own,
    1 cpu_on_bad_target,
    2 cpu_on_bad_address,
    2 cpu_on_state,
    2 cpu_on_smc32,
    2 cpu_on_when_on,
    1 affinity_info,
    2 affinity_info_transitions,
    1 standby_with_interrupt_waiting,
    2 standby_woken_by_interrupt,
    2 fresh_after_cpu_on,
    2 off_with_an_interrupt_active,
    2 off_and_on_100_times,
    2 all_off_and_on_20_times,
    3 two_turn_on_a_third,
    3 race_with_cpu_off,
    2 off_in_a_handler,
    2 off_from_signal,
}

fn version(_: &'static Env) -> Outcome {
    equal(
        "PSCI_VERSION",
        psci::call32(id::PSCI_VERSION, 0, 0, 0),
        0x1_0003,
    )
}

fn features(_: &'static Env) -> Outcome {
    let offered = [
        id::PSCI_VERSION,
        id::PSCI_CPU_OFF,
        id::PSCI_CPU_ON_32,
        id::PSCI_CPU_ON_64,
        id::PSCI_AFFINITY_INFO_32,
        id::PSCI_AFFINITY_INFO_64,
        id::PSCI_MIGRATE_INFO_TYPE,
        id::PSCI_SYSTEM_OFF,
        id::PSCI_SYSTEM_RESET,
        id::PSCI_FEATURES,
        smccc::arch::SMCCC_VERSION,
    ];
    for function in offered {
        equal(
            "FEATURES of a call there has to be",
            psci::features(function),
            0,
        )?;
    }
    for function in [id::PSCI_CPU_SUSPEND_32, id::PSCI_CPU_SUSPEND_64] {
        check(
            "FEATURES(CPU_SUSPEND)",
            (0..4).contains(&psci::features(function)),
        )?;
    }
    for function in [
        0,
        0x8400_001f,
        0xc400_001f,
        0xc400_0000,
        0xc400_0002,
        0x8400_0020,
        0xc400_0020,
        0xffff_ffff,
    ] {
        equal(
            "FEATURES of no call of PSCI's",
            psci::features(function),
            NOT_SUPPORTED,
        )?;
    }
    Ok(())
}

/// What FEATURES says there is not, is not there; and what is not there, FEATURES does not offer.
fn features_are_truthful(_: &'static Env) -> Outcome {
    for number in 0..0x20 {
        for function in [0x8400_0000 | number, 0xc400_0000 | number] {
            if psci::features(function) == NOT_SUPPORTED {
                let answer = psci::call64(function, 0, 0, 0);
                equal(
                    "a call that FEATURES says is not there",
                    answer as i32 as i64,
                    NOT_SUPPORTED,
                )?;
            }
        }
    }
    // Harmless calls that might be offered.
    for function in [
        id::PSCI_MIGRATE_INFO_UP_CPU_64,
        id::PSCI_MIGRATE_64,
        id::PSCI_STAT_COUNT_64,
        id::PSCI_NODE_HW_STATE_64,
    ] {
        let offered = psci::features(function) != NOT_SUPPORTED;
        let answer = psci::call64(function, arch::mpidr() & arch::AFFINITY, 0, 0);
        equal(
            "whether a call is there",
            u64::from(answer != NOT_SUPPORTED),
            u64::from(offered),
        )?;
    }
    Ok(())
}

fn migrate_info_type(_: &'static Env) -> Outcome {
    equal(
        "MIGRATE_INFO_TYPE",
        psci::call32(id::PSCI_MIGRATE_INFO_TYPE, 0, 0, 0),
        2,
    )
}

fn entry() -> u64 {
    Code::Secondary.address()
}

fn cpu_on_own(env: &'static Env) -> Outcome {
    equal(
        "CPU_ON of this PE",
        psci::cpu_on(env.me().mpidr(), entry(), 0),
        ALREADY_ON,
    )
}

/// Affinities that are no PE's, and reserved bits.
fn bad_targets(own: u64) -> [u64; 10] {
    [
        own | 0xff,
        own | 0xff << 8,
        own | 0xff << 16,
        own | 0xff << 32,
        0xff_00ff_ffff,
        own | 1 << 24,
        own | 1 << 30,
        own | 1 << 31,
        own | 1 << 40,
        u64::MAX,
    ]
}

fn cpu_on_bad_target(env: &'static Env) -> Outcome {
    for target in bad_targets(env.me().mpidr()) {
        equal(
            "CPU_ON of no PE",
            psci::cpu_on(target, entry(), 0),
            INVALID_PARAMETERS,
        )?;
    }
    Ok(())
}

fn cpu_on_bad_address(env: &'static Env) -> Outcome {
    let Some(pe) = env.others().next() else {
        return fail("too few PEs");
    };
    let ram = &env.machine.ram;
    let bad = [
        ram.start - 4,
        ram.end,
        ram.end + 0x1000_0000,
        1 << 40,
        1 << 63,
        !3,
    ];
    for address in bad.iter().chain(env.machine.board.not_ram).copied() {
        equal(
            "CPU_ON to what is not RAM",
            psci::cpu_on(pe.mpidr(), address, 0),
            INVALID_ADDRESS,
        )?;
        equal(
            "AFFINITY_INFO after it",
            psci::affinity_info(pe.mpidr(), 0),
            OFF,
        )?;
    }
    pe.turn_on()
}

/// DEN0022 6.4.3: what a PE finds when it comes on.
fn cpu_on_state(env: &'static Env) -> Outcome {
    let pe = env.other(0)?;
    let context: *const Pe = pe;
    equal(
        "x0, the context ID",
        pe.entry_x[0].load(Acquire),
        context as u64,
    )?;
    equal("CurrentEL", pe.entry_el.load(Acquire) >> 2, arch::el())?;
    equal(
        "SCTLR's M, C and I",
        pe.entry_sctlr.load(Acquire) & (1 | 1 << 2 | 1 << 12),
        0,
    )?;
    equal("SCTLR.EE", pe.entry_sctlr.load(Acquire) >> 25 & 1, 0)?;
    equal("DAIF", pe.entry_daif.load(Acquire), arch::DAIF)?;
    equal("SPSel", pe.entry_spsel.load(Acquire), 1)?;
    for register in &pe.entry_x {
        let value = register.load(Acquire);
        check(
            "a register does not point into EL3",
            !env.machine.board.el3.contains(&value),
        )?;
    }
    Ok(())
}

fn cpu_on_smc32(env: &'static Env) -> Outcome {
    let Some(pe) = env.others().next() else {
        return fail("too few PEs");
    };
    let (context, target): (*const Pe, _) = (pe, pe.mpidr());
    let (Ok(context), Ok(entry), Ok(target)) = (
        u32::try_from(context as u64),
        u32::try_from(entry()),
        u32::try_from(target),
    ) else {
        return fail("the payload is beyond what an SMC32 call can name");
    };
    equal(
        "CPU_ON, SMC32",
        psci::call32(id::PSCI_CPU_ON_32, target, entry, context),
        0,
    )?;
    pe.await_ready()?;
    equal(
        "AFFINITY_INFO, SMC32",
        psci::call32(id::PSCI_AFFINITY_INFO_32, target, 0, 0),
        0,
    )
}

fn cpu_on_when_on(env: &'static Env) -> Outcome {
    let Some(pe) = env.others().next() else {
        return fail("too few PEs");
    };
    pe.begin()?;
    let at_once = psci::cpu_on(pe.mpidr(), entry(), 0);
    check(
        "CPU_ON again: ALREADY_ON or ON_PENDING",
        at_once == ALREADY_ON || at_once == ON_PENDING,
    )?;
    pe.await_ready()?;
    equal(
        "CPU_ON of a PE that is on",
        psci::cpu_on(pe.mpidr(), entry(), 0),
        ALREADY_ON,
    )
}

fn affinity_info(env: &'static Env) -> Outcome {
    let own = env.me().mpidr();
    equal("AFFINITY_INFO of this PE", psci::affinity_info(own, 0), 0)?;
    equal(
        "AFFINITY_INFO of this PE's cluster",
        psci::affinity_info(own, 1),
        0,
    )?;
    for pe in env.others() {
        equal(
            "AFFINITY_INFO of an off PE",
            psci::affinity_info(pe.mpidr(), 0),
            OFF,
        )?;
    }
    for level in [4, 5, 0xffff_ffff, 1 << 31] {
        equal(
            "AFFINITY_INFO, level",
            psci::affinity_info(own, level),
            INVALID_PARAMETERS,
        )?;
    }
    for target in bad_targets(own) {
        equal(
            "AFFINITY_INFO of no PE",
            psci::affinity_info(target, 0),
            INVALID_PARAMETERS,
        )?;
    }
    Ok(())
}

fn affinity_info_transitions(env: &'static Env) -> Outcome {
    let Some(pe) = env.others().next() else {
        return fail("too few PEs");
    };
    for _ in 0..50 {
        equal(
            "AFFINITY_INFO before",
            psci::affinity_info(pe.mpidr(), 0),
            OFF,
        )?;
        pe.begin()?;
        let on_its_way = psci::affinity_info(pe.mpidr(), 0);
        check(
            "AFFINITY_INFO: ON or ON_PENDING",
            on_its_way == 0 || on_its_way == 2,
        )?;
        pe.await_ready()?;
        equal(
            "AFFINITY_INFO when it runs",
            psci::affinity_info(pe.mpidr(), 0),
            0,
        )?;
        pe.turn_off()?;
    }
    Ok(())
}

fn standby_with_interrupt_waiting(env: &'static Env) -> Outcome {
    gic::send(env.me());
    wait("the interrupt is pending", gic::waiting)?;
    equal(
        "CPU_SUSPEND to standby",
        psci::standby(env.machine.standby),
        psci::SUCCESS,
    )?;
    check("the interrupt is still pending", gic::waiting())?;
    let arguments = [env.machine.standby.into(), 0, 0];
    let after = exact(Code::SmcThenSvc, id::PSCI_CPU_SUSPEND_64.into(), &arguments);
    equal("CPU_SUSPEND to standby", after.x[0], 0)?;
    untouched("CPU_SUSPEND to standby", &after, &arguments)?;
    let before = env.me().interrupts.load(Acquire);
    arch::take_interrupts();
    equal(
        "interrupts taken",
        env.me().interrupts.load(Acquire),
        before + 1,
    )
}

fn standby_woken_by_interrupt(env: &'static Env) -> Outcome {
    let pe = env.other(0)?;
    for _ in 0..50 {
        pe.words[0].store(0, Release);
        pe.start(
            |pe, standby| {
                pe.words[0].store(1, Release);
                equal(
                    "CPU_SUSPEND to standby",
                    psci::standby(standby as u32),
                    psci::SUCCESS,
                )?;
                let before = pe.interrupts.load(Acquire);
                wait("the interrupt that woke this PE", || {
                    arch::take_interrupts();
                    pe.interrupts.load(Acquire) == before + 1
                })
            },
            env.machine.standby.into(),
        )?;
        wait("the PE is about to suspend", || {
            pe.words[0].load(Acquire) == 1
        })?;
        gic::send(pe);
        pe.finish()?;
    }
    Ok(())
}

/// Masked, nothing registered, nothing pending, however it went down.
fn fresh_after_cpu_on(env: &'static Env) -> Outcome {
    let fresh: Job = |pe, _| {
        equal("the first PE_MASK", sdei::pe_mask(), 0)?;
        equal("STATUS", sdei::status(0), 0)?;
        pe.listen(|_| Finish::complete())?;
        equal("entries of the handler", pe.handling.count(), 0)?;
        check("interrupts arrive", gic::interrupts_work())
    };
    for round in 0..20 {
        let pe = env.other(0)?;
        pe.run(fresh, 0)?;
        if round % 2 == 1 {
            pe.run(|_, _| equal("PE_MASK", sdei::pe_mask(), 1), 0)?;
            equal("SIGNAL", sdei::signal(pe.mpidr()), 0)?;
        }
        pe.turn_off()?;
        equal(
            "SIGNAL to an off PE",
            sdei::signal(pe.mpidr()),
            sdei::INVALID_PARAMETERS,
        )?;
    }
    Ok(())
}

/// A PE that goes off before it has ended an interrupt comes back with none active, as
/// after a power-down. Linux stops its CPUs so when it dies.
fn off_with_an_interrupt_active(env: &'static Env) -> Outcome {
    let acknowledge: Job = |pe, _| {
        gic::send(pe);
        wait("the PE's own SGI", gic::waiting)?;
        let taken = GicCpuInterface::get_and_acknowledge_interrupt(InterruptGroup::Group1);
        check("an interrupt is active", taken.is_some() && !gic::idle())
    };
    for _ in 0..3 {
        let pe = env.other(0)?;
        pe.run(acknowledge, 0)?;
        pe.turn_off()?;
        let pe = env.other(0)?;
        let works: Job = |_, _| {
            check("no interrupt is active", gic::idle())?;
            check("interrupts arrive", gic::interrupts_work())
        };
        pe.run(works, 0)?;
    }
    Ok(())
}

fn off_and_on_100_times(env: &'static Env) -> Outcome {
    for _ in 0..100 {
        let pe = env.other(0)?;
        pe.run(|pe, _| pe.listen(|_| Finish::complete()), 0)?;
        equal("SIGNAL", sdei::signal(pe.mpidr()), 0)?;
        pe.await_count(1)?;
        pe.turn_off()?;
    }
    Ok(())
}

fn all_off_and_on_20_times(env: &'static Env) -> Outcome {
    for _ in 0..20 {
        env.all_on()?;
        // All at once: none waits for another.
        for pe in env.others() {
            pe.start(
                |pe, _| {
                    pe.gone();
                    psci::cpu_off()
                },
                0,
            )?;
        }
        env.others().try_for_each(Pe::await_off)?;
    }
    Ok(())
}

/// Answers of the two racers, and the round they are allowed to start.
static ANSWERS: [AtomicI64; 2] = [const { AtomicI64::new(0) }; 2];
static ROUND: AtomicU64 = AtomicU64::new(0);

/// A racer: in each round turns on the PE at index `argument >> 8`; its own number is `argument & 0xff`.
fn race(number: usize, target: &'static Pe) {
    let context: *const Pe = target;
    ANSWERS[number].store(
        psci::cpu_on(target.mpidr(), entry(), context as u64),
        Release,
    );
}

/// Exactly one of two PEs that turn on a third succeeds, every time.
fn two_turn_on_a_third(env: &'static Env) -> Outcome {
    const ROUNDS: u64 = 300;
    let racer = env.other(0)?;
    let Some(third) = env.others().nth(1) else {
        return fail("too few PEs");
    };
    ROUND.store(0, Release);
    racer.start(
        |_, target| {
            for round in 1..=ROUNDS {
                wait("the next round", || ROUND.load(Acquire) >= round)?;
                race(1, Pe::at(target as usize));
                wait("the round's end", || ROUND.load(Acquire) > round)?;
            }
            Ok(())
        },
        third.index() as u64,
    )?;
    for round in 0..ROUNDS {
        ANSWERS.iter().for_each(|answer| answer.store(1, Release));
        // Two steps per round, so that a round's end is not the next one's start.
        ROUND.store(round + 1, Release);
        race(0, third);
        wait("the other racer's answer", || ANSWERS[1].load(Acquire) != 1)?;
        let [mine, other] = [ANSWERS[0].load(Acquire), ANSWERS[1].load(Acquire)];
        equal(
            "racers that succeeded",
            u64::from(mine == 0) + u64::from(other == 0),
            1,
        )?;
        let loser = if mine == 0 { other } else { mine };
        check(
            "the loser: ALREADY_ON or ON_PENDING",
            loser == ALREADY_ON || loser == ON_PENDING,
        )?;
        third.await_ready()?;
        third.turn_off()?;
    }
    ROUND.store(ROUNDS + 1, Release);
    racer.finish()
}

/// CPU_ON while the target is on its way down: ALREADY_ON until it is off, then exactly one SUCCESS.
fn race_with_cpu_off(env: &'static Env) -> Outcome {
    let third = env.other(1)?;
    for _ in 0..200 {
        third.start(
            |pe, _| {
                pe.gone();
                psci::cpu_off()
            },
            0,
        )?;
        let context: *const Pe = third;
        let end = arch::counter() + 60 * arch::counter_frequency();
        loop {
            match psci::cpu_on(third.mpidr(), entry(), context as u64) {
                0 => break,
                answer => equal("CPU_ON of a PE that goes down", answer, ALREADY_ON)?,
            }
            check("the PE never went off", arch::counter() < end)?;
            arch::relax();
        }
        third.await_ready()?;
    }
    Ok(())
}

/// The dispatch is given up with the PE; it comes back on clean and event 0 works on it.
fn off_in_a_handler(env: &'static Env) -> Outcome {
    for _ in 0..20 {
        let pe = env.other(0)?;
        pe.run(
            |pe, _| {
                pe.listen(|pe| {
                    pe.gone();
                    // Only a refusal comes back, and then the PE does not go off.
                    let _ = psci::cpu_off();
                    Finish::complete()
                })
            },
            0,
        )?;
        equal("SIGNAL", sdei::signal(pe.mpidr()), 0)?;
        pe.await_off()?;
        pe.turn_on()?;
        pe.run(
            |pe, _| {
                equal("STATUS", sdei::status(0), 0)?;
                equal("CONTEXT", sdei::context(0), sdei::DENIED)?;
                pe.listen(|_| Finish::complete())
            },
            0,
        )?;
        equal("SIGNAL", sdei::signal(pe.mpidr()), 0)?;
        pe.await_count(1)?;
        pe.run(|_, _| check("interrupts arrive", gic::interrupts_work()), 0)?;
        pe.turn_off()?;
    }
    Ok(())
}

/// A signal that meets a PE on its way down is gone with it or refused, and does no harm.
fn off_from_signal(env: &'static Env) -> Outcome {
    for _ in 0..100 {
        let pe = env.other(0)?;
        pe.run(|pe, _| pe.listen(|_| Finish::complete()), 0)?;
        pe.start(
            |pe, _| {
                pe.gone();
                psci::cpu_off()
            },
            0,
        )?;
        while psci::affinity_info(pe.mpidr(), 0) != OFF {
            let answer = sdei::signal(pe.mpidr());
            check(
                "SIGNAL to a PE that goes down",
                answer == 0 || answer == sdei::INVALID_PARAMETERS,
            )?;
            arch::relax();
        }
        pe.await_off()?;
        pe.turn_on()?;
        pe.run(
            |pe, _| {
                pe.listen(|_| Finish::complete())?;
                equal("entries of the handler", pe.handling.count(), 0)?;
                check("interrupts arrive", gic::interrupts_work())
            },
            0,
        )?;
        pe.turn_off()?;
    }
    Ok(())
}

//! PSCI between PEs: what is refused because of what another PE does, and races (DEN0022 4.2, 5.1).

use super::bound::LEVEL;
use super::{Env, tests};
use crate::arch::{self, Code};
use crate::check::{Outcome, check, equal, fail, wait};
use crate::line::{self, Line};
use crate::pe::{self, Job, Pe};
use crate::psci::{
    self, ALREADY_ON, DENIED, INVALID_PARAMETERS, NOT_SUPPORTED, OFF, ON_PENDING, SUCCESS,
};
use crate::{gic, sdei};
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering::*};
use smccc::psci as id;

tests! { "psci":
    2 os_initiated_mode,
    3 poll_for_off_while_others_turn_it_on,
    1 the_last_pe_stays_on,
    2 the_last_two_race_off,
    2 wake_request_for_a_pe_that_is_off,
    2 freeze_and_turn_on,
    2 default_suspend,
    2 on_while_suspended,
    2 on_while_in_standby,
    2 on_races_with_suspend,
    3 two_turn_on_one_that_goes_off,
    2 system_suspend_with_others_on,
    1 system_suspend_alone,
    2 statistics_count,
}

const PE_DOWN: u64 = 0x4000_0002;
const CLUSTER_DOWN: u64 = 0x4000_1022;
const SYSTEM_DOWN: u64 = 0x4000_2222;
const STANDBY: u64 = 1;

/// NODE_HW_STATE's answers.
const HW_ON: i64 = 0;
const HW_OFF: i64 = 1;
const HW_STANDBY: i64 = 2;

fn entry() -> u64 {
    Code::Secondary.address()
}

fn hw_state(pe: &Pe, level: u64) -> i64 {
    psci::call64(id::PSCI_NODE_HW_STATE_64, pe.mpidr(), level, 0)
}

fn count(pe: &Pe, state: u64) -> i64 {
    psci::call64(id::PSCI_STAT_COUNT_64, pe.mpidr(), state, 0)
}

fn residency(pe: &Pe, state: u64) -> i64 {
    psci::call64(id::PSCI_STAT_RESIDENCY_64, pe.mpidr(), state, 0)
}

/// Calls CPU_SUSPEND with the power state `state` on a PE, which comes back as one that was turned on, or with
/// SUCCESS from standby.
const SUSPEND: Job = |pe, state| {
    let context: *const Pe = pe;
    pe.words[0].store(1, Release);
    let answer = psci::call64(id::PSCI_CPU_SUSPEND_64, state, entry(), context as u64);
    equal("CPU_SUSPEND", answer, SUCCESS)
};

/// Has `pe` call CPU_SUSPEND; it goes there for sure only if nothing wakes it.
fn suspend(pe: &'static Pe, state: u64) -> Outcome {
    pe.words[0].store(0, Release);
    pe.start(SUSPEND, state)?;
    wait("the PE is about to suspend", || {
        pe.words[0].load(Acquire) == 1
    })
}

/// Wakes `pe` from [`suspend`].
fn wake(pe: &'static Pe) -> Outcome {
    gic::send(pe);
    pe.await_ready()?;
    pe.run(
        |_, _| {
            wait("the interrupt that woke this PE", || {
                arch::take_interrupts();
                !gic::waiting()
            })
        },
        0,
    )
}

/// Waits until NODE_HW_STATE says `state` of a PE.
fn await_hw_state(pe: &'static Pe, state: i64) -> Outcome {
    wait("NODE_HW_STATE never said so", || hw_state(pe, 0) == state)
}

/// Platform-coordinated idle first, then OS-initiated.
fn os_initiated_mode(env: &'static Env) -> Outcome {
    const PLATFORM: u32 = 0;
    const OS: u32 = 1;
    let set = |mode| psci::call32(id::PSCI_SET_SUSPEND_MODE, mode, 0, 0);
    let pe = env.other(0)?;
    suspend(pe, STANDBY)?;
    await_hw_state(pe, HW_STANDBY)?;
    if env.machine.pes > 2 {
        equal(
            "SET_SUSPEND_MODE(OSI) with one suspended and one off",
            set(OS),
            DENIED,
        )?;
    }
    wake(pe)?;
    pe.finish()?;
    suspend(pe, CLUSTER_DOWN)?;
    await_hw_state(pe, HW_OFF)?;
    wake(pe)?;
    equal("SET_SUSPEND_MODE(OSI)", set(OS), SUCCESS)?;
    equal("SET_SUSPEND_MODE(OSI) again", set(OS), SUCCESS)?;
    let context: *const Pe = env.me();
    // The caller is not the last one of its cluster, or of the system, whatever it says.
    for state in [
        CLUSTER_DOWN,
        SYSTEM_DOWN,
        0x4000_0022,
        0x4000_1002,
        0x1001,
        0x2001,
    ] {
        let answer = psci::power_down(state as u32, entry(), context as u64);
        equal(
            "CPU_SUSPEND as the last PE, with another one on",
            answer,
            DENIED,
        )?;
    }
    equal(
        "SET_SUSPEND_MODE(PC) with another PE on",
        set(PLATFORM),
        DENIED,
    )?;
    suspend(pe, PE_DOWN)?;
    await_hw_state(pe, HW_OFF)?;
    equal("the cluster", hw_state(pe, 1), HW_ON)?;
    equal(
        "SET_SUSPEND_MODE(PC) with one suspended",
        set(PLATFORM),
        DENIED,
    )?;
    wake(pe)?;
    pe.turn_off()?;
    equal("SET_SUSPEND_MODE(PC)", set(PLATFORM), SUCCESS)
}

/// Tells the other PEs of [`poll_for_off_while_others_turn_it_on`] to end.
static STOP: AtomicBool = AtomicBool::new(false);

/// Goes off, and comes back when another PE turns this one on, again and again.
const GO_OFF: Job = |me, _| {
    while !STOP.load(Acquire) {
        let answer = arch::go_away(id::PSCI_CPU_OFF, [0; 3], &CELLS[0]);
        equal("CPU_OFF", answer, arch::RESUMED)?;
        pe::adopt(me.index());
    }
    Ok(())
};

/// Turns the PE with this index on without a pause, as often as it lets itself be turned on.
const TURN_ON: Job = |_, target| {
    let target = Pe::at(target as usize).mpidr();
    let cell = CELLS[0].as_ptr() as u64;
    while !STOP.load(Acquire) {
        match psci::cpu_on(target, Code::ComeBack.address(), cell) {
            SUCCESS | ALREADY_ON | ON_PENDING => {}
            answer => equal("CPU_ON of a PE that goes off and on", answer, ALREADY_ON)?,
        }
    }
    Ok(())
};

/// One PE waits to see another one off, which all the others turn on at once again: it does see it, on a machine that
/// runs its PEs in turn, too. Nobody pauses: this is what Arm's test firmware does.
fn poll_for_off_while_others_turn_it_on(env: &'static Env) -> Outcome {
    // Far more than it takes, and soon over where it takes for ever.
    const POLLS: u32 = 100_000;
    env.all_on()?;
    for target in env.others() {
        STOP.store(false, Release);
        for caller in env.others().filter(|pe| pe.index() != target.index()) {
            caller.start(TURN_ON, target.index() as u64)?;
        }
        target.start(GO_OFF, 0)?;
        let seen = (0..POLLS).any(|_| psci::affinity_info(target.mpidr(), 0) == OFF);
        STOP.store(true, Release);
        for caller in env.others().filter(|pe| pe.index() != target.index()) {
            caller.finish()?;
        }
        // It may be off for the last time.
        wait("the target comes on", || {
            let cell = CELLS[0].as_ptr() as u64;
            psci::cpu_on(target.mpidr(), Code::ComeBack.address(), cell);
            target.is_ready()
        })?;
        target.finish()?;
        check("AFFINITY_INFO said OFF", seen)?;
    }
    Ok(())
}

/// There would be no PE left to turn one on.
fn the_last_pe_stays_on(env: &'static Env) -> Outcome {
    for _ in 0..2 {
        for function in [id::PSCI_CPU_OFF, id::PSCI_CPU_FREEZE] {
            equal(
                "going off as the last PE",
                psci::call32(function, 0, 0, 0),
                DENIED,
            )?;
        }
        check("interrupts arrive", gic::interrupts_work())?;
    }
    env.me().listen(|_| pe::Finish::complete())?;
    equal(
        "CPU_OFF with a handler",
        psci::call32(id::PSCI_CPU_OFF, 0, 0, 0),
        DENIED,
    )?;
    equal("SIGNAL", sdei::signal(env.me().mpidr()), 0)?;
    equal("entries of the handler", env.me().handling.count(), 1)
}

/// Where the two PEs of [`the_last_two_race_off`] left their stack pointers.
static CELLS: [AtomicU64; 2] = [const { AtomicU64::new(0) }; 2];
/// How many of them have come to the round's start.
static STARTED: AtomicU64 = AtomicU64::new(0);
/// How often one of them was refused.
static REFUSED: AtomicU64 = AtomicU64::new(0);

/// Rounds of [`the_last_two_race_off`].
const ROUNDS: u64 = 100;

/// One of two PEs that go off at once: whoever is refused turns the other one on again.
fn race_off(me: &'static Pe, partner: &'static Pe) -> Outcome {
    let number = usize::from(me.index() > partner.index());
    for round in 1..=ROUNDS {
        STARTED.fetch_add(1, AcqRel);
        wait("the other PE's round", || {
            STARTED.load(Acquire) >= 2 * round
        })?;
        match arch::go_away(id::PSCI_CPU_OFF, [0; 3], &CELLS[number]) {
            arch::RESUMED => pe::adopt(me.index()),
            answer => {
                equal("CPU_OFF of the last PE", i64::from(answer as i32), DENIED)?;
                REFUSED.fetch_add(1, AcqRel);
                wait("the other PE never went off", || {
                    psci::affinity_info(partner.mpidr(), 0) == OFF
                })?;
                let cell = CELLS[1 - number].as_ptr() as u64;
                let answer = psci::cpu_on(partner.mpidr(), Code::ComeBack.address(), cell);
                equal("CPU_ON", answer, SUCCESS)?;
            }
        }
    }
    Ok(())
}

/// Of the last two PEs that go off at once exactly one does, every time.
fn the_last_two_race_off(env: &'static Env) -> Outcome {
    let other = env.other(0)?;
    STARTED.store(0, Release);
    REFUSED.store(0, Release);
    let job: Job = |pe, partner| race_off(pe, Pe::at(partner as usize));
    other.start(job, env.machine.boot as u64)?;
    race_off(env.me(), other)?;
    other.finish()?;
    equal("refusals", REFUSED.load(Acquire), ROUNDS)
}

/// The FVP's power controller, which the Normal world can reach.
struct PowerController(usize);

impl PowerController {
    const PPONR: usize = 0x04;
    const PWKUPR: usize = 0x0c;
    const PSYSR: usize = 0x10;

    fn register(&self, offset: usize) -> *mut u32 {
        (self.0 + offset) as *mut u32
    }

    /// PPONR: powers a PE on.
    fn power_on(&self, pe: &Pe) {
        // SAFETY: A register of a device that is there, by the machine's description.
        unsafe { self.register(Self::PPONR).write_volatile(pe.mpidr() as u32) };
    }

    /// PWKUPR: lets the GIC power a PE on.
    fn enable_wake_requests(&self, pe: &Pe) {
        let name = pe.mpidr() as u32 | 1 << 31;
        // SAFETY: As above.
        unsafe { self.register(Self::PWKUPR).write_volatile(name) };
    }

    /// PSYSR of a PE.
    fn status(&self, pe: &Pe) -> u32 {
        let register = self.register(Self::PSYSR);
        // SAFETY: As above. No other PE asks the controller now.
        unsafe {
            register.write_volatile(pe.mpidr() as u32);
            register.read_volatile()
        }
    }

    /// PSYSR.L0: whether a PE has power.
    fn is_on(&self, pe: &Pe) -> bool {
        self.status(pe) >> 29 & 1 == 1
    }

    /// PSYSR.WK: whether the GIC powered a PE on last.
    fn was_woken(&self, pe: &Pe) -> bool {
        self.status(pe) >> 24 & 0b11 == 0b11
    }
}

/// A PE that is off and gets power that PSCI was not asked for stays off: it does not run below EL3, at its old entry
/// point or anywhere, and can be turned on as before.
fn wake_request_for_a_pe_that_is_off(env: &'static Env) -> Outcome {
    let Some(controller) = env.machine.board.power_controller.map(PowerController) else {
        return Ok(());
    };
    for round in 0..10 {
        let pe = env.other(0)?;
        pe.turn_off()?;
        wait("the PE has no power", || !controller.is_on(pe))?;
        if round % 2 == 0 {
            controller.enable_wake_requests(pe);
            gic::send(pe);
            wait("the GIC powers the PE on", || controller.was_woken(pe))?;
        } else {
            controller.power_on(pe);
        }
        wait("the PE has no power again", || !controller.is_on(pe))?;
        equal("AFFINITY_INFO", psci::affinity_info(pe.mpidr(), 0), OFF)?;
        check("the PE does not run", !pe.is_ready())?;
    }
    Ok(())
}

fn freeze_and_turn_on(env: &'static Env) -> Outcome {
    for _ in 0..20 {
        let pe = env.other(0)?;
        pe.run(|pe, _| pe.listen(|_| pe::Finish::complete()), 0)?;
        pe.start(
            |pe, _| {
                pe.gone();
                psci::call32(id::PSCI_CPU_FREEZE, 0, 0, 0);
                fail("CPU_FREEZE returned")
            },
            0,
        )?;
        pe.await_off()?;
        equal("NODE_HW_STATE", hw_state(pe, 0), HW_OFF)?;
        equal(
            "SIGNAL to a frozen PE",
            sdei::signal(pe.mpidr()),
            sdei::INVALID_PARAMETERS,
        )?;
        pe.turn_on()?;
        pe.run(|_, _| equal("STATUS", sdei::status(0), 0), 0)?;
        pe.turn_off()?;
    }
    Ok(())
}

fn default_suspend(env: &'static Env) -> Outcome {
    let pe = env.other(0)?;
    for _ in 0..10 {
        let before = count(pe, PE_DOWN);
        pe.words[0].store(0, Release);
        pe.entry_x[0].store(0, Release);
        pe.start(
            |pe, _| {
                let context: *const Pe = pe;
                pe.words[0].store(1, Release);
                let (entry, context) = (entry(), context as u64);
                psci::call64(id::PSCI_CPU_DEFAULT_SUSPEND_64, entry, context, 0);
                fail("CPU_DEFAULT_SUSPEND returned")
            },
            0,
        )?;
        await_hw_state(pe, HW_OFF)?;
        equal(
            "AFFINITY_INFO of a suspended PE",
            psci::affinity_info(pe.mpidr(), 0),
            0,
        )?;
        wake(pe)?;
        let context: *const Pe = pe;
        equal(
            "x0, the context ID",
            pe.entry_x[0].load(Acquire),
            context as u64,
        )?;
        equal("STAT_COUNT", count(pe, PE_DOWN), before + 1)?;
    }
    Ok(())
}

/// A PE that is down by CPU_SUSPEND is on.
fn on_while_suspended(env: &'static Env) -> Outcome {
    let pe = env.other(0)?;
    for state in [PE_DOWN, CLUSTER_DOWN, SYSTEM_DOWN] {
        suspend(pe, state)?;
        await_hw_state(pe, HW_OFF)?;
        for _ in 0..10 {
            equal("CPU_ON", psci::cpu_on(pe.mpidr(), entry(), 0), ALREADY_ON)?;
            equal("AFFINITY_INFO", psci::affinity_info(pe.mpidr(), 0), 0)?;
            equal("the cluster, with a PE that runs", hw_state(pe, 1), HW_ON)?;
            equal("the system", hw_state(pe, 2), HW_ON)?;
        }
        wake(pe)?;
        equal("NODE_HW_STATE", hw_state(pe, 0), HW_ON)?;
    }
    Ok(())
}

fn on_while_in_standby(env: &'static Env) -> Outcome {
    let pe = env.other(0)?;
    for _ in 0..10 {
        let before = count(pe, STANDBY);
        suspend(pe, STANDBY)?;
        await_hw_state(pe, HW_STANDBY)?;
        equal("CPU_ON", psci::cpu_on(pe.mpidr(), entry(), 0), ALREADY_ON)?;
        equal("AFFINITY_INFO", psci::affinity_info(pe.mpidr(), 0), 0)?;
        wake(pe)?;
        pe.finish()?;
        equal("STAT_COUNT", count(pe, STANDBY), before + 1)?;
    }
    Ok(())
}

/// CPU_ON of a PE that goes down and comes back by itself is refused at every moment.
fn on_races_with_suspend(env: &'static Env) -> Outcome {
    let pe = env.other(0)?;
    for round in 0..50 {
        suspend(pe, if round % 2 == 0 { PE_DOWN } else { STANDBY })?;
        for _ in 0..20 {
            equal("CPU_ON", psci::cpu_on(pe.mpidr(), entry(), 0), ALREADY_ON)?;
            arch::relax();
        }
        gic::send(pe);
        for _ in 0..20 {
            equal("CPU_ON", psci::cpu_on(pe.mpidr(), entry(), 0), ALREADY_ON)?;
            arch::relax();
        }
        wake(pe)?;
    }
    Ok(())
}

/// Two PEs turn on a third that is on its way off: ALREADY_ON for both until it is off, then one of them wins.
fn two_turn_on_one_that_goes_off(env: &'static Env) -> Outcome {
    let racer = env.other(0)?;
    let third = env.other(1)?;
    // Tries until the third is on again; words[1] counts this one's wins.
    let turn_on: Job = |racer, index| {
        let target = Pe::at(index as usize);
        let context: *const Pe = target;
        loop {
            match psci::cpu_on(target.mpidr(), entry(), context as u64) {
                SUCCESS => {
                    racer.words[1].fetch_add(1, AcqRel);
                    return Ok(());
                }
                ON_PENDING => return Ok(()),
                answer => equal("CPU_ON of a PE that goes off", answer, ALREADY_ON)?,
            }
            // Somebody else turned it on, and it has been here.
            if target.is_ready() {
                return Ok(());
            }
            arch::relax();
        }
    };
    for _ in 0..100 {
        env.me().words[1].store(0, Release);
        racer.words[1].store(0, Release);
        third.words[0].store(0, Release);
        third.start(
            |pe, _| {
                pe.gone();
                pe.words[0].store(1, Release);
                psci::cpu_off()
            },
            0,
        )?;
        wait("the third is about to go", || {
            third.words[0].load(Acquire) == 1
        })?;
        racer.start(turn_on, third.index() as u64)?;
        turn_on(env.me(), third.index() as u64)?;
        racer.finish()?;
        third.await_ready()?;
        let wins = env.me().words[1].load(Acquire) + racer.words[1].load(Acquire);
        equal("PEs that turned the third on", wins, 1)?;
    }
    Ok(())
}

fn system_suspend_with_others_on(env: &'static Env) -> Outcome {
    let pe = env.other(0)?;
    let denied = || {
        let wide = psci::call64(id::PSCI_SYSTEM_SUSPEND_64, entry(), 0, 0);
        equal("SYSTEM_SUSPEND with another PE on", wide, DENIED)?;
        let narrow = psci::call32(id::PSCI_SYSTEM_SUSPEND_32, entry() as u32, 0, 0);
        equal("SYSTEM_SUSPEND, SMC32, with another PE on", narrow, DENIED)
    };
    denied()?;
    for state in [PE_DOWN, STANDBY] {
        suspend(pe, state)?;
        await_hw_state(pe, if state == STANDBY { HW_STANDBY } else { HW_OFF })?;
        denied()?;
        wake(pe)?;
    }
    // One that has been turned on but has not run yet counts, too.
    pe.turn_off()?;
    for _ in 0..20 {
        pe.begin()?;
        denied()?;
        pe.await_ready()?;
        pe.turn_off()?;
    }
    Ok(())
}

/// The whole machine sleeps until this PE's timer wakes it.
fn system_suspend_alone(env: &'static Env) -> Outcome {
    let me = env.me();
    let system = count(me, SYSTEM_DOWN);
    let slept = residency(me, SYSTEM_DOWN);
    let timer = Line::Virtual;
    me.listen(|_| pe::Finish::complete())?;
    for round in 1..=5 {
        line::set(timer.intid(), LEVEL);
        line::enable(timer.intid(), true);
        timer.raise_after(1_000_000);
        let context = CELLS[0].as_ptr() as u64;
        let arguments = [Code::ComeBack.address(), context, 0];
        let resumed = arch::go_away(id::PSCI_SYSTEM_SUSPEND_64, arguments, &CELLS[0]);
        // What a power-down loses.
        pe::adopt(env.machine.boot);
        timer.lower();
        line::enable(timer.intid(), false);
        equal("SYSTEM_SUSPEND", resumed, arch::RESUMED)?;
        equal("PE_MASK", sdei::pe_mask(), 0)?;
        equal("STATUS", sdei::status(0), sdei::REGISTERED | sdei::ENABLED)?;
        equal("PE_UNMASK", sdei::pe_unmask(), 0)?;
        check("interrupts arrive", gic::interrupts_work())?;
        equal("SIGNAL", sdei::signal(me.mpidr()), 0)?;
        equal("entries of the handler", me.handling.count(), round)?;
        equal("STAT_COUNT", count(me, SYSTEM_DOWN), system + round as i64)?;
    }
    check("STAT_RESIDENCY grew", residency(me, SYSTEM_DOWN) > slept)
}

fn statistics_count(env: &'static Env) -> Outcome {
    let pe = env.other(0)?;
    let before = [STANDBY, PE_DOWN].map(|state| (count(pe, state), residency(pe, state)));
    for state in [STANDBY, PE_DOWN] {
        suspend(pe, state)?;
        await_hw_state(pe, if state == STANDBY { HW_STANDBY } else { HW_OFF })?;
        wake(pe)?;
    }
    for (state, (count_before, slept)) in [STANDBY, PE_DOWN].into_iter().zip(before) {
        equal("STAT_COUNT", count(pe, state), count_before + 1)?;
        check(
            "STAT_RESIDENCY does not fall",
            residency(pe, state) >= slept,
        )?;
    }
    // In 32 bits.
    let narrow = psci::call32(id::PSCI_STAT_COUNT_32, pe.mpidr() as u32, PE_DOWN as u32, 0);
    equal("STAT_COUNT, SMC32", narrow, count(pe, PE_DOWN))?;
    pe.turn_off()?;
    equal("AFFINITY_INFO", psci::affinity_info(pe.mpidr(), 0), OFF)?;
    equal("CPU_SUSPEND", psci::standby(u32::MAX), INVALID_PARAMETERS)?;
    equal(
        "MIGRATE",
        psci::call64(id::PSCI_MIGRATE_64, pe.mpidr(), 0, 0),
        NOT_SUPPORTED,
    )
}

//! `bench`: how long each call and each interrupt may be in EL3.
//!
//! Each is made in the states that are thought to be its worst, in turn: with the other PEs off, with all on and
//! masked, and with only the last of them unmasked. Who reads the lines takes the largest of each call. Two instructions
//! of the caller's are counted, and of who waits for an interrupt up to thirty.

use crate::bench::{MARKS, bench_event, instructions};
use crate::check::{Outcome, equal};
use crate::event::{PRIVATE, SHARED, TIMER, TO_PE, release};
use crate::line::{self, Line, PPIS, SPIS};
use crate::sdei::Function::{self, *};
use crate::tests::Env;
use crate::{arch, say, sdei};
use core::arch::asm;
use core::sync::atomic::Ordering::Acquire;
use smccc::{arch as id, psci as power};

/// What the state of the other PEs is called.
struct State {
    env: &'static Env,
    name: &'static str,
}

/// No event of this number.
const ABSENT: u64 = 0x7fff_ffff;
/// No PE of this affinity.
const NOBODY: u64 = 0xff_00ff_ffff;

/// Makes a call; answers the counter's ticks and x0.
fn timed(function: u64, arguments: [u64; 5]) -> (u64, i64) {
    let [x1, x2, x3, x4, x5] = arguments;
    let (before, after, answer): (u64, u64, u64);
    // SAFETY: The calls made here follow the SMC calling convention, write no memory of ours, and dispatches they
    // cause keep all registers.
    unsafe {
        asm!(
            "mrs {before}, cntpct_el0",
            "smc #0",
            "mrs {after}, cntpct_el0",
            before = out(reg) before,
            after = out(reg) after,
            inout("x0") function => answer,
            inout("x1") x1 => _,
            inout("x2") x2 => _,
            inout("x3") x3 => _,
            inout("x4") x4 => _,
            inout("x5") x5 => _,
        );
    }
    (after - before, answer.cast_signed())
}

impl State {
    fn say(&self, call: &str, what: &str, ticks: u64) {
        say!(
            "longest {} {call}: {what}, {}",
            instructions(ticks),
            self.name
        );
    }

    /// Makes any call, and says how long it was.
    fn smc(&self, call: &str, what: &str, function: u64, arguments: [u64; 5]) -> i64 {
        let (ticks, answer) = timed(function, arguments);
        self.say(call, what, ticks);
        answer
    }

    fn sdei(&self, what: &str, function: Function, a: u64, b: u64, c: u64) -> i64 {
        let name = name(function);
        self.smc(name, what, function.id(), [a, b, c, 0, 0])
    }

    fn psci(&self, call: &str, what: &str, function: u32, a: u64, b: u64, c: u64) -> i64 {
        self.smc(call, what, function.into(), [a, b, c, 0, 0])
    }

    /// Registers the short handler.
    fn register(&self, what: &str, event: u64, flags: u64, affinity: u64) -> Outcome {
        let mark = &raw const MARKS[self.env.me().index()];
        let arguments = [
            event,
            bench_event as *const () as u64,
            mark as u64,
            flags,
            affinity,
        ];
        let answer = self.smc("SDEI_EVENT_REGISTER", what, Register.id(), arguments);
        equal("REGISTER", answer, 0)
    }

    /// Raises a line; says how long EL3 was until the handler, or until what was interrupted went on.
    fn raise(&self, what: &str, line: Line) {
        let mark = &MARKS[self.env.me().index()];
        let count = mark.count.load(Acquire);
        let before = arch::counter();
        line.raise();
        let after = arch::counter();
        line.lower();
        if mark.count.load(Acquire) == count {
            self.say("interrupt", what, after - before);
        } else {
            let entered = mark.counter.load(Acquire);
            self.say("interrupt", what, entered - before);
            self.say("SDEI_EVENT_COMPLETE", what, after - entered);
        }
    }
}

fn name(function: Function) -> &'static str {
    match function {
        Version => "SDEI_VERSION",
        Register => "SDEI_EVENT_REGISTER",
        Enable => "SDEI_EVENT_ENABLE",
        Disable => "SDEI_EVENT_DISABLE",
        Context => "SDEI_EVENT_CONTEXT",
        Complete => "SDEI_EVENT_COMPLETE",
        CompleteAndResume => "SDEI_EVENT_COMPLETE_AND_RESUME",
        Unregister => "SDEI_EVENT_UNREGISTER",
        Status => "SDEI_EVENT_STATUS",
        GetInfo => "SDEI_EVENT_GET_INFO",
        RoutingSet => "SDEI_EVENT_ROUTING_SET",
        PeMask => "SDEI_PE_MASK",
        PeUnmask => "SDEI_PE_UNMASK",
        Bind => "SDEI_INTERRUPT_BIND",
        Release => "SDEI_INTERRUPT_RELEASE",
        Signal => "SDEI_EVENT_SIGNAL",
        Features => "SDEI_FEATURES",
        PrivateReset => "SDEI_PRIVATE_RESET",
        SharedReset => "SDEI_SHARED_RESET",
    }
}

/// Goes through all of it.
pub fn run(env: &'static Env) -> Outcome {
    line::lower_all();
    sdei::pe_mask();
    sdei::private_reset();
    sdei::shared_reset();
    for pe in env.others().filter(|pe| pe.is_ready()) {
        pe.turn_off()?;
    }
    all(&State {
        env,
        name: "the others off",
    })?;
    env.all_on()?;
    all(&State {
        env,
        name: "all on and masked",
    })?;
    if let Some(last) = env.others().last() {
        last.run(|_, _| equal("PE_UNMASK", sdei::pe_unmask(), 0), 0)?;
        all(&State {
            env,
            name: "all on, one other unmasked",
        })?;
    }
    Ok(())
}

fn all(state: &State) -> Outcome {
    psci_calls(state);
    smccc_calls(state);
    queries(state);
    event0(state)?;
    private(state)?;
    shared(state)
}

fn psci_calls(state: &State) {
    let me = state.env.me().mpidr();
    let last = state.env.others().last().map_or(me, |pe| pe.mpidr());
    for target in [me, last, NOBODY] {
        let of = if target == me {
            "of itself"
        } else if target == last {
            "of the last PE"
        } else {
            "of nobody"
        };
        for level in 0..4 {
            state.psci(
                "PSCI_AFFINITY_INFO",
                of,
                power::PSCI_AFFINITY_INFO_64,
                target,
                level,
                0,
            );
            state.psci(
                "PSCI_NODE_HW_STATE",
                of,
                power::PSCI_NODE_HW_STATE_64,
                target,
                level,
                0,
            );
            for parameter in [
                state.env.machine.standby,
                state.env.machine.power_down.unwrap_or(0),
            ] {
                state.psci(
                    "PSCI_STAT_RESIDENCY",
                    of,
                    power::PSCI_STAT_RESIDENCY_64,
                    target,
                    parameter.into(),
                    0,
                );
                state.psci(
                    "PSCI_STAT_COUNT",
                    of,
                    power::PSCI_STAT_COUNT_64,
                    target,
                    parameter.into(),
                    0,
                );
            }
        }
    }
    // One that is on, or nobody: the entry point is misaligned for who is off.
    state.psci(
        "PSCI_CPU_ON",
        "refused",
        power::PSCI_CPU_ON_64,
        last,
        u64::MAX,
        0,
    );
    state.psci(
        "PSCI_CPU_ON",
        "refused",
        power::PSCI_CPU_ON_64,
        me,
        arch::load_address(),
        0,
    );
    state.psci(
        "PSCI_CPU_ON",
        "of nobody",
        power::PSCI_CPU_ON_64,
        NOBODY,
        arch::load_address(),
        0,
    );
    for mode in [1, 0, 7] {
        state.psci(
            "PSCI_SET_SUSPEND_MODE",
            "either",
            power::PSCI_SET_SUSPEND_MODE,
            mode,
            0,
            0,
        );
    }
    state.psci("PSCI_MEM_PROTECT", "on", power::PSCI_MEM_PROTECT, 1, 0, 0);
    state.psci("PSCI_MEM_PROTECT", "off", power::PSCI_MEM_PROTECT, 0, 0, 0);
    let ram = &state.env.machine.ram;
    for (base, size) in [
        (ram.start, ram.end - ram.start),
        (ram.end - 1, 1),
        (ram.end - 1, 2),
        (0, u64::MAX),
    ] {
        state.psci(
            "PSCI_MEM_PROTECT_CHECK_RANGE",
            "a range",
            power::PSCI_MEM_PROTECT_CHECK_RANGE_64,
            base,
            size,
            0,
        );
    }
    for function in [
        power::PSCI_VERSION,
        0x8400_0016,
        0xc400_001f,
        id::SMCCC_VERSION,
        0xc400_0024,
        0x8400_0053,
    ] {
        state.psci(
            "PSCI_FEATURES",
            "of any call",
            power::PSCI_FEATURES,
            function.into(),
            0,
            0,
        );
    }
    for (call, function) in [
        ("PSCI_MIGRATE", power::PSCI_MIGRATE_64),
        ("PSCI_MIGRATE_INFO_TYPE", power::PSCI_MIGRATE_INFO_TYPE),
        (
            "PSCI_MIGRATE_INFO_UP_CPU",
            power::PSCI_MIGRATE_INFO_UP_CPU_64,
        ),
        ("PSCI_CPU_SUSPEND", power::PSCI_CPU_SUSPEND_64),
        ("PSCI_SYSTEM_SUSPEND", power::PSCI_SYSTEM_SUSPEND_64),
        ("PSCI_SYSTEM_RESET2", power::PSCI_SYSTEM_RESET2_64),
        (
            "PSCI_CPU_DEFAULT_SUSPEND",
            power::PSCI_CPU_DEFAULT_SUSPEND_64,
        ),
        ("PSCI_VERSION", power::PSCI_VERSION),
    ] {
        // An entry point or a kind that is refused.
        state.psci(call, "refused", function, 0x1111_1111, 0x1111_1111, 0);
    }
}

fn smccc_calls(state: &State) {
    for function in [
        id::SMCCC_VERSION,
        0x8000_7fff,
        0x8000_3fff,
        0x8000_8000,
        0x8000_0003,
        0x8000_0002,
        0xffff_ffff,
    ] {
        state.psci(
            "SMCCC_ARCH_FEATURES",
            "of any call",
            id::SMCCC_ARCH_FEATURES,
            function.into(),
            0,
            0,
        );
    }
    for kind in 0..3 {
        state.psci(
            "SMCCC_ARCH_SOC_ID",
            "any kind",
            id::SMCCC_ARCH_SOC_ID,
            kind,
            0,
            0,
        );
    }
    // The registers by their opcodes (DEN0028 7.11): SCR_EL3, CPTR_EL3, MDCR_EL3, MPAM3_EL3, and none.
    for register in [0x1e_1100, 0x1e_1140, 0x1e_1320, 0x1e_a500, 0] {
        state.psci(
            "SMCCC_ARCH_FEATURE_AVAILABILITY",
            "any register",
            0xc000_0003,
            register,
            0,
            0,
        );
    }
    for function in [
        id::SMCCC_ARCH_WORKAROUND_1,
        id::SMCCC_ARCH_WORKAROUND_2,
        id::SMCCC_ARCH_WORKAROUND_3,
        0x8000_0004,
    ] {
        state.psci("SMCCC_ARCH_WORKAROUND", "any", function, 1, 0, 0);
    }
    state.psci("SMCCC_VERSION", "", id::SMCCC_VERSION, 0, 0, 0);
    for function in [
        0xc401_ff00_u32,
        0x8001_0000,
        0x8001_ffff,
        0x8401_001f,
        0xffff_ffff,
        0xc401_003f,
    ] {
        state.psci(
            "unknown function ID",
            "with the SVE hint",
            function,
            0,
            0,
            0,
        );
    }
    for (call, function) in [
        ("TRNG_VERSION", 0x8400_0050_u32),
        ("TRNG_FEATURES", 0x8400_0051),
        ("TRNG_GET_UUID", 0x8400_0052),
        ("TRNG_RND", 0xc400_0053),
    ] {
        state.psci(
            call,
            "192 bits",
            function,
            if function == 0x8400_0051 {
                0xc400_0053
            } else {
                192
            },
            0,
            0,
        );
    }
}

fn queries(state: &State) {
    state.sdei("", Version, 0, 0, 0);
    for event in [0, PRIVATE, SHARED + 2, TIMER + 1, ABSENT] {
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

fn event0(state: &State) -> Outcome {
    let me = state.env.me().mpidr();
    let last = state.env.others().last().map_or(me, |pe| pe.mpidr());
    state.sdei("of nobody", Signal, 0, NOBODY, 0);
    state.sdei("of the last PE", Signal, 0, last, 0);
    state.register("event 0", 0, 0, 0)?;
    state.sdei("event 0", Enable, 0, 0, 0);
    state.sdei("to itself, masked", Signal, 0, me, 0);
    // Dispatched at the end of the call: the handler's instructions and COMPLETE are in it.
    state.sdei("event 0 pending, handled and completed", PeUnmask, 0, 0, 0);
    state.sdei("", PeMask, 0, 0, 0);
    state.sdei("event 0", Disable, 0, 0, 0);
    equal("UNREGISTER", state.sdei("event 0", Unregister, 0, 0, 0), 0)
}

fn private(state: &State) -> Outcome {
    for line in PPIS.into_iter().filter(|line| line.exists()) {
        line.lower();
        state.sdei("a PPI", Bind, line.intid(), 0, 0);
    }
    state.sdei("a PPI, all slots taken", Bind, 23, 0, 0);
    state.register("event 0", 0, 0, 0)?;
    let events = PRIVATE..PRIVATE + PPIS.into_iter().filter(|line| line.exists()).count() as u64;
    for round in 0..2 {
        for event in events.clone() {
            state.register("a bound PPI", event, 0, 0)?;
            state.sdei("a bound PPI", Enable, event, 0, 0);
        }
        for line in PPIS.into_iter().filter(|line| line.exists()) {
            state.raise("a bound PPI, masked", line);
            line.raise();
        }
        if round == 0 {
            state.sdei(
                "bound PPIs pending, handled and completed",
                PeUnmask,
                0,
                0,
                0,
            );
            for line in PPIS.into_iter().filter(|line| line.exists()) {
                line.lower();
                state.raise("a bound PPI", line);
            }
            state.sdei("", PeMask, 0, 0, 0);
            for event in events.clone() {
                state.sdei("a bound PPI", Disable, event, 0, 0);
                equal(
                    "UNREGISTER",
                    state.sdei("a bound PPI", Unregister, event, 0, 0),
                    0,
                )?;
            }
        }
    }
    let answer = state.sdei("bound PPIs pending", PrivateReset, 0, 0, 0);
    line::lower_all();
    equal("PRIVATE_RESET", answer, 0)?;
    for event in events {
        state.sdei("a PPI", Release, event, 0, 0);
    }
    Ok(())
}

fn shared(state: &State) -> Outcome {
    let me = state.env.me().mpidr();
    let last = state.env.others().last().map_or(me, |pe| pe.mpidr());
    for round in 0..2 {
        for (event, line) in (SHARED..).zip(SPIS) {
            line.lower();
            equal(
                "BIND",
                state.sdei("an SPI", Bind, line.intid(), 0, 0),
                event.cast_signed(),
            )?;
        }
        state.sdei("an SPI, all slots but one taken", Bind, 60, 0, 0);
        state.sdei("an SPI, all slots taken", Bind, 61, 0, 0);
        for (event, line) in (SHARED..).zip(SPIS) {
            state.register("a bound SPI for the last PE", event, TO_PE, last)?;
            state.sdei("to nobody", RoutingSet, event, 1, NOBODY);
            state.sdei("to the last PE", RoutingSet, event, 1, last);
            state.sdei("to any PE", RoutingSet, event, 0, 0);
            state.sdei("a bound SPI", Enable, event, 0, 0);
            state.raise("a bound SPI of any PE, masked", line);
            line.raise();
        }
        state.sdei("a shared event pending", Disable, SHARED, 0, 0);
        state.sdei("a shared event pending", Enable, SHARED, 0, 0);
        if round == 0 {
            // The other PE may have handled them.
            state.sdei(
                "bound SPIs pending, handled and completed",
                PeUnmask,
                0,
                0,
                0,
            );
            for line in SPIS {
                line.lower();
                state.raise("a bound SPI of any PE", line);
            }
            state.sdei("", PeMask, 0, 0, 0);
            SPIS.into_iter().for_each(Line::lower);
            for event in [SHARED, SHARED + 1] {
                state.sdei("a bound SPI", Unregister, event, 0, 0);
                state.sdei("an SPI", Release, event, 0, 0);
            }
            release(SHARED + 2);
        }
    }
    let answer = state.sdei("bound SPIs pending", SharedReset, 0, 0, 0);
    line::lower_all();
    equal("SHARED_RESET", answer, 0)
}

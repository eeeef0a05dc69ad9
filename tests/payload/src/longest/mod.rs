//! `bench longest`: how long each call and each interrupt may be in EL3.
//!
//! Each is made in the states that are thought to be its worst, in turn: with the other PEs off, with all on and
//! masked, with only the last of them unmasked, and with one PE off. The lines are read by `cargo xtask bench`, which
//! keeps the largest figure of each call. A figure contains two instructions of the caller's, those of an interrupt
//! and of a PE that goes away up to thirty.
//!
//! `-icount` runs the PEs in turn, and the counter goes on meanwhile. So the other PEs wait for interrupts. A PE's turn
//! ends at its `yield`, or after far more instructions than any figure has; so each measurement starts with a `yield`.

mod calls;
mod events;
mod leaving;

use crate::arch::{self, Code, Registers};
use crate::bench::instructions;
use crate::check::{Outcome, equal, wait};
use crate::event::{
    self, PRIVATE, SHARED, SHARED_CRITICAL, TIMER, TIMER_CRITICAL, TO_PE, arm_timer,
};
use crate::line::{self, Line, PPIS, SPIS};
use crate::pe::{self, Pe};
use crate::sdei::Function::{self, *};
use crate::tests::Env;
use crate::{gic, say, sdei};
use core::arch::{asm, global_asm};
use core::mem::offset_of;
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::{self, Acquire, Relaxed};
use smccc::{arch as id, psci as power};

/// What the state of the other PEs is called.
struct State {
    env: &'static Env,
    name: &'static str,
}

/// No event has this number.
const ABSENT: u64 = 0x7fff_ffff;
/// No PE has this affinity.
const NOBODY: u64 = 0xff_00ff_ffff;
/// An SPI of no device that the tests use.
const NO_DEVICE: u64 = 60;
/// Ticks until a timer is over: more than it takes to wait for it.
const SOON: u64 = 3000;

/// What the handlers of one PE saw and what they shall do.
#[repr(C)]
struct Mark {
    /// The counter when EL3 was last called: just before the call that is measured, or before a handler's last one.
    since: AtomicU64,
    /// The call that ends the handler, and its argument.
    function: AtomicU64,
    argument: AtomicU64,
    /// The counter at the first handler's entry; 0: there was none.
    first: AtomicU64,
    /// The longest time from the end of a handler to the next one's entry.
    next: AtomicU64,
    /// How often handlers ran.
    count: AtomicU64,
    /// Set: the handler makes the calls that are for handlers, and leaves their times here.
    calls: AtomicU64,
    context: AtomicU64,
    signal: AtomicU64,
    status: AtomicU64,
}

static MARKS: [Mark; pe::MAX] = [const {
    Mark {
        since: AtomicU64::new(0),
        function: AtomicU64::new(0),
        argument: AtomicU64::new(0),
        first: AtomicU64::new(0),
        next: AtomicU64::new(0),
        count: AtomicU64::new(0),
        calls: AtomicU64::new(0),
        context: AtomicU64::new(0),
        signal: AtomicU64::new(0),
        status: AtomicU64::new(0),
    }
}; pe::MAX];

/// What a PE that went away finds: its stack, and where it says when it came back.
#[repr(C)]
struct Cell {
    stack: AtomicU64,
    counter: AtomicU64,
}

static CELL: Cell = Cell {
    stack: AtomicU64::new(0),
    counter: AtomicU64::new(0),
};

unsafe extern "C" {
    fn longest_event();
    fn longest_resume();
    fn longest_started();
    fn longest_woken();
    fn longest_await(count: &AtomicU64, was: u64, reads: &mut [u64; 2]);
}

// longest_event: a handler on the stack of what it interrupted. longest_resume: where COMPLETE_AND_RESUME goes: back
// to what was interrupted. longest_started: where CPU_ON starts a PE that says when in the word at x0, MMU off, and
// goes on as CPU_ON usually starts it, with the `Pe` in the word behind it. longest_woken: where a PE comes back that
// went away; x0 is its `Cell`. longest_await: reads the counter until the word at x0 is not x1; the last two reads are
// left at x2.
global_asm!(
    ".section .text.longest, \"ax\"",
    ".global longest_event, longest_resume, longest_started, longest_woken, longest_await",
    "longest_event:",
    "mrs x0, cntpct_el0",
    "stp x29, x30, [sp, #-16]!",
    "bl {handler}",
    "ldp x29, x30, [sp], #16",
    "mov x2, x0",
    "ldp x0, x1, [x2, #{function}]",
    "mrs x3, cntpct_el0",
    "str x3, [x2, #{since}]",
    "smc #0",
    "b .",
    "longest_resume:",
    "eret",
    "longest_started:",
    "mrs x1, cntpct_el0",
    "str x1, [x0]",
    "ldr x0, [x0, #8]",
    "b secondary_entry",
    "longest_woken:",
    "mrs x1, cntpct_el0",
    "str x1, [x0, #{counter}]",
    "b come_back",
    "longest_await:",
    "mrs x4, cntpct_el0",
    "1:",
    "mov x3, x4",
    "mrs x4, cntpct_el0",
    "ldr x5, [x0]",
    "cmp x5, x1",
    "b.eq 1b",
    "stp x3, x4, [x2]",
    "ret",
    handler = sym handler,
    function = const offset_of!(Mark, function),
    since = const offset_of!(Mark, since),
    counter = const offset_of!(Cell, counter),
);

/// Rust's part of `longest_event`, on the PE that runs it; lowers all lines, which would come again.
extern "C" fn handler(entered: u64) -> &'static Mark {
    let mark = &MARKS[Pe::current().index()];
    if mark.first.load(Relaxed) == 0 {
        mark.first.store(entered, Relaxed);
    } else {
        let ticks = entered - mark.since.load(Relaxed);
        mark.next.fetch_max(ticks, Relaxed);
    }
    line::lower_all();
    if mark.calls.swap(0, Relaxed) != 0 {
        let me = Pe::current().mpidr();
        let context = timed(Context.id(), [17, 0, 0, 0, 0]).0;
        mark.context.store(context, Relaxed);
        let signal = timed(Signal.id(), [0, me, 0, 0, 0]).0;
        mark.signal.store(signal, Relaxed);
        let status = timed(Status.id(), [0; 5]).0;
        mark.status.store(status, Relaxed);
    }
    mark.count.fetch_add(1, Ordering::Release);
    mark
}

/// Makes a call; answers the counter's ticks and x0.
fn timed(function: u64, arguments: [u64; 5]) -> (u64, i64) {
    let (before, after, answer) = counted(function, arguments);
    (after - before, answer)
}

/// Makes a call; answers the counter just before it and just after it, and x0.
fn counted(function: u64, arguments: [u64; 5]) -> (u64, u64, i64) {
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
    (before, after, answer.cast_signed())
}

impl State {
    fn say(&self, call: &str, what: &str, ticks: u64) {
        say!(
            "longest {} {call}: {what}, {}",
            instructions(ticks),
            self.name
        );
    }

    /// This PE's mark, with nothing in it. COMPLETE ends its handlers.
    fn mark(&self) -> &'static Mark {
        let mark = &MARKS[self.env.me().index()];
        mark.function.store(Complete.id(), Relaxed);
        mark.argument.store(0, Relaxed);
        for word in [&mark.first, &mark.next, &mark.calls] {
            word.store(0, Relaxed);
        }
        mark
    }

    /// EL3 was entered at `before`, and what was interrupted went on at `after`: says how long it was there until the
    /// first handler's entry, and after each handler.
    fn say_parts(&self, call: &str, what: &str, mark: &Mark, before: u64, after: u64) {
        let first = mark.first.load(Acquire);
        if first == 0 {
            return self.say(call, what, after - before);
        }
        self.say(call, what, first - before);
        let end = after - mark.since.load(Relaxed);
        let ending = if mark.function.load(Relaxed) == Complete.id() {
            "SDEI_EVENT_COMPLETE"
        } else {
            "SDEI_EVENT_COMPLETE_AND_RESUME"
        };
        self.say(ending, what, end.max(mark.next.load(Relaxed)));
    }

    /// Makes any call, and says how long it was. A dispatch at its end belongs to it up to the handler's entry.
    fn smc(&self, call: &str, what: &str, function: u64, arguments: [u64; 5]) -> i64 {
        let mark = self.mark();
        arch::relax();
        let (before, after, answer) = counted(function, arguments);
        self.say_parts(call, what, mark, before, after);
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
        let entry = longest_event as *const () as u64;
        let arguments = [event, entry, 0, flags, affinity];
        let answer = self.smc("SDEI_EVENT_REGISTER", what, Register.id(), arguments);
        equal("REGISTER", answer, 0)
    }

    /// Raises a line; says how long EL3 was until the handler, or until what was interrupted went on.
    fn raise(&self, what: &str, line: Line) {
        let mark = self.mark();
        arch::relax();
        let before = arch::counter();
        line.raise();
        let after = arch::counter();
        self.say_parts("interrupt", what, mark, before, after);
        // Another PE may have it; all of it is over after that PE's turn.
        arch::relax();
        arch::relax();
    }

    /// Waits for an interrupt whose handler counts; says how long EL3 was until it.
    fn await_handler(&self, what: &str, mark: &Mark, was: u64) {
        let mut reads = [0; 2];
        // SAFETY: Reads this word until a handler changes it, and writes `reads`.
        unsafe { longest_await(&mark.count, was, &mut reads) };
        let first = mark.first.load(Acquire);
        let [earlier, later] = reads;
        let before = if later <= first { later } else { earlier };
        self.say("interrupt", what, first - before);
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
    let name = "the others off";
    let off = State { env, name };
    all(&off)?;
    leaving::suspend(&off)?;
    let (Some(first), Some(last)) = (env.others().next(), env.others().last()) else {
        return Ok(());
    };
    let name = "only the last other on";
    let one_on = State { env, name };
    for full in [false, true] {
        leaving::turn_on_and_off(&one_on, last, full)?;
    }
    last.turn_on()?;
    sleep(last)?;
    calls::psci_calls(&one_on);
    wake(last)?;
    last.turn_off()?;

    env.all_on()?;
    env.others().try_for_each(sleep)?;
    let name = "all on and masked";
    let all_on = State { env, name };
    all(&all_on)?;
    for pe in [first, last] {
        signals(&all_on, pe)?;
    }
    let name = "all on, one other unmasked";
    wake(last)?;
    last.run(|_, _| equal("PE_UNMASK", sdei::pe_unmask(), 0), 0)?;
    sleep(last)?;
    all(&State { env, name })?;

    let name = "all on but one";
    let one_off = State { env, name };
    for pe in [first, last] {
        wake(pe)?;
        pe.turn_off()?;
        calls::psci_calls(&one_off);
        for full in [false, true] {
            leaving::turn_on_and_off(&one_off, pe, full)?;
        }
        pe.turn_on()?;
        sleep(pe)?;
    }
    Ok(())
}

/// Has a PE wait for interrupts until [`wake`], since EL3 yields, too, and a PE that spins would then have its turn.
fn sleep(pe: &'static Pe) -> Outcome {
    pe.leave.store(0, Relaxed);
    pe.start(
        |pe, _| {
            while pe.leave.load(Acquire) == 0 {
                arch::wfi();
            }
            leaving::take_interrupt()
        },
        0,
    )?;
    // That PE's turns, until it waits.
    for _ in 0..3 {
        arch::relax();
    }
    Ok(())
}

/// Has a PE that sleeps be ready for work again.
fn wake(pe: &'static Pe) -> Outcome {
    pe.leave.store(1, Ordering::Release);
    gic::send(pe);
    pe.finish()
}

/// SIGNAL to a PE that sleeps and is masked, as it is afterwards.
fn signals(state: &State, pe: &'static Pe) -> Outcome {
    wake(pe)?;
    pe.run(
        |_, _| {
            let entry = longest_event as *const () as u64;
            equal("REGISTER", sdei::register(0, entry, 0), 0)?;
            equal("ENABLE", sdei::enable(0), 0)?;
            equal("PE_UNMASK", sdei::pe_unmask(), 0)
        },
        0,
    )?;
    sleep(pe)?;
    let mark = &MARKS[pe.index()];
    mark.function.store(Complete.id(), Relaxed);
    mark.argument.store(0, Relaxed);
    mark.first.store(0, Relaxed);
    arch::relax();
    let arguments = [0, pe.mpidr(), 0, 0, 0];
    let (before, after, answer) = counted(Signal.id(), arguments);
    wait("a handler on another PE", || mark.first.load(Acquire) != 0)?;
    state.say("SDEI_EVENT_SIGNAL", "to another PE", after - before);
    equal("SIGNAL", answer, 0)?;
    let entered = mark.first.load(Acquire) - after;
    state.say("interrupt", "another PE's signal", entered);
    // A PE that is masked takes the interrupt and keeps the event.
    wake(pe)?;
    pe.run(|_, _| equal("PE_MASK", sdei::pe_mask(), 1), 0)?;
    sleep(pe)?;
    for what in ["to another PE, masked", "to another PE, pending"] {
        let answer = state.sdei(what, Signal, 0, pe.mpidr(), 0);
        equal("SIGNAL", answer, 0)?;
    }
    wake(pe)?;
    pe.run(|_, _| equal("UNREGISTER", sdei::unregister(0), 0), 0)?;
    sleep(pe)
}

/// The time from entering a snippet to the exception that ends it.
fn enter(pc: u64) -> (u64, Registers) {
    let mut registers = Registers::pattern(pc);
    arch::relax();
    let before = arch::counter();
    // SAFETY: The snippets end in SVC, or are UNDEFINED.
    unsafe { arch::enter(&mut registers) };
    (arch::counter() - before, registers)
}

/// What is no call: less what it costs to get there and back without EL3.
fn traps(state: &State) -> Outcome {
    // SVC follows each access.
    let (alone, svc) = enter(Code::ProbeReads.address() + 4);
    equal("class", svc.class(), arch::EC_SVC)?;
    for access in (Code::ProbeReads.address()..Code::ProbeReadsEnd.address()).step_by(8) {
        let (with, trapped) = enter(access);
        // The PE itself takes some of them to this EL, in no time.
        if trapped.class() == arch::EC_UNKNOWN && with > alone {
            let time = with - alone;
            state.say("trapped access", "UNDEFINED for its EL", time);
        }
    }
    let (with, after) = enter(Code::Smc1ThenSvc.address());
    equal("SMC #1", after.x[0], u64::MAX)?;
    let time = with.saturating_sub(alone);
    state.say("SMC #1", "no call", time);
    Ok(())
}

fn all(state: &State) -> Outcome {
    calls::psci_calls(state);
    calls::smccc_calls(state);
    events::queries(state);
    events::event0(state)?;
    events::explicit(state)?;
    traps(state)?;
    events::private(state)?;
    events::shared(state)?;
    leaving::full(state)
}

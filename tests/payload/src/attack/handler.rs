//! The fuzzer's event handler: it makes calls too, and ends in every way there is.
//!
//! One entry serves all events on all PEs. What it interrupted is kept per PE and priority: a Critical event may interrupt a
//! Normal one's handler, and nothing else may.

use super::watch::Kind;
use super::{Fuzzer, lines};
use crate::arch::{self, Code};
use crate::event::{PRIVATE_CRITICAL, SHARED_CRITICAL, TIMER, TIMER_CRITICAL};
use crate::machine::Machine;
use crate::pe::{Finish, Pe};
use crate::{psci, sdei};
use core::arch::global_asm;
use core::mem::offset_of;
use core::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering::Relaxed};

/// The size of a handler's stack.
const STACK: usize = 16 << 10;

/// What a handler of one priority interrupted on a PE, and its stack. The assembly below writes it.
#[repr(C, align(16))]
pub struct Context {
    stack: [AtomicU8; STACK],
    x: [AtomicU64; 31],
    sp: AtomicU64,
    elr: AtomicU64,
    spsr: AtomicU64,
    esr: AtomicU64,
    far: AtomicU64,
    top: AtomicU64,
    index: AtomicU64,
    running: AtomicBool,
}

impl Context {
    /// Of nothing.
    pub const fn new() -> Self {
        Self {
            stack: [const { AtomicU8::new(0) }; STACK],
            x: [const { AtomicU64::new(0) }; 31],
            sp: AtomicU64::new(0),
            elr: AtomicU64::new(0),
            spsr: AtomicU64::new(0),
            esr: AtomicU64::new(0),
            far: AtomicU64::new(0),
            top: AtomicU64::new(0),
            index: AtomicU64::new(0),
            running: AtomicBool::new(false),
        }
    }

    /// Whether this handler runs.
    pub fn is_running(&self) -> bool {
        self.running.load(Relaxed)
    }

    /// Readies it for the PE with this index, which starts; returns its address.
    pub fn place(&self, index: usize) -> u64 {
        let stack: *const _ = &self.stack;
        self.top.store(stack as u64 + STACK as u64, Relaxed);
        self.index.store(index as u64, Relaxed);
        self.running.store(false, Relaxed);
        let context: *const Self = self;
        context as u64
    }
}

/// Where the registers are in it: what an ADD can name.
const X: usize = offset_of!(Context, x);
const _: () = assert!(X == 4 << 12);

unsafe extern "C" {
    fn attack_event_el1();
    fn attack_event_el2();
}

/// The entry point of every event.
pub fn entry() -> u64 {
    if arch::el() == 2 {
        attack_event_el2 as *const () as u64
    } else {
        attack_event_el1 as *const () as u64
    }
}

/// Rust's part of the handler.
extern "C" fn handle(context: &'static Context) -> Finish {
    let index = context.index.load(Relaxed) as usize;
    let (pe, fuzzer) = (Pe::at(index), Fuzzer::of(index));
    let x = |index: usize| context.x[index].load(Relaxed);
    let (event, pc, pstate) = (x(0), x(2), x(3));
    let critical = fuzzer.is_critical(context);
    // The end of a call may be interrupted again before the call is looked at.
    let resumed = fuzzer.resumed.swap(false, Relaxed);
    fuzzer.note(Kind::Event, event, &[pc, pstate]);
    fuzzer.events.fetch_add(1, Relaxed);
    let nests =
        context.running.swap(true, Relaxed) || !critical && fuzzer.critical.running.load(Relaxed);
    fuzzer.expect_that(
        "an event interrupts the handler of one that is no less important",
        !nests,
        event,
    );
    let known = super::values::EVENTS.contains(&event);
    fuzzer.expect_that("an event that is there", known, event);
    let is_own = (pe.mpidr() ^ arch::mpidr()) & arch::AFFINITY == 0;
    fuzzer.expect_that(
        "an event on the PE that its registers say",
        is_own,
        arch::mpidr(),
    );
    fuzzer.no_address_of_el3("the PC that an event interrupted", pc);
    let in_code = super::perform::in_code(pc);
    // x1 to x5 may be the arguments of a call that was about to be made, and this program's own code works with addresses
    // of EL3's.
    if in_code {
        for index in 6..31 {
            fuzzer.no_address_of_el3("a register of an event's handler", x(index));
        }
    }
    // A bound interrupt's line is what it is for.
    if !matches!(event, 0 | TIMER | TIMER_CRITICAL) {
        lines::lower();
    }
    let hcr = super::state::hcr();
    for _ in 0..fuzzer.random.below(3) {
        fuzzer.step(pe, true);
    }
    fuzzer.resumed.store(resumed, Relaxed);
    let may_go = index != Machine::get().boot && !fuzzer.options().no_power;
    let finish = end(fuzzer, in_code, may_go);
    super::state::set_hcr(hcr);
    if arch::el() == 2 && !fuzzer.options().no_states && fuzzer.random.one_in(4) {
        fuzzer.hcr_changed.store(true, Relaxed);
        super::state::spoil(fuzzer, in_code, pstate);
    }
    context.running.store(false, Relaxed);
    finish
}

/// How a handler ends, which may have interrupted the code of a call.
fn end(fuzzer: &Fuzzer, in_code: bool, may_go: bool) -> Finish {
    let random = &fuzzer.random;
    match random.below(32) {
        0 => Finish::complete_failed(),
        1 => Finish::complete_with(fuzzer.value()),
        2..4 if in_code => {
            fuzzer.resumed.store(true, Relaxed);
            Finish::resume(Code::Leave.address())
        }
        // Whoever prints has the console.
        4 if random.one_in(8) && may_go && !fuzzer.printing.load(Relaxed) => {
            fuzzer.note(Kind::Off, 0, &[]);
            psci::call32(smccc::psci::PSCI_CPU_OFF, 0, 0, 0);
            Finish::complete()
        }
        5 => {
            sdei::pe_mask();
            Finish::complete()
        }
        _ => Finish::complete(),
    }
}

// The entry point. SP is the interrupted code's, which may be in the middle of anything that this EL does; EL3 gives x0 to
// x17 back, and the handler all else.
global_asm!(
    ".macro attack_event el",
    ".global attack_event_\\el",
    "attack_event_\\el:",
    "stp x4, x5, [sp, #-16]!",
    "mrs x4, tpidr_\\el",
    "ldr x1, [x4, #{words} + 8]",
    ".irp critical, {critical_private}, {critical_shared}, {critical_timer}",
    "mov w5, #\\critical",
    "cmp w0, w5",
    "b.eq 1f",
    ".endr",
    "ldr x1, [x4, #{words}]",
    "1:",
    "ldp x4, x5, [sp], #16",
    "add x1, x1, #{x}",
    "str x0, [x1]",
    "stp x2, x3, [x1, #2 * 8]",
    "stp x4, x5, [x1, #4 * 8]",
    "stp x6, x7, [x1, #6 * 8]",
    "stp x8, x9, [x1, #8 * 8]",
    "stp x10, x11, [x1, #10 * 8]",
    "stp x12, x13, [x1, #12 * 8]",
    "stp x14, x15, [x1, #14 * 8]",
    "stp x16, x17, [x1, #16 * 8]",
    "stp x18, x19, [x1, #18 * 8]",
    "stp x20, x21, [x1, #20 * 8]",
    "stp x22, x23, [x1, #22 * 8]",
    "stp x24, x25, [x1, #24 * 8]",
    "stp x26, x27, [x1, #26 * 8]",
    "stp x28, x29, [x1, #28 * 8]",
    "str x30, [x1, #30 * 8]",
    "mov x19, x1",
    "mov x9, sp",
    "mrs x10, elr_\\el",
    "mrs x11, spsr_\\el",
    "mrs x12, esr_\\el",
    "mrs x13, far_\\el",
    "stp x9, x10, [x19, #{sp}]",
    "stp x11, x12, [x19, #{spsr}]",
    "str x13, [x19, #{far}]",
    "ldr x9, [x19, #{top}]",
    "mov sp, x9",
    "sub x0, x19, #{x}",
    "bl {handle}",
    "ldp x9, x10, [x19, #{sp}]",
    "ldp x11, x12, [x19, #{spsr}]",
    "ldr x13, [x19, #{far}]",
    "mov sp, x9",
    "msr elr_\\el, x10",
    "msr spsr_\\el, x11",
    "msr esr_\\el, x12",
    "msr far_\\el, x13",
    "ldp x20, x21, [x19, #20 * 8]",
    "ldp x22, x23, [x19, #22 * 8]",
    "ldp x24, x25, [x19, #24 * 8]",
    "ldp x26, x27, [x19, #26 * 8]",
    "ldp x28, x29, [x19, #28 * 8]",
    "ldr x30, [x19, #30 * 8]",
    "ldp x18, x19, [x19, #18 * 8]",
    "smc #0",
    // An argument that COMPLETE refuses.
    "mov x0, #0x25",
    "movk x0, #0xc400, lsl #16",
    "mov x1, #0",
    "smc #0",
    "b {refused}",
    ".endm",
    ".section .text.runtime, \"ax\"",
    "attack_event el1",
    "attack_event el2",
    words = const offset_of!(Pe, words),
    critical_private = const PRIVATE_CRITICAL,
    critical_shared = const SHARED_CRITICAL,
    critical_timer = const TIMER_CRITICAL,
    x = const X,
    sp = const offset_of!(Context, sp) - X,
    spsr = const offset_of!(Context, spsr) - X,
    far = const offset_of!(Context, far) - X,
    top = const offset_of!(Context, top) - X,
    handle = sym handle,
    refused = sym crate::pe::completion_refused,
);

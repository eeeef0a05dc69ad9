//! A call, made from one of the places it can come from, and what must hold after it.

use super::Fuzzer;
use super::calls::Call;
use super::watch::Kind;
use super::{MADE, lines, state};
use crate::arch::{
    self, Code, DAIF, EC_HVC, EC_HVC_AARCH32, EC_SVC, PSTATE_I, PSTATE_NZCV, Registers,
};
use crate::pe::Pe;
use arm_sysregs::el1::accessors::read_id_aa64pfr0_el1;
use core::arch::asm;
use core::sync::atomic::Ordering::Relaxed;

/// Exception class of an instruction at an Illegal Execution state.
pub const EC_ILLEGAL: u64 = 0x0e;

/// PSTATE.IL in SPSR's format.
const PSTATE_IL: u64 = 1 << 20;
/// AArch32's Supervisor mode, masked.
const SUPERVISOR: u64 = 0x13 | 0b111 << 6;
/// How much the stack of `enter` has on it when the code runs.
const ENTERED: u64 = 96 + 16;

/// Where a call is made.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Place {
    /// At this EL, with SP_ELx.
    Here,
    /// With SP_EL0.
    HereSp0,
    /// At EL1 under this EL2.
    Guest,
    /// At EL1 in AArch32.
    Guest32,
}

unsafe extern "C" {
    fn smc_aarch32_hvc();
}

/// Whether this is a PC in the code that makes a call, or about to end it.
pub fn in_code(pc: u64) -> bool {
    [
        Code::SmcThenSvc.address(),
        Code::SmcThenHvc.address(),
        Code::Smc1ThenSvc.address(),
        smc_aarch32_hvc as *const () as u64,
    ]
    .iter()
    .any(|&code| pc.wrapping_sub(code) < 8)
}

impl Fuzzer {
    fn place(&self) -> Place {
        let can_run = |el: u8| el == 2;
        let place = match self.random.below(100) {
            0..68 => Place::Here,
            68..75 => Place::HereSp0,
            75..93 => Place::Guest,
            _ => Place::Guest32,
        };
        match place {
            Place::Guest | Place::Guest32 if arch::el() == 1 => Place::Here,
            Place::Guest32 if !can_run(read_id_aa64pfr0_el1().el1()) => Place::Guest,
            place => place,
        }
    }

    /// Makes a call. `call.sleeps` says that this PE may sleep in it.
    pub fn perform(&self, pe: &'static Pe, mut call: Call) {
        let place = self.place();
        let start = Code::Secondary.address();
        if place == Place::Guest32 {
            // To AArch32 an odd entry point is T32 code.
            for argument in &mut call.arguments {
                if *argument & !3 == start {
                    *argument = start;
                }
            }
        }
        let other_immediate = place == Place::Here && !call.sleeps && self.random.one_in(64);
        let (code, class) = match place {
            Place::Here | Place::HereSp0 if other_immediate => {
                (Code::Smc1ThenSvc.address(), EC_SVC)
            }
            Place::Here | Place::HereSp0 => (Code::SmcThenSvc.address(), EC_SVC),
            Place::Guest => (Code::SmcThenHvc.address(), EC_HVC),
            Place::Guest32 => (smc_aarch32_hvc as *const () as u64, EC_HVC_AARCH32),
        };
        let mut registers = Registers::pattern(code);
        registers.x[0] = call.function;
        registers.x[1..6].copy_from_slice(&call.arguments);
        registers.pstate = self.pstate(place, call.sleeps);
        if place == Place::Guest32 {
            for x in &mut registers.x {
                *x &= 0xffff_ffff;
            }
        }
        let before = registers.clone();
        let [x1, x2, x3, ..] = call.arguments;
        self.note(
            Kind::Call,
            call.function,
            &[x1, x2, x3, place as u64, before.pstate],
        );
        let was_sleeping = self.sleeping.load(Relaxed);
        if call.sleeps {
            lines::before_sleep(self, pe);
        }
        match place {
            Place::Guest => {
                arch::set_guest(true);
                state::set_guest_vectors();
            }
            Place::Guest32 => arch::set_aarch32_guest(true),
            _ => {}
        }
        let sp: u64;
        // SAFETY: Reads SP, which the compiler does not change before the call below.
        unsafe { asm!("mov {}, sp", out(reg) sp, options(nomem, nostack, preserves_flags)) };
        // SAFETY: The code ends with SVC or HVC, or before it where a handler resumed elsewhere or changed what the return
        // depends on: an exception to this EL in any case.
        unsafe { arch::enter(&mut registers) };
        state::reset();
        if call.sleeps {
            self.sleeping.store(was_sleeping, Relaxed);
        }
        MADE.fetch_add(1, Relaxed);
        self.note(
            Kind::Answer,
            registers.x[0],
            &[registers.esr, registers.pc, registers.pstate],
        );
        let same_sp = registers.sp == sp - ENTERED;
        self.expect_that("SP after a call", same_sp, registers.sp);
        if self.resumed.swap(false, Relaxed) {
            return self.check_registers(place, &registers, &before, 6);
        }
        let was_changed = self.hcr_changed.load(Relaxed) || before.pstate & PSTATE_IL != 0;
        let in_vectors = place == Place::Guest && state::in_guest_vectors(registers.pc);
        if was_changed && (registers.class() == EC_ILLEGAL || in_vectors) {
            return self.check_registers(place, &registers, &before, call.kept_from.max(4));
        }
        self.expect_that(
            "how a call ended",
            registers.class() == class,
            registers.esr,
        );
        self.expect_that("where a call ended", registers.pc == code + 8, registers.pc);
        let mask = match place {
            Place::Guest32 => PSTATE_NZCV | 0x1f,
            _ => PSTATE_NZCV | DAIF | 0x1f | arch::readable_pstate().0,
        };
        let same = (registers.pstate ^ before.pstate) & mask == 0;
        self.expect_that("PSTATE after a call", same, registers.pstate);
        let kept = if other_immediate { 1 } else { call.kept_from };
        self.check_registers(place, &registers, &before, kept);
        if call.unknown || other_immediate {
            let is_minus_one = registers.x[0] as u32 == u32::MAX;
            self.expect_that(
                "the answer of an unknown call",
                is_minus_one,
                registers.x[0],
            );
        }
        // Of a handler it may be what that interrupted, an argument for one.
        let answer = registers.x[0];
        if !before.x[1..6].contains(&answer) && !is_context(call.function) {
            self.no_address_of_el3("the answer of a call", answer);
        }
    }

    fn pstate(&self, place: Place, sleeps: bool) -> u64 {
        let random = &self.random;
        let mode = match place {
            Place::Here => arch::here(),
            Place::HereSp0 => arch::here() & !1,
            Place::Guest => 0b0101,
            Place::Guest32 => return SUPERVISOR | random.next() & PSTATE_NZCV,
        };
        let bits = PSTATE_NZCV | DAIF | arch::readable_pstate().0;
        let mut pstate = mode | random.next() & bits;
        // A handler is not interrupted, and an interrupt that was taken ends no sleep.
        if sleeps || self.is_in_handler() {
            pstate |= PSTATE_I;
        }
        if !self.options().no_states && random.one_in(128) {
            pstate |= PSTATE_IL;
        }
        pstate
    }

    fn check_registers(&self, place: Place, after: &Registers, before: &Registers, from: usize) {
        let (all, mask) = match place {
            // r0..r12 and r13, r14 of this mode; the others keep their lower half.
            Place::Guest32 => (31, 0xffff_ffff),
            _ => (31, u64::MAX),
        };
        for index in from..all {
            let same = (after.x[index] ^ before.x[index]) & mask == 0;
            if !same {
                self.note(
                    Kind::Answer,
                    index as u64,
                    &[after.x[index], before.x[index]],
                );
            }
            self.expect_that("a register after a call", same, after.x[index]);
        }
        // Random numbers may look like anything.
        let looked_at = if from == 4 { 4 } else { 1 };
        for index in looked_at..from {
            if after.x[index] != before.x[index] {
                self.no_address_of_el3("a register after a call", after.x[index]);
            }
        }
    }
}

/// EVENT_CONTEXT answers what the interrupted code had.
fn is_context(function: u64) -> bool {
    function as u32 & !(1 << 16) == 0xc400_0024
}

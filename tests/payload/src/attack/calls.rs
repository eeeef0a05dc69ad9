//! What is called: every call there is, and numbers that are none.
//!
//! Never called are SYSTEM_OFF and SYSTEM_RESET, SYSTEM_OFF2 with a type that is there, and SYSTEM_RESET2's warm reset: they
//! end the run. An entry point of CPU_ON or of a suspend call is the program's own or an address that is to be refused, and so
//! is that of EVENT_REGISTER, since a PE that starts anywhere else is nobody's. COMPLETE and COMPLETE_AND_RESUME are for a
//! handler's end.

use super::Fuzzer;
use super::handler;
use super::lines::{self, WAKE_UP};
use crate::arch::{self, Code};
use crate::event::{TIMER, TIMER_CRITICAL};
use crate::machine::Machine;
use crate::pe::Pe;
use crate::sdei::Function;

/// A call, and what is known of its answer.
#[derive(Clone, Copy)]
pub struct Call {
    /// x0.
    pub function: u64,
    /// x1..x5.
    pub arguments: [u64; 5],
    /// The first register that keeps its value.
    pub kept_from: usize,
    /// Nobody knows this function.
    pub unknown: bool,
    /// The PE may sleep, or go off.
    pub sleeps: bool,
}

const SMC64: u64 = 1 << 30;
const SVE_HINT: u64 = 1 << 16;

/// SDEI's functions, those more often that lead to others.
const SDEI: [Function; 34] = {
    use Function::*;
    [
        Version,
        Register,
        Register,
        Register,
        Register,
        Enable,
        Enable,
        Enable,
        Enable,
        Disable,
        Context,
        Complete,
        CompleteAndResume,
        Unregister,
        Status,
        GetInfo,
        RoutingSet,
        RoutingSet,
        PeMask,
        PeUnmask,
        PeUnmask,
        PeUnmask,
        PeUnmask,
        Bind,
        Bind,
        Release,
        Signal,
        Signal,
        Signal,
        Signal,
        Signal,
        Features,
        PrivateReset,
        SharedReset,
    ]
};

impl Fuzzer {
    /// The next call, in a handler or not.
    pub fn call(&self, pe: &'static Pe, in_handler: bool) -> Call {
        let random = &self.random;
        let mut call = Call {
            function: 0,
            arguments: core::array::from_fn(|_| self.value()),
            kept_from: 1,
            unknown: false,
            sleeps: false,
        };
        match random.below(100) {
            0..50 => self.sdei(&mut call, in_handler),
            50..84 => self.psci(pe, &mut call),
            84..90 => self.architecture(&mut call),
            90..93 => {
                call.function = (0x8400_0050 + random.below(16)) | (random.below(2) * SMC64);
                call.arguments[0] =
                    random.pick(&[0, 1, 32, 64, 95, 96, 97, 191, 192, 193, self.value()]);
                call.kept_from = 4;
            }
            93 => {
                // The image's own call that arms the Secure timer.
                call.function = 0xc300_0000;
                let soon = random.below(100) * lines::microsecond();
                call.arguments[0] = random.pick(&[TIMER, TIMER_CRITICAL, self.event()]);
                call.arguments[1] = random.pick(&[soon, soon, soon, self.value()]);
            }
            _ => {
                call.unknown = true;
                let owner = random.pick(&[1, 2, 5, 6, 7, 48, 49, 50, 62, 63]);
                let top = random.pick(&[0, 1 << 31, 1 << 31 | SMC64]);
                call.function = top | owner << 24 | self.value() & 0xffff;
                // Who asks whose a service is may get an answer in four registers.
                if call.function & 0xff00 == 0xff00 {
                    call.kept_from = 4;
                    call.unknown = false;
                }
            }
        }
        if random.one_in(16) {
            call.function |= SVE_HINT;
        }
        if random.one_in(8) {
            call.function |= random.next() << 32;
        }
        call
    }

    fn sdei(&self, call: &mut Call, in_handler: bool) {
        let random = &self.random;
        let function = random.pick(&SDEI);
        call.function = function.id();
        let x = &mut call.arguments;
        match function {
            Function::Register => {
                x[0] = self.event();
                x[1] = handler::entry();
                x[3] = match random.below(8) {
                    0 => self.value(),
                    1 => random.below(4),
                    _ => random.below(2),
                };
                if x[3] & crate::event::RELATIVE != 0 {
                    x[1] = x[1].wrapping_sub(arch::vbar());
                }
                x[4] = self.mpidr();
            }
            Function::Complete | Function::CompleteAndResume if in_handler => {
                call.function = Function::Status.id();
                x[0] = self.event();
            }
            Function::Context => x[0] = random.pick(&[random.below(20), self.value()]),
            Function::GetInfo => {
                x[0] = self.event();
                x[1] = random.pick(&[random.below(6), self.value()]);
            }
            Function::RoutingSet => {
                x[0] = self.event();
                x[1] = random.pick(&[0, 1, 1, self.value()]);
                x[2] = self.mpidr();
            }
            Function::Bind => {
                // The line that ends a sleep stays the Normal world's.
                x[0] = match self.intid() {
                    intid if intid & 0xffff_ffff == WAKE_UP.intid() => lines::RAISED[0].intid(),
                    intid => intid,
                };
            }
            Function::Signal => {
                x[0] = random.pick(&[0, 0, 0, 0, 0, 0, 0, self.event()]);
                x[1] = self.mpidr();
            }
            Function::PeMask | Function::PeUnmask | Function::Features => {}
            _ => x[0] = self.event(),
        }
        if random.one_in(64) {
            // SMC32, or beyond the last.
            call.function = random.pick(&[
                call.function & !SMC64,
                0xc400_0033 + random.below(16),
                0x8400_0033,
            ]);
        }
    }

    fn psci(&self, pe: &'static Pe, call: &mut Call) {
        let random = &self.random;
        let number = match random.below(64) {
            0..10 => 1,
            10 => random.pick(&[2, 2, 0xb]),
            11..28 => 3,
            28..36 => 4,
            36..38 => 0xc,
            38 => 0xe,
            _ => random.below(0x20),
        };
        let mut wide = random.below(4) != 0;
        let x = &mut call.arguments;
        let entry = self.entry();
        let context: *const Pe = pe;
        let context = context as u64;
        match number {
            1 => *x = [self.power_state(), entry, context, x[3], x[4]],
            3 => {
                let target = self.mpidr();
                let of = if wide { target } else { target & 0xffff_ffff } & arch::AFFINITY;
                let target_pe = (0..Machine::get().pes)
                    .map(Pe::at)
                    .find(|pe| pe.mpidr() == of);
                let context: *const Pe = target_pe.unwrap_or(pe);
                *x = [target, entry, context as u64, x[3], x[4]];
            }
            4 | 0xd => {
                *x = [
                    self.mpidr(),
                    random.pick(&[0, 1, 2, 3, 4, self.value()]),
                    x[2],
                    x[3],
                    x[4],
                ]
            }
            5 | 7 | 0x10 | 0x11 => *x = [self.mpidr(), self.power_state(), x[2], x[3], x[4]],
            // As SMC64 these two are nobody's.
            8 | 9 => wide = true,
            0xa => x[0] = random.pick(&[0x8400_0000 + random.below(0x20), self.value()]),
            0xc | 0xe => *x = [entry, context, x[2], x[3], x[4]],
            0xf => x[0] = random.pick(&[0, 1, self.value()]),
            0x12 => x[0] = random.pick(&[1, 2, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff]),
            0x15 => x[0] = random.pick(&[2, 4, 0x8000_0000, 0xffff_ffff]),
            _ => {}
        }
        call.function = 0x8400_0000 | number | if wide { SMC64 } else { 0 };
        call.sleeps = matches!(number, 1 | 2 | 0xb | 0xc | 0xe);
    }

    /// An entry point: this program's, or one that is to be refused.
    fn entry(&self) -> u64 {
        let random = &self.random;
        let own = Code::Secondary.address();
        match random.below(12) {
            0 => random.pick(Machine::get().board.not_ram),
            1 => own | random.pick(&[1, 2, 3]),
            2 => random.pick(&[Machine::get().ram.end, 1 << 63, u64::MAX << 2]),
            _ => own,
        }
    }

    fn architecture(&self, call: &mut Call) {
        let random = &self.random;
        call.function = match random.below(4) {
            0 => 0x8000_0000 + random.below(8),
            1 => random.pick(&[0x8000_8000, 0x8000_7fff, 0x8000_3fff, 0x8000_0004]),
            2 => 0x8000_0000 | self.value() & 0xffff,
            _ => random.pick(&[
                0x8000_ff00,
                0x8000_ff01,
                0x8000_ff03,
                0x8400_ff00,
                0x8400_ff01,
                0x8400_ff03,
            ]),
        } | (random.below(2) * SMC64);
        // A register of EL3's, as FEATURE_AVAILABILITY has them.
        let register = 0b11 << 19
            | 6 << 16
            | random.pick(&[1, 10]) << 12
            | random.pick(&[1, 3, 5]) << 8
            | random.below(3) << 5;
        call.arguments[0] =
            random.pick(&[register, 0x8000_0000 | self.value() & 0xffff, self.value()]);
        call.kept_from = 4;
    }
}

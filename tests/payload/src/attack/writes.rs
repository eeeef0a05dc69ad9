//! Random writes to the GIC: the distributor's registers, those of every PE's redistributor, and the CPU interface's.
//!
//! Two interrupts of each PE are left as they are, since the fuzzer relies on them: see [`super::lines::LEFT_ALONE`]. LPIs stay off,
//! since a redistributor that has them writes to memory of its own choice. GICD_CTLR is put right at once.

use super::Fuzzer;
use super::lines::LEFT_ALONE;
use super::watch::Kind;
use crate::arch::{self, EC_SVC, EC_SYSREG, EC_UNKNOWN, Registers};
use crate::machine::Machine;
use crate::pe::Pe;
use core::arch::global_asm;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

/// Each PE's redistributor frame.
static FRAMES: [AtomicU64; super::MAX] = [const { AtomicU64::new(0) }; super::MAX];

const SGI_BASE: u64 = 0x1_0000;

const GICD_CTLR: u64 = 0;
const WAKER: u64 = 0x14;
const ISENABLER: u64 = 0x100;
const ICENABLER: u64 = 0x180;
const ISPENDR: u64 = 0x200;
const ICPENDR: u64 = 0x280;
const ISACTIVER: u64 = 0x300;
const ICACTIVER: u64 = 0x380;
const IPRIORITYR: u64 = 0x400;
const ICFGR: u64 = 0xc00;
const IGROUPR: u64 = 0x080;
const IGRPMODR: u64 = 0xd00;
const NSACR: u64 = 0xe00;
const INMIR: u64 = 0xf80;
const IROUTER: u64 = 0x6000;

/// With a bit for each interrupt.
const BITS: [u64; 10] = [
    IGROUPR, ISENABLER, ICENABLER, ISPENDR, ICPENDR, ISACTIVER, ISACTIVER, ICACTIVER, IGRPMODR,
    INMIR,
];

/// The real-time clock's and the UART's, and EL3's two SGIs and its timer.
const INTERESTING: u32 = 0b111 << 1 | 1 << 5 | 1 << 4;
const OF_EL3: u32 = 1 << 8 | 1 << 9 | 1 << 29;

fn read(address: u64) -> u32 {
    // SAFETY: A register of the GIC, in memory mapped as a device; reading those used here changes nothing.
    unsafe { (address as *const u32).read_volatile() }
}

fn write(address: u64, value: u32) {
    // SAFETY: A register of the GIC, in memory mapped as a device. Without LPIs no GIC writes to memory.
    unsafe { (address as *mut u32).write_volatile(value) }
}

fn write_wide(address: u64, value: u64) {
    // SAFETY: As in `write`.
    unsafe { (address as *mut u64).write_volatile(value) }
}

/// The redistributor frame of the PE with this affinity.
fn frame(affinity: u64) -> u64 {
    const TYPER: u64 = 8;
    const LAST: u32 = 1 << 4;
    for base in Machine::get().gicr.into_iter().filter(|&base| base != 0) {
        let mut frame = base;
        loop {
            let of = u64::from(read(frame + TYPER + 4));
            if of == affinity & 0xff_ffff | affinity >> 8 & 0xff00_0000 {
                return frame;
            }
            if read(frame + TYPER) & LAST != 0 {
                break;
            }
            frame += 2 * SGI_BASE;
        }
    }
    panic!("a PE without a redistributor")
}

/// GICD_CTLR as this program has it.
static CTLR: AtomicU32 = AtomicU32::new(0);

/// Finds every PE's redistributor.
pub fn init() {
    CTLR.store(read(Machine::get().gicd + GICD_CTLR), Relaxed);
    for (index, found) in FRAMES.iter().enumerate().take(Machine::get().pes) {
        found.store(frame(Pe::at(index).mpidr()), Relaxed);
    }
}

/// The redistributor frame of the PE at `index`.
pub fn frame_of(index: usize) -> u64 {
    FRAMES[index].load(Relaxed)
}

/// Makes interrupts of the PE at `index` active.
pub fn make_active(index: usize, bits: u32) {
    write(frame_of(index) + SGI_BASE + ISACTIVER, bits);
}

/// Writes GICR_WAKER of the PE at `index`.
pub fn waker(index: usize, value: u32) {
    write(frame_of(index) + WAKER, value);
}

/// Whether interrupts can be marked as non-maskable (FEAT_GICv3_NMI).
pub fn has_nmi() -> bool {
    const GICD_TYPER: u64 = 4;
    read(Machine::get().gicd + GICD_TYPER) & 1 << 9 != 0
}

/// Marks an interrupt as non-maskable, or takes the mark away; `index` is the PE's if it is private.
pub fn mark_nmi(index: usize, intid: u64, mark: bool) {
    let base = if intid < 32 {
        frame_of(index) + SGI_BASE
    } else {
        Machine::get().gicd
    };
    let register = base + INMIR + intid / 32 * 4;
    let bit = 1 << (intid % 32);
    let old = read(register);
    write(register, if mark { old | bit } else { old & !bit });
}

/// Enables the interrupt that ends this PE's sleep.
pub fn enable_wake_up(index: usize) {
    write(Machine::get().gicd + GICD_CTLR, CTLR.load(Relaxed));
    write(frame_of(index) + WAKER, 0);
    write(frame_of(index) + SGI_BASE + ISENABLER, LEFT_ALONE);
}

/// Puts right what was written to this PE's redistributor, so far as the Normal world can.
pub fn restore_redistributor(index: usize) {
    let frame = frame_of(index) + SGI_BASE;
    for register in [ICENABLER, ICACTIVER, ICPENDR] {
        write(frame + register, u32::MAX);
    }
    write(frame + INMIR, 0);
    write(frame + ICFGR + 4, 0);
}

/// Puts right what was written to the distributor, so far as the Normal world can.
pub fn restore_distributor() {
    let gicd = Machine::get().gicd;
    for word in 1..(crate::line::intids() / 32).min(32) {
        for register in [ICENABLER, ICACTIVER, ICPENDR] {
            write(gicd + register + 4 * word, u32::MAX);
        }
        write(gicd + INMIR + 4 * word, 0);
    }
}

impl Fuzzer {
    /// Writes something somewhere.
    pub fn write(&self) {
        match self.random.below(16) {
            0..7 => self.write_distributor(),
            7..13 => self.write_redistributor(),
            _ => self.write_interface(),
        }
    }

    fn bits(&self, interesting: u32) -> u32 {
        let random = &self.random;
        match random.below(6) {
            0 => u32::MAX,
            1 => interesting,
            2 => random.next() as u32,
            3 => 1 << random.below(32) | 1 << random.below(32),
            _ => interesting & random.next() as u32,
        }
    }

    fn write_noted(&self, address: u64, value: u32) {
        if self.options().no_nmi && address & 0xf80 == INMIR {
            return;
        }
        self.note(Kind::Write, address, &[value.into()]);
        write(address, value);
    }

    /// Replaces what of a register isn't in `kept`.
    fn write_but(&self, address: u64, value: u32, kept: u32) {
        let old = if kept == 0 { 0 } else { read(address) & kept };
        self.write_noted(address, value & !kept | old);
    }

    fn write_distributor(&self) {
        let random = &self.random;
        let gicd = Machine::get().gicd;
        let words = crate::line::intids() / 32;
        let word = if random.one_in(4) {
            random.below(words)
        } else {
            1
        };
        let value = self.bits(INTERESTING);
        match random.below(20) {
            0 => {
                // Without it nothing wakes a PE: nobody goes off or sleeps in between.
                self.while_printing(|| {
                    self.write_noted(gicd + GICD_CTLR, random.next() as u32);
                    write(gicd + GICD_CTLR, CTLR.load(Relaxed));
                });
            }
            1 => self.write_noted(
                gicd + random.pick(&[0x40, 0x48, 0x50, 0x58]),
                self.intid() as u32,
            ),
            2..5 => {
                let intid = (self.intid() & 0x3ff).min(32 * words - 1);
                let route = random.pick(&[self.mpidr(), self.mpidr(), 1 << 31, self.value()]);
                self.note(Kind::Write, gicd + IROUTER + 8 * intid, &[route]);
                write_wide(gicd + IROUTER + 8 * intid, route);
            }
            5..7 => self.write_noted(gicd + ICFGR + 8 * word + 4 * random.below(2), value),
            7..9 => self.write_noted(
                gicd + IPRIORITYR + 32 * word + 4 * random.below(8),
                random.next() as u32,
            ),
            9 => self.write_noted(gicd + NSACR + 8 * word + 4 * random.below(2), value),
            _ => self.write_noted(gicd + random.pick(&BITS) + 4 * word, value),
        }
    }

    fn write_redistributor(&self) {
        let random = &self.random;
        let frame = frame_of(random.below(Machine::get().pes as u64) as usize);
        let sgi = frame + SGI_BASE;
        let value = self.bits(OF_EL3);
        match random.below(20) {
            0 if !self.options().no_waker => {
                // Whatever this does to a PE, it isn't for long.
                self.while_printing(|| {
                    self.write_noted(frame + WAKER, random.next() as u32);
                    self.write_noted(frame + WAKER, 0);
                });
            }
            1 => self.write_noted(sgi + ICFGR, random.next() as u32),
            // PPI 14 of the word, INTID 30, has bits 29 and 28.
            2 => self.write_but(sgi + ICFGR + 4, random.next() as u32, 0b11 << 28),
            3..6 => {
                let word = random.below(8);
                let kept = match word {
                    0 => 0xff00,
                    7 => 0xff_0000,
                    _ => 0,
                };
                self.write_but(sgi + IPRIORITYR + 4 * word, random.next() as u32, kept);
            }
            6 => self.write_noted(sgi + NSACR, value),
            7 => {
                // LPIs' tables, which nothing reads while LPIs are off.
                let register = frame + random.pick(&[0x70, 0x78]);
                self.note(Kind::Write, register, &[]);
                write_wide(register, random.next());
            }
            _ => {
                let register = random.pick(&BITS);
                // Clearing a pending or an active bit of them keeps nobody asleep.
                let value = match register {
                    INMIR => value & !LEFT_ALONE,
                    IGROUPR => value | LEFT_ALONE,
                    _ => value & !LEFT_ALONE,
                };
                self.write_noted(sgi + register, value);
            }
        }
    }

    /// Writes to, or reads, a register of the CPU interface, of Group 0's among them.
    fn write_interface(&self) {
        let first = attack_interface as *const () as u64;
        let count = (attack_interface_end as *const () as u64 - first) / 8;
        let number = self.random.below(count);
        let mut registers = Registers::pattern(first + 8 * number);
        registers.x[0] = match self.random.below(4) {
            // SGI 8 or 9 to four PEs, in the registers that raise SGIs.
            0 => self.random.pick(&[8, 9]) << 24 | 0xf,
            1 => self.random.pick(&[8, 9]) << 24 | 1 << 40,
            2 => self.intid() & 0x3ff,
            _ => self.value(),
        };
        self.note(Kind::Interface, number, &[registers.x[0]]);
        let before = registers.clone();
        // SAFETY: One instruction at this EL, which may be UNDEFINED or trap, and SVC.
        unsafe { arch::enter(&mut registers) };
        let is_right = matches!(registers.class(), EC_SVC | EC_UNKNOWN | EC_SYSREG);
        self.expect_that(
            "an access to the CPU interface ended so",
            is_right,
            registers.esr,
        );
        for index in 1..31 {
            let is_kept = registers.x[index] == before.x[index];
            self.expect_that(
                "a register after an access to the CPU interface",
                is_kept,
                registers.x[index],
            );
        }
    }
}

unsafe extern "C" {
    fn attack_interface();
    fn attack_interface_end();
}

// An access each, 8 bytes with its SVC.
global_asm!(
    ".section .text.runtime, \"ax\"",
    ".global attack_interface, attack_interface_end",
    "attack_interface:",
    ".irp register, S3_0_C12_C11_7, S3_0_C12_C11_6, S3_0_C12_C8_1, S3_0_C12_C8_3, S3_0_C12_C8_4, S3_0_C12_C12_6, S3_0_C12_C11_1",
    // ICC_SGI0R, ICC_ASGI1R, ICC_EOIR0, ICC_BPR0, ICC_AP0R0, ICC_IGRPEN0, ICC_DIR.
    "msr \\register, x0",
    "svc #0",
    ".endr",
    ".irp register, S3_0_C12_C8_0, S3_0_C12_C8_2, S3_0_C12_C8_4, S3_0_C12_C12_6, S3_7_C14_C2_1",
    // ICC_IAR0, ICC_HPPIR0, ICC_AP0R0, ICC_IGRPEN0, CNTPS_CTL.
    "mrs x0, \\register",
    "svc #0",
    ".endr",
    "attack_interface_end:",
);

//! What is in the registers of a PE that starts: nothing of what ran there before, and nothing that has an effect on
//! software which does not know it.

use super::{Env, tests};
use crate::arch;
use crate::check::{Outcome, equal};
use crate::pe::{Job, Pe};
use arm_sysregs::el1::accessors::*;
use arm_sysregs::el2::accessors::*;
use arm_sysregs::el2::registers::*;
use core::arch::asm;
use core::sync::atomic::Ordering::Acquire;

tests! { "handover":
    2 nothing_is_in_the_registers,
    2 new_registers_have_no_effect,
}

const CPU_OFF: u64 = 0x8400_0002;

/// Does `job` on the first of the other PEs, which ends with CPU_OFF, and turns that PE on again.
fn off_and_on(env: &'static Env, job: Job) -> Outcome<&'static Pe> {
    let pe = env.other(0)?;
    pe.start(job, 0)?;
    pe.await_off()?;
    pe.turn_on()?;
    Ok(pe)
}

fn nothing_is_in_the_registers(env: &'static Env) -> Outcome {
    let pe = off_and_on(env, |pe, _| {
        pe.gone();
        // SAFETY: CPU_OFF does not return, so nobody misses what was in these registers.
        unsafe {
            asm!(
                "mov x1, x0", "mov x2, x0", "mov x3, x0", "mov x4, x0", "mov x5, x0", "mov x6, x0", "mov x7, x0",
                "mov x8, x0", "mov x11, x0", "mov x12, x0", "mov x13, x0", "mov x14, x0", "mov x15, x0",
                "mov x16, x0", "mov x17, x0", "mov x18, x0", "mov x20, x0", "mov x21, x0", "mov x22, x0",
                "mov x23, x0", "mov x28, x0", "mov x29, x0", "ldr w0, ={off}", "smc #0", "brk #1", ".ltorg",
                off = const CPU_OFF, in("x0") 0x5ec7_e75e_c7e7_5ec7_u64, options(noreturn)
            )
        }
    })?;
    // entry.s uses the others itself before it stores them.
    let kept = (1..=8).chain(11..=18).chain(20..=23).chain(28..=29);
    kept.into_iter()
        .try_for_each(|x| equal("a register out of CPU_ON", pe.entry_x[x].load(Acquire), 0))
}

/// Calls `$each` with each register of fine-grained traps that this PE has: its name, how it is read and written, and
/// the value with which nothing traps.
macro_rules! trap_registers {
    ($each:ident) => {
        let mmfr0 = read_id_aa64mmfr0_el1();
        // All fields whose name begins with n, in the manual's order from the highest.
        if mmfr0.fgt() >= 1 {
            $each!(
                read_hfgrtr_el2,
                write_hfgrtr_el2,
                HfgrtrEl2,
                0xfff4_0000_0000_0000
            );
            $each!(
                read_hfgwtr_el2,
                write_hfgwtr_el2,
                HfgwtrEl2,
                0xfff4_0000_0000_0000
            );
            $each!(
                read_hfgitr_el2,
                write_hfgitr_el2,
                HfgitrEl2,
                0x0f80_0000_0000_0000
            );
            $each!(
                read_hdfgrtr_el2,
                write_hdfgrtr_el2,
                HdfgrtrEl2,
                0x7800_0000_0000_0000
            );
            $each!(
                read_hdfgwtr_el2,
                write_hdfgwtr_el2,
                HdfgwtrEl2,
                0x7000_0000_0000_0000
            );
            if read_id_aa64pfr0_el1().amu() >= 1 {
                $each!(read_hafgrtr_el2, write_hafgrtr_el2, HafgrtrEl2, 0);
            }
        }
        if mmfr0.ecv() >= 2 {
            $each!(read_cntpoff_el2, write_cntpoff_el2, CntpoffEl2, 0);
        }
    };
}

/// An OS that knows none of these registers runs as if EL3 had not opened them, whatever was there before it.
fn new_registers_have_no_effect(env: &'static Env) -> Outcome {
    if arch::el() < 2 {
        return Ok(());
    }
    let pe = off_and_on(env, |pe, _| {
        macro_rules! spoil {
            ($read:ident, $write:ident, $register:ident, $free:literal) => {
                #[allow(unused_unsafe)]
                // SAFETY: They trap or shift what EL1 does, and nothing runs there.
                unsafe {
                    $write($register::from_bits_retain(!$free))
                }
            };
        }
        trap_registers!(spoil);
        if read_id_aa64mmfr1_el1().hcx() >= 1 {
            // SAFETY: As above.
            unsafe { write_hcrx_el2(HcrxEl2::FNXS) };
        }
        pe.gone();
        crate::psci::cpu_off()
    })?;
    pe.run(
        |_, _| {
            macro_rules! is_free {
                ($read:ident, $write:ident, $register:ident, $free:literal) => {
                    // What of it this PE does not have reads as 0.
                    equal(stringify!($read), $read().bits() & !$free, 0)?;
                };
            }
            trap_registers!(is_free);
            if read_id_aa64mmfr1_el1().hcx() >= 1 {
                const MSCEN: u64 = 1 << 11;
                equal("HCRX_EL2", read_hcrx_el2().bits() & !MSCEN, 0)?;
            }
            if read_id_aa64pfr1_el1().sme() >= 1 && read_id_aa64mmfr0_el1().fgt() >= 1 {
                let free = HfgrtrEl2::NTPIDR2_EL0 | HfgrtrEl2::NSMPRI_EL1;
                equal(
                    "HFGRTR_EL2 of SME",
                    (read_hfgrtr_el2() & free).bits(),
                    free.bits(),
                )?;
            }
            Ok(())
        },
        0,
    )
}

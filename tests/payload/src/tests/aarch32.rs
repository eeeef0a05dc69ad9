//! Code in AArch32 at EL0 that is interrupted by events.

use super::{Env, tests};
use crate::arch::{self, Registers};
use crate::check::{Outcome, check, equal};
use crate::event::{self, TIMER, TIMER_CRITICAL, arm_timer, listen};
use crate::pe::Finish;
use crate::sdei;
use arm_sysregs::el1::accessors::read_id_aa64pfr0_el1;
use core::arch::global_asm;
use core::sync::atomic::Ordering::*;

tests! { "aarch32":
    1 interrupted_at_el0,
}

// Spins until the word at r1 is set, then SVC; A32 code.
global_asm!(
    ".section .text.aarch32, \"ax\"",
    ".balign 4",
    ".global spin_aarch32",
    "spin_aarch32:",
    ".inst 0xe5910000", // ldr r0, [r1]
    ".inst 0xe320f001", // yield
    ".inst 0xe3500000", // cmp r0, #0
    ".inst 0x0afffffb", // beq spin_aarch32
    ".inst 0xef000000", // svc #0
);

unsafe extern "C" {
    fn spin_aarch32();
}

/// Length of the loop, and of all of it.
const LOOP: u64 = 16;
const LENGTH: u64 = LOOP + 4;

/// PSTATE: AArch32's User mode, in A32, with SError, IRQ and FIQ masked; and the mode's field.
const USER: u64 = 0x10 | 0b111 << 6;
const MODE: u64 = 0x1f;
/// What CMP of 1 with 0 leaves in NZCV: C.
const FLAGS: u64 = 0b0010 << 28;

/// Ticks until the timer is over; if that is before the loop is entered, it is armed again.
const SOON: u64 = 10_000;

fn interrupted_at_el0(env: &'static Env) -> Outcome {
    const AARCH32: u8 = 2;
    if read_id_aa64pfr0_el1().el0() != AARCH32 {
        return Ok(());
    }
    let me = env.me();
    // As in `Place::alias`.
    let own_view = arch::el() == 1 || arch::is_vhe_host();
    let alias = if own_view { arch::AARCH32_ALIAS } else { 0 };
    let start = spin_aarch32 as *const () as u64 + alias;
    for event in [TIMER, TIMER_CRITICAL] {
        me.words[0].store(event, Release);
        listen(event, |pe| {
            let event = pe.words[0].load(Acquire);
            if event::handling(event, pe).x(3) & MODE == USER & MODE {
                pe.leave.store(1, Release);
            } else {
                arm_timer(event, SOON);
            }
            Finish::complete()
        })?;
        equal("PE_UNMASK", sdei::pe_unmask(), 0)?;
        for _ in 0..10 {
            let mut registers = Registers::pattern(start);
            for (index, x) in registers.x.iter_mut().enumerate() {
                *x = 0x3232_0000 | index as u64;
            }
            registers.x[1] = me.leave.as_ptr() as u64 + alias;
            registers.pstate = USER;
            me.leave.store(0, Release);
            equal("arming the Secure timer", arm_timer(event, SOON), 0)?;
            // SAFETY: The code ends with SVC, which this EL takes, and r1 is the word's address as EL0 sees it.
            unsafe { arch::enter(&mut registers) };
            let class = registers.class();
            equal("how AArch32 ended", class, arch::EC_SVC_AARCH32)?;
            equal("where AArch32 ended", registers.pc, start + LENGTH)?;
            let pstate = registers.pstate & (0xf << 28 | MODE);
            equal("PSTATE of AArch32", pstate, FLAGS | USER & MODE)?;
            for index in 2..15 {
                let want = 0x3232_0000 | index as u64;
                equal("r2..r14 of AArch32", registers.x[index] & 0xffff_ffff, want)?;
            }
            let seen = event::handling(event, me);
            let pc = seen.x(2).wrapping_sub(start);
            check("the interrupted PC is in the code", pc < LENGTH)?;
            equal("event", seen.x(0), event)?;
        }
        equal("PE_MASK", sdei::pe_mask(), 1)?;
        equal("UNREGISTER", sdei::unregister(event), 0)?;
    }
    Ok(())
}

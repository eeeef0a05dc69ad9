//! Code in AArch32 at EL0, or at EL1 under this EL2, that is interrupted by events and, at EL1, makes calls.

use super::{Env, tests};
use crate::arch::{self, Code, Registers};
use crate::check::{Outcome, check, equal};
use crate::event::{self, TIMER, TIMER_CRITICAL, arm_timer, listen};
use crate::pe::Finish;
use crate::sdei;
use arm_sysregs::el1::accessors::{read_id_aa64isar0_el1, read_id_aa64pfr0_el1};
use arm_sysregs::el2::accessors::{read_hcr_el2, write_hcr_el2};
use arm_sysregs::el2::registers::HcrEl2;
use core::arch::global_asm;
use core::sync::atomic::Ordering::*;

tests! { "aarch32":
    1 interrupted_at_el0,
    1 interrupted_at_el1,
    1 calls_from_el1,
    1 trapped_at_el1,
}

// A32 code. The first two spin until the word at r1 is set, then SVC or HVC; the third makes a call; the last reads
// ICC_IAR0.
global_asm!(
    ".section .text.aarch32, \"ax\"",
    ".macro spin_until_set",
    "1:",
    ".inst 0xe5910000", // ldr r0, [r1]
    ".inst 0xe320f001", // yield
    ".inst 0xe3500000", // cmp r0, #0
    ".inst 0x0afffffb", // beq 1b
    ".endm",
    ".balign 4",
    ".global spin_aarch32_svc, spin_aarch32_hvc, smc_aarch32_hvc, iar0_aarch32_hvc",
    "spin_aarch32_svc:",
    "spin_until_set",
    ".inst 0xef000000", // svc #0
    "spin_aarch32_hvc:",
    "spin_until_set",
    ".inst 0xe1400070", // hvc #0
    "smc_aarch32_hvc:",
    ".inst 0xe1600070", // smc #0
    ".inst 0xe1400070", // hvc #0
    "iar0_aarch32_hvc:",
    ".inst 0xee1c0f18", // mrc p15, 0, r0, c12, c8, 0
    ".inst 0xe1400070", // hvc #0
);

unsafe extern "C" {
    fn spin_aarch32_svc();
    fn spin_aarch32_hvc();
    fn smc_aarch32_hvc();
    fn iar0_aarch32_hvc();
}

/// Length of the loop, and of all of it.
const LOOP: u64 = 16;
const LENGTH: u64 = LOOP + 4;

/// PSTATE: AArch32's User and Supervisor modes, in A32, with SError, IRQ and FIQ masked; and the mode's field.
const USER: u64 = 0x10 | 0b111 << 6;
const SUPERVISOR: u64 = 0x13 | 0b111 << 6;
const MODE: u64 = 0x1f;
/// ID_AA64PFR0_EL1.EL0 and EL1 where they can run AArch32.
const AARCH32: u8 = 2;
/// What CMP of 1 with 0 leaves in NZCV: C.
const FLAGS: u64 = 0b0010 << 28;

/// Ticks until the timer is over; if that is before the loop is entered, it is armed again.
const SOON: u64 = 10_000;

fn interrupted_at_el0(env: &'static Env) -> Outcome {
    if read_id_aa64pfr0_el1().el0() != AARCH32 {
        return Ok(());
    }
    // As in `Place::alias`.
    let own_view = arch::el() == 1 || arch::is_vhe_host();
    let alias = if own_view { arch::aarch32_alias() } else { 0 };
    let code = spin_aarch32_svc as *const () as u64;
    interrupted(env, USER, code, alias, arch::EC_SVC_AARCH32)
}

/// Whether EL1 can be a guest in AArch32.
fn has_guest() -> bool {
    arch::el() == 2 && read_id_aa64pfr0_el1().el1() == AARCH32
}

fn interrupted_at_el1(env: &'static Env) -> Outcome {
    if !has_guest() {
        return Ok(());
    }
    let code = spin_aarch32_hvc as *const () as u64;
    arch::set_aarch32_guest(true);
    let outcome = interrupted(env, SUPERVISOR, code, 0, arch::EC_HVC_AARCH32);
    arch::set_aarch32_guest(false);
    outcome
}

/// Interrupts the loop at `code` with PSTATE `pstate` by each of the timer's events. The loop finds itself and its word
/// at their addresses plus `alias`, and ends with an exception of class `end`.
fn interrupted(env: &'static Env, pstate: u64, code: u64, alias: u64, end: u64) -> Outcome {
    let me = env.me();
    let start = code.wrapping_add(alias);
    me.words[1].store(pstate & MODE, Release);
    for event in [TIMER, TIMER_CRITICAL] {
        me.words[0].store(event, Release);
        listen(event, |pe| {
            let event = pe.words[0].load(Acquire);
            if event::handling(event, pe).x(3) & MODE == pe.words[1].load(Acquire) {
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
            registers.x[1] = (me.leave.as_ptr() as u64).wrapping_add(alias);
            registers.pstate = pstate;
            me.leave.store(0, Release);
            equal("arming the Secure timer", arm_timer(event, SOON), 0)?;
            // SAFETY: The code ends with an exception to this EL, and r1 is the word's address as it sees it.
            unsafe { arch::enter(&mut registers) };
            let class = registers.class();
            equal("how AArch32 ended", class, end)?;
            equal("where AArch32 ended", registers.pc, start + LENGTH)?;
            let after = registers.pstate & (0xf << 28 | MODE);
            equal("PSTATE of AArch32", after, FLAGS | pstate & MODE)?;
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

/// Makes the call `function` from Supervisor mode with `arguments` in r1..; returns r0..r3, and checks that nothing
/// else changed, and neither did r1..r3 unless `results`.
fn call(function: u32, arguments: &[u32], results: bool) -> Outcome<[u32; 4]> {
    let start = smc_aarch32_hvc as *const () as u64;
    let mut registers = Registers::pattern(start);
    for (index, x) in registers.x.iter_mut().enumerate() {
        *x = 0x3232_0000 | index as u64;
    }
    registers.x[0] = function.into();
    for (x, &argument) in registers.x[1..].iter_mut().zip(arguments) {
        *x = argument.into();
    }
    registers.pstate = SUPERVISOR | FLAGS;
    let before = registers.clone();
    // SAFETY: The code ends with HVC.
    unsafe { arch::enter(&mut registers) };
    equal("how AArch32 ended", registers.class(), arch::EC_HVC_AARCH32)?;
    equal("where AArch32 ended", registers.pc, start + 8)?;
    let kept = 0xf << 28 | MODE;
    equal(
        "PSTATE of AArch32",
        registers.pstate & kept,
        before.pstate & kept,
    )?;
    for index in if results { 4 } else { 1 }..15 {
        let low = |registers: &Registers| registers.x[index] as u32;
        equal("r1..r14 after a call", low(&registers), low(&before))?;
    }
    Ok([0, 1, 2, 3].map(|index| registers.x[index] as u32))
}

/// With SCR_EL3.FIQ set and HCR_EL2.FMO clear, an access to Group 0's registers at EL1 traps to EL3. EL1 in AArch32 can't
/// be given an exception by EL3: this EL is told that the instruction is UNDEFINED. At EL0 in AArch32 no access traps to
/// EL3, which sets no trap that reaches there; the host tests of `platform::undefined` have that case.
fn trapped_at_el1(_: &'static Env) -> Outcome {
    if !has_guest() {
        return Ok(());
    }
    arch::set_aarch32_guest(true);
    let hcr = read_hcr_el2();
    let start = iar0_aarch32_hvc as *const () as u64;
    let mut registers = Registers::pattern(start);
    registers.pstate = SUPERVISOR | FLAGS;
    // SAFETY: Interrupts are masked here, and at EL1. The code ends with HVC, or before it.
    unsafe {
        write_hcr_el2(hcr & !HcrEl2::FMO);
        arch::synchronize();
        arch::enter(&mut registers);
        write_hcr_el2(hcr);
    }
    arch::set_aarch32_guest(false);
    equal("how AArch32 ended", registers.class(), arch::EC_UNKNOWN)?;
    equal("where AArch32 ended", registers.pc, start)?;
    let kept = 0xf << 28 | MODE;
    equal(
        "PSTATE of AArch32",
        registers.pstate & kept,
        (SUPERVISOR | FLAGS) & kept,
    )?;
    for (index, want) in Registers::pattern(start).x.into_iter().enumerate().take(15) {
        let low = |x: u64| u64::from(x as u32);
        equal("r0..r14 of AArch32", low(registers.x[index]), low(want))?;
    }
    Ok(())
}

/// The SMC32 calls of SMCCC, PSCI and TRNG are there for AArch32, and nothing else is.
fn calls_from_el1(env: &'static Env) -> Outcome {
    if !has_guest() {
        return Ok(());
    }
    arch::set_aarch32_guest(true);
    let outcome = calls(env);
    arch::set_aarch32_guest(false);
    outcome
}

fn calls(env: &'static Env) -> Outcome {
    const HINT: u32 = 1 << 16;
    const NOT_SUPPORTED: u32 = u32::MAX;
    const ALREADY_ON: u32 = -4i32 as u32;
    const INVALID_ADDRESS: u32 = -9i32 as u32;
    use smccc::{arch as id, psci};
    let own = env.me().mpidr() as u32;
    let entry = Code::Secondary.address() as u32;
    let has_rng = read_id_aa64isar0_el1().rndr() != 0;
    let answered = [
        (id::SMCCC_VERSION, [0; 3], 0x1_0005),
        (id::SMCCC_VERSION | HINT, [0; 3], 0x1_0005),
        (id::SMCCC_ARCH_FEATURES, [id::SMCCC_VERSION, 0, 0], 0),
        // The SMC64 call is not for this caller.
        (id::SMCCC_ARCH_FEATURES, [0xc000_0003, 0, 0], NOT_SUPPORTED),
        (id::SMCCC_ARCH_SOC_ID, [0; 3], NOT_SUPPORTED),
        (psci::PSCI_VERSION, [0; 3], 0x1_0003),
        (psci::PSCI_VERSION | HINT, [0; 3], 0x1_0003),
        (psci::PSCI_AFFINITY_INFO_32, [own, 0, 0], 0),
        (psci::PSCI_CPU_ON_32, [own, entry, 0], ALREADY_ON),
        // T32 code may be at any even address, A32 code only at every fourth.
        (psci::PSCI_CPU_ON_32, [own, entry | 3, 0], ALREADY_ON),
        (psci::PSCI_CPU_ON_32, [own, entry | 2, 0], INVALID_ADDRESS),
        (
            psci::PSCI_CPU_ON_32,
            [own, env.machine.board.el3.start as u32, 0],
            INVALID_ADDRESS,
        ),
        (psci::PSCI_FEATURES, [psci::PSCI_CPU_ON_32, 0, 0], 0),
        (psci::PSCI_MIGRATE_INFO_TYPE, [0; 3], 2),
        (
            0x8400_0050,
            [0; 3],
            if has_rng { 0x1_0000 } else { NOT_SUPPORTED },
        ),
    ];
    for (function, arguments, want) in answered {
        equal(
            "a call from AArch32",
            call(function, &arguments, false)?[0],
            want,
        )?;
    }
    // SMC64 calls, SDEI's among them; others that are nobody's.
    for function in [
        0xc000_0003,
        0xc400_0000,
        0xc400_0003,
        0xc400_0004,
        0xc400_0020,
        0xc400_0024,
        0xc400_0053,
        0xc300_0000,
        0x8400_0020,
        0x8400_001f,
        0x8000_7777,
        0xc000_0003 | HINT,
        0xbf00_0000,
        0,
    ] {
        let answer = call(function, &[], false)?[0];
        equal("no call for AArch32", answer, NOT_SUPPORTED)?;
    }
    if has_rng {
        let [status, high, middle, low] = call(0x8400_0053, &[96], true)?;
        equal("TRNG_RND32", status, 0)?;
        check("entropy", high | middle | low != 0)?;
    }
    Ok(())
}

//! The calling convention itself (DEN0028).

use super::{Env, tests};
use crate::arch::{self, Code, EC_SVC, Registers};
use crate::check::{Outcome, check, equal};
use crate::psci;
use smccc::arch as id;

tests! { "smccc":
    1 version,
    1 arch_features,
    1 unknown_ids,
    1 registers_kept,
    1 hint_bit,
    1 other_immediate,
}

/// Makes the call `x0` (with patterns in all other registers) and returns what the registers were after it.
pub fn exact(code: Code, function: u64) -> Registers {
    let mut registers = Registers::pattern(code.address());
    registers.x[0] = function;
    registers.pstate |= 0b1010 << 28;
    // SAFETY: The snippets that this is called with run at this EL and end with SVC.
    unsafe { arch::enter(&mut registers) };
    registers
}

/// Checks that a fast call answered `answer` in x0 and touched no other register.
pub fn only_x0(what: &'static str, function: u64, answer: u64) -> Outcome {
    let after = exact(Code::SmcThenSvc, function);
    equal(what, after.x[0], answer)?;
    untouched(what, &after, 1)
}

/// Checks that x`from`..x30 and NZCV are what [`exact`] put there and that SVC ended the snippet.
pub fn untouched(what: &'static str, after: &Registers, from: usize) -> Outcome {
    let before = Registers::pattern(0);
    equal(what, after.class(), EC_SVC)?;
    for index in from..31 {
        equal(what, after.x[index], before.x[index])?;
    }
    equal(what, after.pstate >> 28, 0b1010)
}

fn version(_: &'static Env) -> Outcome {
    let version = psci::call32(id::SMCCC_VERSION, 0, 0, 0);
    check(
        "SMCCC_VERSION is at least 1.1",
        (0x1_0001..0x1_ffff).contains(&version),
    )?;
    only_x0(
        "SMCCC_VERSION",
        id::SMCCC_VERSION.into(),
        version.cast_unsigned(),
    )
}

fn arch_features(_: &'static Env) -> Outcome {
    let features = |function| psci::call32(id::SMCCC_ARCH_FEATURES, function, 0, 0);
    equal(
        "ARCH_FEATURES(SMCCC_VERSION)",
        features(id::SMCCC_VERSION),
        0,
    )?;
    equal(
        "ARCH_FEATURES(ARCH_FEATURES)",
        features(id::SMCCC_ARCH_FEATURES),
        0,
    )?;
    equal(
        "ARCH_FEATURES of no function",
        features(0x8000_7777),
        psci::NOT_SUPPORTED,
    )
}

fn unknown_ids(_: &'static Env) -> Outcome {
    for function in [
        0xc400_001f,
        0xc400_0033,
        0xc400_003f,
        0xc400_ffff,
        0xc300_0001,
        0xc600_0000,
        0xff00_ffff,
    ] {
        only_x0("unknown SMC64 call", function, u64::MAX)?;
    }
    for function in [
        0x8400_001f,
        0x8000_7777,
        0x8300_0001,
        0x8600_0001,
        0xbf00_ffff,
    ] {
        let after = exact(Code::SmcThenSvc, function);
        equal("unknown SMC32 call", after.x[0] & 0xffff_ffff, 0xffff_ffff)?;
        untouched("unknown SMC32 call", &after, 1)?;
    }
    // Yielding calls: none is offered.
    for function in [0, 0x0200_0000, 0x3200_0000, 0x7200_0000] {
        let after = exact(Code::SmcThenSvc, function);
        equal("yielding call", after.x[0] & 0xffff_ffff, 0xffff_ffff)?;
        untouched("yielding call", &after, 1)?;
    }
    Ok(())
}

fn registers_kept(_: &'static Env) -> Outcome {
    let version = psci::call32(smccc::psci::PSCI_VERSION, 0, 0, 0).cast_unsigned();
    only_x0("PSCI_VERSION", smccc::psci::PSCI_VERSION.into(), version)
}

fn hint_bit(_: &'static Env) -> Outcome {
    const HINT: u32 = 1 << 16;
    let version = psci::call32(id::SMCCC_VERSION, 0, 0, 0);
    equal(
        "SMCCC_VERSION with the SVE hint",
        psci::call32(id::SMCCC_VERSION | HINT, 0, 0, 0),
        version,
    )?;
    let version = psci::call32(smccc::psci::PSCI_VERSION, 0, 0, 0);
    let hinted = psci::call32(smccc::psci::PSCI_VERSION | HINT, 0, 0, 0);
    equal("PSCI_VERSION with the SVE hint", hinted, version)
}

fn other_immediate(_: &'static Env) -> Outcome {
    let after = exact(Code::Smc1ThenSvc, id::SMCCC_VERSION.into());
    equal(
        "SMC #1 asking for SMCCC_VERSION",
        after.x[0] & 0xffff_ffff,
        0xffff_ffff,
    )?;
    untouched("SMC #1", &after, 1)
}

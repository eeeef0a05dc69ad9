//! The calling convention itself (DEN0028), and accesses that could end in EL3.

use super::{Env, interrupted, tests};
use crate::arch::{self, Code, EC_SME, EC_SVC, EC_SVE, EC_SYSREG, EC_UNKNOWN, Registers};
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
    1 el0_has_no_smc,
    1 accesses_work_or_are_undefined,
    1 el3_registers_are_undefined,
}

/// NZCV that [`exact`] sets.
const FLAGS: u64 = 0b1010;

/// Makes the call `function` with `arguments` in x1.. and patterns in all other registers; returns what the
/// registers were after it.
pub fn exact(code: Code, function: u64, arguments: &[u64]) -> Registers {
    let mut registers = Registers::pattern(code.address());
    registers.x[0] = function;
    registers.x[1..=arguments.len()].copy_from_slice(arguments);
    registers.pstate |= FLAGS << 28;
    // SAFETY: The snippets that this is called with run at this EL and end with SVC.
    unsafe { arch::enter(&mut registers) };
    registers
}

/// Checks that a fast call with no arguments answers `answer` in x0 and touches no other register.
pub fn only_x0(what: &'static str, function: u64, answer: u64) -> Outcome {
    let after = exact(Code::SmcThenSvc, function, &[]);
    equal(what, after.x[0], answer)?;
    untouched(what, &after, &[])
}

/// Checks that x1..x30 and NZCV are what [`exact`] put there and that SVC ended the snippet.
pub fn untouched(what: &'static str, after: &Registers, arguments: &[u64]) -> Outcome {
    let before = Registers::pattern(0);
    equal(what, after.class(), EC_SVC)?;
    for index in 1..31 {
        let want = arguments.get(index - 1).copied().unwrap_or(before.x[index]);
        equal(what, after.x[index], want)?;
    }
    equal(what, after.pstate >> 28, FLAGS)
}

fn version(_: &'static Env) -> Outcome {
    let version = psci::call32(id::SMCCC_VERSION, 0, 0, 0);
    equal("SMCCC_VERSION", version, 0x1_0005)?;
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
    )?;
    equal(
        "ARCH_FEATURES of a vendor's range",
        features(0x8700_0000),
        psci::NOT_SUPPORTED,
    )
}

fn unknown_ids(_: &'static Env) -> Outcome {
    const SMC64: [u64; 8] = [
        0xc400_001f,
        0xc400_0033,
        0xc400_003f,
        0xc400_ffff,
        0xc300_0001,
        0xc600_0000,
        0xc000_7777,
        0xff00_ffff,
    ];
    for function in SMC64 {
        only_x0("unknown SMC64 call", function, u64::MAX)?;
    }
    // The last four are yielding calls, of which none is offered.
    const SMC32: [u64; 9] = [
        0x8400_001f,
        0x8000_7777,
        0x8300_0001,
        0x8600_0001,
        0xbf00_ffff,
        0,
        0x0200_0000,
        0x3200_0000,
        0x7200_0000,
    ];
    for function in SMC32 {
        only_x0("unknown SMC32 call", function, u64::MAX)?;
    }
    Ok(())
}

fn registers_kept(_: &'static Env) -> Outcome {
    use smccc::psci as id;
    let version = psci::call32(id::PSCI_VERSION, 0, 0, 0).cast_unsigned();
    only_x0("PSCI_VERSION", id::PSCI_VERSION.into(), version)?;
    only_x0(
        "PSCI_MIGRATE_INFO_TYPE",
        id::PSCI_MIGRATE_INFO_TYPE.into(),
        2,
    )?;
    let arguments = [arch::mpidr() & arch::AFFINITY, 0];
    let after = exact(
        Code::SmcThenSvc,
        id::PSCI_AFFINITY_INFO_64.into(),
        &arguments,
    );
    equal("AFFINITY_INFO", after.x[0], 0)?;
    untouched("AFFINITY_INFO", &after, &arguments)?;
    // Arguments that are full of rubbish.
    for function in [
        id::PSCI_CPU_ON_64,
        id::PSCI_AFFINITY_INFO_64,
        id::PSCI_FEATURES,
    ] {
        let after = exact(Code::SmcThenSvc, function.into(), &[]);
        check("an error", after.x[0].cast_signed() < 0)?;
        untouched("a refused PSCI call", &after, &[])?;
    }
    Ok(())
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
    equal("PSCI_VERSION with the SVE hint", hinted, version)?;
    let version = crate::sdei::call1(crate::sdei::Function::Version, 0);
    let hinted = psci::call64(0xc400_0020 | HINT, 0, 0, 0);
    equal("SDEI_VERSION with the SVE hint", hinted, version)
}

fn other_immediate(_: &'static Env) -> Outcome {
    let after = exact(Code::Smc1ThenSvc, id::SMCCC_VERSION.into(), &[]);
    equal("SMC #1 asking for SMCCC_VERSION", after.x[0], u64::MAX)?;
    untouched("SMC #1", &after, &[])
}

fn el0_has_no_smc(_: &'static Env) -> Outcome {
    let start = Code::SmcThenSvc.address() + interrupted::Place::El0.alias();
    let mut registers = Registers::pattern(start);
    registers.x[0] = id::SMCCC_VERSION.into();
    registers.pstate = 0;
    // SAFETY: SMC or SVC comes back here.
    unsafe { arch::enter(&mut registers) };
    equal("class of the exception", registers.class(), EC_UNKNOWN)?;
    equal("where it was taken", registers.pc, start)
}

/// Runs each MRS of a table; returns the exception class with which it ended.
fn probe(start: Code, end: Code, mut each: impl FnMut(usize, u64) -> Outcome) -> Outcome {
    for (number, address) in (start.address()..end.address()).step_by(8).enumerate() {
        let mut registers = Registers::pattern(address);
        // SAFETY: MRS only writes x0, and SVC or the MRS itself comes back here.
        unsafe { arch::enter(&mut registers) };
        let trapped = registers.class() != EC_SVC;
        equal(
            "where a register access ended",
            registers.pc,
            address + if trapped { 0 } else { 8 },
        )?;
        each(number, registers.class())?;
    }
    Ok(())
}

/// Whatever firmware leaves trapping to EL3 is to look UNDEFINED, or as EL2's own traps look.
fn accesses_work_or_are_undefined(_: &'static Env) -> Outcome {
    let mut worked = 0;
    probe(Code::ProbeReads, Code::ProbeReadsEnd, |number, class| {
        if class == EC_SVC {
            worked += 1;
            Ok(())
        } else if [EC_UNKNOWN, EC_SYSREG, EC_SVE, EC_SME].contains(&class) {
            Ok(())
        } else {
            crate::say!("register {number} of probe_reads");
            equal("class of the exception", class, EC_UNKNOWN)
        }
    })?;
    check("at least one register can be read", worked > 0)
}

fn el3_registers_are_undefined(_: &'static Env) -> Outcome {
    probe(Code::ProbeEl3, Code::ProbeEl3End, |_, class| {
        equal("class of the exception", class, EC_UNKNOWN)
    })
}

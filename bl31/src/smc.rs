//! The SMC router: which service owns a function ID (Arm DEN0028, SMCCC).

use aarch64_cpu::registers::{Readable, SPSR_EL3};
use arm_sysregs::el1::accessors::read_sctlr_el1;
use arm_sysregs::el2::accessors::read_sctlr_el2;
use psci::{Caller, ExecutionState, FunctionId};

use crate::arch;
use crate::pe::PeData;
use crate::power;
use crate::queries;
use crate::secure_timer;
use crate::services::{PSCI, SDEI};
use crate::trng;

/// Bit 16 of a function ID says that the caller has no SVE state to keep
/// (DEN0028 2.5.3). EL3 touches none of it anyway.
const SVE_HINT: u32 = 1 << 16;

/// Bit 30 of a function ID: SMC64.
pub const SMC64: u32 = 1 << 30;

/// Bits 29 to 24 of a function ID: whose it is. 0 for the Arm Architecture
/// service (DEN0028 2.5.1).
const OWNER: u32 = 0x3f << 24;

/// PSCI's function IDs are these and the same with [`SMC64`] (DEN0022 5.1).
const PSCI_FIRST: u32 = 0x8400_0000;
const PSCI_LAST: u32 = 0x8400_001f;

const PSCI_VERSION: u32 = FunctionId::PsciVersion as u32;

/// What SMCCC_VERSION answers: 1.5 (DEN0028 7.2).
pub const SMCCC_VERSION: u32 = 0x1_0005;

/// NOT_SUPPORTED and, at the same value, "unknown function ID" (DEN0028 5.2).
pub const NOT_SUPPORTED: i64 = -1;

/// Serves `SMC #0` from AArch64: the frame holds the arguments, and in x0 the
/// answer when this returns.
///
/// What this calls, it ends with, so it needs no stack itself.
pub extern "C" fn smc(pe: &mut PeData) {
    let fid = pe.frame.x[0] as u32;
    if fid.wrapping_sub(sdei::call::FUNCTION_BASE) < sdei::call::FUNCTION_COUNT {
        SDEI.call(&mut pe.frame, &mut pe.sdei);
    } else if fid == PSCI_VERSION {
        pe.frame.x[0] = psci::VERSION.into();
    } else if fid == smccc::arch::SMCCC_VERSION {
        pe.frame.x[0] = SMCCC_VERSION.into();
    } else {
        smc_other(pe, fid);
    }
}

/// Serves what [`smc`] does not serve itself.
#[inline(never)]
fn smc_other(pe: &mut PeData, fid: u32) {
    // Which of the standard calls it would be, in either convention.
    let standard = (fid & !SMC64).wrapping_sub(PSCI_FIRST);
    if standard < trng::FIRST - PSCI_FIRST + trng::COUNT {
        if standard <= PSCI_LAST - PSCI_FIRST {
            psci(pe, fid, ExecutionState::AArch64);
        } else {
            // Or, between them, SDEI's in the other convention.
            trng::call(pe, fid);
        }
    } else if fid & OWNER == 0 {
        arch::call(pe, fid, ExecutionState::AArch64);
    } else if fid & SMC64 != 0 {
        if fid == secure_timer::ARM_TIMER && secure_timer::is_offered() {
            secure_timer::arm(pe);
        } else {
            unknown(pe, fid, ExecutionState::AArch64);
        }
    } else if !queries::answer(&mut pe.frame.x, fid) {
        unknown(pe, fid, ExecutionState::AArch64);
    }
}

/// Serves `SMC #0` from AArch32, which has the SMC32 calls only. SDEI is not
/// for it: its client EL is AArch64 here.
pub fn smc_from_aarch32(pe: &mut PeData) {
    let fid = pe.frame.x[0] as u32;
    if fid & OWNER == 0 {
        arch::call(pe, fid, ExecutionState::AArch32);
    } else if (PSCI_FIRST..=PSCI_LAST).contains(&fid) {
        psci(pe, fid, ExecutionState::AArch32);
    } else if fid.wrapping_sub(trng::FIRST) < trng::COUNT {
        trng::call(pe, fid);
    } else if !queries::answer(&mut pe.frame.x, fid) {
        unknown(pe, fid, ExecutionState::AArch32);
    }
}

/// Serves a call that nobody knows: without the SVE hint somebody may.
#[inline(always)]
pub fn unknown(pe: &mut PeData, fid: u32, caller: ExecutionState) {
    if fid & SVE_HINT == 0 {
        pe.frame.x[0] = error(NOT_SUPPORTED);
        return;
    }
    pe.frame.x[0] = u64::from(fid & !SVE_HINT);
    match caller {
        ExecutionState::AArch64 => smc(pe),
        ExecutionState::AArch32 => smc_from_aarch32(pe),
    }
}

#[inline(never)]
fn psci(pe: &mut PeData, fid: u32, state: ExecutionState) {
    let [_, x1, x2, x3, ..] = pe.frame.x;
    let in_handler = pe.sdei.is_in_handler();
    let caller = || Caller {
        state,
        big_endian: caller_is_big_endian(),
        in_handler,
    };
    let outcome = PSCI.call(pe.index, caller, fid, &[x1, x2, x3]);
    power::carry_out(pe, outcome);
}

/// Whether the caller's data accesses are big-endian: SCTLR_ELx.EE of its EL.
fn caller_is_big_endian() -> bool {
    match SPSR_EL3.read_as_enum(SPSR_EL3::M) {
        Some(SPSR_EL3::M::Value::EL2h | SPSR_EL3::M::Value::EL2t) => {
            read_sctlr_el2().bits() & power::SCTLR_EE != 0
        }
        _ => read_sctlr_el1().bits() & power::SCTLR_EE != 0,
    }
}

/// An error as x0 has it, whatever the convention of the call: sign-extended. A
/// caller in AArch64 finds it in x0 (DEN0028 5.2), one in AArch32 in r0.
pub const fn error(code: i64) -> u64 {
    code as u64
}

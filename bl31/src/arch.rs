//! The Arm Architecture service (Arm DEN0028, 7), but for SMCCC_VERSION, which
//! the router answers itself.
//!
//! SMCCC_ARCH_WORKAROUND_4 is never there: it says that firmware mitigates
//! CVE-2024-7881 (DEN0028 7.9), and this one does not.

use platform::{Platform, board::Board};
use psci::ExecutionState;
use smccc::arch::*;

use crate::availability;
use crate::pe::PeData;
use crate::queries;
use crate::smc::{self, NOT_SUPPORTED, error};
use crate::workarounds::{self, Need};

/// Which features EL3 has opened (DEN0028 7.8).
const SMCCC_ARCH_FEATURE_AVAILABILITY: u32 = 0xc000_0003;

const NOT_REQUIRED: i64 = -2;
const INVALID_PARAMETER: i64 = -3;

/// The types of SMCCC_ARCH_SOC_ID (DEN0028 7.4).
const SOC_VERSION: u32 = 0;
const SOC_REVISION: u32 = 1;

/// Serves the call `fid` of the range of this service.
#[inline(never)]
pub fn call(pe: &mut PeData, fid: u32, caller: ExecutionState) {
    let x = &mut pe.frame.x;
    let argument = x[1] as u32;
    match fid {
        SMCCC_VERSION => x[0] = smc::SMCCC_VERSION.into(),
        SMCCC_ARCH_FEATURES => x[0] = features(argument, caller),
        SMCCC_ARCH_SOC_ID => x[0] = soc_id(argument),
        SMCCC_ARCH_FEATURE_AVAILABILITY if caller == ExecutionState::AArch64 => {
            (x[0], x[1]) = match availability::of(x[1]) {
                Some(features) => (0, features),
                None => (error(INVALID_PARAMETER), 0),
            }
        }
        // These answer nothing. What is not needed does nothing.
        SMCCC_ARCH_WORKAROUND_1 | SMCCC_ARCH_WORKAROUND_2 | SMCCC_ARCH_WORKAROUND_3 => {
            match workaround(fid) {
                Some(Need::Firmware) => workarounds::flush_branch_predictor(),
                Some(Need::Done | Need::Nothing) => {}
                None => x[0] = error(NOT_SUPPORTED),
            }
        }
        _ if queries::answer(x, fid) => {}
        _ => smc::unknown(pe, fid, caller),
    }
}

/// SMCCC_ARCH_FEATURES (DEN0028 7.3) of the function `asked`.
fn features(asked: u32, caller: ExecutionState) -> u64 {
    match asked {
        SMCCC_VERSION | SMCCC_ARCH_FEATURES => 0,
        SMCCC_ARCH_SOC_ID if Board::SOC_ID.is_some() => 0,
        SMCCC_ARCH_FEATURE_AVAILABILITY if caller == ExecutionState::AArch64 => 0,
        _ => match workaround(asked) {
            Some(Need::Firmware) => 0,
            Some(Need::Nothing) => 1,
            Some(Need::Done) => error(NOT_REQUIRED),
            None => error(NOT_SUPPORTED),
        },
    }
}

/// What this PE needs of a workaround; `None` if there is no such call.
pub fn workaround(fid: u32) -> Option<Need> {
    match fid {
        SMCCC_ARCH_WORKAROUND_1 => workarounds::branch_target(),
        SMCCC_ARCH_WORKAROUND_2 => workarounds::store_bypass(),
        SMCCC_ARCH_WORKAROUND_3 => workarounds::branch_history(),
        _ => None,
    }
}

/// SMCCC_ARCH_SOC_ID (DEN0028 7.4).
fn soc_id(what: u32) -> u64 {
    match (Board::SOC_ID, what) {
        (None, _) => error(NOT_SUPPORTED),
        (Some(id), SOC_VERSION) => id.version.into(),
        (Some(id), SOC_REVISION) => id.revision.into(),
        (Some(_), _) => error(INVALID_PARAMETER),
    }
}

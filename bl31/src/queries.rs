//! The general service queries (Arm DEN0028, 6.2): how many calls a service has, whose
//! it is, and its revision. They are answered for the Arm Architecture service and for
//! the Standard Secure service.

use arm_sysregs::el1::accessors::read_id_aa64isar0_el1;
use smccc::arch::{SMCCC_ARCH_WORKAROUND_1, SMCCC_ARCH_WORKAROUND_2, SMCCC_ARCH_WORKAROUND_3};

use crate::arch;

/// The first function ID of the queries, less the owner.
const FIRST: u32 = 0x8000_ff00;

/// Bits of a function ID: the Standard Secure service, not the Architecture one.
const STANDARD: u32 = 0x0400_0000;

const CALL_COUNT: u32 = 0;
const UID: u32 = 1;
const REVISION: u32 = 3;

/// SDEI's, and those of PSCI that both boards offer: the payload's test counts them.
const STANDARD_CALLS: u64 = 19 + 38;

/// TRNG's, with FEAT_RNG: VERSION, FEATURES, GET_UUID and two widths of RND.
const TRNG_CALLS: u64 = 5;

/// SMCCC_VERSION, ARCH_FEATURES and ARCH_FEATURE_AVAILABILITY.
const ARCH_CALLS: u64 = 3;

/// The services' UUIDs, 64e4004c-93d9-440a-88ce-fe1ebe0127b6 and
/// 2ba4deda-b429-4c0b-9376-ef402409243a, as four words each, bytes in order from the
/// lowest of the first.
const STANDARD_UUID: [u32; 4] = [0x4c00_e464, 0x0a44_d993, 0x1efe_ce88, 0xb627_01be];
const ARCH_UUID: [u32; 4] = [0xdade_a42b, 0x0b4c_29b4, 0x40ef_7693, 0x3a24_0924];

/// Major and minor revision.
const REVISION_1_0: [u64; 2] = [1, 0];

/// Answers the query `fid`; false if it is none.
pub fn answer(x: &mut [u64; sdei::REGISTERS], fid: u32) -> bool {
    let standard = fid & STANDARD != 0;
    match (fid & !STANDARD).wrapping_sub(FIRST) {
        CALL_COUNT if standard => {
            let trng = u64::from(read_id_aa64isar0_el1().rndr() != 0) * TRNG_CALLS;
            x[0] = STANDARD_CALLS + trng;
        }
        CALL_COUNT => {
            let workarounds = [
                SMCCC_ARCH_WORKAROUND_1,
                SMCCC_ARCH_WORKAROUND_2,
                SMCCC_ARCH_WORKAROUND_3,
            ];
            let there = workarounds
                .iter()
                .filter(|call| arch::workaround(**call).is_some());
            x[0] = ARCH_CALLS + there.count() as u64;
        }
        UID => {
            let uuid = if standard { STANDARD_UUID } else { ARCH_UUID };
            x[..uuid.len()].copy_from_slice(&uuid.map(u64::from));
        }
        REVISION => x[..REVISION_1_0.len()].copy_from_slice(&REVISION_1_0),
        _ => return false,
    }
    true
}

//! Registers of EL2 that an exception return to EL1 depends on.

use super::Fuzzer;
use super::watch::Kind;
use crate::arch;
use arm_sysregs::el2;
use core::arch::asm;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// HCR_EL2 as this program has it.
static HCR: AtomicU64 = AtomicU64::new(0);

const TGE: u64 = 1 << 27;
const RW: u64 = 1 << 31;
const E2H: u64 = 1 << 34;
/// FMO, IMO, AMO.
const ROUTES: u64 = 0b111 << 3;

/// Takes HCR_EL2 as what it is to be.
pub fn init() {
    HCR.store(hcr(), Relaxed);
}

/// HCR_EL2, or 0 without EL2.
pub fn hcr() -> u64 {
    if arch::el() == 2 {
        el2::accessors::read_hcr_el2().bits()
    } else {
        0
    }
}

/// Sets HCR_EL2, if there is EL2.
pub fn set_hcr(value: u64) {
    if arch::el() == 2 {
        // SAFETY: This program runs at EL2, whose translation has the same map in every form.
        unsafe { asm!("msr hcr_el2, {}", "isb", in(reg) value, options(nostack)) }
    }
}

/// Makes HCR_EL2 what this program has.
pub fn reset() {
    set_hcr(HCR.load(Relaxed));
}

/// Changes HCR_EL2 in a way that this EL survives. `in_code`: what goes on after it is the code of a call and does not rely on
/// which registers EL2 has.
pub fn spoil(fuzzer: &Fuzzer, in_code: bool) {
    let bits = if in_code {
        &[TGE, RW, TGE | RW, E2H, E2H | TGE, ROUTES][..]
    } else {
        &[TGE, RW, TGE | RW, ROUTES]
    };
    let has_vhe = HCR.load(Relaxed) & E2H != 0;
    let mut bits = fuzzer.random.pick(bits);
    if !has_vhe {
        bits &= !E2H;
    }
    let value = hcr() ^ bits;
    fuzzer.note(Kind::Hcr, value, &[]);
    set_hcr(value);
}

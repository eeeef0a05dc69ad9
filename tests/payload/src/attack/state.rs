//! Registers of EL2 that an exception return to EL1 depends on.

use super::Fuzzer;
use super::watch::Kind;
use crate::arch;
use arm_sysregs::el2;
use core::arch::{asm, global_asm};
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
    let value = HCR.load(Relaxed);
    if hcr() != value {
        set_hcr(value);
    }
}

/// Changes HCR_EL2 in a way that this EL survives. `in_code`: what goes on after it is the code of a call and does not rely on
/// which registers EL2 has.
///
/// Where interrupts go is changed for AArch64 alone, whose exceptions to EL1 have vectors.
pub fn spoil(fuzzer: &Fuzzer, in_code: bool, pstate: u64) {
    const AARCH32: u64 = 1 << 4;
    let bits = match (in_code, pstate & AARCH32 != 0) {
        (true, false) => &[TGE, RW, TGE | RW, E2H, E2H | TGE, ROUTES][..],
        (true, true) => &[TGE, RW, TGE | RW, E2H, E2H | TGE],
        (false, _) => &[TGE, RW, TGE | RW],
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

/// Gives up what this PE has acknowledged and not ended.
pub fn clear_active_priorities() {
    // SAFETY: ICC_AP1R0_EL1: with nothing in it no interrupt of the Normal world is active here, and none is being handled.
    unsafe { asm!("msr S3_0_C12_C9_0, xzr", "isb", options(nostack)) };
}

unsafe extern "C" {
    fn attack_guest_vectors();
    fn attack_guest_vectors_end();
}

/// Gives EL1 under this EL2 vectors, all of which end here.
pub fn set_guest_vectors() {
    let vectors = attack_guest_vectors as *const () as u64;
    // SAFETY: EL1's VBAR, by its name for this EL2; nothing of this program's runs there but the code of calls.
    unsafe {
        if arch::is_vhe_host() {
            asm!("msr S3_5_C12_C0_0, {}", "isb", in(reg) vectors, options(nostack));
        } else {
            asm!("msr vbar_el1, {}", "isb", in(reg) vectors, options(nostack));
        }
    }
}

/// Whether this PC is in those vectors.
pub fn in_guest_vectors(pc: u64) -> bool {
    let vectors = attack_guest_vectors as *const () as u64;
    (vectors..attack_guest_vectors_end as *const () as u64).contains(&pc)
}

global_asm!(
    ".section .vectors, \"ax\"",
    ".balign 2048",
    ".global attack_guest_vectors, attack_guest_vectors_end",
    "attack_guest_vectors:",
    ".rept 16",
    "hvc #1",
    "b .",
    ".balign 128",
    ".endr",
    "attack_guest_vectors_end:",
);

//! Where an access that EL3 makes UNDEFINED is taken to below EL3: decisions alone,
//! without a register of the PE.

use arm_sysregs::el2::registers::HcrEl2;
use sdei::ClientEl;

/// `SPSR.M[4]`: AArch32.
const AARCH32: u64 = 1 << 4;

/// The EL that an UNDEFINED instruction is taken to, of a PE with EL2: it was executed
/// with the PSTATE in `spsr`, under this HCR_EL2.
#[inline(always)]
pub fn target(spsr: u64, hcr: HcrEl2) -> ClientEl {
    let from_el0 = spsr & 0xf == 0;
    let from_el1 = spsr & (AARCH32 | 0xc) == 0x4;
    // An EL0 of EL2's own has no EL1; an AArch32 EL1 has its own vectors and modes,
    // so it's for the hypervisor to know what to do.
    let has_el1 = !hcr.contains(HcrEl2::TGE) && hcr.contains(HcrEl2::RW);
    if from_el1 || from_el0 && has_el1 {
        ClientEl::El1
    } else {
        ClientEl::El2
    }
}

/// The distance from VBAR_ELx, of `el`, of the synchronous vector for an exception from
/// code with the PSTATE in `spsr`.
#[inline(always)]
pub fn vector_offset(el: ClientEl, spsr: u64) -> u64 {
    match (el.is(spsr), spsr & AARCH32 != 0, spsr & 1 != 0) {
        (true, _, false) => 0x000,
        (true, _, true) => 0x200,
        (false, false, _) => 0x400,
        (false, true, _) => 0x600,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ClientEl::{El1, El2};

    const EL0: u64 = 0b0_0000;
    const EL1T: u64 = 0b0_0100;
    const EL1H: u64 = 0b0_0101;
    const EL2T: u64 = 0b0_1000;
    const EL2H: u64 = 0b0_1001;
    /// AArch32's modes: User, and those of EL1.
    const USER: u64 = 0b1_0000;
    const PRIVILEGED: [u64; 6] = [0b1_0001, 0b1_0010, 0b1_0011, 0b1_0111, 0b1_1011, 0b1_1111];
    /// Everything of an SPSR but M.
    const OTHER_BITS: u64 = !0x1f;

    /// What may be in HCR_EL2, where E2H and bits without a meaning here differ.
    fn with_others(hcr: HcrEl2) -> [HcrEl2; 4] {
        [
            HcrEl2::empty(),
            HcrEl2::E2H,
            HcrEl2::IMO | HcrEl2::FMO,
            HcrEl2::VM,
        ]
        .map(|other| hcr | other)
    }

    fn is_taken_to(el: ClientEl, mode: u64, hcr: HcrEl2, offset: u64) {
        for hcr in with_others(hcr) {
            for spsr in [mode, mode | OTHER_BITS] {
                assert_eq!(target(spsr, hcr), el, "{spsr:#x} under {hcr:?}");
                assert_eq!(vector_offset(el, spsr), offset, "{spsr:#x}");
            }
        }
    }

    #[test]
    fn el0_under_an_aarch32_el1_is_for_el2() {
        is_taken_to(El2, USER, HcrEl2::empty(), 0x600);
        for mode in PRIVILEGED {
            is_taken_to(El2, mode, HcrEl2::empty(), 0x600);
        }
    }

    #[test]
    fn el0_under_an_aarch64_el1_is_for_that() {
        is_taken_to(El1, USER, HcrEl2::RW, 0x600);
        is_taken_to(El1, EL0, HcrEl2::RW, 0x400);
        is_taken_to(El1, EL1T, HcrEl2::RW, 0x000);
        is_taken_to(El1, EL1H, HcrEl2::RW, 0x200);
    }

    #[test]
    fn el0_of_el2_is_for_el2() {
        for hcr in [HcrEl2::TGE, HcrEl2::TGE | HcrEl2::RW] {
            is_taken_to(El2, USER, hcr, 0x600);
            is_taken_to(El2, EL0, hcr, 0x400);
        }
    }

    #[test]
    fn el2_is_for_itself() {
        for hcr in [HcrEl2::empty(), HcrEl2::RW, HcrEl2::TGE | HcrEl2::RW] {
            is_taken_to(El2, EL2T, hcr, 0x000);
            is_taken_to(El2, EL2H, hcr, 0x200);
        }
    }

    #[test]
    fn a_pe_without_el2_has_the_same_vectors() {
        assert_eq!(vector_offset(El1, USER), 0x600);
        assert_eq!(vector_offset(El1, EL0), 0x400);
        assert_eq!(vector_offset(El1, EL1T), 0x000);
        assert_eq!(vector_offset(El1, EL1H), 0x200);
    }
}

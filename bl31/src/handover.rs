//! The registers below EL3 at a hand-over: when a PE starts, and when it comes
//! back from a power-down.
//!
//! A reset defines the values of some (DEN0022 6.4.3), and software that does not
//! know the others needs them to have no effect: EL3 has opened them, and out of
//! reset they are UNKNOWN; where EL3 waits in the place of a PE without power,
//! they are those of the software that ran before.

use aarch64_cpu::registers::{CNTP_CTL_EL0, CNTV_CTL_EL0, Writeable};
use arm_sysregs::el1::accessors::*;
use arm_sysregs::el1::registers::*;
use arm_sysregs::el2::accessors::*;
use arm_sysregs::el2::registers::*;
use arm_sysregs::el3::registers::SpsrEl3;
use sdei::ClientEl;

use crate::power::SCTLR_EE;

/// SCTLR_EL1's bits that are RES1 where the feature that uses them is missing.
const SCTLR_EL1_RES1: u64 = 1 << 29 | 1 << 28 | 1 << 23 | 1 << 22 | 1 << 20 | 1 << 11;

/// The same of SCTLR_EL2.
const SCTLR_EL2_RES1: u64 =
    1 << 29 | 1 << 28 | 1 << 23 | 1 << 22 | 1 << 18 | 1 << 16 | 1 << 11 | 1 << 5 | 1 << 4;

/// The value of a register of fine-grained traps with which nothing traps: all
/// zeroes, but for the fields whose names begin with n, which trap while they are 0.
macro_rules! no_trap {
    ($register:ty) => {{
        const VALUE: $register = {
            let flags = <$register as bitflags::Flags>::FLAGS;
            let mut bits = 0;
            let mut at = 0;
            while at < flags.len() {
                if flags[at].name().as_bytes()[0] == b'N' {
                    bits |= flags[at].value().bits();
                }
                at += 1;
            }
            <$register>::from_bits_retain(bits)
        };
        VALUE
    }};
}

/// SPSR_EL3.M of this EL, in AArch64 and with its own stack pointer.
pub const fn mode(el: ClientEl) -> SpsrEl3 {
    match el {
        ClientEl::El1 => SpsrEl3::M_AARCH64_EL1H,
        ClientEl::El2 => SpsrEl3::M_AARCH64_EL2H,
    }
}

/// Stops the timers of the Normal world, whose highest EL is `el`, on this PE, which
/// starts.
pub fn stop_timers(el: ClientEl) {
    CNTP_CTL_EL0.set(0);
    CNTV_CTL_EL0.set(0);
    if el == ClientEl::El2 {
        write_cnthp_ctl_el2(CnthpCtlEl2::empty());
        if read_id_aa64mmfr1_el1().vh() != 0 {
            write_cnthv_ctl_el2(CnthvCtlEl2::empty());
        }
    }
}

/// Gives the registers of EL2 and EL1 the values with which software starts: MMU
/// and caches off, the caller's endianness, no trap.
#[inline(never)]
pub fn reset_lower_els(el: ClientEl, big_endian: bool) {
    let endianness = if big_endian { SCTLR_EE } else { 0 };
    let (pfr0, pfr1) = (read_id_aa64pfr0_el1(), read_id_aa64pfr1_el1());
    let (mmfr0, mmfr1) = (read_id_aa64mmfr0_el1(), read_id_aa64mmfr1_el1());
    let mmfr3 = read_id_aa64mmfr3_el1();
    let has_gcs = pfr1.gcs() != 0;
    let has_tcr2 = mmfr3.tcrx() != 0;
    let has_sctlr2 = mmfr3.sctlrx() != 0;
    // SAFETY: registers of the Normal world, which starts anew here.
    unsafe {
        write_sctlr_el1(SctlrEl1::from_bits_retain(SCTLR_EL1_RES1 | endianness));
        if has_tcr2 {
            write_tcr2_el1(Tcr2El1::empty());
        }
        if has_sctlr2 {
            write_sctlr2_el1(Sctlr2El1::empty());
        }
        if has_gcs {
            write_gcscr_el1(GcscrEl1::empty());
            write_gcscre0_el1(Gcscre0El1::empty());
        }
    }
    if el == ClientEl::El1 {
        return;
    }
    // SAFETY: as above. No interrupt is virtual and no trap is set any more.
    unsafe {
        write_sctlr_el2(SctlrEl2::from_bits_retain(SCTLR_EL2_RES1 | endianness));
        write_hcr_el2(HcrEl2::empty());
        write_ich_hcr_el2(IchHcrEl2::empty());
        if has_tcr2 {
            write_tcr2_el2(Tcr2El2::empty());
        }
        if has_sctlr2 {
            write_sctlr2_el2(Sctlr2El2::empty());
        }
        if has_gcs {
            write_gcscr_el2(GcscrEl2::empty());
        }
        if pfr0.mpam() | pfr1.mpam_frac() != 0 {
            write_mpam2_el2(Mpam2El2::empty());
        }
        if mmfr1.hcx() != 0 {
            // As while EL3 keeps it closed: nothing new below EL2, but FEAT_MOPS,
            // which has no state.
            write_hcrx_el2(HcrxEl2::MSCEN);
        }
        if mmfr0.fgt() != 0 {
            write_hfgrtr_el2(no_trap!(HfgrtrEl2));
            write_hfgwtr_el2(no_trap!(HfgwtrEl2));
            write_hfgitr_el2(no_trap!(HfgitrEl2));
            write_hdfgrtr_el2(no_trap!(HdfgrtrEl2));
            write_hdfgwtr_el2(no_trap!(HdfgwtrEl2));
            if pfr0.amu() != 0 {
                write_hafgrtr_el2(HafgrtrEl2::empty());
            }
        }
        if mmfr0.fgt() >= 2 {
            write_hfgrtr2_el2(no_trap!(Hfgrtr2El2));
            write_hfgwtr2_el2(no_trap!(Hfgwtr2El2));
            write_hfgitr2_el2(no_trap!(Hfgitr2El2));
            write_hdfgrtr2_el2(no_trap!(Hdfgrtr2El2));
            write_hdfgwtr2_el2(no_trap!(Hdfgwtr2El2));
        }
    }
    if mmfr0.ecv() >= 2 {
        write_cntpoff_el2(CntpoffEl2::empty());
    }
    // The exception return synchronizes these.
}

// SPDX-License-Identifier: MIT OR Apache-2.0

#![no_std]
#![doc = include_str!("../README.md")]

use aarch64_cpu::asm::barrier;
use arm_sysregs::el1::accessors::{
    read_gcscr_el1, read_id_aa64dfr1_el1, read_id_aa64pfr0_el1, read_id_aa64pfr1_el1,
    read_sctlr_el1, read_vbar_el1, write_elr_el1, write_icc_sgi0r_el1, write_spsr_el1,
};
use arm_sysregs::el1::registers::{ElrEl1, GcscrEl1, IccSgi0rEl1, IdAa64pfr1El1, SpsrEl1};
use arm_sysregs::el2::accessors::{
    read_gcscr_el2, read_hcr_el2, read_sctlr_el2, read_vbar_el2, write_elr_el2, write_spsr_el2,
};
use arm_sysregs::el2::registers::{ElrEl2, GcscrEl2, HcrEl2, SpsrEl2};
use sdei::{Client, ClientEl, Control, PstateFeatures};

/// The machine under [`El3`].
pub trait Machine {
    /// The INTID of the SGI that tells a PE to look at what is pending: a Group 0 one, of 8 to 15
    /// by convention (Arm IHI 0069 2.2.1 leaves it to software).
    const SGI: u32;

    /// See [`sdei::Port::pe_index`].
    fn pe_index(&self, affinity: u64) -> Option<usize>;
}

/// The PEs under the dispatcher, by their registers.
#[derive(Clone, Copy, Debug, Default)]
pub struct El3<M>(pub M);

impl<M: Machine> sdei::Port for El3<M> {
    #[inline(always)]
    fn pe_index(&self, affinity: u64) -> Option<usize> {
        self.0.pe_index(affinity)
    }

    #[inline(always)]
    fn notify(&self, affinity: u64) {
        raise_sgi(M::SGI, affinity);
    }

    #[inline(always)]
    fn client(&self) -> Client {
        client()
    }

    #[inline(always)]
    fn control(&self, el: ClientEl) -> Control {
        control(el)
    }

    fn exlock_enabled(&self, el: ClientEl) -> bool {
        exlock_enabled(el)
    }

    fn vbar(&self, el: ClientEl) -> u64 {
        vbar(el)
    }

    fn take_exception(&self, el: ClientEl, elr: u64, spsr: u64) {
        take_exception(el, elr, spsr);
    }
}

/// Raises a Group 0 SGI at the PE with this affinity. The caller's earlier stores are visible to
/// that PE once it acknowledges the SGI; EL3's exception return synchronizes the write.
#[inline(always)]
pub fn raise_sgi(intid: u32, affinity: u64) {
    let value = sgi0r(intid, affinity);
    // Writes to ICC registers are not ordered with stores to memory. Of stores only, and all PEs
    // are in the Inner Shareable domain.
    barrier::dsb(barrier::ISHST);
    write_icc_sgi0r_el1(IccSgi0rEl1::from_bits_retain(value));
}

/// The value of ICC_SGI0R_EL1 for an SGI at the PE with this affinity.
#[inline(always)]
const fn sgi0r(intid: u32, affinity: u64) -> u64 {
    // A PE is bit Aff0 % 16 of the target list of range Aff0 / 16 in its cluster (Arm IHI 0069
    // 12.2.18). Aff3 and Aff2 are as far apart in both registers.
    (affinity & 0xff_00ff_0000) << 16
        | (affinity & 0xf0) << (IccSgi0rEl1::RS_SHIFT - 4)
        | (affinity & 0xff00) << (IccSgi0rEl1::AFF1_SHIFT - 8)
        | ((intid & 0xf) as u64) << IccSgi0rEl1::INTID_SHIFT
        | 1 << (affinity & 0xf)
}

const _: () = assert!(IccSgi0rEl1::AFF2_SHIFT == 32 && IccSgi0rEl1::AFF3_SHIFT == 48);

/// The client EL of this PE: the highest of the Non-secure state.
#[inline]
pub fn client_el() -> ClientEl {
    if read_id_aa64pfr0_el1().el2() == 0 {
        ClientEl::El1
    } else {
        ClientEl::El2
    }
}

/// The client EL of this PE, and what this PE has of the features that decide how an exception is
/// taken to it.
///
/// `PstateFeatures::pm` is that of FEAT_EBEP; FEAT_SPE_EXC and FEAT_TRBE_EXC are not looked for.
#[inline(always)]
pub fn client() -> Client {
    let id = read_id_aa64pfr1_el1();
    let mut features = PstateFeatures::default();
    // Without FEAT_PAN, SCTLR_ELx.SPAN is RES1 and PAN stays clear.
    features.pan = true;
    features.ssbs = id.ssbs() != 0;
    features.mte2 = id.mte() >= MTE2;
    features.nmi = id.nmi() != 0;
    features.gcs = id.gcs() != 0;
    features.pm = read_id_aa64dfr1_el1().ebep() != 0;
    Client {
        el: client_el(),
        features,
    }
}

/// ID_AA64PFR1_EL1.MTE: FEAT_MTE2.
const MTE2: u8 = 0b0010;

const _: () = assert!(IdAa64pfr1El1::MTE_SHIFT == 8);

/// What decides how this PE takes an exception to `el`.
#[inline(always)]
pub fn control(el: ClientEl) -> Control {
    match el {
        ClientEl::El1 => Control {
            sctlr: read_sctlr_el1().bits(),
            host: true,
        },
        ClientEl::El2 => Control {
            sctlr: read_sctlr_el2().bits(),
            host: read_hcr_el2().contains(HcrEl2::E2H | HcrEl2::TGE),
        },
    }
}

/// Whether exceptions to `el` lock the exception return; of a PE with FEAT_GCS.
pub fn exlock_enabled(el: ClientEl) -> bool {
    match el {
        ClientEl::El1 => read_gcscr_el1().contains(GcscrEl1::EXLOCKEN),
        ClientEl::El2 => read_gcscr_el2().contains(GcscrEl2::EXLOCKEN),
    }
}

/// This PE's VBAR of an EL.
#[inline(always)]
pub fn vbar(el: ClientEl) -> u64 {
    match el {
        ClientEl::El1 => read_vbar_el1().bits(),
        ClientEl::El2 => read_vbar_el2().bits(),
    }
}

/// Makes it look to `el` as if this PE had taken an exception there.
pub fn take_exception(el: ClientEl, elr: u64, spsr: u64) {
    // SAFETY: registers of the Normal world, which does not run while this PE is at EL3 and finds
    // in them what an exception would have left.
    unsafe {
        match el {
            ClientEl::El1 => {
                write_elr_el1(ElrEl1::from_bits_retain(elr));
                write_spsr_el1(SpsrEl1::from_bits_retain(spsr));
            }
            ClientEl::El2 => {
                write_elr_el2(ElrEl2::from_bits_retain(elr));
                write_spsr_el2(SpsrEl2::from_bits_retain(spsr));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use arm_sysregs::el1::registers::{
        IdAa64dfr1El1, IdAa64pfr0El1, IdAa64pfr1El1, SctlrEl1, VbarEl1,
    };
    use arm_sysregs::{el1, el2};
    use el2::registers::{SctlrEl2, VbarEl2};
    use std::sync::Mutex;

    use super::*;

    /// The registers are one PE's: a test at a time.
    static ONE: Mutex<()> = Mutex::new(());

    #[test]
    fn an_sgi_has_each_field_of_the_affinity_in_its_place() {
        // Target list [15:0], Aff1 [23:16], INTID [27:24], Aff2 [39:32], RS [47:44], Aff3 [55:48].
        assert_eq!(sgi0r(8, 0), 0x0800_0001);
        assert_eq!(sgi0r(15, 0xf), 0x0f00_8000);
        assert_eq!(sgi0r(8, 0x37), 3 << 44 | 0x0800_0080);
        assert_eq!(sgi0r(8, 0xab00), 0x08ab_0001);
        assert_eq!(sgi0r(8, 0xcd_0000), 0xcd << 32 | 0x0800_0001);
        assert_eq!(sgi0r(8, 0xef_0000_0000), 0xef << 48 | 0x0800_0001);
        let all = sgi0r(9, 0x12_0034_5678);
        assert_eq!(all, 0x12 << 48 | 7 << 44 | 0x34 << 32 | 0x0956_0100);
    }

    #[test]
    fn the_client_is_what_the_id_registers_say() {
        let _one = ONE.lock();
        el1::fake::SYSREGS.lock().unwrap().reset();
        let Client { el, features } = client();
        assert_eq!(el, ClientEl::El1);
        let mut none = PstateFeatures::default();
        none.pan = true;
        assert_eq!(features, none);

        {
            let mut registers = el1::fake::SYSREGS.lock().unwrap();
            registers.id_aa64pfr0_el1 = IdAa64pfr0El1::from_bits_retain(1 << 8);
            let all = IdAa64pfr1El1::from_bits_retain(1 << 4 | 2 << 8 | 1 << 36 | 1 << 44);
            registers.id_aa64pfr1_el1 = all;
            registers.id_aa64dfr1_el1 = IdAa64dfr1El1::default().with_ebep(1);
        }
        let Client { el, features } = client();
        assert_eq!(el, ClientEl::El2);
        let PstateFeatures {
            ssbs,
            mte2,
            nmi,
            gcs,
            pm,
            ..
        } = features;
        assert!(ssbs && mte2 && nmi && gcs && pm);
    }

    #[test]
    fn each_els_registers_are_its_own() {
        let _one = ONE.lock();
        {
            let mut el1 = el1::fake::SYSREGS.lock().unwrap();
            el1.reset();
            el1.sctlr_el1 = SctlrEl1::from_bits_retain(1);
            el1.vbar_el1 = VbarEl1::from_bits_retain(0x1800);
            let mut el2 = el2::fake::SYSREGS.lock().unwrap();
            el2.reset();
            el2.sctlr_el2 = SctlrEl2::from_bits_retain(4);
            el2.vbar_el2 = VbarEl2::from_bits_retain(0x2800);
            el2.hcr_el2 = HcrEl2::E2H;
        }
        let of = |el| (control(el).sctlr, control(el).host, vbar(el));
        assert_eq!(of(ClientEl::El1), (1, true, 0x1800));
        assert_eq!(of(ClientEl::El2), (4, false, 0x2800));
        el2::fake::SYSREGS.lock().unwrap().hcr_el2 = HcrEl2::E2H | HcrEl2::TGE;
        assert!(control(ClientEl::El2).host);

        take_exception(ClientEl::El2, 0x8000, 0x3c9);
        let el2 = el2::fake::SYSREGS.lock().unwrap();
        assert_eq!((el2.elr_el2.bits(), el2.spsr_el2.bits()), (0x8000, 0x3c9));
        let el1 = el1::fake::SYSREGS.lock().unwrap();
        assert_eq!((el1.elr_el1.bits(), el1.spsr_el1.bits()), (0, 0));
    }
}

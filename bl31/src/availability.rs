//! SMCCC_ARCH_FEATURE_AVAILABILITY (Arm DEN0028, 7.8): which features of this
//! PE EL3 lets the Normal world use, read from the registers that say so.

use arm_sysregs::el3::accessors::*;
use arm_sysregs::el3::registers::*;

use crate::features::Ids;

/// Registers of EL3 as the call names them: the operands of MRS, in the bits
/// where the instruction has them.
const SCR_EL3: u64 = mrs(6, 1, 1, 0);
const CPTR_EL3: u64 = mrs(6, 1, 1, 2);
const MDCR_EL3: u64 = mrs(6, 1, 3, 1);
const MPAM3_EL3: u64 = mrs(6, 10, 5, 0);

const fn mrs(op1: u64, crn: u64, crm: u64, op2: u64) -> u64 {
    3 << 19 | op1 << 16 | crn << 12 | crm << 8 | op2 << 5
}

/// SCR_EL3's bits that are set to open a feature. Where a feature has two, one
/// stands for it.
const SCR_OPENS: ScrEl3 = ScrEl3::APK
    .union(ScrEl3::ENSCXT)
    .union(ScrEl3::ATA)
    .union(ScrEl3::FGTEN)
    .union(ScrEl3::FGTEN2)
    .union(ScrEl3::ECVEN)
    .union(ScrEl3::AMVOFFEN)
    .union(ScrEl3::HXEN)
    .union(ScrEl3::ENAS0)
    .union(ScrEl3::ADEN)
    .union(ScrEl3::ENTP2)
    .union(ScrEl3::GCSEN)
    .union(ScrEl3::RCWMASKEN)
    .union(ScrEl3::PFAREN)
    .union(ScrEl3::ENFPM)
    .union(ScrEl3::TCR2EN)
    .union(ScrEl3::SCTLR2EN)
    .union(ScrEl3::PIEN)
    .union(ScrEl3::AIEN)
    .union(ScrEl3::D128EN)
    .union(ScrEl3::ENIDCP128)
    .union(ScrEl3::HDBSSEN)
    .union(ScrEl3::HACDBSEN)
    .union(ScrEl3::SRMASKEN);

/// The same of CPTR_EL3.
const CPTR_OPENS: CptrEl3 = CptrEl3::EZ.union(CptrEl3::ESM);

/// The same of MDCR_EL3.
const MDCR_OPENS: MdcrEl3 = MdcrEl3::EBWE
    .union(MdcrEl3::ENPM2)
    .union(MdcrEl3::ENPMSS)
    .union(MdcrEl3::ENITE)
    .union(MdcrEl3::MTPME)
    .union(MdcrEl3::from_bits_retain(NSPB_LOW | NSTB_LOW | SBRBE_LOW));

/// The lowest bits of MDCR_EL3's fields for SPE, TRBE and BRBE: set if the
/// Normal world may use them.
const NSPB_LOW: u64 = 1 << MdcrEl3::NSPB_SHIFT;
const NSTB_LOW: u64 = 1 << MdcrEl3::NSTB_SHIFT;
const SBRBE_LOW: u64 = 1 << MdcrEl3::SBRBE_SHIFT;

/// Features that a set bit closes: the bit, and whether this PE has them.
type Traps = [(u64, bool)];

/// A register's answer: its bits of `opens` as they are, and those of `traps`
/// turned round where there is something to trap.
fn answer(register: u64, opens: u64, traps: &Traps) -> u64 {
    let untrapped = |&(bit, present): &(u64, bool)| {
        if present { !register & bit } else { 0 }
    };
    traps.iter().map(untrapped).sum::<u64>() | register & opens
}

/// The features that the register named by `selector` opens on this PE: a bit
/// is 1 if what it controls is there and may be used. `None` if the call has
/// no such register.
pub fn of(selector: u64) -> Option<u64> {
    let ids = Ids::read();
    let pmu = !matches!(ids.dfr0.pmuver(), 0 | 0xf);
    Some(match selector {
        SCR_EL3 => answer(
            read_scr_el3().bits(),
            SCR_OPENS.bits(),
            &[
                (ScrEl3::TERR.bits(), ids.pfr0.ras() != 0),
                (ScrEl3::TRNDR.bits(), ids.isar0.rndr() != 0),
            ],
        ),
        CPTR_EL3 => answer(
            read_cptr_el3().bits(),
            CPTR_OPENS.bits(),
            &[
                (CptrEl3::TCPAC.bits(), true),
                (CptrEl3::TFP.bits(), true),
                (CptrEl3::TAM.bits(), ids.pfr0.amu() != 0),
                (CptrEl3::TTA.bits(), ids.dfr0.tracever() != 0),
            ],
        ),
        MDCR_EL3 => answer(
            read_mdcr_el3().bits(),
            MDCR_OPENS.bits(),
            &[
                (MdcrEl3::TDA.bits(), true),
                (MdcrEl3::TDOSA.bits(), ids.dfr0.doublelock() == 0),
                (MdcrEl3::TPM.bits(), pmu),
                (MdcrEl3::TDCC.bits(), ids.mmfr0.fgt() != 0),
                (MdcrEl3::TTRF.bits(), ids.dfr0.tracefilt() != 0),
            ],
        ),
        MPAM3_EL3 if ids.has_mpam() => answer(
            read_mpam3_el3().bits(),
            0,
            &[(Mpam3El3::TRAPLOWER.bits(), true)],
        ),
        MPAM3_EL3 => 0,
        _ => return None,
    })
}

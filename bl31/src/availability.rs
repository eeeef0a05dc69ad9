//! SMCCC_ARCH_FEATURE_AVAILABILITY (Arm DEN0028, 7.8): which features of this
//! PE EL3 lets the Normal world use, read from the registers that say so.

use arm_sysregs::el1::registers::{IdAa64dfr0El1, IdAa64isar0El1, IdAa64mmfr0El1, IdAa64pfr0El1};
use arm_sysregs::el3::accessors::*;
use arm_sysregs::el3::registers::*;

use crate::features::{CPTR_OPENS, Id, Ids, MDCR_OPENS, SCR_OPENS};

/// Registers of EL3 as the call names them: the operands of MRS, in the bits
/// where the instruction has them.
const SCR_EL3: u64 = mrs(6, 1, 1, 0);
const CPTR_EL3: u64 = mrs(6, 1, 1, 2);
const MDCR_EL3: u64 = mrs(6, 1, 3, 1);
const MPAM3_EL3: u64 = mrs(6, 10, 5, 0);

const fn mrs(op1: u64, crn: u64, crm: u64, op2: u64) -> u64 {
    3 << 19 | op1 << 16 | crn << 12 | crm << 8 | op2 << 5
}

/// SCR_EL3's bits whose state is told: those that open a feature, of two for the
/// same one of them. EL2 is there or not without HCE.
const SCR_TOLD: u64 = (SCR_OPENS | ScrEl3::FIEN.bits()) & !ScrEl3::API.union(ScrEl3::HCE).bits();

/// The same of MDCR_EL3: of fields of two bits the lower. What is opened for newer
/// registers of SPE is not told.
const MDCR_TOLD: u64 = MDCR_OPENS
    & !(0b10 << MdcrEl3::NSPB_SHIFT
        | 0b10 << MdcrEl3::NSTB_SHIFT
        | MdcrEl3::ENPMSN
            .union(MdcrEl3::ENPMS3)
            .union(MdcrEl3::ENPMS4)
            .bits());

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
    let ras = ids.has(Id::Pfr0, IdAa64pfr0El1::RAS_SHIFT, 1);
    Some(match selector {
        SCR_EL3 => answer(
            read_scr_el3().bits(),
            SCR_TOLD,
            &[
                (ScrEl3::TERR.bits(), ras),
                (
                    ScrEl3::TRNDR.bits(),
                    ids.has(Id::Isar0, IdAa64isar0El1::RNDR_SHIFT, 1),
                ),
            ],
        ),
        CPTR_EL3 => answer(
            read_cptr_el3().bits(),
            CPTR_OPENS,
            &[
                (CptrEl3::TCPAC.bits(), true),
                (CptrEl3::TFP.bits(), true),
                (
                    CptrEl3::TAM.bits(),
                    ids.has(Id::Pfr0, IdAa64pfr0El1::AMU_SHIFT, 1),
                ),
                (
                    CptrEl3::TTA.bits(),
                    ids.has(Id::Dfr0, IdAa64dfr0El1::TRACEVER_SHIFT, 1),
                ),
            ],
        ),
        MDCR_EL3 => answer(
            read_mdcr_el3().bits(),
            MDCR_TOLD,
            &[
                (MdcrEl3::TDA.bits(), true),
                (
                    MdcrEl3::TDOSA.bits(),
                    ids.field(Id::Dfr0, IdAa64dfr0El1::DOUBLELOCK_SHIFT) == 0,
                ),
                (
                    MdcrEl3::TPM.bits(),
                    ids.has(Id::Dfr0, IdAa64dfr0El1::PMUVER_SHIFT, 1),
                ),
                (
                    MdcrEl3::TDCC.bits(),
                    ids.has(Id::Mmfr0, IdAa64mmfr0El1::FGT_SHIFT, 1),
                ),
                (
                    MdcrEl3::TTRF.bits(),
                    ids.has(Id::Dfr0, IdAa64dfr0El1::TRACEFILT_SHIFT, 1),
                ),
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

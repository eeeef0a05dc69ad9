//! What the PE can do, opened for the Normal world.
//!
//! At reset EL3 traps most of what came after Armv8.0. A kernel uses whatever
//! the ID registers promise, so each promise has a row here. What still traps
//! is UNDEFINED for whoever used it (see [`trap`](crate::trap)).

use aarch64_cpu::asm::barrier;
use arm_sysregs::el1::accessors::*;
use arm_sysregs::el1::registers::*;
use arm_sysregs::el3::accessors::*;
use arm_sysregs::el3::registers::*;

/// The ID registers.
pub struct Ids {
    /// ID_AA64PFR0_EL1.
    pub pfr0: IdAa64pfr0El1,
    pfr1: IdAa64pfr1El1,
    pfr2: IdAa64pfr2El1,
    /// ID_AA64ISAR0_EL1.
    pub isar0: IdAa64isar0El1,
    isar1: IdAa64isar1El1,
    isar2: IdAa64isar2El1,
    /// ID_AA64MMFR0_EL1.
    pub mmfr0: IdAa64mmfr0El1,
    mmfr1: IdAa64mmfr1El1,
    mmfr3: IdAa64mmfr3El1,
    mmfr4: IdAa64mmfr4El1,
    /// ID_AA64DFR0_EL1.
    pub dfr0: IdAa64dfr0El1,
    dfr1: IdAa64dfr1El1,
    smfr0: IdAa64smfr0El1,
}

impl Ids {
    /// Of this PE.
    pub fn read() -> Self {
        Self {
            pfr0: read_id_aa64pfr0_el1(),
            pfr1: read_id_aa64pfr1_el1(),
            pfr2: read_id_aa64pfr2_el1(),
            isar0: read_id_aa64isar0_el1(),
            isar1: read_id_aa64isar1_el1(),
            isar2: read_id_aa64isar2_el1(),
            mmfr0: read_id_aa64mmfr0_el1(),
            mmfr1: read_id_aa64mmfr1_el1(),
            mmfr3: read_id_aa64mmfr3_el1(),
            mmfr4: read_id_aa64mmfr4_el1(),
            dfr0: read_id_aa64dfr0_el1(),
            dfr1: read_id_aa64dfr1_el1(),
            smfr0: read_id_aa64smfr0_el1(),
        }
    }

    /// FEAT_MPAM, in either of its forms: there is MPAM3_EL3.
    pub fn has_mpam(&self) -> bool {
        self.pfr0.mpam() | self.pfr1.mpam_frac() != 0
    }
}

/// The registers that open features, as they are being put together.
struct Controls {
    scr: ScrEl3,
    mdcr: MdcrEl3,
    cptr: CptrEl3,
}

/// A feature: its name in the Arm ARM, how the ID registers show it, and what
/// lets the Normal world use it.
type Row = (&'static str, fn(&Ids) -> bool, fn(&mut Controls));

#[rustfmt::skip]
const FEATURES: &[Row] = &[
    ("EL2",              |id| id.pfr0.el2() != 0,          |c| c.scr |= ScrEl3::HCE),
    ("FEAT_PAuth",       has_pauth,                        |c| c.scr |= ScrEl3::APK | ScrEl3::API),
    ("FEAT_RASv1p1",     |id| id.pfr0.ras() >= 2,          |c| c.scr |= ScrEl3::FIEN),
    ("FEAT_CSV2_2",      has_scxtnum,                      |c| c.scr |= ScrEl3::ENSCXT),
    ("FEAT_MTE2",        |id| id.pfr1.mte() >= 2,          |c| c.scr |= ScrEl3::ATA),
    ("FEAT_FGT",         |id| id.mmfr0.fgt() >= 1,         |c| c.scr |= ScrEl3::FGTEN),
    ("FEAT_FGT2",        |id| id.mmfr0.fgt() >= 2,         |c| c.scr |= ScrEl3::FGTEN2),
    ("FEAT_ECV_POFF",    |id| id.mmfr0.ecv() >= 2,         |c| c.scr |= ScrEl3::ECVEN),
    ("FEAT_AMUv1p1",     |id| id.pfr0.amu() >= 2,          |c| c.scr |= ScrEl3::AMVOFFEN),
    ("FEAT_HCX",         |id| id.mmfr1.hcx() != 0,         |c| c.scr |= ScrEl3::HXEN),
    ("FEAT_LS64_ACCDATA",|id| id.isar1.ls64() >= 3,        |c| c.scr |= ScrEl3::ENAS0 | ScrEl3::ADEN),
    ("FEAT_SME",         |id| id.pfr1.sme() != 0,          open_sme),
    ("FEAT_SVE",         |id| id.pfr0.sve() != 0,          |c| c.cptr |= CptrEl3::EZ),
    ("FEAT_GCS",         |id| id.pfr1.gcs() != 0,          |c| c.scr |= ScrEl3::GCSEN),
    ("FEAT_THE",         |id| id.pfr1.the() != 0,          |c| c.scr |= ScrEl3::RCWMASKEN),
    ("FEAT_PFAR",        |id| id.pfr1.pfar() != 0,         |c| c.scr |= ScrEl3::PFAREN),
    ("FEAT_FPMR",        |id| id.pfr2.fpmr() != 0,         |c| c.scr |= ScrEl3::ENFPM),
    ("FEAT_TCR2",        |id| id.mmfr3.tcrx() != 0,        |c| c.scr |= ScrEl3::TCR2EN),
    ("FEAT_SCTLR2",      |id| id.mmfr3.sctlrx() != 0,      |c| c.scr |= ScrEl3::SCTLR2EN),
    ("FEAT_S1PIE...",    has_permission_indirection,       |c| c.scr |= ScrEl3::PIEN),
    ("FEAT_AIE",         |id| id.mmfr3.aie() != 0,         |c| c.scr |= ScrEl3::AIEN),
    ("FEAT_D128",        |id| id.mmfr3.d128() != 0,        |c| c.scr |= ScrEl3::D128EN),
    ("FEAT_SYSINSTR128", |id| id.isar2.sysinstr_128() != 0,|c| c.scr |= ScrEl3::ENIDCP128),
    ("FEAT_HDBSS",       |id| id.mmfr1.hafdbs() >= 4,      |c| c.scr |= ScrEl3::HDBSSEN),
    ("FEAT_HACDBS",      |id| id.mmfr4.hacdbs() != 0,      |c| c.scr |= ScrEl3::HACDBSEN),
    ("FEAT_SRMASK",      |id| id.mmfr4.srmask() != 0,      |c| c.scr |= ScrEl3::SRMASKEN),
    ("FEAT_SPE",         |id| id.dfr0.pmsver() != 0,       |c| c.mdcr |= MdcrEl3::NSPB_NS),
    ("FEAT_SPEv1p2",     |id| id.dfr0.pmsver() >= 3,       |c| c.mdcr |= MdcrEl3::ENPMSN),
    ("FEAT_TRBE",        |id| id.dfr0.tracebuffer() != 0,  |c| c.mdcr |= MdcrEl3::NSTB_EN | MdcrEl3::NSTB_SS),
    ("FEAT_BRBE",        |id| id.dfr0.brbe() != 0,         |c| c.mdcr.set_sbrbe(0b11)),
    ("FEAT_MTPMU",       |id| id.dfr0.mtpmu() == 1,        |c| c.mdcr |= MdcrEl3::MTPME),
    ("FEAT_PMUv3p9",     |id| (9..15).contains(&id.dfr0.pmuver()), |c| c.mdcr |= MdcrEl3::ENPM2),
    ("FEAT_PMUv3_SS",    |id| id.dfr0.pmss() != 0,         |c| c.mdcr |= MdcrEl3::ENPMSS),
    ("FEAT_Debugv8p9",   |id| id.dfr0.debugver() >= 11,    |c| c.mdcr |= MdcrEl3::EBWE),
    ("FEAT_ITE",         |id| id.dfr1.ite() != 0,          |c| c.mdcr |= MdcrEl3::ENITE),
    ("FEAT_MPAM",        Ids::has_mpam,                    |_| open_mpam()),
];

/// ID_AA64ISAR1_EL1 or ID_AA64ISAR2_EL1 names an algorithm for addresses or
/// for generic authentication.
fn has_pauth(id: &Ids) -> bool {
    id.isar1.apa() | id.isar1.api() | id.isar1.gpa() | id.isar1.gpi() != 0
        || id.isar2.apa3() | id.isar2.gpa3() != 0
}

/// FEAT_CSV2_2 or FEAT_CSV2_1p2: there is SCXTNUM_ELx.
fn has_scxtnum(id: &Ids) -> bool {
    id.pfr0.csv2() >= 2 || (id.pfr0.csv2() == 1 && id.pfr1.csv2_frac() >= 2)
}

/// Any of FEAT_S1PIE, FEAT_S2PIE, FEAT_S1POE, FEAT_S2POE: SCR_EL3.PIEn is for all.
fn has_permission_indirection(id: &Ids) -> bool {
    id.mmfr3.s1pie() | id.mmfr3.s2pie() | id.mmfr3.s1poe() | id.mmfr3.s2poe() != 0
}

fn open_sme(controls: &mut Controls) {
    controls.scr |= ScrEl3::ENTP2;
    controls.cptr |= CptrEl3::ESM;
}

fn open_mpam() {
    // SAFETY: lets the Normal world choose its partitions; EL3 stays in the default one.
    unsafe { write_mpam3_el3(Mpam3El3::MPAMEN) };
}

/// Vector lengths: the longest that there is.
const LONGEST: u8 = 0xf;

/// Opens what this PE can do.
pub fn open() {
    let ids = Ids::read();
    let mut controls = Controls {
        // Group 0 interrupts to EL3; IRQ and SError stay below. EL2, or EL1
        // where that is the highest, runs AArch64.
        scr: ScrEl3::RES1 | ScrEl3::NS | ScrEl3::FIQ | ScrEl3::RW | ScrEl3::SIF,
        // What EL3 does is not counted: neither cycles nor, in Secure state,
        // events. There is no Secure AArch32 debug.
        mdcr: MdcrEl3::SPD32 | MdcrEl3::SCCD | MdcrEl3::MCCD,
        // No trap of FP, of CPACR_EL1 and CPTR_EL2, trace or AMU registers.
        cptr: CptrEl3::empty(),
    };
    for (name, present, open) in FEATURES {
        if present(&ids) {
            log::trace!("{name}");
            open(&mut controls);
        }
    }
    // SAFETY: EL3 itself uses none of what these open, and NS and RW describe
    // the only world there is.
    unsafe {
        write_scr_el3(controls.scr);
        write_cptr_el3(controls.cptr);
    }
    write_mdcr_el3(controls.mdcr);
    // What follows is there once CPTR_EL3 says so, and the banked registers of
    // the GIC are the Non-secure ones once SCR_EL3.NS is set.
    barrier::isb(barrier::SY);

    if controls.cptr.contains(CptrEl3::EZ) {
        // SAFETY: EL3 has no vectors.
        unsafe { write_zcr_el3(ZcrEl3::empty().with_len(LONGEST)) };
    }
    if controls.cptr.contains(CptrEl3::ESM) {
        let mut smcr = SmcrEl3::empty().with_len(LONGEST);
        smcr.set(SmcrEl3::FA64, ids.smfr0.contains(IdAa64smfr0El1::FA64));
        smcr.set(SmcrEl3::EZT0, ids.pfr1.sme() >= 2);
        // SAFETY: as above.
        unsafe { write_smcr_el3(smcr) };
    }
    // The exception return synchronizes these.
}

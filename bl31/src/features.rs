//! What the PE can do, opened for the Normal world.
//!
//! At reset EL3 traps most of what came after Armv8.0. A kernel uses whatever
//! the ID registers promise, so each promise has a row here. What still traps
//! is UNDEFINED for the EL that used it (see [`trap`](crate::trap)).

use core::arch::asm;

use aarch64_cpu::asm::barrier;
use arm_sysregs::el0::accessors::*;
use arm_sysregs::el0::registers::{Amcntenset0El0, Amcntenset1El0, PmcrEl0};
use arm_sysregs::el1::accessors::*;
use arm_sysregs::el1::registers::*;
use arm_sysregs::el3::accessors::*;
use arm_sysregs::el3::registers::*;

/// An ID register, all of which have fields of four bits.
#[derive(Clone, Copy, Debug)]
pub enum Id {
    /// ID_AA64PFR0_EL1.
    Pfr0,
    /// ID_AA64PFR1_EL1.
    Pfr1,
    /// ID_AA64PFR2_EL1.
    Pfr2,
    /// ID_AA64ISAR0_EL1.
    Isar0,
    /// ID_AA64ISAR1_EL1.
    Isar1,
    /// ID_AA64ISAR2_EL1.
    Isar2,
    /// ID_AA64MMFR0_EL1.
    Mmfr0,
    /// ID_AA64MMFR1_EL1.
    Mmfr1,
    /// ID_AA64MMFR3_EL1.
    Mmfr3,
    /// ID_AA64MMFR4_EL1.
    Mmfr4,
    /// ID_AA64DFR0_EL1.
    Dfr0,
    /// ID_AA64DFR1_EL1.
    Dfr1,
    /// ID_AA64DFR2_EL1.
    Dfr2,
}

/// The ID registers of a PE, by [`Id`].
pub struct Ids([u64; 13]);

impl Ids {
    /// Of this PE.
    #[inline(never)]
    pub fn read() -> Self {
        Self([
            read_id_aa64pfr0_el1().bits(),
            read_id_aa64pfr1_el1().bits(),
            read_id_aa64pfr2_el1().bits(),
            read_id_aa64isar0_el1().bits(),
            read_id_aa64isar1_el1().bits(),
            read_id_aa64isar2_el1().bits(),
            read_id_aa64mmfr0_el1().bits(),
            read_id_aa64mmfr1_el1().bits(),
            read_id_aa64mmfr3_el1().bits(),
            read_id_aa64mmfr4_el1().bits(),
            read_id_aa64dfr0_el1().bits(),
            read_id_aa64dfr1_el1().bits(),
            read_id_aa64dfr2_el1(),
        ])
    }

    /// The field at bit `shift` of a register.
    pub fn field(&self, id: Id, shift: u32) -> u64 {
        self.0[id as usize] >> shift & 0xf
    }

    /// Whether the field at bit `shift` of a register promises `least` or more. All
    /// ones promise nothing: where a field may have them, something is there that
    /// is not the architecture's.
    pub fn has(&self, id: Id, shift: u32, least: u64) -> bool {
        (least..0xf).contains(&self.field(id, shift))
    }

    /// FEAT_MPAM, in either of its forms: there is MPAM3_EL3.
    pub fn has_mpam(&self) -> bool {
        self.has(Id::Pfr0, IdAa64pfr0El1::MPAM_SHIFT, 1)
            || self.has(Id::Pfr1, IdAa64pfr1El1::MPAM_FRAC_SHIFT, 1)
    }
}

/// ID_AA64DFR2_EL1, which `arm-sysregs` 0.5 lacks. Zero where no feature is in it.
fn read_id_aa64dfr2_el1() -> u64 {
    let value;
    // SAFETY: a read without an effect.
    unsafe { asm!("mrs {}, s3_0_c0_c5_2", out(reg) value, options(nomem, nostack)) };
    value
}

/// Fields of ID_AA64DFR2_EL1.
const STEP_SHIFT: u32 = 0;
const SPE_EXC_SHIFT: u32 = 16;
const SPE_NVM_SHIFT: u32 = 20;
const TRBE_EXC_SHIFT: u32 = 24;

/// The registers that open features.
#[derive(Clone, Copy)]
enum Control {
    Scr,
    Mdcr,
    Cptr,
}

/// A feature: the ID register, the field in it and the least value that promise it;
/// and the bits that let the Normal world use it. A feature that is promised in
/// several ways has a row for each.
struct Row {
    least: u8,
    id: Id,
    shift: u8,
    control: Control,
    opens: u64,
}

const fn row(id: Id, shift: u32, least: u8, control: Control, opens: u64) -> Row {
    Row {
        least,
        id,
        shift: shift as u8,
        control,
        opens,
    }
}

const fn scr(id: Id, shift: u32, least: u8, opens: ScrEl3) -> Row {
    row(id, shift, least, Control::Scr, opens.bits())
}

const fn mdcr(id: Id, shift: u32, least: u8, opens: MdcrEl3) -> Row {
    row(id, shift, least, Control::Mdcr, opens.bits())
}

const fn cptr(id: Id, shift: u32, least: u8, opens: CptrEl3) -> Row {
    row(id, shift, least, Control::Cptr, opens.bits())
}

/// Fields of two bits in MDCR_EL3: 0b01 leaves the matter to EL2, or to EL1 where
/// that is the highest.
const PMEE_EL2: MdcrEl3 = MdcrEl3::from_bits_retain(0b01 << MdcrEl3::PMEE_SHIFT);
const PMSEE_EL2: MdcrEl3 = MdcrEl3::from_bits_retain(0b01 << MdcrEl3::PMSEE_SHIFT);
const TRBEE_EL2: MdcrEl3 = MdcrEl3::from_bits_retain(0b01 << MdcrEl3::TRBEE_SHIFT);
/// Branches are recorded in the Non-secure state only.
const SBRBE_NS: MdcrEl3 = MdcrEl3::from_bits_retain(0b01 << MdcrEl3::SBRBE_SHIFT);
const NSPB_NS: MdcrEl3 = MdcrEl3::from_bits_retain(0b11 << MdcrEl3::NSPB_SHIFT);
const NSTB_NS: MdcrEl3 = MdcrEl3::from_bits_retain(0b11 << MdcrEl3::NSTB_SHIFT);

const PAUTH: ScrEl3 = ScrEl3::APK.union(ScrEl3::API);

/// Not among them: fault injection (SCR_EL3.FIEN), by which the Normal world could
/// have EL3's own accesses fail; event counting across the threads of a core
/// (MDCR_EL3.MTPME).
#[rustfmt::skip]
const FEATURES: &[Row] = &[
    /* EL2               */ scr(Id::Pfr0,  IdAa64pfr0El1::EL2_SHIFT,           1, ScrEl3::HCE),
    /* FEAT_PAuth        */ scr(Id::Isar1, IdAa64isar1El1::APA_SHIFT,          1, PAUTH),
    /*                   */ scr(Id::Isar1, IdAa64isar1El1::API_SHIFT,          1, PAUTH),
    /*                   */ scr(Id::Isar1, IdAa64isar1El1::GPA_SHIFT,          1, PAUTH),
    /*                   */ scr(Id::Isar1, IdAa64isar1El1::GPI_SHIFT,          1, PAUTH),
    /*                   */ scr(Id::Isar2, IdAa64isar2El1::APA3_SHIFT,         1, PAUTH),
    /*                   */ scr(Id::Isar2, IdAa64isar2El1::GPA3_SHIFT,         1, PAUTH),
    /* FEAT_CSV2_2       */ scr(Id::Pfr0,  IdAa64pfr0El1::CSV2_SHIFT,          2, ScrEl3::ENSCXT),
    /* FEAT_CSV2_1p2     */ scr(Id::Pfr1,  IdAa64pfr1El1::CSV2_FRAC_SHIFT,     2, ScrEl3::ENSCXT),
    /* FEAT_MTE2         */ scr(Id::Pfr1,  IdAa64pfr1El1::MTE_SHIFT,           2, ScrEl3::ATA),
    /* FEAT_FGT          */ scr(Id::Mmfr0, IdAa64mmfr0El1::FGT_SHIFT,          1, ScrEl3::FGTEN),
    /* FEAT_FGT2         */ scr(Id::Mmfr0, IdAa64mmfr0El1::FGT_SHIFT,          2, ScrEl3::FGTEN2),
    /* FEAT_ECV_POFF     */ scr(Id::Mmfr0, IdAa64mmfr0El1::ECV_SHIFT,          2, ScrEl3::ECVEN),
    /* FEAT_AMUv1p1      */ scr(Id::Pfr0,  IdAa64pfr0El1::AMU_SHIFT,           2, ScrEl3::AMVOFFEN),
    /* FEAT_HCX          */ scr(Id::Mmfr1, IdAa64mmfr1El1::HCX_SHIFT,          1, ScrEl3::HXEN),
    /* FEAT_LS64_ACCDATA */ scr(Id::Isar1, IdAa64isar1El1::LS64_SHIFT,         3, ScrEl3::ENAS0.union(ScrEl3::ADEN)),
    /* FEAT_SME          */ scr(Id::Pfr1,  IdAa64pfr1El1::SME_SHIFT,           1, ScrEl3::ENTP2),
    /*                   */ cptr(Id::Pfr1, IdAa64pfr1El1::SME_SHIFT,           1, CptrEl3::ESM),
    /* FEAT_SVE          */ cptr(Id::Pfr0, IdAa64pfr0El1::SVE_SHIFT,           1, CptrEl3::EZ),
    /* FEAT_GCS          */ scr(Id::Pfr1,  IdAa64pfr1El1::GCS_SHIFT,           1, ScrEl3::GCSEN),
    /* FEAT_THE          */ scr(Id::Pfr1,  IdAa64pfr1El1::THE_SHIFT,           1, ScrEl3::RCWMASKEN),
    /* FEAT_PFAR         */ scr(Id::Pfr1,  IdAa64pfr1El1::PFAR_SHIFT,          1, ScrEl3::PFAREN),
    /* FEAT_FPMR         */ scr(Id::Pfr2,  IdAa64pfr2El1::FPMR_SHIFT,          1, ScrEl3::ENFPM),
    /* FEAT_TCR2         */ scr(Id::Mmfr3, IdAa64mmfr3El1::TCRX_SHIFT,         1, ScrEl3::TCR2EN),
    /* FEAT_SCTLR2       */ scr(Id::Mmfr3, IdAa64mmfr3El1::SCTLRX_SHIFT,       1, ScrEl3::SCTLR2EN),
    /* FEAT_S1PIE        */ scr(Id::Mmfr3, IdAa64mmfr3El1::S1PIE_SHIFT,        1, ScrEl3::PIEN),
    /* FEAT_S2PIE        */ scr(Id::Mmfr3, IdAa64mmfr3El1::S2PIE_SHIFT,        1, ScrEl3::PIEN),
    /* FEAT_S1POE        */ scr(Id::Mmfr3, IdAa64mmfr3El1::S1POE_SHIFT,        1, ScrEl3::PIEN),
    /* FEAT_S2POE        */ scr(Id::Mmfr3, IdAa64mmfr3El1::S2POE_SHIFT,        1, ScrEl3::PIEN),
    /* FEAT_AIE          */ scr(Id::Mmfr3, IdAa64mmfr3El1::AIE_SHIFT,          1, ScrEl3::AIEN),
    /* FEAT_D128         */ scr(Id::Mmfr3, IdAa64mmfr3El1::D128_SHIFT,         1, ScrEl3::D128EN),
    /* FEAT_SYSINSTR128  */ scr(Id::Isar2, IdAa64isar2El1::SYSINSTR_128_SHIFT, 1, ScrEl3::ENIDCP128),
    /* FEAT_HDBSS        */ scr(Id::Mmfr1, IdAa64mmfr1El1::HAFDBS_SHIFT,       4, ScrEl3::HDBSSEN),
    /* FEAT_HACDBS       */ scr(Id::Mmfr4, IdAa64mmfr4El1::HACDBS_SHIFT,       1, ScrEl3::HACDBSEN),
    /* FEAT_SRMASK       */ scr(Id::Mmfr4, IdAa64mmfr4El1::SRMASK_SHIFT,       1, ScrEl3::SRMASKEN),
    /* FEAT_SPE          */ mdcr(Id::Dfr0, IdAa64dfr0El1::PMSVER_SHIFT,        1, NSPB_NS),
    /* FEAT_SPEv1p2      */ mdcr(Id::Dfr0, IdAa64dfr0El1::PMSVER_SHIFT,        3, MdcrEl3::ENPMSN),
    /* FEAT_SPE_FDS      */ mdcr(Id::Dfr0, IdAa64dfr0El1::PMSVER_SHIFT,        4, MdcrEl3::ENPMS3),
    /* FEAT_SPE_nVM      */ mdcr(Id::Dfr2, SPE_NVM_SHIFT,                      1, MdcrEl3::ENPMS4),
    /* FEAT_SPE_EXC      */ mdcr(Id::Dfr2, SPE_EXC_SHIFT,                      1, PMSEE_EL2),
    /* FEAT_TRBE         */ mdcr(Id::Dfr0, IdAa64dfr0El1::TRACEBUFFER_SHIFT,   1, NSTB_NS),
    /* FEAT_TRBE_EXC     */ mdcr(Id::Dfr2, TRBE_EXC_SHIFT,                     1, TRBEE_EL2),
    /* FEAT_BRBE         */ mdcr(Id::Dfr0, IdAa64dfr0El1::BRBE_SHIFT,          1, SBRBE_NS),
    /* FEAT_PMUv3p9      */ mdcr(Id::Dfr0, IdAa64dfr0El1::PMUVER_SHIFT,        9, MdcrEl3::ENPM2),
    /* FEAT_EBEP         */ mdcr(Id::Dfr1, IdAa64dfr1El1::EBEP_SHIFT,          1, PMEE_EL2),
    /* FEAT_PMUv3_SS     */ mdcr(Id::Dfr0, IdAa64dfr0El1::PMSS_SHIFT,          1, MdcrEl3::ENPMSS),
    /* FEAT_Debugv8p9    */ mdcr(Id::Dfr0, IdAa64dfr0El1::DEBUGVER_SHIFT,     11, MdcrEl3::EBWE),
    /* FEAT_STEP2        */ mdcr(Id::Dfr2, STEP_SHIFT,                         1, MdcrEl3::ENSTEPOP),
    /* FEAT_ITE          */ mdcr(Id::Dfr1, IdAa64dfr1El1::ITE_SHIFT,           1, MdcrEl3::ENITE),
];

/// All bits that may open something in a register.
const fn opens(control: Control) -> u64 {
    let mut all = 0;
    let mut at = 0;
    while at < FEATURES.len() {
        if FEATURES[at].control as u8 == control as u8 {
            all |= FEATURES[at].opens;
        }
        at += 1;
    }
    all
}

/// What SCR_EL3 may open.
pub const SCR_OPENS: u64 = opens(Control::Scr);
/// What MDCR_EL3 may open.
pub const MDCR_OPENS: u64 = opens(Control::Mdcr);
/// What CPTR_EL3 may open.
pub const CPTR_OPENS: u64 = opens(Control::Cptr);

/// Vector lengths: the longest that there is.
const LONGEST: u8 = 0xf;

/// AMCNTENSET0_EL0: the four counters that the architecture defines.
const AMU_COUNTERS: u64 = 0xf;

/// Opens what this PE can do.
pub fn open() {
    let ids = Ids::read();
    let mut controls = [
        // Group 0 interrupts to EL3; IRQ and SError stay below. EL2, or EL1
        // where that is the highest, runs AArch64.
        (ScrEl3::RES1 | ScrEl3::NS | ScrEl3::FIQ | ScrEl3::RW | ScrEl3::SIF).bits(),
        // What EL3 does is not counted: neither cycles nor, in Secure state,
        // events. There is no Secure self-hosted debug.
        (MdcrEl3::SPD32 | MdcrEl3::SDD | MdcrEl3::SCCD | MdcrEl3::MCCD).bits(),
        // No trap of FP, of CPACR_EL1 and CPTR_EL2, trace or AMU registers.
        0,
    ];
    for row in FEATURES {
        if ids.has(row.id, row.shift.into(), row.least.into()) {
            controls[row.control as usize] |= row.opens;
        }
    }
    let [scr, mdcr, cptr] = controls;
    let cptr = CptrEl3::from_bits_retain(cptr);
    // SAFETY: EL3 itself uses none of what these open, and NS and RW describe
    // the only world there is.
    unsafe {
        write_scr_el3(ScrEl3::from_bits_retain(scr));
        write_cptr_el3(cptr);
    }
    write_mdcr_el3(MdcrEl3::from_bits_retain(mdcr));
    // What follows is there once CPTR_EL3 says so, and the banked registers of
    // the GIC are the Non-secure ones once SCR_EL3.NS is set.
    barrier::isb(barrier::SY);

    if cptr.contains(CptrEl3::EZ) {
        // SAFETY: EL3 has no vectors.
        unsafe { write_zcr_el3(ZcrEl3::empty().with_len(LONGEST)) };
    }
    if cptr.contains(CptrEl3::ESM) {
        let mut smcr = SmcrEl3::empty().with_len(LONGEST);
        smcr.set(
            SmcrEl3::FA64,
            read_id_aa64smfr0_el1().contains(IdAa64smfr0El1::FA64),
        );
        smcr.set(
            SmcrEl3::EZT0,
            ids.has(Id::Pfr1, IdAa64pfr1El1::SME_SHIFT, 2),
        );
        // SAFETY: as above.
        unsafe { write_smcr_el3(smcr) };
    }
    if ids.has_mpam() {
        // SAFETY: lets the Normal world choose its partitions; EL3 stays in the
        // default one.
        unsafe { write_mpam3_el3(Mpam3El3::MPAMEN) };
    }
    if ids.has(Id::Pfr0, IdAa64pfr0El1::AMU_SHIFT, 1) {
        // Writable at EL3 alone, and what a kernel scales its load by.
        write_amcntenset0_el0(Amcntenset0El0::from_bits_retain(AMU_COUNTERS));
        let auxiliary = read_amcgcr_el0().cg1nc();
        write_amcntenset1_el0(Amcntenset1El0::from_bits_retain((1 << auxiliary) - 1));
    }
    if ids.has(Id::Dfr0, IdAa64dfr0El1::PMUVER_SHIFT, 1) {
        // Cycles where events may not be counted are not either. Before FEAT_PMUv3p7
        // that is what keeps EL3's from being counted, until an OS says otherwise.
        write_pmcr_el0(read_pmcr_el0() | PmcrEl0::DP);
    }
    // The exception return synchronizes these.
}

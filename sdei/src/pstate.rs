//! PSTATE on entry to a handler: what the architecture's exception entry makes of it
//! (Arm ARM, `AArch64.TakeException`).

/// The exception level of the client, ELc: EL2 where it is implemented, else EL1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ClientEl {
    /// EL1.
    El1 = 1,
    /// EL2.
    El2 = 2,
}

/// Features of the PE that add a field to PSTATE.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Features {
    /// FEAT_PAN.
    pub pan: bool,
    /// FEAT_SSBS.
    pub ssbs: bool,
    /// FEAT_MTE2.
    pub mte2: bool,
    /// FEAT_NMI.
    pub nmi: bool,
    /// FEAT_GCS.
    pub gcs: bool,
}

/// The client EL and what of its state decides the PSTATE that an exception to it would make.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Client {
    /// ELc.
    pub el: ClientEl,
    /// What this PE implements.
    pub features: Features,
    /// `SCTLR_ELc`.
    pub sctlr: u64,
    /// Whether ELc's translation regime has PAN: always for EL1; for EL2 where `HCR_EL2.E2H` and
    /// `HCR_EL2.TGE` are both 1.
    pub host: bool,
    /// `GCSCR_ELc.EXLOCKEN`; false without FEAT_GCS.
    pub exlock_enabled: bool,
}

const NZCV: u64 = 0xf << 28;
const TCO: u64 = 1 << 25;
const DIT: u64 = 1 << 24;
const PAN: u64 = 1 << 22;
const ALLINT: u64 = 1 << 13;
const SSBS: u64 = 1 << 12;
const DAIF: u64 = 0xf << 6;
const EXLOCK: u64 = 1 << 34;
const SP_ELX: u64 = 1;

const SCTLR_SPAN: u64 = 1 << 23;
const SCTLR_DSSBS: u64 = 1 << 44;
const SCTLR_SPINTMASK: u64 = 1 << 62;

/// M\[4\] (AArch32) and the EL of an SPSR's mode field.
const MODE_EL: u64 = 0b1_1100;

impl ClientEl {
    pub(crate) const fn mode(self) -> u64 {
        (self as u64) << 2
    }

    /// Whether an SPSR describes this EL in AArch64 state.
    #[must_use]
    #[inline]
    pub const fn is(self, spsr: u64) -> bool {
        mode_of(spsr) == self.mode()
    }
}

/// The EL that an SPSR describes, with AArch32 told apart: [`ClientEl::mode`] of no EL then.
#[inline]
pub(crate) const fn mode_of(spsr: u64) -> u64 {
    spsr & MODE_EL
}

/// The PSTATE to enter a handler with, given the PSTATE that it interrupts. Both are in the
/// format of an SPSR.
///
/// NZCV and DIT are kept; PAN is kept or set; SS, IL, BTYPE, UAO and everything that only
/// AArch32 has is clear; D, A, I and F are set.
#[must_use]
#[inline]
pub const fn entry(interrupted: u64, client: &Client) -> u64 {
    let Features {
        pan,
        ssbs,
        mte2,
        nmi,
        gcs,
    } = client.features;
    let mut pstate = (interrupted & (NZCV | DIT | PAN)) | DAIF | client.el.mode() | SP_ELX;
    if pan && client.host && client.sctlr & SCTLR_SPAN == 0 {
        pstate |= PAN;
    }
    if ssbs && client.sctlr & SCTLR_DSSBS != 0 {
        pstate |= SSBS;
    }
    if mte2 {
        pstate |= TCO;
    }
    if nmi && client.sctlr & SCTLR_SPINTMASK == 0 {
        pstate |= ALLINT;
    }
    // Only an exception that stays at its EL locks the exception return.
    if gcs && client.exlock_enabled && client.el.is(interrupted) {
        pstate |= EXLOCK;
    }
    pstate
}

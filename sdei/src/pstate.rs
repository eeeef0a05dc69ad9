// SPDX-License-Identifier: MIT OR Apache-2.0

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

/// Features of the PE that add a field to PSTATE. A new value has none: set those that the PE has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct PstateFeatures {
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
    /// FEAT_EBEP, FEAT_SPE_EXC or FEAT_TRBE_EXC: PSTATE.PM.
    pub pm: bool,
}

/// What of a client's PE never changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Client {
    /// ELc.
    pub el: ClientEl,
    /// What this PE implements.
    pub features: PstateFeatures,
}

/// What of the client EL's state decides the PSTATE that an exception to it would make.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Control {
    /// `SCTLR_ELc`.
    pub sctlr: u64,
    /// Whether ELc's translation regime has PAN: always for EL1; for EL2 where `HCR_EL2.E2H` and
    /// `HCR_EL2.TGE` are both 1.
    pub host: bool,
}

impl Client {
    /// The PSTATE after an exception to ELc, given the PSTATE at which it is taken. Both are in the
    /// format of an SPSR. `exlock_enabled` is `GCSCR_ELc.EXLOCKEN`, asked only with FEAT_GCS.
    ///
    /// It is how the dispatcher enters a handler, and how a firmware makes ELc take an exception.
    #[must_use]
    pub fn exception_pstate(
        self,
        interrupted: u64,
        control: Control,
        exlock_enabled: impl FnOnce() -> bool,
    ) -> u64 {
        Rules::new(self).entry(interrupted, control, exlock_enabled)
    }
}

const NZCV: u64 = 0xf << 28;
const TCO: u64 = 1 << 25;
const DIT: u64 = 1 << 24;
const PAN: u64 = 1 << 22;
const ALLINT: u64 = 1 << 13;
const SSBS: u64 = 1 << 12;
const DAIF: u64 = 0xf << 6;
const PM: u64 = 1 << 32;
const EXLOCK: u64 = 1 << 34;
const SP_ELX: u64 = 1;

const SCTLR_SPAN: u64 = 1 << 23;
const SCTLR_DSSBS: u64 = 1 << 44;
const SCTLR_SPINTMASK: u64 = 1 << 62;

/// M\[4\] (AArch32) and the EL of an SPSR's mode field.
const MODE_EL: u64 = 0b1_1100;

impl ClientEl {
    const fn mode(self) -> u64 {
        (self as u64) << 2
    }

    /// Whether an SPSR describes this EL in AArch64 state.
    #[must_use]
    #[inline]
    pub const fn is(self, spsr: u64) -> bool {
        spsr & MODE_EL == self.mode()
    }
}

/// How this PE enters a handler, worked out from its [`Client`] when it comes on: what never
/// changes is not decided anew for each event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Rules {
    /// The EL in the format of an SPSR; no EL's while the PE is off.
    mode: u64,
    /// What every handler's PSTATE has set.
    set: u64,
    /// What it may have set, as [`Control`] says.
    may_set: u64,
    /// Whether the PE has FEAT_GCS.
    has_gcs: bool,
}

impl Rules {
    /// Of a PE that is off.
    pub(crate) const OFF: Self = Self {
        mode: u64::MAX,
        set: 0,
        may_set: 0,
        has_gcs: false,
    };

    #[inline]
    pub(crate) const fn new(client: Client) -> Self {
        let features = client.features;
        let mode = client.el.mode();
        Self {
            mode,
            set: DAIF | mode | SP_ELX | bit(features.mte2, TCO) | bit(features.pm, PM),
            may_set: bit(features.pan, PAN) | bit(features.ssbs, SSBS) | bit(features.nmi, ALLINT),
            has_gcs: features.gcs,
        }
    }

    /// Whether an SPSR describes the client EL in AArch64 state.
    #[inline]
    pub(crate) const fn is_client(&self, spsr: u64) -> bool {
        spsr & MODE_EL == self.mode
    }

    /// ELc.
    #[inline]
    pub(crate) const fn el(&self) -> ClientEl {
        if self.mode == ClientEl::El2.mode() {
            ClientEl::El2
        } else {
            ClientEl::El1
        }
    }

    /// The PSTATE to enter a handler with, given the PSTATE that it interrupts. Both are in the
    /// format of an SPSR. `exlock_enabled` is `GCSCR_ELc.EXLOCKEN`, asked only with FEAT_GCS.
    ///
    /// NZCV and DIT are kept; PAN is kept or set; SS, IL, BTYPE, UAO, PPEND, PACM, UINJ and
    /// everything that only AArch32 has is clear; D, A, I and F are set, and PM where it is there
    /// (Arm DDI 0487, D1.4.2).
    #[inline]
    pub(crate) fn entry(
        &self,
        interrupted: u64,
        control: Control,
        exlock_enabled: impl FnOnce() -> bool,
    ) -> u64 {
        let Control { sctlr, host } = control;
        let mut set = moved(!sctlr, SCTLR_SPAN, PAN)
            | moved(sctlr, SCTLR_DSSBS, SSBS)
            | moved(!sctlr, SCTLR_SPINTMASK, ALLINT);
        if !host {
            set &= !PAN;
        }
        let pstate = (interrupted & (NZCV | DIT | PAN)) | self.set | (set & self.may_set);
        // Only an exception that stays at its EL locks the exception return.
        if self.has_gcs && self.is_client(interrupted) && exlock_enabled() {
            pstate | EXLOCK
        } else {
            pstate
        }
    }
}

/// The bit `from` of a register, where the bit `to`, which is a lower one, is.
#[inline]
const fn moved(register: u64, from: u64, to: u64) -> u64 {
    register >> (from.trailing_zeros() - to.trailing_zeros()) & to
}

/// `bit` where `there`, else 0.
const fn bit(there: bool, bit: u64) -> u64 {
    if there { bit } else { 0 }
}

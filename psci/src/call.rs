//! Every call: decoded, checked, answered.

use crate::{Entry, ExecutionState, Pe, Port, PowerLevel, PowerState};
use arm_psci::{AffinityInfo, ErrorCode, FunctionId, MigrateInfoType, Mpidr};

/// `PSCI_VERSION`'s answer: 1.3 (DEN0022 5.1.1).
const VERSION: u64 = 0x0001_0003;
const PSCI_VERSION: u32 = FunctionId::PsciVersion as u32;
/// DEN0028 7.2: the one function ID outside PSCI that `PSCI_FEATURES` is asked for.
const SMCCC_VERSION: u32 = 0x8000_0000;
/// DEN0028 2.5.1: set for SMC64 in a function ID.
const SMC64: u32 = 1 << 30;

/// What the image knows of the caller of a PSCI call.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Caller {
    /// Its Execution state.
    pub state: ExecutionState,
    /// Whether its data accesses are big-endian (`SCTLR_ELx.EE` of the caller's Exception level).
    pub big_endian: bool,
    /// Whether the call comes out of an SDEI handler, which must not lose its context.
    pub in_handler: bool,
}

/// What the image does after a call.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[must_use]
pub enum Outcome {
    /// Return to the caller with this in x0. x1 and up stay as they are.
    Return(u64),
    /// Turn the calling PE off: take its interrupts and its SDEI state down, call [`Psci::off`] as
    /// the very last step, then wait until [`Psci::start`] says where to go. Does not return.
    Off,
    /// As [`Off`](Outcome::Off), but leave interrupts routed to the PE as they are
    /// (`CPU_FREEZE`, DEN0022 5.1.16).
    Freeze,
    /// Wait for an interrupt (WFI), call [`Psci::standby_end`], return to the caller with 0 in x0.
    Standby,
    /// Mask the PE for SDEI, power it down, lose what a power-down loses. After the wake-up call
    /// [`Psci::resume`] and go where it says, as after a reset. The level is the highest power
    /// domain that goes down together with this PE.
    PowerDown(PowerLevel),
    /// Power the machine off.
    SystemOff,
    /// Reset the machine, cold.
    SystemReset,
    /// Reset the machine in the way that `SYSTEM_RESET2` names (DEN0022 5.1.12).
    SystemReset2 {
        /// 0 is the architectural warm reset; bit 31 is set for those of the vendor.
        reset_type: u32,
        /// The vendor's further argument.
        cookie: u64,
    },
}

/// The PSCI state machine of one machine.
///
/// Shared by all PEs; every method takes the index of the PE that executes it as `me`, which must
/// be below [`Port::pe_count`].
#[derive(Debug)]
pub struct Psci<'a, P> {
    port: &'a P,
    pes: &'a [Pe],
}

impl<'a, P: Port> Psci<'a, P> {
    /// A machine with all PEs off. `pes` has room for all that the machine may have.
    pub const fn new(port: &'a P, pes: &'a [Pe]) -> Self {
        Self { port, pes }
    }

    /// Marks the PE that boots the machine as on. To be called once, by that PE, before it enters
    /// the Normal world.
    pub fn boot(&self, me: usize) {
        self.pes[me].boot();
    }

    /// Where an off PE has to go, or `None` if nobody turned it on: a PE that is off asks this
    /// when it starts to wait and after each wake-up. After `Some` the PE is on.
    #[must_use]
    pub fn start(&self, me: usize) -> Option<Entry> {
        self.pes[me].start()
    }

    /// Makes the calling PE off for everyone to see. From here on another PE may turn it on
    /// again, so this is the last step after [`Outcome::Off`], before the wait loop.
    pub fn off(&self, me: usize) {
        self.pes[me].off();
    }

    /// Where the calling PE goes after the power-down of [`Outcome::PowerDown`]: to be called after
    /// the wake-up, or at once if a wake-up event was already waiting.
    #[must_use]
    pub fn resume(&self, me: usize) -> Entry {
        self.pes[me].entry()
    }

    /// Ends the standby of [`Outcome::Standby`]: to be called after the wake-up.
    pub fn standby_end(&self, _me: usize) {}

    /// Answers the call with function ID `fid`, arguments `args` (x1..x3).
    ///
    /// `fid` is a function ID of the range of PSCI, with the SVE hint (bit 16) already cleared;
    /// one that is unknown answers `NOT_SUPPORTED`. A call that is refused changes nothing.
    /// `caller` is only asked if the answer depends on it.
    #[inline]
    pub fn call(
        &self,
        me: usize,
        caller: impl FnOnce() -> Caller,
        fid: u32,
        args: &[u64; 3],
    ) -> Outcome {
        if fid == PSCI_VERSION {
            return Outcome::Return(VERSION);
        }
        self.decode(me, caller(), fid, args)
    }

    #[inline(never)]
    fn decode(&self, me: usize, caller: Caller, fid: u32, args: &[u64; 3]) -> Outcome {
        let wide = fid & SMC64 != 0;
        let args = if wide {
            *args
        } else {
            args.map(|arg| arg & u64::from(u32::MAX))
        };
        let answer = match FunctionId::try_from(fid) {
            // SMC64 calls don't exist for AArch32 callers (DEN0028 2.5).
            Ok(_) if wide && caller.state == ExecutionState::AArch32 => {
                Err(ErrorCode::NotSupported)
            }
            Ok(function) => self.answer(me, caller, function, args),
            Err(_) => Err(ErrorCode::NotSupported),
        };
        match answer {
            Ok(outcome) => outcome,
            Err(error) if wide => Outcome::Return(error.into()),
            Err(error) => Outcome::Return(u32::from(error).into()),
        }
    }

    fn answer(
        &self,
        _me: usize,
        caller: Caller,
        function: FunctionId,
        [x1, x2, x3]: [u64; 3],
    ) -> Result<Outcome, ErrorCode> {
        match function {
            FunctionId::PsciVersion => Ok(Outcome::Return(VERSION)),
            FunctionId::PsciFeatures => self.features(x1 as u32),
            FunctionId::CpuOn32 | FunctionId::CpuOn64 => self.cpu_on(caller, x1, x2, x3),
            FunctionId::CpuOff => Ok(Outcome::Off),
            FunctionId::AffinityInfo32 => self.affinity_info(x1, x2, 2),
            FunctionId::AffinityInfo64 => self.affinity_info(x1, x2 & 0xffff_ffff, 3),
            FunctionId::CpuSuspend32 | FunctionId::CpuSuspend64 => {
                match PowerState::decode(x1 as u32)? {
                    PowerState::Standby => Ok(Outcome::Standby),
                }
            }
            FunctionId::MigrateInfoType => Ok(Outcome::Return(
                u32::from(MigrateInfoType::MigrationNotRequired).into(),
            )),
            FunctionId::SystemOff => Ok(Outcome::SystemOff),
            FunctionId::SystemReset => Ok(Outcome::SystemReset),
            _ => Err(ErrorCode::NotSupported),
        }
    }

    /// `PSCI_FEATURES` (DEN0022 5.1.15).
    fn features(&self, fid: u32) -> Result<Outcome, ErrorCode> {
        /// Bit 1: power states have the extended StateID format.
        const EXTENDED_STATE_ID: u64 = 1 << 1;
        if fid == SMCCC_VERSION {
            return Ok(Outcome::Return(0));
        }
        let flags = match FunctionId::try_from(fid).map_err(|_| ErrorCode::NotSupported)? {
            FunctionId::CpuSuspend32 | FunctionId::CpuSuspend64 => EXTENDED_STATE_ID,
            FunctionId::PsciVersion
            | FunctionId::PsciFeatures
            | FunctionId::CpuOn32
            | FunctionId::CpuOn64
            | FunctionId::CpuOff
            | FunctionId::AffinityInfo32
            | FunctionId::AffinityInfo64
            | FunctionId::MigrateInfoType
            | FunctionId::SystemOff
            | FunctionId::SystemReset => 0,
            _ => return Err(ErrorCode::NotSupported),
        };
        Ok(Outcome::Return(flags))
    }

    /// `CPU_ON` (DEN0022 5.1.4).
    fn cpu_on(
        &self,
        caller: Caller,
        target: u64,
        address: u64,
        context: u64,
    ) -> Result<Outcome, ErrorCode> {
        let target = self.pe(target)?;
        let entry = self.entry(caller, address, context)?;
        self.pes[target].turn_on(entry)?;
        self.port.power_on(target);
        Ok(Outcome::Return(0))
    }

    /// `AFFINITY_INFO` (DEN0022 5.1.5): of all PEs that share the affinity fields from `lowest` up.
    fn affinity_info(&self, target: u64, lowest: u64, highest: u64) -> Result<Outcome, ErrorCode> {
        if lowest > highest {
            return Err(ErrorCode::InvalidParameters);
        }
        let target = affinity(target)?;
        if lowest == 0 {
            let info = self.pes[self.pe(target)?].affinity_info();
            return Ok(Outcome::Return(u32::from(info).into()));
        }
        // Aff3 is not next to Aff2, but at bit 32.
        let ignored = if lowest == 3 {
            0xff_ffff
        } else {
            (1 << (8 * lowest)) - 1
        };
        let mut answer = None;
        for (pe, state) in self.pes.iter().enumerate().take(self.port.pe_count()) {
            if (self.port.mpidr(pe) ^ target) & !ignored != 0 {
                continue;
            }
            answer = match (answer, state.affinity_info()) {
                (_, AffinityInfo::On) => return Ok(Outcome::Return(AffinityInfo::On as u64)),
                (_, AffinityInfo::OnPending) | (Some(AffinityInfo::OnPending), _) => {
                    Some(AffinityInfo::OnPending)
                }
                _ => Some(AffinityInfo::Off),
            };
        }
        let info = answer.ok_or(ErrorCode::InvalidParameters)?;
        Ok(Outcome::Return(u32::from(info).into()))
    }

    /// The PE that an MPIDR argument names.
    fn pe(&self, mpidr: u64) -> Result<usize, ErrorCode> {
        self.port
            .pe_index(affinity(mpidr)?)
            .ok_or(ErrorCode::InvalidParameters)
    }

    /// The entry that a caller asks for.
    fn entry(&self, caller: Caller, address: u64, context: u64) -> Result<Entry, ErrorCode> {
        let entry = Entry {
            address,
            context,
            state: caller.state,
            big_endian: caller.big_endian,
        };
        match entry.instruction() {
            Some(first) if self.port.is_nonsecure_ram(first, Entry::FIRST_INSTRUCTION) => Ok(entry),
            _ => Err(ErrorCode::InvalidAddress),
        }
    }
}

/// The affinity fields of an MPIDR argument, in which all other bits must be zero.
fn affinity(mpidr: u64) -> Result<u64, ErrorCode> {
    Ok(Mpidr::try_from(mpidr)?.into())
}

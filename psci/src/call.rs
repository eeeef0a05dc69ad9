// SPDX-License-Identifier: MIT OR Apache-2.0

//! Every call: decoded, checked, answered.

use crate::states;
use crate::{Caller, Entry, ExecutionState, Features, Outcome, Port, PowerLevel, Psci, Suspend};
use crate::{Format, features};
use arm_psci::{AffinityInfo, ErrorCode, FunctionId, Mpidr, SuspendMode, SystemOff2Type};

/// `PSCI_VERSION`'s answer: 1.3 (DEN0022 5.1.1).
pub const VERSION: u32 = 0x0001_0003;
const PSCI_VERSION: u32 = FunctionId::PsciVersion as u32;
/// The one function ID outside PSCI that `PSCI_FEATURES` is asked for.
const SMCCC_VERSION: u32 = 0x8000_0000;
/// Set for SMC64 in a function ID (DEN0028 2.5.1).
const SMC64: u32 = 1 << 30;

const SUCCESS: Outcome = Outcome::Return(0);

impl<P: Port> Psci<'_, P> {
    /// Answers the call with the function ID `fid` and the arguments `args`, which are x1..x3.
    ///
    /// `fid` is one of the range of PSCI, with the SVE hint (bit 16) already cleared; one that is
    /// unknown answers `NOT_SUPPORTED`. A call that is refused changes nothing. `caller` is asked
    /// only if the answer may depend on it.
    #[inline]
    pub fn call(
        &self,
        me: usize,
        caller: impl FnOnce() -> Caller,
        fid: u32,
        args: &[u64; 3],
    ) -> Outcome {
        if fid == PSCI_VERSION {
            return Outcome::Return(VERSION.into());
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
            Err(error) => Err(error.into()),
        };
        match answer {
            Ok(Outcome::Return(value)) if !wide => Outcome::Return(value & u64::from(u32::MAX)),
            Ok(outcome) => outcome,
            // Sign-extended for either convention: what an SMC32 call's caller in AArch64 finds in
            // x0 is -1, not 2^32 - 1, if it looks at all of it (DEN0028 5.2).
            Err(error) => Outcome::Return(error.into()),
        }
    }

    fn answer(
        &self,
        me: usize,
        caller: Caller,
        function: FunctionId,
        [x1, x2, x3]: [u64; 3],
    ) -> Result<Outcome, ErrorCode> {
        use FunctionId::*;
        let offered = self.port.features();
        if !features::offers(&offered, function) {
            return Err(ErrorCode::NotSupported);
        }
        match function {
            PsciVersion => Ok(Outcome::Return(VERSION.into())),
            PsciFeatures => {
                let format = self.port.power_states().format();
                psci_features(x1 as u32, &offered, format)
            }
            CpuOn32 | CpuOn64 => self.cpu_on(x1, self.entry(caller, x2, x3)),
            CpuOff | CpuFreeze => {
                self.leave()?;
                Ok(if function == CpuOff {
                    Outcome::Off
                } else {
                    Outcome::Freeze
                })
            }
            AffinityInfo32 => self.affinity_info(x1, x2 as u32, 2),
            AffinityInfo64 => self.affinity_info(x1, x2 as u32, 3),
            CpuSuspend32 | CpuSuspend64 => {
                self.cpu_suspend(me, caller, x1 as u32, self.entry(caller, x2, x3))
            }
            CpuDefaultSuspend32 | CpuDefaultSuspend64 => {
                self.cpu_default_suspend(me, caller, self.entry(caller, x1, x2))
            }
            SystemSuspend32 | SystemSuspend64 => {
                self.system_suspend(me, caller, self.entry(caller, x1, x2))
            }
            PsciSetSuspendMode => {
                let mode = SuspendMode::try_from(x1 as u32)?;
                self.set_suspend_mode(mode).map(|()| SUCCESS)
            }
            NodeHwState32 | NodeHwState64 => {
                let pe = self.pe(x1)?;
                let level = PowerLevel::from_number(x2 & u64::from(u32::MAX));
                let state = self.hw_state(pe, level.ok_or(ErrorCode::InvalidParameters)?)?;
                Ok(Outcome::Return(u32::from(state).into()))
            }
            PsciStatResidency32 | PsciStatResidency64 => self.stat(x1, x2 as u32, false),
            PsciStatCount32 | PsciStatCount64 => self.stat(x1, x2 as u32, true),
            MigrateInfoType => {
                let answer = arm_psci::MigrateInfoType::MigrationNotRequired;
                Ok(Outcome::Return(u32::from(answer).into()))
            }
            SystemOff => Ok(Outcome::SystemOff),
            SystemOff232 | SystemOff264 => system_off2(x1 as u32, x2),
            SystemReset => Ok(Outcome::SystemReset),
            SystemReset232 | SystemReset264 => self.system_reset2(x1 as u32, x2, &offered),
            MemProtect => {
                let before = self.port.mem_protect(x1 as u32 != 0);
                Ok(Outcome::Return(before.into()))
            }
            MemProtectCheckRange32 | MemProtectCheckRange64 => {
                if self.is_nonsecure_ram(x1, x2) {
                    Ok(SUCCESS)
                } else {
                    Err(ErrorCode::Denied)
                }
            }
            Migrate32 | Migrate64 | MigrateInfoUpCpu32 | MigrateInfoUpCpu64 => {
                Err(ErrorCode::NotSupported)
            }
        }
    }

    /// `CPU_ON` (DEN0022 5.1.4).
    fn cpu_on(&self, target: u64, entry: Result<Entry, ErrorCode>) -> Result<Outcome, ErrorCode> {
        let target = self.pe(target)?;
        let entry = entry?;
        // A caller that is refused asks again, and one that is not ends a state (OFF) that another
        // PE may be waiting for in AFFINITY_INFO: the others' turn first.
        P::relax();
        self.turn_on(target, &entry)?;
        // It is off again if it could not start, unless it did all the same.
        if self.port.power_on(target).is_err() && self.turn_back_off(target) {
            return Err(ErrorCode::InternalFailure);
        }
        Ok(SUCCESS)
    }

    /// `AFFINITY_INFO` (DEN0022 5.1.5): of all PEs that share the affinity fields from level
    /// `lowest` up.
    fn affinity_info(&self, target: u64, lowest: u32, highest: u32) -> Result<Outcome, ErrorCode> {
        let answer = |info: AffinityInfo| Ok(Outcome::Return(u32::from(info).into()));
        P::relax();
        // Aff3 is not next to Aff2.
        let ignored = match lowest {
            0 => {
                let pe = self.pe(target)?;
                return answer(states::of_all(self.pes, pe, pe));
            }
            1 => 0xff,
            2 => 0xffff,
            3 if highest == 3 => 0xff_ffff,
            _ => return Err(ErrorCode::InvalidParameters),
        };
        let target = affinity(target)?;
        let first = self.first_not_below(target & !ignored);
        let end = self.first_not_below((target | ignored).wrapping_add(1));
        if first >= end {
            return Err(ErrorCode::InvalidParameters);
        }
        let last = end.wrapping_sub(1);
        answer(self.frozen(|| states::of_all(self.pes, first, last)))
    }

    /// The index of the first PE whose affinity fields are not below `affinity`; the number of PEs
    /// if there is none.
    fn first_not_below(&self, affinity: u64) -> usize {
        let (mut first, mut end) = (0, self.port.pe_count());
        while first < end {
            // A slice is not so long that this overflows.
            let middle = first.wrapping_add(end) / 2;
            if self.port.affinity(middle) < affinity {
                first = middle.wrapping_add(1);
            } else {
                end = middle;
            }
        }
        first
    }

    /// `CPU_SUSPEND` (DEN0022 5.1.2). Standby doesn't use the entry point, so it may be anything.
    fn cpu_suspend(
        &self,
        me: usize,
        caller: Caller,
        state: u32,
        entry: Result<Entry, ErrorCode>,
    ) -> Result<Outcome, ErrorCode> {
        let (suspend, last) = self.port.power_states().decode(state)?;
        let standby = suspend == Suspend::Standby;
        let entry = if standby {
            None
        } else {
            Some(entry_from(caller, entry)?)
        };
        let level = self.suspend(me, suspend, Some(last), entry.as_ref())?;
        Ok(if standby {
            Outcome::Standby
        } else {
            Outcome::PowerDown(level)
        })
    }

    /// `CPU_DEFAULT_SUSPEND` (DEN0022 5.1.17): the deepest state that concerns only the PE itself.
    fn cpu_default_suspend(
        &self,
        me: usize,
        caller: Caller,
        entry: Result<Entry, ErrorCode>,
    ) -> Result<Outcome, ErrorCode> {
        if !self.port.power_states().power_down() {
            entry?;
            self.suspend(me, Suspend::Standby, None, None)?;
            return Ok(Outcome::Standby);
        }
        let entry = entry_from(caller, entry)?;
        let down = Suspend::PowerDown(PowerLevel::Pe);
        self.suspend(me, down, None, Some(&entry))?;
        Ok(Outcome::PowerDown(PowerLevel::Pe))
    }

    /// `SYSTEM_SUSPEND` (DEN0022 5.1.19).
    fn system_suspend(
        &self,
        me: usize,
        caller: Caller,
        entry: Result<Entry, ErrorCode>,
    ) -> Result<Outcome, ErrorCode> {
        let entry = entry_from(caller, entry)?;
        self.suspend_system(me, &entry)?;
        Ok(Outcome::SystemSuspend)
    }

    /// `PSCI_STAT_RESIDENCY` and `PSCI_STAT_COUNT` (DEN0022 5.1.21, 5.1.22).
    fn stat(&self, target: u64, state: u32, count: bool) -> Result<Outcome, ErrorCode> {
        let pe = self.pe(target)?;
        let (suspend, _) = self.port.power_states().decode(state)?;
        let value = self.statistics(pe, suspend, count)?;
        Ok(Outcome::Return(value))
    }

    /// `SYSTEM_RESET2` (DEN0022 5.1.12). The cookie is for the resets of a vendor.
    fn system_reset2(
        &self,
        reset_type: u32,
        cookie: u64,
        offered: &Features,
    ) -> Result<Outcome, ErrorCode> {
        const SYSTEM_WARM_RESET: u32 = 0;
        const VENDOR: u32 = 1 << 31;
        if reset_type == SYSTEM_WARM_RESET && offered.warm_reset {
            return Ok(Outcome::SystemWarmReset);
        }
        let vendor = offered.vendor_reset && reset_type & VENDOR != 0;
        if vendor && self.port.has_vendor_reset(reset_type, cookie) {
            return Ok(Outcome::SystemVendorReset { reset_type, cookie });
        }
        Err(ErrorCode::InvalidParameters)
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
        match entry.first_instruction() {
            Some((base, length)) if self.is_nonsecure_ram(base, length) => Ok(entry),
            _ => Err(ErrorCode::InvalidAddress),
        }
    }

    fn is_nonsecure_ram(&self, base: u64, length: u64) -> bool {
        length != 0
            && base.checked_add(length).is_some()
            && self.port.is_nonsecure_ram(base, length)
    }
}

/// `PSCI_FEATURES` (DEN0022 5.1.15).
fn psci_features(fid: u32, offered: &Features, format: Format) -> Result<Outcome, ErrorCode> {
    if fid == SMCCC_VERSION {
        return Ok(SUCCESS);
    }
    let function = FunctionId::try_from(fid)?;
    let flags = features::flags(function, offered, format).ok_or(ErrorCode::NotSupported)?;
    Ok(Outcome::Return(flags.into()))
}

/// The entry of a caller that is about to lose its context, which a handler must not.
fn entry_from(caller: Caller, entry: Result<Entry, ErrorCode>) -> Result<Entry, ErrorCode> {
    let entry = entry?;
    if caller.in_handler {
        return Err(ErrorCode::Denied);
    }
    Ok(entry)
}

/// `SYSTEM_OFF2` (DEN0022 5.1.10).
fn system_off2(off_type: u32, cookie: u64) -> Result<Outcome, ErrorCode> {
    const HIBERNATE_OFF: u32 = SystemOff2Type::HibernateOff as u32;
    match (off_type, cookie) {
        // Type 0 stands for HIBERNATE_OFF too.
        (0 | HIBERNATE_OFF, 0) => Ok(Outcome::SystemOff),
        _ => Err(ErrorCode::InvalidParameters),
    }
}

/// The affinity fields of an MPIDR argument, in which all other bits must be zero.
fn affinity(mpidr: u64) -> Result<u64, ErrorCode> {
    Ok(Mpidr::try_from(mpidr)?.into())
}

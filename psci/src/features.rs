// SPDX-License-Identifier: MIT OR Apache-2.0

//! Which calls there are. `PSCI_FEATURES` and the calls themselves ask the same function, so they
//! can't contradict each other.

use crate::{Features, Format};
use arm_psci::{FeatureFlagsCpuSuspend, FeatureFlagsSystemOff2, FunctionId};

/// Whether there is this call. Where a board's features are constants, so is most of the answer.
#[inline(always)]
pub(crate) fn offers(features: &Features, function: FunctionId) -> bool {
    use FunctionId::*;
    match function {
        PsciVersion | PsciFeatures | CpuOn32 | CpuOn64 | CpuOff | CpuSuspend32 | CpuSuspend64
        | AffinityInfo32 | AffinityInfo64 | MigrateInfoType | SystemOff | SystemReset => true,
        SystemOff232 | SystemOff264 => features.hibernate_off,
        SystemReset232 | SystemReset264 => features.warm_reset || features.vendor_reset,
        SystemSuspend32 | SystemSuspend64 => features.system_suspend,
        CpuDefaultSuspend32 | CpuDefaultSuspend64 => features.cpu_default_suspend,
        CpuFreeze => features.cpu_freeze,
        NodeHwState32 | NodeHwState64 => features.node_hw_state,
        PsciSetSuspendMode => features.os_initiated,
        PsciStatResidency32 | PsciStatResidency64 | PsciStatCount32 | PsciStatCount64 => {
            features.statistics
        }
        MemProtect | MemProtectCheckRange32 | MemProtectCheckRange64 => features.mem_protect,
        // There is no Trusted OS that could migrate.
        Migrate32 | Migrate64 | MigrateInfoUpCpu32 | MigrateInfoUpCpu64 => false,
    }
}

/// The flags that `PSCI_FEATURES` answers for a call (DEN0022 5.1.15, table 11), or `None` if the
/// call is `NOT_SUPPORTED`.
pub(crate) fn flags(function: FunctionId, features: &Features, format: Format) -> Option<u32> {
    use FunctionId::*;
    if !offers(features, function) {
        return None;
    }
    Some(match function {
        CpuSuspend32 | CpuSuspend64 => {
            let mut flags = FeatureFlagsCpuSuspend::empty();
            flags.set(
                FeatureFlagsCpuSuspend::EXTENDED_POWER_STATE,
                format == Format::Extended,
            );
            flags.set(
                FeatureFlagsCpuSuspend::OS_INITIATED_MODE,
                features.os_initiated,
            );
            flags.into()
        }
        SystemOff232 | SystemOff264 => FeatureFlagsSystemOff2::HIBERNATE_OFF.into(),
        _ => 0,
    })
}

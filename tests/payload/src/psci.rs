//! PSCI's and SMCCC's calls as an operating system makes them (DEN0022, DEN0028).

use crate::check::{Outcome, fail};
use smccc::{psci as id, smc64};

/// SUCCESS, and AFFINITY_INFO's ON.
pub const SUCCESS: i64 = 0;
/// NOT_SUPPORTED.
pub const NOT_SUPPORTED: i64 = -1;
/// INVALID_PARAMETERS.
pub const INVALID_PARAMETERS: i64 = -2;
/// DENIED.
pub const DENIED: i64 = -3;
/// ALREADY_ON.
pub const ALREADY_ON: i64 = -4;
/// ON_PENDING.
pub const ON_PENDING: i64 = -5;
/// INVALID_ADDRESS.
pub const INVALID_ADDRESS: i64 = -9;

/// AFFINITY_INFO's OFF.
pub const OFF: i64 = 1;

/// A call of the SMC32 convention. All 64 bits of x0 are the answer: an error is sign-extended.
pub fn call32(function: u32, a: u32, b: u32, c: u32) -> i64 {
    call64(function, a.into(), b.into(), c.into())
}

/// A call of the SMC64 convention.
pub fn call64(function: u32, a: u64, b: u64, c: u64) -> i64 {
    let mut arguments = [0; 17];
    arguments[..3].copy_from_slice(&[a, b, c]);
    smc64(function, arguments)[0].cast_signed()
}

/// CPU_ON.
pub fn cpu_on(target: u64, entry: u64, context: u64) -> i64 {
    call64(id::PSCI_CPU_ON_64, target, entry, context)
}

/// CPU_OFF; it only comes back with a complaint.
pub fn cpu_off() -> Outcome {
    call32(id::PSCI_CPU_OFF, 0, 0, 0);
    fail("CPU_OFF returned")
}

/// AFFINITY_INFO.
pub fn affinity_info(target: u64, level: u64) -> i64 {
    call64(id::PSCI_AFFINITY_INFO_64, target, level, 0)
}

/// CPU_SUSPEND to standby.
pub fn standby(power_state: u32) -> i64 {
    call64(id::PSCI_CPU_SUSPEND_64, power_state.into(), 0, 0)
}

/// PSCI_FEATURES.
pub fn features(function: u32) -> i64 {
    call32(id::PSCI_FEATURES, function, 0, 0)
}

/// MEM_PROTECT: whether it was on.
pub fn mem_protect(enable: bool) -> i64 {
    call32(id::PSCI_MEM_PROTECT, enable.into(), 0, 0)
}

/// Whether CPU_SUSPEND's parameter is in the extended StateID format.
pub fn extended_state_id() -> bool {
    let features = features(id::PSCI_CPU_SUSPEND_64);
    features >= 0 && features & 0b10 != 0
}

/// Whether CPU_SUSPEND's parameter asks for power-down (DEN0022 5.4.2).
pub fn is_power_down(power_state: u32) -> bool {
    let bit = if extended_state_id() { 30 } else { 16 };
    power_state >> bit & 1 == 1
}

/// CPU_SUSPEND to power-down; comes back only if refused or if it was not worth it.
pub fn power_down(power_state: u32, entry: u64, context: u64) -> i64 {
    call64(id::PSCI_CPU_SUSPEND_64, power_state.into(), entry, context)
}

/// SYSTEM_OFF.
pub fn system_off() -> ! {
    call32(id::PSCI_SYSTEM_OFF, 0, 0, 0);
    halt()
}

/// SYSTEM_RESET.
pub fn system_reset() -> ! {
    call32(id::PSCI_SYSTEM_RESET, 0, 0, 0);
    halt()
}

fn halt() -> ! {
    crate::say!("payload: the machine went on after SYSTEM_OFF or SYSTEM_RESET");
    loop {
        crate::arch::wfi();
    }
}

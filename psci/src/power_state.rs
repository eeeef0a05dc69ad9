//! The `power_state` argument of `CPU_SUSPEND`.

use arm_psci::ErrorCode;

/// A level of the tree of power domains (DEN0022 4.2).
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
#[repr(u32)]
pub enum PowerLevel {
    /// One PE.
    Pe = 0,
    /// The PEs of one cluster.
    Cluster = 1,
    /// All PEs.
    System = 2,
}

/// A decoded `power_state` argument, in the extended StateID format (DEN0022 5.4.2, table 8).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum PowerState {
    /// The PE waits and keeps its context.
    Standby,
}

impl PowerState {
    /// `power_state` of the PE's standby state.
    pub const STANDBY: u32 = 0x0000_0001;

    /// Decodes a `power_state` argument.
    ///
    /// # Errors
    ///
    /// `InvalidParameters` if a reserved bit is set or there is no such state.
    pub fn decode(power_state: u32) -> Result<Self, ErrorCode> {
        match power_state {
            Self::STANDBY => Ok(Self::Standby),
            _ => Err(ErrorCode::InvalidParameters),
        }
    }
}

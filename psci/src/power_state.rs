//! The `power_state` argument of `CPU_SUSPEND`.

use arm_psci::{ErrorCode, PowerState as Extended};

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

impl PowerLevel {
    /// The level with this number.
    ///
    /// # Errors
    ///
    /// `InvalidParameters` if the tree has no such level.
    pub(crate) fn decode(level: u64) -> Result<Self, ErrorCode> {
        match level {
            0 => Ok(Self::Pe),
            1 => Ok(Self::Cluster),
            2 => Ok(Self::System),
            _ => Err(ErrorCode::InvalidParameters),
        }
    }
}

/// What a caller of `CPU_SUSPEND` wants.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Suspend {
    /// The PE waits and keeps its context.
    Standby,
    /// The power domains up to this level go down as soon as none of their PEs needs them, the PE
    /// itself at once.
    PowerDown(PowerLevel),
}

/// A `power_state` argument: the extended StateID format (DEN0022 5.4.2, table 8), with the
/// StateID encoded as the specification recommends (DEN0022 6.5): four bits of local state for
/// each level, the PE's lowest, 1 for standby and 2 for power-down, and above them the highest
/// level at which the caller believes to be the last PE that runs. Only OS-initiated mode looks at
/// the latter.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct PowerState {
    /// What is wanted.
    pub suspend: Suspend,
    /// The highest level at which the calling PE is the last one that runs.
    pub last: PowerLevel,
}

impl PowerState {
    /// `power_state` of the PE's standby state.
    pub const STANDBY: u32 = Self::new(Suspend::Standby, PowerLevel::Pe).encode();
    /// `power_state` of powering the PE down.
    pub const PE_DOWN: u32 = Self::new(Suspend::PowerDown(PowerLevel::Pe), PowerLevel::Pe).encode();
    /// `power_state` of powering the PE and its cluster down, in either mode.
    pub const CLUSTER_DOWN: u32 =
        Self::new(Suspend::PowerDown(PowerLevel::Cluster), PowerLevel::Cluster).encode();
    /// `power_state` of powering all PEs and clusters down, in either mode.
    pub const SYSTEM_DOWN: u32 =
        Self::new(Suspend::PowerDown(PowerLevel::System), PowerLevel::System).encode();

    const LAST_SHIFT: u32 = 12;
    const POWER_DOWN: u32 = 1 << 30;

    /// The state `suspend`, asked for by the last PE that runs below `last`.
    pub const fn new(suspend: Suspend, last: PowerLevel) -> Self {
        Self { suspend, last }
    }

    /// The `power_state` argument, and the value for `arm,psci-suspend-param` in a device tree.
    pub const fn encode(self) -> u32 {
        let state = match self.suspend {
            Suspend::Standby => 0x001,
            Suspend::PowerDown(PowerLevel::Pe) => Self::POWER_DOWN | 0x002,
            Suspend::PowerDown(PowerLevel::Cluster) => Self::POWER_DOWN | 0x022,
            Suspend::PowerDown(PowerLevel::System) => Self::POWER_DOWN | 0x222,
        };
        state | (self.last as u32) << Self::LAST_SHIFT
    }

    /// Decodes a `power_state` argument.
    ///
    /// # Errors
    ///
    /// `InvalidParameters` if a reserved bit is set or there is no such state.
    pub fn decode(power_state: u32) -> Result<Self, ErrorCode> {
        let (power_down, id) = match Extended::try_from(power_state)? {
            Extended::StandbyOrRetention(id) => (false, id),
            Extended::PowerDown(id) => (true, id),
        };
        let last = PowerLevel::decode((id >> Self::LAST_SHIFT).into())?;
        let states = id & ((1 << Self::LAST_SHIFT) - 1);
        let suspend = match (power_down, states) {
            (false, 0x001) => Suspend::Standby,
            (true, 0x002) => Suspend::PowerDown(PowerLevel::Pe),
            (true, 0x022) => Suspend::PowerDown(PowerLevel::Cluster),
            (true, 0x222) => Suspend::PowerDown(PowerLevel::System),
            _ => return Err(ErrorCode::InvalidParameters),
        };
        Ok(Self { suspend, last })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decode_is_the_inverse_of_encode_and_refuses_all_else() {
        use PowerLevel::{Cluster, Pe, System};
        let mut states = 0;
        for bits in 0..=0xffff {
            for power_state in [bits, bits | PowerState::POWER_DOWN] {
                if let Ok(state) = PowerState::decode(power_state) {
                    assert_eq!(state.encode(), power_state);
                    states += 1;
                }
            }
        }
        // Four states, for each of the three levels at which the PE may be the last one.
        assert_eq!(states, 12);
        let down = PowerState::new(Suspend::PowerDown(Cluster), System);
        assert_eq!(PowerState::decode(0x4000_2022), Ok(down));
        assert_eq!(PowerState::STANDBY, 0x0000_0001);
        assert_eq!(PowerState::PE_DOWN, 0x4000_0002);
        assert_eq!(PowerState::CLUSTER_DOWN, 0x4000_1022);
        assert_eq!(PowerState::SYSTEM_DOWN, 0x4000_2222);
        assert!(Pe < Cluster && Cluster < System);
    }

    #[test]
    fn reserved_bits_are_refused() {
        for bit in [28, 29, 31] {
            let power_state = PowerState::PE_DOWN | 1 << bit;
            assert_eq!(
                PowerState::decode(power_state),
                Err(ErrorCode::InvalidParameters)
            );
        }
    }
}

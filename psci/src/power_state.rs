// SPDX-License-Identifier: MIT OR Apache-2.0

//! The `power_state` values of `CPU_SUSPEND` that a board offers.

use arm_psci::ErrorCode;

/// A level of the tree of power domains (DEN0022 4.2). Up to four levels, as many as an MPIDR has
/// affinity fields and as the original format of `power_state` can name.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
#[repr(u8)]
pub enum PowerLevel {
    /// One PE.
    Pe = 0,
    /// The first level above the PEs: usually the PEs of one cluster.
    Level1 = 1,
    /// The second level above the PEs: on many machines the system.
    Level2 = 2,
    /// The third level above the PEs.
    Level3 = 3,
}

impl PowerLevel {
    /// The level with this number, or `None` if it is above 3.
    pub const fn from_number(level: u64) -> Option<Self> {
        match level {
            0 => Some(Self::Pe),
            1 => Some(Self::Level1),
            2 => Some(Self::Level2),
            3 => Some(Self::Level3),
            _ => None,
        }
    }

    /// The next level up; the highest is its own.
    pub(crate) const fn up(self) -> Self {
        match self {
            Self::Pe => Self::Level1,
            Self::Level1 => Self::Level2,
            Self::Level2 | Self::Level3 => Self::Level3,
        }
    }
}

/// What a caller of `CPU_SUSPEND` wants.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Suspend {
    /// The PE waits and keeps its context. Standby or retention of a domain above the PE is this,
    /// too: it needs no coordination by EL3.
    Standby,
    /// The power domains up to this level go down as soon as none of their PEs needs them, the PE
    /// itself at once.
    PowerDown(PowerLevel),
}

/// The format of `power_state` (DEN0022 5.4.2). `PSCI_FEATURES` tells it of `CPU_SUSPEND`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Format {
    /// StateID in bits 15:0, power-down in bit 16, power level in bits 25:24.
    Original,
    /// StateID in bits 27:0, power-down in bit 30.
    Extended,
}

impl Format {
    const fn reserved(self) -> u32 {
        match self {
            Self::Original => 0xfcfe_0000,
            Self::Extended => 0xb000_0000,
        }
    }

    const fn power_down(self) -> u32 {
        match self {
            Self::Original => 1 << 16,
            Self::Extended => 1 << 30,
        }
    }
}

/// Every `power_state` value that a board offers, each with what it stands for. Others are
/// `INVALID_PARAMETERS`.
#[derive(Clone, Copy, Debug)]
pub struct PowerStates {
    format: Format,
    system: PowerLevel,
    /// The field that tells at which level the caller is the last PE; 0 if there is none.
    last_mask: u32,
    last_shift: u32,
    states: &'static [(u32, Suspend)],
}

impl PowerStates {
    /// The PE's standby state alone, `0x1` in the extended format, on a machine of three levels.
    pub const STANDBY: Self = Self::new(
        Format::Extended,
        PowerLevel::Level2,
        &[(recommended::STANDBY, Suspend::Standby)],
    );

    /// The states of a board whose highest level, the one of all PEs, is `system`.
    ///
    /// Several values may stand for the same; the image can tell them apart by x1 of the call. Their
    /// statistics are one.
    ///
    /// # Panics
    ///
    /// In a `const` or `static` the build fails instead: if a value has a reserved bit of the
    /// format set, if its bit for power-down contradicts what it stands for, if its power level
    /// (original format) is another than the one it stands for, or if a level is above `system`.
    pub const fn new(
        format: Format,
        system: PowerLevel,
        states: &'static [(u32, Suspend)],
    ) -> Self {
        assert!(system as u8 > 0, "the system is above the PEs");
        let mut rest = states;
        while let [(value, suspend), others @ ..] = rest {
            assert!(*value & format.reserved() == 0, "a reserved bit is set");
            let level = match suspend {
                Suspend::Standby => None,
                Suspend::PowerDown(level) => Some(*level as u8),
            };
            assert!(
                (*value & format.power_down() != 0) == level.is_some(),
                "the bit for power-down contradicts the state"
            );
            if let Some(level) = level {
                assert!(level <= system as u8, "there is no such level");
                if let Format::Original = format {
                    assert!(
                        *value >> 24 == level as u32,
                        "the state is of another level"
                    );
                }
            }
            rest = others;
        }
        Self {
            format,
            system,
            last_mask: 0,
            last_shift: 0,
            states,
        }
    }

    /// With a field of `power_state`, `mask` at bit `shift`, in which a caller in OS-initiated mode
    /// gives the highest level at which it is the last PE that runs. The field is 0 in the values of
    /// the table, and may have any value in platform-coordinated mode.
    ///
    /// Without such a field a caller claims to be the last PE of what it asks to go down (DEN0022
    /// 5.4.2).
    ///
    /// # Panics
    ///
    /// As [`new`](Self::new): if a value of the table has a bit of that field set.
    pub const fn with_last_level(mut self, shift: u32, mask: u32) -> Self {
        let mut rest = self.states;
        while let [(value, _), others @ ..] = rest {
            assert!(*value & (mask << shift) == 0, "the fields overlap");
            rest = others;
        }
        self.last_shift = shift;
        self.last_mask = mask;
        self
    }

    /// The format of the values.
    pub const fn format(&self) -> Format {
        self.format
    }

    /// The highest level, the one of all PEs.
    pub const fn system(&self) -> PowerLevel {
        self.system
    }

    /// Whether a state powers PEs down.
    pub(crate) fn power_down(&self) -> bool {
        let down = |state: &(u32, Suspend)| state.1 != Suspend::Standby;
        self.states.iter().any(down)
    }

    /// What a value stands for, and at which level its caller is the last PE that runs: whoever
    /// asks for a domain to go down claims to be its last PE, whether it says so or not.
    ///
    /// # Errors
    ///
    /// `InvalidParameters` if the board has no such state.
    pub(crate) fn decode(&self, value: u32) -> Result<(Suspend, PowerLevel), ErrorCode> {
        // The field is within the value: `with_last_level` has shifted it.
        let last = value.wrapping_shr(self.last_shift) & self.last_mask;
        let state = value ^ last.wrapping_shl(self.last_shift);
        let last = PowerLevel::from_number(last.into()).filter(|last| *last <= self.system);
        let found = self.states.iter().find(|(value, _)| *value == state);
        match (found, last) {
            (Some((_, suspend)), Some(last)) => {
                let wanted = match suspend {
                    Suspend::Standby => PowerLevel::Pe,
                    Suspend::PowerDown(level) => *level,
                };
                Ok((*suspend, last.max(wanted)))
            }
            _ => Err(ErrorCode::InvalidParameters),
        }
    }
}

/// The extended format with the StateIDs that the specification recommends (DEN0022 6.5), for a
/// machine of three levels: PEs, clusters, the system. Four bits of local state for each level, the
/// PE's lowest, 1 for standby and 2 for power-down, and above them the highest level at which the
/// caller is the last PE that runs.
pub mod recommended {
    use super::{Format, PowerLevel, PowerStates, Suspend};

    const LAST_SHIFT: u32 = 12;

    /// `power_state` of the PE's standby state.
    pub const STANDBY: u32 = 0x0000_0001;
    /// `power_state` of powering the PE down.
    pub const PE_DOWN: u32 = 0x4000_0002;
    /// `power_state` of powering the PE and its cluster down, in either mode.
    pub const CLUSTER_DOWN: u32 = 0x4000_0022 | 1 << LAST_SHIFT;
    /// `power_state` of powering all PEs and clusters down, in either mode.
    pub const SYSTEM_DOWN: u32 = 0x4000_0222 | 2 << LAST_SHIFT;

    /// These four states.
    pub const STATES: PowerStates = PowerStates::new(
        Format::Extended,
        PowerLevel::Level2,
        &[
            (STANDBY, Suspend::Standby),
            (PE_DOWN, Suspend::PowerDown(PowerLevel::Pe)),
            (0x4000_0022, Suspend::PowerDown(PowerLevel::Level1)),
            (0x4000_0222, Suspend::PowerDown(PowerLevel::Level2)),
        ],
    )
    .with_last_level(LAST_SHIFT, 0xf);
}

#[cfg(test)]
mod tests {
    use super::*;
    use PowerLevel::{Level1, Level2, Pe};

    #[test]
    fn the_recommended_states_are_twelve_values_and_no_more() {
        let states = &recommended::STATES;
        let mut found = 0;
        for bits in 0..=0xffff {
            for value in [bits, bits | 1 << 30] {
                if let Ok((suspend, last)) = states.decode(value) {
                    found += 1;
                    let claimed = PowerLevel::from_number((value >> 12 & 0xf).into());
                    assert!(last >= claimed.unwrap());
                    assert_eq!(suspend == Suspend::Standby, value & 1 << 30 == 0);
                }
            }
        }
        // Four states, for each of the three levels at which the PE may be the last one.
        assert_eq!(found, 12);
        let down = Suspend::PowerDown(Level1);
        assert_eq!(states.decode(0x4000_2022), Ok((down, Level2)));
        assert_eq!(states.decode(0x4000_0022), Ok((down, Level1)));
        assert_eq!(states.decode(0x1), Ok((Suspend::Standby, Pe)));
        assert_eq!(recommended::CLUSTER_DOWN, 0x4000_1022);
        assert_eq!(recommended::SYSTEM_DOWN, 0x4000_2222);
    }

    #[test]
    fn bits_that_no_state_has_are_refused() {
        for bit in [16, 27, 28, 29, 31] {
            let value = recommended::PE_DOWN | 1 << bit;
            let answer = recommended::STATES.decode(value);
            assert_eq!(answer, Err(ErrorCode::InvalidParameters));
        }
    }
}

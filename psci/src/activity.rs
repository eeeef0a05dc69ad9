// SPDX-License-Identifier: MIT OR Apache-2.0

//! What a PE does, and which power domains it needs for that.
//!
//! Which levels are needed is a word of four lanes, one for each level: so the word of a domain's
//! PEs, or of the domains in it, is their sum, and a level that none needs has a lane of 0.

use crate::{PowerLevel, Suspend};

/// Bits of a lane.
const LANE: u32 = 16;
/// 1 in each lane.
const ONES: u64 = 0x0001_0001_0001_0001;
/// The largest sum of a lane, in each lane: so many PEs or domains can be below a domain.
const MOST: u64 = 0x7fff * ONES;

/// How many need each level.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Needs(u64);

impl Needs {
    pub(crate) const NONE: Self = Self(0);

    const fn shift(level: PowerLevel) -> u32 {
        level as u32 * LANE
    }

    /// How many need this level.
    pub(crate) const fn of(self, level: PowerLevel) -> u64 {
        self.0 >> Self::shift(level) & 0xffff
    }

    /// The sum, after what was `before` has become `after`.
    pub(crate) const fn recount(self, before: Self, after: Self) -> Self {
        // No lane overflows: each has counted `before`.
        Self(self.0.wrapping_sub(before.0).wrapping_add(after.0))
    }

    /// What a domain needs itself, if this is the sum of what is in it: each higher level that one
    /// of those needs. Lane 0 says whether the domain is up.
    pub(crate) const fn of_domain(self, level: PowerLevel, up: bool) -> Self {
        // A lane above 0 carries into its highest bit.
        let needed = (self.0.wrapping_add(MOST) >> (LANE - 1)) & ONES;
        let lower = u64::MAX >> (48 - Self::shift(level));
        Self(needed & !lower | up as u64)
    }
}

/// What a PE does. 0 is off.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Activity(pub(crate) u8);

impl Activity {
    /// Off by `CPU_OFF`, or not on yet.
    pub(crate) const OFF: Self = Self(0);
    pub(crate) const RUNNING: Self = Self(1);
    const STANDBY: u8 = 2;
    /// Powered down, and allows the levels up to the one in the lowest two bits to go down.
    const DOWN: u8 = 4;
    pub(crate) const fn suspended(suspend: Suspend) -> Self {
        Self(match suspend {
            Suspend::Standby => Self::STANDBY,
            Suspend::PowerDown(level) => Self::DOWN | level as u8,
        })
    }

    /// Off, or powered down.
    pub(crate) const fn is_down(self) -> bool {
        self.0 == 0 || self.is_powered_down()
    }

    pub(crate) const fn is_powered_down(self) -> bool {
        self.0 & Self::DOWN != 0
    }

    pub(crate) const fn is_standby(self) -> bool {
        !self.is_powered_down() && self.0 & Self::STANDBY != 0
    }

    /// In standby or powered down.
    pub(crate) const fn is_suspended(self) -> bool {
        self.0 > Self::RUNNING.0
    }

    /// The levels that a PE needs that does this.
    pub(crate) const fn needs(self) -> Needs {
        if self.is_powered_down() {
            // The levels up to this one are not needed.
            let down = u64::MAX >> (48 - LANE * (self.0 & 3) as u32);
            Needs(ONES & !down)
        } else if self.0 == 0 {
            Needs::NONE
        } else {
            Needs(ONES)
        }
    }
}

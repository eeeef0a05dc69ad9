// SPDX-License-Identifier: MIT OR Apache-2.0

//! A frame of registers, for whatever tests the crate, by its public face.

use super::api::{Frame, REGISTERS};

/// A PE's registers, as its exception vector stored them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Registers {
    pub x: [u64; REGISTERS],
    pub pc: u64,
    pub pstate: u64,
}

impl Frame for Registers {
    fn x(&self) -> &[u64; REGISTERS] {
        &self.x
    }

    fn x_mut(&mut self) -> &mut [u64; REGISTERS] {
        &mut self.x
    }

    fn pc(&self) -> u64 {
        self.pc
    }

    fn pstate(&self) -> u64 {
        self.pstate
    }

    fn set_return(&mut self, pc: u64, pstate: u64) {
        (self.pc, self.pstate) = (pc, pstate);
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0

//! Where a PE enters the Normal world.

/// The Execution state of a caller, and of the PE that it starts.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ExecutionState {
    /// AArch64.
    AArch64,
    /// AArch32. Bit 0 of an entry point selects the T32 instruction set.
    AArch32,
}

/// Where and how a PE enters the Normal world, at its highest Non-secure Exception level
/// (DEN0022 6.4).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Entry {
    /// The first instruction's physical address. For AArch32 bit 0 selects T32.
    pub address: u64,
    /// The value for x0 (r0).
    pub context: u64,
    /// The Execution state of the caller that asked for this entry.
    pub state: ExecutionState,
    /// Whether the PE starts with big-endian data accesses, as the caller had.
    pub big_endian: bool,
}

impl Entry {
    /// The address and the size in bytes of the first instruction, or `None` if no instruction
    /// can be there. A T32 instruction may be as short as 2 bytes.
    pub(crate) fn first_instruction(&self) -> Option<(u64, u64)> {
        if self.state == ExecutionState::AArch32 && self.address & 1 != 0 {
            return Some((self.address & !1, 2));
        }
        (self.address & 3 == 0).then_some((self.address, 4))
    }
}

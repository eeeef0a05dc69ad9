// SPDX-License-Identifier: MIT OR Apache-2.0

//! The interrupted context: where the client was and what its registers held.

use crate::event::Slot;

/// Registers that belong to an interrupted context and that `SDEI_EVENT_COMPLETE` restores:
/// x0..x17.
pub const REGISTERS: usize = 18;

/// The context of the client that EL3 interrupted or was called by, and to which it returns.
///
/// An implementation is the register frame that the firmware's exception vector stored, with
/// `ELR_EL3` and `SPSR_EL3` behind accessors, so that a call that does not dispatch never
/// touches them.
pub trait Frame {
    /// x0..x17.
    fn x(&self) -> &[u64; REGISTERS];
    /// x0..x17, to be changed.
    fn x_mut(&mut self) -> &mut [u64; REGISTERS];
    /// Where EL3 returns to: `ELR_EL3`. After an SMC, the instruction behind it.
    fn pc(&self) -> u64;
    /// The PSTATE that EL3 returns to, in the format of `SPSR_EL3`.
    fn pstate(&self) -> u64;
    /// Changes where EL3 returns to and with which PSTATE.
    fn set_return(&mut self, pc: u64, pstate: u64);
}

/// A context put aside while a handler runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Context {
    pub(crate) x: [u64; REGISTERS],
    pub(crate) pc: u64,
    pub(crate) pstate: u64,
    /// The event whose handler runs; `None` where this priority's handler does not.
    pub(crate) event: Option<Slot>,
}

impl Context {
    pub(crate) const NONE: Self = Self {
        x: [0; REGISTERS],
        pc: 0,
        pstate: 0,
        event: None,
    };

    /// Puts the frame's context aside.
    #[inline]
    pub(crate) fn save(&mut self, frame: &impl Frame, event: Slot) {
        copy(&mut self.x, frame.x());
        self.pc = frame.pc();
        self.pstate = frame.pstate();
        self.event = Some(event);
    }

    /// Gives the frame everything that was put aside.
    #[inline]
    pub(crate) fn resume(&self, frame: &mut impl Frame) {
        self.restore_registers(frame);
        frame.set_return(self.pc, self.pstate);
    }

    /// Gives the frame the registers that were put aside.
    #[inline]
    pub(crate) fn restore_registers(&self, frame: &mut impl Frame) {
        copy(frame.x_mut(), &self.x);
    }
}

/// Copies x0..x17 one by one: of an assignment the compiler makes a call of `memcpy`, which takes
/// several times as long and costs every caller a stack frame.
#[inline]
fn copy(to: &mut [u64; REGISTERS], from: &[u64; REGISTERS]) {
    let [
        x0,
        x1,
        x2,
        x3,
        x4,
        x5,
        x6,
        x7,
        x8,
        x9,
        x10,
        x11,
        x12,
        x13,
        x14,
        x15,
        x16,
        x17,
    ] = *from;
    *to = [
        x0, x1, x2, x3, x4, x5, x6, x7, x8, x9, x10, x11, x12, x13, x14, x15, x16, x17,
    ];
}

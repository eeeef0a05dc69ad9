//! The values that calls are made with: those at an edge of something more often than others.

use super::Fuzzer;
use crate::arch;
use crate::event::{PRIVATE, PRIVATE_CRITICAL, SHARED, SHARED_CRITICAL, TIMER, TIMER_CRITICAL};
use crate::machine::Machine;
use crate::pe::Pe;

/// Every event of both boards.
pub const EVENTS: [u64; 9] = [
    0,
    PRIVATE,
    PRIVATE + 1,
    PRIVATE_CRITICAL,
    SHARED,
    SHARED + 1,
    SHARED_CRITICAL,
    TIMER,
    TIMER_CRITICAL,
];

impl Fuzzer {
    /// Any value.
    pub fn value(&self) -> u64 {
        let random = &self.random;
        let machine = Machine::get();
        match random.below(12) {
            0 => random.below(8),
            1 => random.pick(&[0, 1, u64::MAX, u64::MAX - 1, 1 << 63]),
            2 => random.pick(&[1 << 31, u64::from(u32::MAX), 1 << 32, u64::MAX << 31]),
            3 => {
                let el3 = &machine.board.el3;
                let at = random.pick(&[el3.start, el3.end, el3.start + 0x1_0000]);
                at.wrapping_add(random.pick(&[0, 1, 4, 0x1000, 4u64.wrapping_neg()]))
            }
            4 => random.pick(machine.board.not_ram),
            5 => {
                let at = random.pick(&[machine.ram.start, machine.ram.end]);
                at.wrapping_add(random.pick(&[
                    0,
                    1,
                    4,
                    8,
                    1u64.wrapping_neg(),
                    4u64.wrapping_neg(),
                ]))
            }
            6 => self.mpidr(),
            7 => self.event(),
            8 => self.intid(),
            9 => random.next() >> random.below(64),
            10 => random.next() & 0xffff_ffff,
            _ => 1 << random.below(64),
        }
    }

    /// An event, mostly one that is there.
    pub fn event(&self) -> u64 {
        let event = self.random.pick(&EVENTS);
        match self.random.below(24) {
            0 => event + 3,
            1 => event | 1 << 32,
            2 => event.wrapping_sub(1),
            3 => self.random.next(),
            4 => self.random.below(1 << 16),
            _ => event,
        }
    }

    /// An interrupt's number, of every range that a GIC has.
    pub fn intid(&self) -> u64 {
        let random = &self.random;
        match random.below(8) {
            0 => random.below(1024),
            1 => random.pick(&[0, 8, 9, 15, 16, 29, 31, 32, 1019, 1020, 1021, 1022, 1023]),
            2 => random.pick(&[1024, 1055, 1056, 1119, 4095, 4096, 5119, 5120, 8191, 8192]),
            3 => 16 + random.below(16),
            4 => 32 + random.below(288),
            5 => random.next(),
            _ => random.pick(&super::lines::RAISED).intid(),
        }
    }

    /// The affinity of a PE, mostly of one that is there.
    pub fn mpidr(&self) -> u64 {
        let random = &self.random;
        let real = Pe::at(random.below(Machine::get().pes as u64) as usize).mpidr();
        match random.below(16) {
            0 => real | 1 << random.below(64),
            1 => real | random.pick(&[1 << 31, 1 << 30, 1 << 24, 1 << 32, 1 << 40]),
            2 => random.below(256),
            3 => random.next() & arch::AFFINITY,
            4 => u64::MAX,
            _ => real,
        }
    }

    /// CPU_SUSPEND's power_state.
    pub fn power_state(&self) -> u64 {
        let random = &self.random;
        let state = random.pick(&[1, 1, 0x4000_0002, 0x4000_1022, 0x4000_2222]);
        match random.below(12) {
            0 => state | 1 << random.below(64),
            1 => random.next(),
            2 => state & 0xffff,
            3 => 0x1_0000 | random.below(2) << 24,
            _ => state,
        }
    }
}

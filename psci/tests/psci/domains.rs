// SPDX-License-Identifier: MIT OR Apache-2.0

//! AFFINITY_INFO of many PEs, compared with a look at each of them.

use crate::common::{AARCH64, AFFINITY_INFO, CPU_OFF, CPU_ON, ENTRY, OFF, ON, PENDING};
use psci_el3::{Caller, Features, Outcome, Pe, Port, PowerOnFailed, Psci};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

const INVALID: u64 = -2i64 as u64;

struct Board {
    mpidrs: Vec<u64>,
    /// How often a PE's MPIDR was asked for.
    looks: AtomicUsize,
}

impl Port for Board {
    fn pe_count(&self) -> usize {
        self.mpidrs.len()
    }
    fn affinity(&self, pe: usize) -> u64 {
        self.looks.fetch_add(1, Relaxed);
        self.mpidrs[pe]
    }
    fn pe_index(&self, affinity: u64) -> Option<usize> {
        self.mpidrs.binary_search(&affinity).ok()
    }
    fn power_on(&self, _pe: usize) -> Result<(), PowerOnFailed> {
        Ok(())
    }
    fn is_nonsecure_ram(&self, _base: u64, _length: u64) -> bool {
        true
    }
    fn features(&self) -> Features {
        Features::default()
    }
}

struct Machine {
    psci: Psci<'static, Board>,
    board: &'static Board,
    states: Vec<u64>,
}

impl Machine {
    fn new(mpidrs: BTreeSet<u64>) -> Self {
        let pes: Vec<_> = mpidrs.iter().map(|_| Pe::new()).collect();
        let states = vec![OFF; pes.len()];
        let board = Box::leak(Box::new(Board {
            mpidrs: mpidrs.into_iter().collect(),
            looks: AtomicUsize::new(0),
        }));
        let psci = Psci::new(&*board, Vec::leak(pes), &[]);
        let mut machine = Self {
            psci,
            board,
            states,
        };
        machine.psci.boot(0);
        machine.states[0] = ON;
        machine
    }

    fn call(&self, me: usize, fid: u32, args: [u64; 3]) -> Outcome {
        let caller = || -> Caller { AARCH64 };
        self.psci.call(me, caller, fid, &args)
    }

    /// Takes a PE to the next state of its life.
    fn step(&mut self, pe: usize) {
        self.states[pe] = match self.states[pe] {
            OFF => {
                let args = [self.board.mpidrs[pe], ENTRY, 0];
                assert_eq!(self.call(0, CPU_ON, args), Outcome::Return(0));
                PENDING
            }
            PENDING => {
                self.psci.start(pe).unwrap();
                ON
            }
            _ => {
                if self.call(pe, CPU_OFF, [0; 3]) != Outcome::Off {
                    return;
                }
                self.psci.off(pe);
                OFF
            }
        };
    }

    fn naive(&self, target: u64, level: u32) -> u64 {
        let ignored = [0, 0xff, 0xffff, 0xff_ffff][level as usize];
        let same = |pe: &usize| (self.board.mpidrs[*pe] ^ target) & !ignored == 0;
        let below: Vec<_> = (0..self.states.len())
            .filter(same)
            .map(|pe| self.states[pe])
            .collect();
        [ON, PENDING, OFF]
            .into_iter()
            .find(|state| below.contains(state))
            .unwrap_or(INVALID)
    }

    #[track_caller]
    fn check(&self, target: u64) {
        for level in 0..4 {
            self.board.looks.store(0, Relaxed);
            let answer = self.call(0, AFFINITY_INFO, [target, level.into(), 0]);
            let expected = Outcome::Return(self.naive(target, level));
            assert_eq!(answer, expected, "{target:#x}, level {level}");
            assert!(self.board.looks.load(Relaxed) <= 20);
        }
    }
}

fn random(seed: &mut u64) -> usize {
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    (*seed >> 16) as usize
}

fn compare(mpidrs: BTreeSet<u64>, seed: u64) {
    let seed = &mut { seed };
    let mut machine = Machine::new(mpidrs);
    let count = machine.states.len();
    for _ in 0..2000 {
        // PE 0 stays on.
        machine.step(1 + random(seed) % (count - 1));
        let target = machine.board.mpidrs[random(seed) % count];
        machine.check(target);
        // Perhaps nobody's.
        machine.check(target ^ 1 << [0, 4, 8, 12, 16, 20, 32, 36][random(seed) % 8]);
    }
    // Few of them on.
    for pe in 1..count {
        while machine.states[pe] != OFF {
            machine.step(pe);
        }
        machine.check(machine.board.mpidrs[pe]);
    }
    for pe in 1..count {
        machine.step(pe);
        machine.check(machine.board.mpidrs[pe]);
        machine.step(pe);
        machine.check(machine.board.mpidrs[pe]);
        machine.step(pe);
    }
}

#[test]
fn clusters_of_sixteen() {
    compare((0..512).map(|n| ((n / 16) << 8) | (n % 16)).collect(), 1);
}

#[test]
fn all_fields_with_gaps() {
    let seed = &mut 2;
    let mut field = |shift: u32| ((random(seed) % 5 * 37) as u64) << shift;
    let mpidrs: BTreeSet<u64> =
        std::iter::repeat_with(|| field(0) | field(8) | field(16) | field(32))
            .take(600)
            .collect();
    compare(mpidrs, 3);
}

#[test]
fn fewer_than_a_word() {
    compare(
        (0..8).map(|n| ((n / 4) << 16) | ((n % 4) << 8)).collect(),
        4,
    );
    compare([0x0, 0xff_00ff_ffff].into(), 5);
}

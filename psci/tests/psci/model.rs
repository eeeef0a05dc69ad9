// SPDX-License-Identifier: MIT OR Apache-2.0

//! Long random runs beside a model that keeps what each PE does and counts the rest anew at each
//! call, so that no counter of the tree can go wrong, above all when the mode changes while PEs are
//! suspended.

use crate::common::*;
use psci_el3::{Outcome, PowerLevel};

const CPU_DEFAULT_SUSPEND: u32 = 0xc400_000c;
const PES: usize = MPIDRS.len();
const CLUSTERS: usize = 3;

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Does {
    Nothing,
    Leaves,
    Runs,
    Standby { default: bool },
    Down { level: u64, default: bool },
}

impl Does {
    /// Whether the PE keeps its domain of this level up if the platform coordinates.
    fn holds(self, domain: u64) -> bool {
        match self {
            Self::Nothing => false,
            Self::Down { level, .. } => level < domain,
            _ => true,
        }
    }
}

struct Model {
    does: [Does; PES],
    up: [bool; CLUSTERS],
    system_up: bool,
    os_initiated: bool,
    failed: [bool; PES],
}

impl Model {
    fn on(&self) -> impl Iterator<Item = usize> + '_ {
        (0..PES).filter(|&pe| self.does[pe] != Does::Nothing && !self.failed[pe])
    }

    fn all(&self, cluster: Option<usize>) -> impl Iterator<Item = Does> + '_ {
        (0..PES)
            .filter(move |pe| cluster.is_none_or(|cluster| pe / 4 == cluster))
            .map(|pe| self.does[pe])
    }

    fn runs(does: &Does) -> bool {
        matches!(does, Does::Runs | Does::Leaves)
    }

    fn enter(&mut self, pe: usize, does: Does) {
        self.does[pe] = does;
        let cluster = pe / 4;
        let up = self.all(Some(cluster)).any(|does| does.holds(1));
        self.up[cluster] = up;
        let up = self.all(None).any(|does| does.holds(2));
        self.system_up = up;
    }

    fn suspend(&mut self, pe: usize, state: u64) -> Outcome {
        let cluster = pe / 4;
        let last = state >> 12 & 3;
        let wanted = match state & 0xfff {
            0x001 => None,
            0x002 => Some(0),
            0x022 => Some(1),
            _ => Some(2),
        };
        let level = wanted.unwrap_or(0);
        if self.os_initiated {
            let last = last.max(level);
            let not_alone = |cluster| self.all(cluster).filter(Self::runs).count() != 1;
            if last >= 1 && not_alone(Some(cluster)) || last >= 2 && not_alone(None) {
                return error(DENIED);
            }
            let in_standby = |does| matches!(does, Does::Standby { .. });
            if level >= 1 && self.all(Some(cluster)).any(in_standby)
                || level >= 2 && self.up.iter().filter(|up| **up).count() != 1
            {
                return error(INVALID_PARAMETERS);
            }
        }
        let Some(level) = wanted else {
            self.enter(pe, Does::Standby { default: false });
            return Outcome::Standby;
        };
        let default = false;
        self.enter(pe, Does::Down { level, default });
        if self.os_initiated {
            self.up[cluster] = level < 1;
            self.system_up = level < 2;
        }
        Outcome::PowerDown(if !self.system_up {
            PowerLevel::Level2
        } else if !self.up[cluster] {
            PowerLevel::Level1
        } else {
            PowerLevel::Pe
        })
    }

    fn set_mode(&mut self, os_initiated: bool) -> Outcome {
        let is_suspended = |does| matches!(does, Does::Standby { .. } | Does::Down { .. });
        let allowed = if os_initiated == self.os_initiated {
            true
        } else if os_initiated {
            self.on().count() == PES || !self.all(None).any(is_suspended)
        } else {
            self.on().count() == 1
        };
        if !allowed {
            return error(DENIED);
        }
        self.os_initiated = os_initiated;
        Outcome::Return(0)
    }

    fn check(&self, psci: &Machine) {
        for pe in 0..PES {
            let hw = match self.does[pe] {
                Does::Nothing | Does::Down { .. } => OFF,
                Does::Standby { .. } => PENDING,
                Does::Runs | Does::Leaves => ON,
            };
            assert_eq!(hw_state(psci, pe, 0), hw);
            let up = |up| if up { ON } else { OFF };
            assert_eq!(hw_state(psci, pe, 1), up(self.up[pe / 4]));
            assert_eq!(hw_state(psci, pe, 2), up(self.system_up));
            let on = self.does[pe] != Does::Nothing && !self.failed[pe];
            assert_eq!(affinity_info(psci, pe), up(on));
        }
    }
}

struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 20) as usize % end
    }
}

/// One step of a PE that runs.
fn step(psci: &Machine, model: &mut Model, pe: usize, random: &mut Random) {
    const STATES: [u64; 12] = [
        0x1,
        0x1001,
        0x2001,
        0x4000_0002,
        0x4000_1002,
        0x4000_2002,
        0x4000_0022,
        0x4000_1022,
        0x4000_2022,
        0x4000_0222,
        0x4000_1222,
        0x4000_2222,
    ];
    match random.below(10) {
        0..=3 => {
            let state = STATES[random.below(STATES.len())];
            let outcome = call(psci, pe, CPU_SUSPEND, [state, ENTRY, 0]);
            assert_eq!(outcome, model.suspend(pe, state), "{state:#x}");
        }
        4 => {
            let outcome = call(psci, pe, CPU_DEFAULT_SUSPEND, [ENTRY, 0, 0]);
            assert_eq!(outcome, Outcome::PowerDown(PowerLevel::Pe));
            let default = true;
            model.enter(pe, Does::Down { level: 0, default });
        }
        5 => {
            let leaving = |pe: &usize| model.does[*pe] == Does::Leaves;
            let stays = model.on().filter(|pe| !leaving(pe)).count() > 1;
            let outcome = call(psci, pe, CPU_OFF, [0; 3]);
            assert_eq!(outcome, if stays { Outcome::Off } else { error(DENIED) });
            if stays {
                model.does[pe] = Does::Leaves;
            }
        }
        6 => {
            let outcome = call(psci, pe, SYSTEM_SUSPEND, [ENTRY, 0, 0]);
            if model.on().count() == 1 {
                assert_eq!(outcome, Outcome::SystemSuspend);
                let (level, default) = (2, true);
                model.enter(pe, Does::Down { level, default });
            } else {
                assert_eq!(outcome, error(DENIED));
            }
        }
        7 => {
            let os_initiated = random.below(2) == 1;
            let outcome = call(psci, pe, SET_SUSPEND_MODE, [os_initiated.into(), 0, 0]);
            assert_eq!(outcome, model.set_mode(os_initiated));
        }
        _ => {
            let target = random.below(PES);
            let outcome = call(psci, pe, CPU_ON, [MPIDRS[target], ENTRY, 0]);
            if model.failed[target] {
                assert_eq!(outcome, error(INTERNAL_FAILURE));
            } else if model.does[target] == Does::Nothing {
                assert_eq!(outcome, Outcome::Return(0));
                psci.start(target).unwrap();
                model.enter(target, Does::Runs);
            } else {
                assert_eq!(outcome, error(ALREADY_ON));
            }
        }
    }
}

fn run(seed: u64, most_on: bool) {
    let (psci, _) = machine(ALL);
    let mut model = Model {
        does: [Does::Nothing; PES],
        up: [false; CLUSTERS],
        system_up: false,
        os_initiated: false,
        failed: [false; PES],
    };
    model.enter(0, Does::Runs);
    if most_on {
        for pe in 1..PES {
            turn_on(psci, pe);
            model.enter(pe, Does::Runs);
        }
    }
    let mut random = Random(seed);
    for _ in 0..1000 {
        let pe = random.below(PES);
        if model.failed[pe] {
            continue;
        }
        match model.does[pe] {
            Does::Nothing => {
                assert_eq!(psci.start(pe), None);
                assert_eq!(psci.resume(pe), None);
            }
            Does::Leaves => {
                psci.off(pe);
                model.enter(pe, Does::Nothing);
            }
            Does::Runs => {
                assert_eq!(psci.resume(pe), None);
                step(psci, &mut model, pe, &mut random);
            }
            Does::Standby { .. } => {
                assert_eq!(psci.resume(pe), None);
                psci.standby_end(pe);
                model.enter(pe, Does::Runs);
            }
            Does::Down { .. } => {
                psci.resume(pe).unwrap();
                model.enter(pe, Does::Runs);
            }
        }
        model.check(psci);
        let runs = |pe: &usize| model.does[*pe] == Does::Runs;
        if random.below(2000) == 0 && model.on().filter(runs).count() > 1 && runs(&pe) {
            psci.failed(pe);
            model.failed[pe] = true;
        }
    }
}

#[test]
fn random_runs() {
    for seed in 1..=150 {
        run(seed, seed % 2 == 0);
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0

//! Standby takes no lock: PEs that idle don't wait for one another.

use crate::common::{AARCH64, CPU_ON, CPU_SUSPEND, ENTRY, MPIDRS, SET_SUSPEND_MODE, STANDBY};
use psci_el3::{
    Domain, Features, Outcome, Pe, Port, PowerLevel, PowerOnFailed, PowerStates, Psci, recommended,
};
use std::sync::{Mutex, OnceLock, mpsc};
use std::thread;
use std::time::Duration;

type Hook = Box<dyn FnOnce() + Send>;

/// The machine calls `in_domain` and `in_count` from within its locks.
#[derive(Default)]
struct Board {
    in_domain: Mutex<Option<Hook>>,
    in_count: Mutex<Option<Hook>>,
}

impl Port for Board {
    fn pe_count(&self) -> usize {
        let hook = self.in_count.lock().unwrap().take();
        if let Some(hook) = hook {
            hook();
        }
        MPIDRS.len()
    }
    fn affinity(&self, pe: usize) -> u64 {
        MPIDRS[pe]
    }
    fn pe_index(&self, affinity: u64) -> Option<usize> {
        MPIDRS.iter().position(|&pe| pe == affinity)
    }
    fn domain(&self, pe: usize, _level: PowerLevel) -> usize {
        // Not the first look, which finds the lock.
        if pe == 1 {
            let hook = self.in_domain.lock().unwrap().take();
            if let Some(hook) = hook {
                hook();
            }
        }
        pe / 4
    }
    fn power_on(&self, _pe: usize) -> Result<(), PowerOnFailed> {
        Ok(())
    }
    fn is_nonsecure_ram(&self, _base: u64, _length: u64) -> bool {
        true
    }
    fn features(&self) -> Features {
        Features::NONE.os_initiated()
    }
    fn power_states(&self) -> &'static PowerStates {
        &recommended::STATES
    }
}

static BOARD: OnceLock<Board> = OnceLock::new();
static PES: [Pe; 10] = [const { Pe::new() }; 10];
static DOMAINS: [Domain; 3] = [const { Domain::new() }; 3];
static PSCI: OnceLock<Psci<'static, Board>> = OnceLock::new();

fn call(me: usize, fid: u32, args: [u64; 3]) -> Outcome {
    let psci = PSCI.get().unwrap();
    psci.call(me, || AARCH64, fid, &args)
}

/// PE 1 goes to standby and back, on a thread of its own, while this one holds a lock.
fn standby_of_pe_1() {
    let (done, finished) = mpsc::channel();
    thread::spawn(move || {
        let outcome = call(1, CPU_SUSPEND, [STANDBY, 0, 0]);
        PSCI.get().unwrap().standby_end(1);
        done.send(outcome)
    });
    let outcome = finished.recv_timeout(Duration::from_secs(10));
    assert_eq!(outcome, Ok(Outcome::Standby), "standby waits for a lock");
}

#[test]
fn standby_waits_for_no_lock() {
    let board = BOARD.get_or_init(Board::default);
    let psci = PSCI.get_or_init(|| Psci::new(board, &PES, &DOMAINS));
    psci.boot(0);
    assert_eq!(call(0, CPU_ON, [MPIDRS[1], ENTRY, 0]), Outcome::Return(0));
    psci.start(1).unwrap();
    // With the system's lock held, in platform-coordinated mode.
    *board.in_count.lock().unwrap() = Some(Box::new(standby_of_pe_1));
    assert_eq!(call(0, SET_SUSPEND_MODE, [1, 0, 0]), Outcome::Return(0));
    assert!(board.in_count.lock().unwrap().is_none());
    // With the cluster's lock held, in OS-initiated mode.
    *board.in_domain.lock().unwrap() = Some(Box::new(standby_of_pe_1));
    let cluster_down = recommended::CLUSTER_DOWN.into();
    let denied = call(0, CPU_SUSPEND, [cluster_down, ENTRY, 0]);
    assert_eq!(denied, Outcome::Return(-3i64 as u64));
    assert!(board.in_domain.lock().unwrap().is_none());
}

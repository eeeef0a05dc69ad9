// SPDX-License-Identifier: MIT OR Apache-2.0

//! A machine to ask: ten PEs in three clusters.

use psci_el3::{
    Caller, Domain, ExecutionState, Features, Outcome, Pe, Port, PowerLevel, PowerOnFailed,
    PowerStates, Psci, recommended,
};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

pub const RAM: u64 = 0x4000_0000;
pub const RAM_END: u64 = 0x8000_0000;
/// Non-secure RAM that only SMC64 calls can name.
pub const HIGH_RAM: u64 = 0x8_8000_0000;
pub const HIGH_RAM_END: u64 = 0x9_0000_0000;
pub const ENTRY: u64 = 0x4008_0000;

pub const NOT_SUPPORTED: i64 = -1;
pub const INVALID_PARAMETERS: i64 = -2;
pub const DENIED: i64 = -3;
pub const ALREADY_ON: i64 = -4;
pub const ON_PENDING: i64 = -5;
pub const INTERNAL_FAILURE: i64 = -6;
pub const INVALID_ADDRESS: i64 = -9;

pub const CPU_SUSPEND: u32 = 0xc400_0001;
pub const CPU_OFF: u32 = 0x8400_0002;
pub const CPU_ON: u32 = 0xc400_0003;
pub const AFFINITY_INFO: u32 = 0xc400_0004;
pub const FEATURES: u32 = 0x8400_000a;
pub const NODE_HW_STATE: u32 = 0xc400_000d;
pub const SYSTEM_SUSPEND: u32 = 0xc400_000e;
pub const SET_SUSPEND_MODE: u32 = 0x8400_000f;
pub const STAT_RESIDENCY: u32 = 0xc400_0010;
pub const STAT_COUNT: u32 = 0xc400_0011;

/// AFFINITY_INFO's and NODE_HW_STATE's answers.
pub const ON: u64 = 0;
pub const OFF: u64 = 1;
pub const PENDING: u64 = 2;

/// PE 0..3 are cluster 0, PE 4..7 cluster 1, PE 8 and 9 cluster 2 behind another Aff3.
pub const MPIDRS: [u64; 10] = [
    0x0000,
    0x0001,
    0x0002,
    0x0003,
    0x0100,
    0x0101,
    0x0102,
    0x0103,
    0x1_0000_0000,
    0x1_0000_0001,
];

pub const ALL: Features = Features::NONE
    .os_initiated()
    .cpu_default_suspend()
    .cpu_freeze()
    .node_hw_state()
    .system_suspend()
    .hibernate_off()
    .warm_reset()
    .mem_protect()
    .statistics();

pub const AARCH64: Caller = Caller {
    state: ExecutionState::AArch64,
    big_endian: false,
    in_handler: false,
};

pub struct Board {
    pub features: Features,
    pub states: &'static PowerStates,
    /// PEs that the hardware doesn't power on.
    pub broken: Mutex<Vec<usize>>,
    pub turned_on: Mutex<Vec<usize>>,
    pub clock: AtomicU64,
    pub protect: AtomicBool,
    /// The one reset that the vendor has.
    pub vendor_reset: Option<(u32, u64)>,
}

impl Port for Board {
    fn pe_count(&self) -> usize {
        MPIDRS.len()
    }
    fn affinity(&self, pe: usize) -> u64 {
        MPIDRS[pe]
    }
    fn pe_index(&self, affinity: u64) -> Option<usize> {
        MPIDRS.iter().position(|&pe| pe == affinity)
    }
    fn domain(&self, pe: usize, level: PowerLevel) -> usize {
        assert_eq!(level, PowerLevel::Level1);
        pe / 4
    }
    fn power_on(&self, pe: usize) -> Result<(), PowerOnFailed> {
        if self.broken.lock().unwrap().contains(&pe) {
            return Err(PowerOnFailed);
        }
        self.turned_on.lock().unwrap().push(pe);
        Ok(())
    }
    fn is_nonsecure_ram(&self, base: u64, length: u64) -> bool {
        assert!(length != 0);
        let end = base + length;
        base >= RAM && end <= RAM_END || base >= HIGH_RAM && end <= HIGH_RAM_END
    }
    fn features(&self) -> Features {
        self.features
    }
    fn power_states(&self) -> &'static PowerStates {
        self.states
    }
    fn microseconds(&self) -> u64 {
        self.clock.load(Relaxed)
    }
    fn has_vendor_reset(&self, reset_type: u32, cookie: u64) -> bool {
        assert!(reset_type >> 31 == 1);
        self.vendor_reset == Some((reset_type, cookie))
    }
    fn mem_protect(&self, enable: bool) -> bool {
        self.protect.swap(enable, Relaxed)
    }
}

/// The machine under test; PE 0 has booted.
pub type Machine = Psci<'static, Board>;

/// A machine with these optional calls, and all four states. Tests are short-lived, so it is leaked.
pub fn machine(features: Features) -> (&'static Machine, &'static Board) {
    machine_with(features, &recommended::STATES)
}

/// As [`machine`], with these states for CPU_SUSPEND.
pub fn machine_with(
    features: Features,
    states: &'static PowerStates,
) -> (&'static Machine, &'static Board) {
    let board = Box::leak(Box::new(Board {
        features,
        states,
        broken: Mutex::new(Vec::new()),
        turned_on: Mutex::new(Vec::new()),
        clock: AtomicU64::new(0),
        protect: AtomicBool::new(false),
        vendor_reset: Some((0x8000_0007, 42)),
    }));
    // More room than PEs, as in an image for machines of any size.
    let pes = Box::leak(Box::new([const { Pe::new() }; 16]));
    let domains = Box::leak(Box::new([const { Domain::new() }; 3]));
    let psci = Box::leak(Box::new(Psci::new(board, pes, domains)));
    psci.boot(0);
    (psci, board)
}

/// A call of an AArch64 caller on PE `me`.
pub fn call(psci: &Machine, me: usize, fid: u32, args: [u64; 3]) -> Outcome {
    psci.call(me, || AARCH64, fid, &args)
}

/// What x0 is for this error after a call of either convention.
pub fn error(code: i64) -> Outcome {
    Outcome::Return(code as u64)
}

/// The answer of a call that must return.
pub fn value(psci: &Machine, me: usize, fid: u32, args: [u64; 3]) -> u64 {
    match call(psci, me, fid, args) {
        Outcome::Return(value) => value,
        other => panic!("{fid:#x} with {args:x?} should return, but: {other:?}"),
    }
}

/// Turns a PE on and lets it start.
pub fn turn_on(psci: &Machine, pe: usize) {
    assert_eq!(value(psci, 0, CPU_ON, [MPIDRS[pe], ENTRY, 0]), 0);
    psci.start(pe).unwrap();
}

/// Turns the calling PE off.
pub fn turn_off(psci: &Machine, pe: usize) {
    assert_eq!(call(psci, pe, CPU_OFF, [0; 3]), Outcome::Off);
    psci.off(pe);
}

pub fn affinity_info(psci: &Machine, pe: usize) -> u64 {
    value(psci, 0, AFFINITY_INFO, [MPIDRS[pe], 0, 0])
}

/// Everything that calls can find out of a machine with all features.
pub fn snapshot(psci: &Machine) -> Vec<u64> {
    let mut all = Vec::new();
    for mpidr in MPIDRS {
        for level in 0..3 {
            all.push(value(psci, 0, AFFINITY_INFO, [mpidr, level, 0]));
            all.push(value(psci, 0, NODE_HW_STATE, [mpidr, level, 0]));
        }
        for state in [0x1, 0x4000_0002, 0x4000_0022, 0x4000_0222] {
            all.push(value(psci, 0, STAT_RESIDENCY, [mpidr, state, 0]));
            all.push(value(psci, 0, STAT_COUNT, [mpidr, state, 0]));
        }
    }
    all
}

/// A call that must be refused with this error and change nothing.
#[track_caller]
pub fn refused(psci: &Machine, me: usize, fid: u32, args: [u64; 3], code: i64) {
    refused_as(psci, me, AARCH64, fid, args, code);
}

/// As [`refused`], for any caller.
#[track_caller]
pub fn refused_as(psci: &Machine, me: usize, caller: Caller, fid: u32, args: [u64; 3], code: i64) {
    let before = snapshot(psci);
    let answer = psci.call(me, || caller, fid, &args);
    assert_eq!(answer, error(code), "{fid:#x} with {args:x?}");
    assert_eq!(snapshot(psci), before, "{fid:#x} with {args:x?}");
}

pub const STANDBY: u64 = 0x0000_0001;
pub const PE_DOWN: u64 = 0x4000_0002;
pub const CLUSTER_DOWN: u64 = 0x4000_1022;
pub const SYSTEM_DOWN: u64 = 0x4000_2222;

/// Suspends a PE to a power-down state; the answer is the level that goes down with it.
#[track_caller]
pub fn power_down(psci: &Machine, pe: usize, state: u64) -> PowerLevel {
    match call(psci, pe, CPU_SUSPEND, [state, ENTRY, pe as u64]) {
        Outcome::PowerDown(level) => level,
        other => panic!("PE {pe} should power down, but: {other:?}"),
    }
}

#[track_caller]
pub fn standby(psci: &Machine, pe: usize) {
    let outcome = call(psci, pe, CPU_SUSPEND, [STANDBY, 0, 0]);
    assert_eq!(outcome, Outcome::Standby);
}

pub fn hw_state(psci: &Machine, pe: usize, level: u64) -> u64 {
    value(psci, 0, NODE_HW_STATE, [MPIDRS[pe], level, 0])
}

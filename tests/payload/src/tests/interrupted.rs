//! What is interrupted, where it runs and with which PSTATE, and how it must look afterwards.

use crate::arch::{self, Code, DAIF, EC_HVC, EC_SVC, PSTATE_DIT, PSTATE_NZCV, Registers};
use crate::arch::{PSTATE_ALLINT, PSTATE_PAN, PSTATE_SSBS, PSTATE_TCO, PSTATE_UAO};
use crate::check::{Outcome, check, equal, wait};
use crate::pe::{Behaviour, Finish, Job, Pe};
use crate::sdei;
use core::sync::atomic::Ordering::*;

/// Where the interrupted code runs.
#[derive(Clone, Copy, PartialEq)]
pub enum Place {
    /// At the client's EL with SP_ELx.
    Here,
    /// At the client's EL with SP_EL0.
    HereSp0,
    /// At EL0 under it.
    El0,
    /// At EL1 under EL2.
    Guest,
}

/// All of them, for a test to go through.
pub const PLACES: [Place; 4] = [Place::Here, Place::HereSp0, Place::El0, Place::Guest];

impl Place {
    /// Whether this machine has it.
    pub fn exists(self) -> bool {
        self != Self::Guest || arch::el() == 2
    }

    /// PSTATE.M.
    fn mode(self) -> u64 {
        match self {
            Self::Here => arch::here(),
            Self::HereSp0 => arch::here() & !1,
            Self::El0 => 0,
            Self::Guest => 0b0101,
        }
    }

    /// What is added to addresses that this code uses: with the MMU on, EL0 has a view of its own.
    pub fn alias(self) -> u64 {
        let own_view = arch::el() == 1 || arch::is_vhe_host();
        if self == Self::El0 && own_view {
            arch::EL0_ALIAS
        } else {
            0
        }
    }

    fn code(self) -> Code {
        if self == Self::Guest {
            Code::SpinThenHvc
        } else {
            Code::SpinThenSvc
        }
    }

    fn class(self) -> u64 {
        if self == Self::Guest { EC_HVC } else { EC_SVC }
    }
}

/// NZCV with which the spinning code starts, and which it sets; in SPSR's format.
const FIRST_FLAGS: u64 = 0b1010 << 28;
const FLAGS: u64 = 0b0110 << 28;
/// Length of the loop that is interrupted, and where it starts.
const LOOP: core::ops::Range<u64> = 4..20;

/// Code that spins with a different value in every register until `pe.leave` is set.
pub struct Spin {
    place: Place,
    start: u64,
    first: u64,
    /// What it runs with.
    pub registers: Registers,
}

impl Spin {
    /// Prepares it with these bits of PSTATE besides the mode.
    pub fn new(pe: &'static Pe, place: Place, pstate: u64) -> Self {
        pe.leave.store(0, Release);
        let start = place.code().address() + place.alias();
        let first = place.mode() | pstate | FIRST_FLAGS;
        let mut registers = Registers::pattern(start);
        registers.pstate = first;
        registers.x[29] = pe.leave.as_ptr() as u64 + place.alias();
        Self {
            place,
            start,
            first,
            registers,
        }
    }

    /// Runs it to its end.
    pub fn run(&mut self) {
        if self.place == Place::Guest {
            arch::set_guest(true);
        }
        // SAFETY: Code and PSTATE fit, and x29 is the address of the PE's word as seen from there.
        unsafe { arch::enter(&mut self.registers) };
        if self.place == Place::Guest {
            arch::set_guest(false);
        }
    }

    /// PSTATE in the loop.
    pub fn pstate(&self) -> u64 {
        self.first & !PSTATE_NZCV | FLAGS
    }

    /// Checks that `pc` is in the loop.
    pub fn check_pc(&self, pc: u64) -> Outcome {
        check(
            "the interrupted PC is in the loop",
            LOOP.contains(&pc.wrapping_sub(self.start)),
        )
    }

    /// Checks x0..x29 but those in `except`.
    pub fn check_registers(&self, except: core::ops::Range<usize>) -> Outcome {
        let before = Registers::pattern(0);
        for index in (0..29).filter(|index| !except.contains(index)) {
            equal(
                "a register of the interrupted code",
                self.registers.x[index],
                before.x[index],
            )?;
        }
        Ok(())
    }

    /// Checks that it came to its own end with everything as it was.
    pub fn check_exact(&self) -> Outcome {
        equal(
            "how the interrupted code ended",
            self.registers.class(),
            self.place.class(),
        )?;
        equal(
            "where the interrupted code ended",
            self.registers.pc,
            self.start + LOOP.end,
        )?;
        equal(
            "PSTATE of the interrupted code",
            self.registers.pstate,
            self.pstate(),
        )?;
        self.check_registers(0..0)
    }

    /// Checks what the handler saw when it interrupted this code.
    pub fn check_entry(&self, pe: &'static Pe) -> Outcome {
        let seen = &pe.handling;
        equal("x0, the event", seen.x(0), 0)?;
        equal("x1, the argument", seen.x(1), pe.handling_address())?;
        self.check_pc(seen.x(2))?;
        equal("x3, the interrupted PSTATE", seen.x(3), self.pstate())?;
        let pattern = Registers::pattern(0);
        for index in 4..18 {
            let value = seen.x(index);
            if value != 0 {
                equal("x4..x17 of the handler", value, pattern.x[index])?;
            }
        }
        for index in 18..29 {
            equal("x18..x28 of the handler", seen.x(index), pattern.x[index])?;
        }
        equal(
            "x29 of the handler",
            seen.x(29),
            pe.leave.as_ptr() as u64 + self.place.alias(),
        )?;
        equal(
            "SP of the handler",
            seen.sp.load(Acquire),
            self.registers.sp,
        )?;
        equal("SPSel of the handler", seen.spsel.load(Acquire), 1)?;
        equal("DAIF of the handler", seen.daif.load(Acquire), DAIF)?;
        equal("NZCV of the handler", seen.nzcv.load(Acquire), FLAGS)?;
        equal("ELR of the handler", seen.elr.load(Acquire), self.start)?;
        equal("SPSR of the handler", seen.spsr.load(Acquire), self.first)?;
        equal(
            "PSTATE of the handler",
            seen.pstate.load(Acquire),
            self.entry_pstate(),
        )
    }

    /// PAN, UAO, DIT, TCO, SSBS and ALLINT as an exception from this code to the client's EL would set them.
    pub fn entry_pstate(&self) -> u64 {
        let present = arch::readable_pstate().0;
        let sctlr = arch::sctlr();
        // Arm ARM, AArch64.TakeException: SPAN counts at EL1, and at EL2 when it is a host's.
        let host = arch::el() == 1 || arch::is_vhe_host() && self.place != Place::Guest;
        let mut want = self.first & (PSTATE_PAN | PSTATE_DIT);
        if host && sctlr & arch::SCTLR_SPAN == 0 {
            want |= PSTATE_PAN;
        }
        if sctlr & arch::SCTLR_DSSBS != 0 {
            want |= PSTATE_SSBS;
        }
        if sctlr & arch::SCTLR_SPINTMASK == 0 {
            want |= PSTATE_ALLINT;
        }
        (want | PSTATE_TCO) & present
    }
}

/// Whether the handler of `pe` interrupted a [`Spin`]'s loop.
pub fn in_loop(pe: &'static Pe) -> bool {
    is_in_loop(pe.handling.x(2))
}

/// Whether this is a PC in a [`Spin`]'s loop.
pub fn is_in_loop(pc: u64) -> bool {
    let pc = pc & (arch::EL0_ALIAS - 1);
    [Code::SpinThenSvc, Code::SpinThenHvc]
        .iter()
        .any(|code| LOOP.contains(&pc.wrapping_sub(code.address())))
}

/// Starts a [`Spin`] as `job` on `pe`, where event 0 is enabled, and waits until it is in its loop; from then on
/// the handler does `behaviour`.
pub fn start_spinning(pe: &'static Pe, job: Job, argument: u64, behaviour: Behaviour) -> Outcome {
    pe.leave.store(0, Release);
    pe.handling.set(|_| Finish::complete());
    pe.start(job, argument)?;
    loop {
        let before = pe.handling.count();
        equal("SIGNAL", sdei::signal(pe.mpidr()), 0)?;
        wait("the handler was not entered", || {
            pe.handling.count() > before
        })?;
        if in_loop(pe) {
            pe.handling.set(behaviour);
            return Ok(());
        }
        arch::relax();
    }
}

/// Settings of SCTLR's bits for PSTATE on exceptions; each counts only where the CPU has what it sets.
pub const SCTLR_SETTINGS: [u64; 5] = [
    arch::SCTLR_SPAN,
    0,
    arch::SCTLR_SPAN | arch::SCTLR_DSSBS,
    arch::SCTLR_DSSBS,
    arch::SCTLR_SPAN | arch::SCTLR_SPINTMASK,
];

/// Combinations of PSTATE bits that this CPU has: none, each alone, all.
pub fn pstates(place: Place) -> impl Iterator<Item = u64> {
    let mut present = arch::readable_pstate().0;
    if place == Place::El0 {
        // They mean nothing there, and PAN not while EL0 runs under EL2 without VHE.
        present &= !(PSTATE_PAN | PSTATE_UAO | PSTATE_ALLINT);
    }
    let single = [
        PSTATE_PAN,
        PSTATE_UAO,
        PSTATE_DIT,
        PSTATE_TCO,
        PSTATE_SSBS,
        PSTATE_ALLINT,
    ];
    [0, DAIF, DAIF | present, present]
        .into_iter()
        .chain(single.into_iter().filter(move |bit| bit & present != 0))
        // Interrupts unmasked at the client's EL, with nothing pending, are as good as masked.
        .map(move |pstate| {
            if place == Place::El0 {
                pstate & !DAIF
            } else {
                pstate
            }
        })
}

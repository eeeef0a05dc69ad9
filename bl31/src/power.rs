//! What PSCI decides, done: PEs go off, wait, and start.

use core::arch::asm;

use aarch64_cpu::asm::{barrier, wfi};
use aarch64_cpu::registers::{ELR_EL3, MPIDR_EL1, Readable, SPSR_EL3, Writeable};
use arm_sysregs::el2::accessors::{write_hcr_el2, write_ich_hcr_el2};
use arm_sysregs::el2::registers::{HcrEl2, IchHcrEl2};
use arm_sysregs::el3::registers::SpsrEl3;
use platform::{Platform, board::Board, gic};
use psci::{Entry, Outcome};
use sdei::ClientEl;
use sdei_aarch64::client_el;

use crate::handover;
use crate::pe::PeData;
use crate::secure_timer;
use crate::services::{PSCI, SDEI};
use crate::vectors::enter_normal_world;

/// SCTLR_EL1 and SCTLR_EL2: the endianness of data accesses.
pub const SCTLR_EE: u64 = 1 << 25;

/// Carries out what a PSCI call of this PE led to. Returns to the caller, or does
/// not return here.
pub fn carry_out(pe: &mut PeData, outcome: Outcome) {
    match outcome {
        Outcome::Return(answer) => pe.frame.x[0] = answer,
        Outcome::Standby => {
            // What wakes it is served once it is below EL3 again. WFI doesn't
            // wait for stores, and others may wait for this PE's.
            barrier::dsb(barrier::SY);
            wfi();
            PSCI.standby_end(pe.index);
            pe.frame.x[0] = 0;
        }
        // Nothing in EL3 moves interrupts away from a PE, so freezing it is the same.
        Outcome::Off | Outcome::Freeze => {
            go_off(pe);
            wait_and_start(pe);
            leave(pe)
        }
        Outcome::PowerDown(_) | Outcome::SystemSuspend => {
            power_down(pe);
            leave(pe)
        }
        Outcome::SystemOff => Board::system_off(),
        // A reset keeps the memory either way, which is all a warm one promises. The boards
        // offer no reset of a vendor.
        Outcome::SystemReset | Outcome::SystemWarmReset | Outcome::SystemVendorReset { .. } => {
            Board::system_reset()
        }
    }
}

/// Leaves EL3 for a PE's entry point. What the Normal world had in the registers
/// that EL3's Rust code keeps is gone, as after a reset.
fn leave(pe: &mut PeData) -> ! {
    // SAFETY: this PE's slot, filled for the EL that `enter` has set.
    unsafe { enter_normal_world(pe) }
}

/// Takes this PE's part of everything down, and last says so to PSCI: from then
/// on another PE may turn it on.
fn go_off(pe: &mut PeData) {
    SDEI.pe_off(&mut pe.sdei);
    secure_timer::stop();
    pe.alarm = None;
    PSCI.off(pe.index);
}

/// Powers this PE down until an interrupt comes for it. Where the machine can't
/// do that, EL3 waits in its place, and the PE loses what it would have lost: its
/// registers and its CPU interface, though not its redistributor and its timers.
fn power_down(pe: &mut PeData) {
    leave_lower_els();
    Board::power_down(pe.index);
    gic::listen_to_all();
    // The redistributor knows what this PE listens to, and no store of it is left
    // behind, before it sleeps.
    barrier::dsb(barrier::SY);
    wfi();
    forget_instructions();
    resume(pe);
}

/// Ends the power-down of this PE. The answer is whether it was suspended.
fn resume(pe: &mut PeData) -> bool {
    let Some(entry) = PSCI.resume(pe.index) else {
        return false;
    };
    SDEI.pe_resume(&mut pe.sdei);
    Board::wake_pe_interrupts(pe.index);
    secure_timer::resume(pe);
    enter(pe, &entry);
    true
}

/// Makes this PE, which comes out of a reset, go where PSCI says, which alone
/// knows: the Normal world may have a way to power a PE up, or to wake it, that
/// PSCI is not asked for.
pub fn reset(pe: &mut PeData) {
    if Board::POWERS_DOWN {
        if let Some(entry) = PSCI.start(pe.index) {
            *pe = PeData::new(pe.index);
            return start(pe, &entry);
        }
        if resume(pe) {
            return;
        }
    }
    Board::configure_pe_interrupts(pe.index);
    wait_and_start(pe);
}

/// Makes this PE, which said that it is off, start once another turns it on. A
/// machine that can powers it off, and this never returns: it comes back by
/// [`reset`].
fn wait_and_start(pe: &mut PeData) {
    leave_lower_els();
    Board::power_off(pe.index);
    gic::silence_pe();
    loop {
        if let Some(entry) = PSCI.start(pe.index) {
            forget_instructions();
            return start(pe, &entry);
        }
        // The SGI of whoever has set an entry since then is pending, and ends
        // this at once. Before: as in `power_down`.
        barrier::dsb(barrier::SY);
        wfi();
        gic::drain();
    }
}

/// Where EL3 has waited in the place of a PE without power: that one would come
/// back with its instruction cache empty, so an OS that was put where another was
/// tells only the PEs that are on.
fn forget_instructions() {
    // SAFETY: what is not in a cache is fetched from memory. The exception return
    // keeps what was fetched before from being executed.
    unsafe { asm!("ic iallu", "dsb nsh", options(nostack, preserves_flags)) };
}

/// A PE that goes down has no virtual interrupt that could end its wait: what
/// the Normal world made of its own is lost. What puts the GIC to sleep after this
/// synchronizes it.
fn leave_lower_els() {
    if client_el() == ClientEl::El2 {
        // SAFETY: registers of the Normal world, which starts anew after this.
        unsafe {
            write_hcr_el2(HcrEl2::empty());
            write_ich_hcr_el2(IchHcrEl2::empty());
        }
    }
}

/// Makes this PE start below EL3 as if from cold when this is returned from.
pub fn start(pe: &mut PeData, entry: &Entry) {
    SDEI.pe_on(&mut pe.sdei, MPIDR_EL1.get());
    Board::configure_pe_interrupts(pe.index);
    handover::stop_timers(client_el());
    secure_timer::stop();
    enter(pe, entry);
}

/// Makes this PE go to an entry point, with registers as after a reset, when
/// this is returned from.
fn enter(pe: &mut PeData, entry: &Entry) {
    let el = client_el();
    handover::reset_lower_els(el, entry.big_endian);
    pe.frame.x[0] = entry.context;
    ELR_EL3.set(entry.address);
    // The highest Non-secure EL runs AArch64 (SCR_EL3.RW or EL2's width), so
    // that is how the PE starts, whatever the caller of CPU_ON ran.
    let masked = SpsrEl3::D | SpsrEl3::A | SpsrEl3::I | SpsrEl3::F;
    SPSR_EL3.set((handover::mode(el) | masked).bits());
}

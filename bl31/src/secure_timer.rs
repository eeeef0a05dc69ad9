//! The Secure physical timer of each PE (CNTPS), by which EL3 raises explicit
//! events on its own account: what a driver of EL3 for errors or a watchdog
//! would do.
//!
//! Nothing arms it in the firmware itself. Where the board's option asks for it
//! (QEMU: `-fw_cfg name=opt/bl31/test-timer,string=on`) the Normal world can,
//! by the SMC64 call [`ARM_TIMER`], and so see explicit events at work.

use core::arch::asm;
use core::sync::atomic::{AtomicBool, Ordering};

use aarch64_cpu::asm::barrier;
use aarch64_cpu::registers::{CNTPCT_EL0, Readable};
use platform::{Crash, gic};

use crate::crash;
use crate::pe::PeData;
use crate::services::SDEI;

/// Arms this PE's timer: event number in w1, ticks of the system counter in x2,
/// answer 0. When they are over, EL3 raises the event on this PE, if it is an
/// explicit one and has a handler then. Arming it again replaces the event.
///
/// A fast SMC64 call of the OEM service (Arm DEN0028, 6.2).
pub const ARM_TIMER: u32 = 0xc300_0000;

/// In place of an event's number: crash in EL3, so that it can be seen what that
/// means for the other PEs.
const CRASH: i32 = i32::MIN;

/// CNTPS_CTL_EL1.ENABLE.
const ENABLE: u64 = 1;

/// What a PE's timer is armed for. It is kept beside the timer, which may lose
/// it while the PE is powered down.
#[derive(Clone, Copy, Debug)]
pub struct Alarm {
    event: i32,
    /// In ticks of the system counter.
    deadline: u64,
}

static OFFERED: AtomicBool = AtomicBool::new(false);

/// Offers [`ARM_TIMER`] from now on.
pub fn offer() {
    // Relaxed: by the PE that boots, before the gate is open.
    OFFERED.store(true, Ordering::Relaxed);
}

/// Whether [`ARM_TIMER`] is offered.
pub fn is_offered() -> bool {
    OFFERED.load(Ordering::Relaxed)
}

/// Serves [`ARM_TIMER`].
#[cold]
pub fn arm(pe: &mut PeData) {
    let [_, event, ticks, ..] = pe.frame.x;
    if event as i32 == CRASH {
        crash::provoke(Crash::Panic);
    }
    // Its barrier also keeps the counter from being read before this call.
    stop();
    pe.alarm = Some(Alarm {
        event: event as i32,
        deadline: CNTPCT_EL0.get().saturating_add(ticks),
    });
    resume(pe);
    pe.frame.x[0] = 0;
}

/// Starts this PE's timer if it is armed, which it may have been before the PE
/// was powered down.
pub fn resume(pe: &PeData) {
    if let Some(Alarm { deadline, .. }) = pe.alarm {
        // SAFETY: EL3 alone has this timer, and serves its interrupt.
        unsafe { asm!("msr cntps_cval_el1, {}", in(reg) deadline, options(nomem, nostack)) };
        control(ENABLE);
    }
}

/// The timer's interrupt was acknowledged on this PE.
#[inline(never)]
pub fn expired(pe: &mut PeData) {
    // Level-sensitive: the line has to go down before it is deactivated. Where it
    // takes its time, this interrupt comes once more and finds nothing.
    stop();
    gic::deactivate(gic::SECURE_TIMER.raw_value());
    if let Some(Alarm { event, .. }) = pe.alarm.take() {
        // What can't be raised by now is nobody's: there is no one to tell.
        let _ = SDEI.raise(&mut pe.frame, &mut pe.sdei, event);
    }
}

/// Stops this PE's timer.
pub fn stop() {
    control(0);
    // Stopped when this returns, not at the next exception return.
    barrier::isb(barrier::SY);
}

fn control(value: u64) {
    // SAFETY: as in `arm`.
    unsafe { asm!("msr cntps_ctl_el1, {}", in(reg) value, options(nomem, nostack)) };
}

//! The interrupt router: FIQs are EL3's, and each is an event or a wake-up.

use platform::gic::{SECURE_TIMER, SGI_EVENT, SGI_POWER_ON, acknowledge, deactivate};

use crate::pe::PeData;
use crate::secure_timer;
use crate::services::SDEI;

/// Serves an FIQ from below EL3.
pub extern "C" fn fiq(pe: &mut PeData) {
    const EVENT: u32 = SGI_EVENT.raw_value();
    const POWER_ON: u32 = SGI_POWER_ON.raw_value();
    const TIMER: u32 = SECURE_TIMER.raw_value();
    // What is still pending after this one is an FIQ again right after the
    // return.
    match acknowledge() {
        Some(EVENT) => {
            deactivate(EVENT);
            SDEI.signalled(&mut pe.frame, &mut pe.sdei);
        }
        // This PE was off when it was raised, and came on without it.
        Some(POWER_ON) => deactivate(POWER_ON),
        Some(TIMER) => secure_timer::expired(pe),
        Some(intid) => other(pe, intid),
        None => {}
    }
}

/// An interrupt that is not EL3's own.
#[inline(never)]
fn other(pe: &mut PeData, intid: u32) {
    // Deactivated by the dispatcher if it is an event's.
    if !SDEI.interrupt(&mut pe.frame, &mut pe.sdei, intid) {
        deactivate(intid);
    }
}

//! MEM_PROTECT (Arm DEN0022 5.1.13): the Normal world asks that its memory be
//! cleared before anything else sees it after the next reset.
//!
//! QEMU's Secure RAM keeps its contents over a reset and is zero when the
//! machine is new, so that is where the wish is noted.

use core::sync::atomic::{AtomicU64, Ordering::SeqCst};

use aarch64_cpu::asm::barrier;
use arm_sysregs::el0::accessors::read_ctr_el0;

use crate::ram::RamMap;
use crate::{Mapper, Region};

/// The note. Not a value that memory has by chance.
const ON: u64 = 0x6d65_6d70_726f_7465;

/// Not part of `.bss`, which is cleared after a reset.
#[unsafe(link_section = ".bss.kept.mem_protect")]
static WISH: AtomicU64 = AtomicU64::new(0);

/// Sets the wish, and says whether it was set.
pub(super) fn set(enable: bool) -> bool {
    WISH.swap(if enable { ON } else { 0 }, SeqCst) == ON
}

/// Clears the RAM, from `keep` bytes behind the start of the first range on, if
/// that was the wish before the reset. The wish stays until it is taken back.
/// `mapped` bytes of the first range are mapped already.
pub(super) fn clear_if_wished(
    ram: &RamMap<8>,
    keep: usize,
    mapped: usize,
    mapper: &mut dyn Mapper,
) {
    if WISH.load(SeqCst) != ON {
        return;
    }
    log::info!("clearing the memory that the Normal world had protected");
    let mut skipped = (keep, mapped);
    for (start, end) in ram.ranges() {
        let (start, end) = (start as usize, end as usize);
        let (keep, mapped) = core::mem::take(&mut skipped);
        mapper.map_for_boot(Region::non_secure(start + mapped, end - start - mapped));
        // SAFETY: RAM of the Normal world, mapped now; nothing is there yet but
        // what is to be cleared.
        unsafe { core::ptr::write_bytes((start + keep) as *mut u8, 0, end - start - keep) };
        clean(start + keep, end);
    }
}

/// Cleans memory to the point of coherency: the Normal world must not find what
/// was there before by looking past the caches.
fn clean(start: usize, end: usize) {
    // Words of the smallest data cache line (CTR_EL0.DminLine).
    let line = 4 << (read_ctr_el0().dminline());
    for address in (start..end).step_by(line) {
        // SAFETY: cleaning a line changes nothing that can be read.
        unsafe {
            core::arch::asm!("dc cvac, {}", in(reg) address, options(nostack, preserves_flags));
        }
    }
    barrier::dsb(barrier::SY);
}

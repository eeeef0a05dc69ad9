//! What `sdei` and `psci` need of the machine, from registers of the PE and
//! from a [`Platform`].

use core::arch::asm;
use core::marker::PhantomData;

use aarch64_cpu::registers::{CNTFRQ_EL0, CNTPCT_EL0, Readable};
use arm_gic::IntId;
use psci::{PowerLevel, PowerOnFailed, PowerStates};
use sdei::{Interrupts, Owner};
use sdei_aarch64::Machine;

use crate::Platform;
use crate::gic::SGI_EVENT;
use crate::gic_events::{Interrupt, Saved};

/// A board, as `sdei` and `psci` see it.
#[derive(Debug)]
pub struct Ports<B>(PhantomData<fn() -> B>);

impl<B> Ports<B> {
    /// The board.
    pub const fn new() -> Self {
        Self(PhantomData)
    }
}

impl<B> Default for Ports<B> {
    fn default() -> Self {
        Self::new()
    }
}

impl<B: Platform> Machine for Ports<B> {
    const SGI: u32 = SGI_EVENT.raw_value();

    #[inline(always)]
    fn pe_index(&self, affinity: u64) -> Option<usize> {
        B::pe_index(affinity)
    }
}

impl<B: Platform> Interrupts for Ports<B> {
    type Saved = Saved;

    // `gic::configure_pe`.
    const PPIS_START_ANEW: bool = true;

    fn owner(&self, intid: u32) -> Option<Owner> {
        let mut owner = None;
        with::<B>(intid, &mut |mut interrupt| {
            owner = Some(if interrupt.is_nonsecure() {
                Owner::NonSecure
            } else {
                Owner::Secure
            });
        });
        owner
    }

    fn is_active(&self, intid: u32) -> bool {
        let mut active = false;
        with::<B>(intid, &mut |mut interrupt| active = interrupt.is_active());
        active
    }

    fn claim(&self, intid: u32) -> Saved {
        let mut saved = Saved::default();
        with::<B>(intid, &mut |mut interrupt| saved = interrupt.claim());
        saved
    }

    fn clear_pending(&self, intid: u32) {
        with::<B>(intid, &mut |mut interrupt| interrupt.clear_pending());
    }

    fn release(&self, intid: u32, acknowledged: bool, saved: Option<Saved>) {
        with::<B>(intid, &mut |mut interrupt| {
            interrupt.release(acknowledged, saved);
        });
    }

    fn route(&self, intid: u32, affinity: u64) {
        with::<B>(intid, &mut |mut interrupt| interrupt.set_route(affinity));
    }

    fn enable(&self, intid: u32) {
        with::<B>(intid, &mut |mut interrupt| interrupt.enable());
    }

    fn disable(&self, intid: u32) {
        with::<B>(intid, &mut |mut interrupt| interrupt.disable());
    }

    fn is_asserted(&self, intid: u32) -> bool {
        let mut asserted = false;
        with::<B>(intid, &mut |mut interrupt| {
            asserted = interrupt.is_asserted()
        });
        asserted
    }

    fn deactivate(&self, intid: u32) {
        with::<B>(intid, &mut |mut interrupt| interrupt.deactivate());
    }
}

/// Gives an interrupt of the board to `f`, if there is such a one. Away from
/// event 0's path: one copy is enough.
#[inline(never)]
fn with<B: Platform>(intid: u32, f: &mut dyn FnMut(Interrupt<'_>)) {
    // No extended ones, and nothing that is private to EL3.
    match intid {
        16..=31 => B::with_interrupt(IntId::ppi(intid - 16), f),
        32..=1019 => B::with_interrupt(IntId::spi(intid - 32), f),
        _ => {}
    }
}

/// Hints that this PE waits for another one.
#[inline(always)]
pub fn relax() {
    // SAFETY: a hint.
    unsafe { asm!("yield", options(nomem, nostack, preserves_flags)) };
}

impl<B: Platform> psci::Port for Ports<B> {
    fn pe_count(&self) -> usize {
        B::pe_count()
    }

    fn affinity(&self, pe: usize) -> u64 {
        B::pe_affinity(pe)
    }

    fn pe_index(&self, affinity: u64) -> Option<usize> {
        B::pe_index(affinity)
    }

    #[inline(always)]
    fn relax() {
        relax();
    }

    #[inline(always)]
    fn power_on(&self, pe: usize) -> Result<(), PowerOnFailed> {
        B::power_on(pe);
        Ok(())
    }

    fn is_nonsecure_ram(&self, base: u64, length: u64) -> bool {
        B::is_nonsecure_ram(base, length)
    }

    #[inline(always)]
    fn features(&self) -> psci::Features {
        B::PSCI
    }

    #[inline(always)]
    fn power_states(&self) -> &'static PowerStates {
        B::POWER_STATES
    }

    #[inline(always)]
    fn domain(&self, pe: usize, _level: PowerLevel) -> usize {
        // Clusters are the one level between the PEs and the system.
        B::cluster(pe)
    }

    fn microseconds(&self) -> u64 {
        const PER_SECOND: u64 = 1_000_000;
        let (ticks, frequency) = (CNTPCT_EL0.get(), CNTFRQ_EL0.get().max(1));
        // In two parts, so that nothing overflows for a very long time.
        let (seconds, rest) = (ticks / frequency, ticks % frequency);
        seconds * PER_SECOND + rest * PER_SECOND / frequency
    }

    fn mem_protect(&self, enable: bool) -> bool {
        B::mem_protect(enable)
    }
}

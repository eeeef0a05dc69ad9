//! What `sdei` and `psci` need of the machine, from registers of the PE and
//! from a [`Platform`].

use core::arch::asm;
use core::marker::PhantomData;

use aarch64_cpu::registers::{CNTFRQ_EL0, CNTPCT_EL0, Readable};
use arm_gic::IntId;
use arm_sysregs::el1::accessors::{
    read_gcscr_el1, read_id_aa64pfr0_el1, read_id_aa64pfr1_el1, read_sctlr_el1, read_vbar_el1,
    write_elr_el1, write_spsr_el1,
};
use arm_sysregs::el1::registers::{ElrEl1, GcscrEl1, IdAa64pfr1El1, SpsrEl1};
use arm_sysregs::el2::accessors::{
    read_gcscr_el2, read_hcr_el2, read_sctlr_el2, read_vbar_el2, write_elr_el2, write_spsr_el2,
};
use arm_sysregs::el2::registers::{ElrEl2, GcscrEl2, HcrEl2, SpsrEl2};
use sdei::{Client, ClientEl, Control, Features, Owner};

use crate::Platform;
use crate::gic::SGI_EVENT;
use crate::gic_events::Interrupt;

/// The client EL of this PE: the highest of the Non-secure state.
pub fn client_el() -> ClientEl {
    if read_id_aa64pfr0_el1().el2() == 0 {
        ClientEl::El1
    } else {
        ClientEl::El2
    }
}

/// What this PE has of the features that decide how an exception is taken.
pub fn features() -> Features {
    let id = read_id_aa64pfr1_el1();
    Features {
        // Without FEAT_PAN, SCTLR_ELx.SPAN is RES1 and PAN stays clear.
        pan: true,
        ssbs: id.ssbs() != 0,
        mte2: id.mte() >= MTE2,
        nmi: id.nmi() != 0,
        gcs: id.gcs() != 0,
    }
}

/// What decides how this PE takes an exception to `el`.
#[inline(always)]
pub fn control(el: ClientEl) -> Control {
    match el {
        ClientEl::El1 => Control {
            sctlr: read_sctlr_el1().bits(),
            host: true,
        },
        ClientEl::El2 => Control {
            sctlr: read_sctlr_el2().bits(),
            host: read_hcr_el2().contains(HcrEl2::E2H | HcrEl2::TGE),
        },
    }
}

/// Whether exceptions to `el` lock the exception return; of a PE with FEAT_GCS.
pub fn exlock_enabled(el: ClientEl) -> bool {
    match el {
        ClientEl::El1 => read_gcscr_el1().contains(GcscrEl1::EXLOCKEN),
        ClientEl::El2 => read_gcscr_el2().contains(GcscrEl2::EXLOCKEN),
    }
}

/// ID_AA64PFR1_EL1.MTE: FEAT_MTE2.
const MTE2: u8 = 0b0010;

const _: () = assert!(IdAa64pfr1El1::MTE_SHIFT == 8);

/// This PE's VBAR of an EL.
#[inline(always)]
pub fn vbar(el: ClientEl) -> u64 {
    match el {
        ClientEl::El1 => read_vbar_el1().bits(),
        ClientEl::El2 => read_vbar_el2().bits(),
    }
}

/// Makes it look to `el` as if this PE had taken an exception there.
pub fn take_exception(el: ClientEl, elr: u64, spsr: u64) {
    // SAFETY: registers of the Normal world, which does not run now and finds
    // in them what an exception would have left.
    unsafe {
        match el {
            ClientEl::El1 => {
                write_elr_el1(ElrEl1::from_bits_retain(elr));
                write_spsr_el1(SpsrEl1::from_bits_retain(spsr));
            }
            ClientEl::El2 => {
                write_elr_el2(ElrEl2::from_bits_retain(elr));
                write_spsr_el2(SpsrEl2::from_bits_retain(spsr));
            }
        }
    }
}

/// The port of `sdei` on a board.
#[derive(Debug)]
pub struct SdeiPort<B>(PhantomData<fn() -> B>);

impl<B> SdeiPort<B> {
    /// The port.
    pub const fn new() -> Self {
        Self(PhantomData)
    }
}

impl<B> Default for SdeiPort<B> {
    fn default() -> Self {
        Self::new()
    }
}

impl<B: Platform> sdei::Port for SdeiPort<B> {
    #[inline(always)]
    fn pe_index(&self, affinity: u64) -> Option<usize> {
        B::pe_index(affinity)
    }

    #[inline(always)]
    fn notify(&self, pe: usize) {
        B::raise_sgi(SGI_EVENT, pe);
    }

    fn client(&self) -> Client {
        Client {
            el: client_el(),
            features: features(),
        }
    }

    #[inline(always)]
    fn control(&self, el: ClientEl) -> Control {
        control(el)
    }

    fn exlock_enabled(&self, el: ClientEl) -> bool {
        exlock_enabled(el)
    }

    fn vbar(&self, el: ClientEl) -> u64 {
        vbar(el)
    }

    fn take_exception(&self, el: ClientEl, elr: u64, spsr: u64) {
        take_exception(el, elr, spsr);
    }

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

    fn claim(&self, intid: u32) {
        with::<B>(intid, &mut |mut interrupt| interrupt.claim());
    }

    fn give_back(&self, intid: u32) {
        with::<B>(intid, &mut |mut interrupt| interrupt.give_back());
    }

    fn route(&self, intid: u32, pe: usize) {
        with::<B>(intid, &mut |mut interrupt| {
            interrupt.set_route(B::pe_affinity(pe));
        });
    }

    fn enable(&self, intid: u32) {
        with::<B>(intid, &mut |mut interrupt| interrupt.enable());
    }

    fn disable(&self, intid: u32) {
        with::<B>(intid, &mut |mut interrupt| interrupt.disable());
    }

    fn clear_pending(&self, intid: u32) {
        with::<B>(intid, &mut |mut interrupt| interrupt.clear_pending());
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
    if let Ok(intid) = IntId::try_from(intid) {
        B::with_interrupt(intid, f);
    }
}

/// Hints that this PE waits for another one.
#[inline(always)]
pub fn relax() {
    // SAFETY: a hint.
    unsafe { asm!("yield", options(nomem, nostack, preserves_flags)) };
}

/// The port of `psci` on a board.
#[derive(Debug)]
pub struct PsciPort<B>(PhantomData<fn() -> B>);

impl<B> PsciPort<B> {
    /// The port.
    pub const fn new() -> Self {
        Self(PhantomData)
    }
}

impl<B> Default for PsciPort<B> {
    fn default() -> Self {
        Self::new()
    }
}

impl<B: Platform> psci::Port for PsciPort<B> {
    fn pe_count(&self) -> usize {
        B::pe_count()
    }

    fn mpidr(&self, pe: usize) -> u64 {
        B::pe_affinity(pe)
    }

    fn pe_index(&self, mpidr: u64) -> Option<usize> {
        B::pe_index(mpidr)
    }

    #[inline(always)]
    fn relax() {
        relax();
    }

    fn power_on(&self, pe: usize) {
        B::power_on(pe);
    }

    fn is_nonsecure_ram(&self, base: u64, length: u64) -> bool {
        B::is_nonsecure_ram(base, length)
    }

    fn features(&self) -> psci::Features {
        B::PSCI
    }

    fn cluster(&self, pe: usize) -> usize {
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

//! What `sdei` and `psci` need of the machine, from registers of the PE and
//! from a [`Platform`].

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
use sdei::{Client, ClientEl, Features, Owner};

use crate::Platform;
use crate::gic::SGI_EVENT;
use crate::gic_events::Interrupt;

/// The client EL of this PE: the highest of the Non-secure state.
#[inline(always)]
pub fn client_el() -> ClientEl {
    if read_id_aa64pfr0_el1().el2() == 0 {
        ClientEl::El1
    } else {
        ClientEl::El2
    }
}

/// What decides how this PE takes an exception to `el`.
#[inline(always)]
pub fn client(el: ClientEl) -> Client {
    let id = read_id_aa64pfr1_el1();
    let gcs = id.gcs() != 0;
    let (sctlr, host, exlock_enabled) = match el {
        ClientEl::El1 => (
            read_sctlr_el1().bits(),
            true,
            gcs && read_gcscr_el1().contains(GcscrEl1::EXLOCKEN),
        ),
        ClientEl::El2 => (
            read_sctlr_el2().bits(),
            read_hcr_el2().contains(HcrEl2::E2H | HcrEl2::TGE),
            gcs && read_gcscr_el2().contains(GcscrEl2::EXLOCKEN),
        ),
    };
    Client {
        el,
        features: Features {
            // Without FEAT_PAN, SCTLR_ELx.SPAN is RES1 and PAN stays clear.
            pan: true,
            ssbs: id.ssbs() != 0,
            mte2: id.mte() >= MTE2,
            nmi: id.nmi() != 0,
            gcs,
        },
        sctlr,
        host,
        exlock_enabled,
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

    #[inline(always)]
    fn client_el(&self) -> ClientEl {
        client_el()
    }

    #[inline(always)]
    fn client(&self) -> Client {
        client(client_el())
    }

    fn vbar(&self) -> u64 {
        vbar(client_el())
    }

    fn take_exception(&self, elr: u64, spsr: u64) {
        take_exception(client_el(), elr, spsr);
    }

    // Away from event 0's path: one copy of each is enough.

    #[inline(never)]
    fn owner(&self, intid: u32) -> Option<Owner> {
        with::<B, _>(intid, |mut interrupt| {
            if interrupt.is_nonsecure() {
                Owner::NonSecure
            } else {
                Owner::Secure
            }
        })
    }

    #[inline(never)]
    fn is_active(&self, intid: u32) -> bool {
        with::<B, _>(intid, |mut interrupt| interrupt.is_active()).unwrap_or(false)
    }

    #[inline(never)]
    fn claim(&self, intid: u32) {
        with::<B, _>(intid, |mut interrupt| interrupt.claim());
    }

    #[inline(never)]
    fn give_back(&self, intid: u32) {
        with::<B, _>(intid, |mut interrupt| interrupt.give_back());
    }

    #[inline(never)]
    fn route(&self, intid: u32, pe: usize) {
        with::<B, _>(intid, |mut interrupt| {
            interrupt.set_route(B::pe_affinity(pe))
        });
    }

    #[inline(never)]
    fn enable(&self, intid: u32) {
        with::<B, _>(intid, |mut interrupt| interrupt.enable());
    }

    #[inline(never)]
    fn disable(&self, intid: u32) {
        with::<B, _>(intid, |mut interrupt| interrupt.disable());
    }

    #[inline(never)]
    fn clear_pending(&self, intid: u32) {
        with::<B, _>(intid, |mut interrupt| interrupt.clear_pending());
    }

    #[inline(never)]
    fn is_asserted(&self, intid: u32) -> bool {
        with::<B, _>(intid, |mut interrupt| interrupt.is_asserted()).unwrap_or(false)
    }

    #[inline(never)]
    fn deactivate(&self, intid: u32) {
        with::<B, _>(intid, |mut interrupt| interrupt.deactivate());
    }
}

/// Gives an interrupt of the board to `f`; `None` if there is no such one.
fn with<B: Platform, R>(intid: u32, f: impl FnOnce(Interrupt<'_>) -> R) -> Option<R> {
    B::with_interrupt(IntId::try_from(intid).ok()?, f)
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

//! What each PE has to itself: a stack, and the state that only it touches.
//!
//! While a PE is below EL3, its SP_EL3 points at its [`PeData`], whose first
//! field is the register frame. The vectors store there, call with that as
//! stack pointer, and load from there again: neither the frame nor the PE's
//! state has to be looked for.

use core::cell::UnsafeCell;
use core::mem::{MaybeUninit, offset_of};

use aarch64_cpu::registers::{ELR_EL3, Readable, SPSR_EL3, Writeable};
use platform::gic_events::Saved;
use platform::{Platform, board};

use crate::secure_timer::Alarm;

/// The registers of the interrupted context that EL3's Rust code may use:
/// x0 to x18 and x30. It keeps all others itself (AAPCS64). ELR and SPSR stay in
/// their registers.
#[derive(Debug)]
#[repr(C)]
pub struct Frame {
    /// x0 to x17.
    pub x: [u64; sdei::REGISTERS],
    /// x18.
    pub x18: u64,
    /// x30.
    pub x30: u64,
}

impl Frame {
    const ZERO: Self = Self {
        x: [0; sdei::REGISTERS],
        x18: 0,
        x30: 0,
    };
}

impl sdei::Frame for Frame {
    #[inline(always)]
    fn x(&self) -> &[u64; sdei::REGISTERS] {
        &self.x
    }

    #[inline(always)]
    fn x_mut(&mut self) -> &mut [u64; sdei::REGISTERS] {
        &mut self.x
    }

    #[inline(always)]
    fn pc(&self) -> u64 {
        ELR_EL3.get()
    }

    #[inline(always)]
    fn pstate(&self) -> u64 {
        SPSR_EL3.get()
    }

    #[inline(always)]
    fn set_return(&mut self, pc: u64, pstate: u64) {
        ELR_EL3.set(pc);
        SPSR_EL3.set(pstate);
    }
}

/// A PE's own state.
#[derive(Debug)]
#[repr(C, align(16))]
pub struct PeData {
    /// The interrupted context. First, where SP_EL3 points.
    pub frame: Frame,
    /// This PE's index.
    pub index: usize,
    /// Its part of the SDEI dispatcher.
    pub sdei: sdei::Pe<{ board::PRIVATE_EVENTS }, Saved>,
    /// What its Secure timer is armed for.
    pub alarm: Option<Alarm>,
}

impl PeData {
    /// Of a PE that has not run below EL3 yet.
    pub const fn new(index: usize) -> Self {
        Self {
            frame: Frame::ZERO,
            index,
            sdei: sdei::Pe::new(),
            alarm: None,
        }
    }
}

/// The size of a page, in bytes.
pub const PAGE: usize = 4096;

/// Two pages of addresses of a PE: one that is never mapped, where a stack that
/// grows too far ends, and one with stack and state, to which one of [`PAGES`] is
/// mapped.
#[repr(C, align(4096))]
pub struct Slot {
    guard: [u8; PAGE],
    stack: [u8; PAGE - size_of::<PeData>()],
    /// The PE's state, above its stack.
    pub pe: PeData,
}

const _: () = assert!(size_of::<Slot>() == 2 * PAGE);
// EL3's deepest call chain needs less than 1 KiB; leave it twice that.
const _: () = assert!(size_of::<PeData>() <= PAGE / 2);

/// Memory that EL3's entry code and the PEs' own accesses divide among them.
#[repr(transparent)]
pub struct Region<T>(UnsafeCell<MaybeUninit<T>>);

// SAFETY: a `Region` only tells its address (`start`). Who may use the memory
// there is said where it is turned into a reference.
unsafe impl<T> Sync for Region<T> {}

impl<T> Region<T> {
    const fn new() -> Self {
        Self(UnsafeCell::new(MaybeUninit::uninit()))
    }

    /// Where it is.
    pub const fn start(&self) -> *mut T {
        self.0.get().cast()
    }
}

/// A page of memory.
#[repr(C, align(4096))]
pub struct Page([u8; PAGE]);

/// The memory of the slots. Of a slot half is never mapped, and memory may be
/// small, so it has addresses of its own.
#[unsafe(link_section = ".bss.stacks.pages")]
static PAGES: Region<[Page; Board::MAX_PES]> = Region::new();

/// The slots of all PEs, by index.
#[unsafe(link_section = ".bss.slots")]
pub static SLOTS: Region<[Slot; Board::MAX_PES]> = Region::new();

type Board = board::Board;

/// A stack of whole pages, and a page below it that is never mapped.
#[repr(C, align(4096))]
pub struct Stack<const SIZE: usize> {
    guard: [u8; PAGE],
    /// What is mapped.
    pub stack: [u8; SIZE],
}

/// The size of the stack on which the image boots, in bytes.
pub const BOOT_STACK_SIZE: usize = 4 * PAGE;

/// The size of the stack of a crash report, in bytes.
pub const CRASH_STACK_SIZE: usize = 2 * PAGE;

/// The stack on which the image boots.
#[unsafe(link_section = ".bss.stacks.boot")]
pub static BOOT_STACK: Region<Stack<BOOT_STACK_SIZE>> = Region::new();

/// The stack of a crash report.
#[unsafe(link_section = ".bss.stacks.crash")]
pub static CRASH_STACK: Region<Stack<CRASH_STACK_SIZE>> = Region::new();

/// The lowest address of a stack.
pub fn stack_start<const SIZE: usize>(stack: &Region<Stack<SIZE>>) -> usize {
    stack.start() as usize + offset_of!(Stack<SIZE>, stack)
}

/// The page of a slot that is mapped.
pub fn slot_page(slot: usize) -> usize {
    SLOTS.start() as usize + slot * size_of::<Slot>() + PAGE
}

/// The physical address of what is mapped there.
pub fn slot_memory(slot: usize) -> usize {
    PAGES.start() as usize + slot * PAGE
}

/// The state in the slot of the PE with this index.
pub fn slot_state(index: usize) -> *mut PeData {
    assert!(index < Board::MAX_PES);
    let slot = SLOTS.start().cast::<Slot>().wrapping_add(index);
    // SAFETY: a slot of SLOTS; only the field's address is taken.
    unsafe { &raw mut (*slot).pe }
}

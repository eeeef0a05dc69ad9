//! Handlers of events other than event 0, each with a stack and a record of its own, since they may nest.

use crate::arch::Code;
use crate::check::{Outcome, equal};
use crate::pe::{self, Behaviour, Handling, Pe};
use crate::{psci, sdei};
use core::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering::*};

/// Private slots for INTERRUPT_BIND; the last is Critical.
pub const PRIVATE: u64 = 1000;
/// The Critical one.
pub const PRIVATE_CRITICAL: u64 = 1002;
/// Shared slots; the last is Critical.
pub const SHARED: u64 = 2000;
/// The Critical one.
pub const SHARED_CRITICAL: u64 = 2002;
/// What the Secure timer raises: Normal.
pub const TIMER: u64 = 5000;
/// And Critical.
pub const TIMER_CRITICAL: u64 = 5001;

/// Of a fixed PPI, in the image that is built for tests of it.
pub const FIXED_PRIVATE: u64 = 900;
/// Of a fixed SPI.
pub const FIXED_SHARED: u64 = 1900;

/// EVENT_REGISTER's flags.
pub const TO_PE: u64 = 1;
/// The entry point is relative to VBAR.
pub const RELATIVE: u64 = 2;

const STACK: usize = 4096;

/// A handler's stack and record.
#[repr(C, align(16))]
struct Handler {
    stack: [AtomicU8; STACK],
    handling: Handling,
}

impl Handler {
    const fn new() -> Self {
        Self {
            stack: [const { AtomicU8::new(0) }; STACK],
            handling: Handling::new(),
        }
    }
}

/// Of private Critical events, for each PE; a PE's private Normal events use its own.
static CRITICAL: [Handler; pe::MAX] = [const { Handler::new() }; pe::MAX];
/// Of shared events.
static OF_SHARED: [Handler; 4] = [const { Handler::new() }; 4];

/// The record of an event's handler: a private one's on `pe`.
pub fn handling(event: u64, pe: &'static Pe) -> &'static Handling {
    let handler = match event {
        SHARED..=SHARED_CRITICAL => &OF_SHARED[(event - SHARED) as usize],
        FIXED_SHARED => &OF_SHARED[3],
        PRIVATE_CRITICAL | TIMER_CRITICAL => &CRITICAL[pe.index()],
        _ => return &pe.handling,
    };
    let stack: *const _ = &handler.stack;
    handler
        .handling
        .place(pe.index(), stack as u64 + STACK as u64);
    &handler.handling
}

/// EVENT_REGISTER of an event on this PE, with flags and affinity. A shared event's behaviour is given the PE that
/// registered it.
pub fn try_register(event: u64, flags: u64, affinity: u64, behaviour: Behaviour) -> i64 {
    let handling = handling(event, Pe::current());
    handling.set(behaviour);
    let mut entry = Code::Event.address();
    if flags & RELATIVE != 0 {
        entry = entry.wrapping_sub(crate::arch::vbar());
    }
    let argument: *const Handling = handling;
    sdei::call(
        sdei::Function::Register,
        [event, entry, argument as u64, flags, affinity],
    )
}

/// [`try_register`] with neither flags nor affinity, which succeeds.
#[track_caller]
pub fn register(event: u64, behaviour: Behaviour) -> Outcome {
    equal("REGISTER", try_register(event, 0, 0, behaviour), 0)
}

/// [`register`] and ENABLE.
#[track_caller]
pub fn listen(event: u64, behaviour: Behaviour) -> Outcome {
    register(event, behaviour)?;
    equal("ENABLE", sdei::enable(event), 0)
}

/// How often an event's handler was entered: a private one's on `pe`.
pub fn count(event: u64, pe: &'static Pe) -> u64 {
    handling(event, pe).count()
}

/// INTERRUPT_BIND.
pub fn bind(intid: u64) -> i64 {
    sdei::call1(sdei::Function::Bind, intid)
}

/// INTERRUPT_RELEASE.
pub fn release(event: u64) -> i64 {
    sdei::call1(sdei::Function::Release, event)
}

/// EVENT_ROUTING_SET.
pub fn routing_set(event: u64, mode: u64, affinity: u64) -> i64 {
    sdei::call(sdei::Function::RoutingSet, [event, mode, affinity, 0, 0])
}

/// The firmware's call that arms this PE's Secure timer. Offered with
/// `-fw_cfg name=opt/bl31/test-timer,string=on` only.
const ARM_TIMER: u32 = 0xc300_0000;

/// Arms this PE's Secure timer to raise an event after so many ticks of the counter.
pub fn arm_timer(event: u64, ticks: u64) -> i64 {
    psci::call64(ARM_TIMER, event, ticks, 0)
}

const NOTES: usize = 16;
static NOTED: AtomicUsize = AtomicUsize::new(0);
static NOTE: [AtomicU64; NOTES] = [const { AtomicU64::new(0) }; NOTES];

/// Notes something, in the order of notes.
pub fn note(what: u64) {
    let at = NOTED.fetch_add(1, AcqRel);
    if let Some(note) = NOTE.get(at) {
        note.store(what, Release);
    }
}

/// Forgets all notes.
pub fn forget_notes() {
    NOTED.store(0, Release);
}

/// Checks that exactly these were noted.
#[track_caller]
pub fn noted(what: &'static str, notes: &[u64]) -> Outcome {
    for (note, &want) in NOTE.iter().zip(notes) {
        equal(what, note.load(Acquire), want)?;
    }
    equal(what, NOTED.load(Acquire), notes.len())
}

//! Every entry point of the dispatcher, with events of each kind, in a program whose panic handler
//! calls a function that does not exist. It links only if none of them can panic, whatever a client
//! asks and whatever the hardware answers; it is never run.
//!
//! Arguments and the interrupt controller's answers come from outside of the program, so the
//! compiler can take nothing for granted.
#![no_std]
#![no_main]

use registers::Registers;
use sdei::{self as api, Dispatcher, Event, Events, Interrupts, Owner, Priority, SharedPe};
use sdei_aarch64::{El3, Machine};

// The frame of the crate's own tests.
#[path = "../../../sdei/src/tests/registers.rs"]
mod registers;

const PES: usize = 8;
const PRIVATE: usize = 6;
const SHARED: usize = 5;

struct Board;

impl Machine for Board {
    const SGI: u32 = 8;

    fn pe_index(&self, affinity: u64) -> Option<usize> {
        usize::try_from(ask(affinity)).ok()
    }
}

/// An answer that the compiler does not know, and a question that it does not leave out.
fn ask(question: u64) -> u64 {
    let answer;
    // SAFETY: it does nothing.
    unsafe { core::arch::asm!("/* {0} */", inout(reg) question => answer) };
    answer
}

struct Gic;

impl Interrupts for Gic {
    type Saved = u64;

    fn owner(&self, intid: u32) -> Option<Owner> {
        match ask(intid.into()) {
            0 => Some(Owner::NonSecure),
            1 => Some(Owner::Secure),
            _ => None,
        }
    }

    fn is_active(&self, intid: u32) -> bool {
        ask(intid.into()) != 0
    }

    fn claim(&self, intid: u32) -> u64 {
        ask(intid.into())
    }

    fn clear_pending(&self, intid: u32) {
        ask(intid.into());
    }

    fn release(&self, intid: u32, acknowledged: bool, saved: Option<u64>) {
        ask(intid.into());
        ask(acknowledged.into());
        saved.map(ask);
    }

    fn route(&self, intid: u32, affinity: u64) {
        ask(intid.into());
        ask(affinity);
    }

    fn enable(&self, intid: u32) {
        ask(intid.into());
    }

    fn disable(&self, intid: u32) {
        ask(intid.into());
    }

    fn is_asserted(&self, intid: u32) -> bool {
        ask(intid.into()) != 0
    }

    fn deactivate(&self, intid: u32) {
        ask(intid.into());
    }
}

const EVENTS: Events<PRIVATE, SHARED> = Events::new(
    [
        Event::SIGNAL,
        Event::interrupt(10, 20, Priority::Normal),
        Event::dynamic(1000, Priority::Normal),
        Event::dynamic(1001, Priority::Critical),
        Event::explicit(5000, Priority::Normal),
        Event::explicit(5001, Priority::Critical),
    ],
    [
        Event::interrupt(11, 40, Priority::Critical),
        Event::dynamic(2000, Priority::Normal),
        Event::dynamic(2001, Priority::Critical),
        Event::explicit(6000, Priority::Normal),
        Event::explicit(6001, Priority::Critical),
    ],
);

static SDEI: Dispatcher<El3<Board>, [SharedPe; PES], Gic, PRIVATE, SHARED> =
    Dispatcher::with_interrupts(EVENTS, [const { SharedPe::new() }; PES], El3(Board), Gic);

/// The linker starts here to look for what is needed.
#[unsafe(no_mangle)]
extern "C" fn _start(frame: &mut Registers, pe: &mut sdei::Pe<PRIVATE, u64>, what: u64, with: u64) {
    match what {
        0 => SDEI.call(frame, pe),
        1 => SDEI.signalled(frame, pe),
        2 => {
            ask(SDEI.interrupt(frame, pe, with as u32).into());
        }
        3 => {
            ask(SDEI.raise(frame, pe, with as i32).is_ok().into());
        }
        4 => SDEI.pe_on(pe, with),
        5 => SDEI.pe_off(pe),
        6 => {
            ask(SDEI.may_suspend(pe).into());
        }
        7 => SDEI.pe_resume(pe),
        _ => SDEI.pe_failed(with),
    }
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    unsafe extern "C" {
        safe fn a_call_can_panic() -> !;
    }
    a_call_can_panic()
}

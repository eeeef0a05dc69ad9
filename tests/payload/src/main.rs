//! A BL33 that asks the firmware under it questions and says on the console whether the answers are right.
//!
//! It is an arm64 Image, entered at EL2 or EL1. Words of its command line: `filter=SUBSTRING,...` runs only
//! the tests whose name contains one of them, `bench` counts instructions instead, `attack` makes random calls, `stage=reset` goes through
//! resets, `stage=protect` through one with its memory protected.
//! Per test it prints `run NAME`, then `ok NAME` or `not ok NAME: why`; at the end
//! `payload: N passed, N failed`, and powers the machine off.
#![no_std]
#![no_main]

mod arch;
mod attack;
mod bench;
mod board;
mod check;
mod console;
mod crash;
mod event;
mod gic;
mod line;
mod longest;
mod machine;
mod pe;
mod psci;
mod reset;
mod sdei;
mod tests;

use crate::board::Board;
use crate::machine::Machine;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicBool, Ordering::*};
use dtoolkit::fdt::Fdt;

/// Rust's start on the PE that boots: `tree` is x0, `counter` CNTPCT_EL0 at the first instruction.
extern "C" fn boot_main(tree: *const u8, counter: u64) -> ! {
    // SAFETY: As below.
    let board = Board::of(unsafe { Fdt::from_raw(tree) }.ok());
    if let Some(base) = NonNull::new(board.uart as *mut arm_pl011_uart::PL011Registers) {
        // SAFETY: This board has its first PL011 there, and this is the only use.
        unsafe { console::init(base) };
    }
    arch::map_aarch32_alias(board.spare_gib);
    // SAFETY: The boot protocol has x0 point to the device tree, which is ours now.
    let machine = match unsafe { Machine::read(tree) } {
        Ok(machine) => machine,
        Err(why) => {
            say!("payload: {why}");
            psci::system_off()
        }
    };
    gic::init(machine);
    pe::adopt(machine.boot);
    say!(
        "payload: at EL{}{}, {} PEs, command line '{}', entered at count {counter}",
        arch::el(),
        if arch::is_vhe_host() {
            " as a VHE host"
        } else {
            ""
        },
        machine.pes,
        machine.bootargs
    );
    let stage = machine.argument("stage=");
    if stage == Some("reset") {
        reset::run(machine);
    } else if stage == Some("protect") {
        reset::protect(machine);
    } else if stage == Some("crash") {
        crash::run(machine);
    } else if machine
        .bootargs
        .split_ascii_whitespace()
        .any(|word| word == "bench")
    {
        bench::run(machine, counter);
    } else if machine
        .bootargs
        .split_ascii_whitespace()
        .any(|word| word == "attack")
    {
        attack::run(machine);
    } else {
        tests::run(machine);
    }
    psci::system_off()
}

/// An exception that no test asked for.
extern "C" fn unexpected_exception(esr: u64, elr: u64, far: u64) -> ! {
    panic!(
        "exception: ESR {esr:#x} ELR {elr:#x} (image + {:#x}) FAR {far:#x}",
        elr.wrapping_sub(arch::load_address())
    )
}

#[panic_handler]
fn panic(info: &core::panic::PanicInfo) -> ! {
    static PANICKED: AtomicBool = AtomicBool::new(false);
    if !PANICKED.swap(true, AcqRel) {
        say!("payload: {info}");
        say!("payload: stopped");
    }
    psci::system_off()
}

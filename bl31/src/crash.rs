//! The crash report: what went wrong in EL3 itself, in terms that
//! `cargo xtask symbolize` turns into names.

use core::fmt::Arguments;
use core::panic::PanicInfo;

use aarch64_cpu::asm::wfi;
use aarch64_cpu::registers::{ELR_EL3, FAR_EL3, MPIDR_EL1, Readable, SPSR_EL3};
use arm_sysregs::el3::accessors::read_esr_el3;
use platform::{Platform, board::Board};

use crate::pe::{BOOT_STACK, BOOT_STACK_SIZE, PAGE, slot_page, stack_start};

/// What the vector stores of the PE that crashed.
#[derive(Debug)]
#[repr(C, align(16))]
pub struct Dump {
    /// x0 to x30.
    pub x: [u64; 31],
    /// SP_EL3 when it happened.
    pub sp: u64,
    /// Which vector: 0 to 15, in the order of the table.
    pub vector: u64,
    reserved: u64,
}

const VECTORS: [&str; 16] = [
    "synchronous, SP_EL0",
    "IRQ, SP_EL0",
    "FIQ, SP_EL0",
    "SError, SP_EL0",
    "synchronous, SP_EL3",
    "IRQ, SP_EL3",
    "FIQ, SP_EL3",
    "SError, SP_EL3",
    "synchronous, from AArch64",
    "IRQ, from AArch64",
    "FIQ, from AArch64",
    "SError, from AArch64",
    "synchronous, from AArch32",
    "IRQ, from AArch32",
    "FIQ, from AArch32",
    "SError, from AArch32",
];

#[inline(never)]
fn report(message: Arguments<'_>) {
    Board::consoles().write_crash(message);
}

fn title(what: Arguments<'_>) {
    report(format_args!(
        "\nbl31: EL3 crash on PE {:#x}: {what}\n",
        MPIDR_EL1.get() & platform::topology::AFFINITY_MASK
    ));
}

/// Reports an exception that EL3 itself took. This PE stops; the others go on.
pub extern "C" fn exception(dump: &Dump) -> ! {
    title(format_args!(
        "{}",
        VECTORS.get(dump.vector as usize).unwrap_or(&"exception")
    ));
    report(format_args!(
        "  ESR {:#018x}  ELR {:#018x}  FAR {:#018x}  SPSR {:#018x}\n",
        read_esr_el3().bits(),
        ELR_EL3.get(),
        FAR_EL3.get(),
        SPSR_EL3.get(),
    ));
    for (row, registers) in dump.x.chunks(4).enumerate() {
        for (column, value) in registers.iter().enumerate() {
            report(format_args!("  x{:<2} {value:#018x}", row * 4 + column));
        }
        report(format_args!("\n"));
    }
    report(format_args!("  sp  {:#018x}\n", dump.sp));
    backtrace(ELR_EL3.get(), dump.x[29]);
    stop()
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    title(format_args!("{info}"));
    let frame: u64;
    // SAFETY: reads a register.
    unsafe {
        core::arch::asm!("mov {}, x29", out(reg) frame, options(nomem, nostack, preserves_flags));
    }
    backtrace(0, frame);
    stop()
}

/// Follows the frame records: each is the caller's x29 and the return address.
fn backtrace(pc: u64, mut frame: u64) {
    report(format_args!("  backtrace:\n"));
    if pc != 0 {
        report(format_args!("    {pc:#018x}\n"));
    }
    // A damaged chain may go round in circles.
    for _ in 0..32 {
        let Some([caller, address]) = frame_record(frame) else {
            break;
        };
        report(format_args!("    {address:#018x}\n"));
        frame = caller;
    }
}

/// The frame record at an address, if that is on a stack.
fn frame_record(address: u64) -> Option<[u64; 2]> {
    let address = address as usize;
    let within = |start: usize, size: usize| (start..start + size - 15).contains(&address);
    let on_a_stack = within(stack_start(&BOOT_STACK), BOOT_STACK_SIZE)
        || (0..Board::pe_count()).any(|slot| within(slot_page(slot), PAGE));
    if !on_a_stack || !address.is_multiple_of(16) {
        return None;
    }
    // SAFETY: on one of the stacks, which are mapped.
    Some(unsafe { (address as *const [u64; 2]).read_volatile() })
}

/// Stops this PE for good.
pub fn stop() -> ! {
    loop {
        wfi();
    }
}

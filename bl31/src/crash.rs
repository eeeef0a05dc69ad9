//! The crash report: what went wrong in EL3 itself, in terms that
//! `cargo xtask symbolize` turns into names.

use core::fmt::Arguments;
use core::panic::PanicInfo;

use aarch64_cpu::asm::wfi;
use aarch64_cpu::registers::{ELR_EL3, FAR_EL3, MPIDR_EL1, Readable, SPSR_EL3};
use arm_sysregs::el3::accessors::{read_esr_el3, read_sctlr_el3};
use arm_sysregs::el3::registers::SctlrEl3;
use platform::{Crash, Platform, board::Board, console::Text};

use crate::mmu::text;
use crate::pe::{BOOT_STACK, BOOT_STACK_SIZE, PAGE, slot_page, stack_start};
use crate::services::{PSCI, SDEI};

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

fn title(what: &str) {
    report(format_args!(
        "\nbl31: EL3 crash on PE {:#x}: {}\n",
        MPIDR_EL1.get() & platform::topology::AFFINITY_MASK,
        Text(what)
    ));
}

/// ESR_EL3.EC of BRK, which is how a panic gets here.
const EC_BRK: u8 = 0x3c;

/// Reports an exception that EL3 itself took. After it this PE stops; the others
/// go on.
pub extern "C" fn exception(dump: &Dump) {
    let esr = read_esr_el3();
    title(match VECTORS.get(dump.vector as usize) {
        Some(_) if esr.ec() == EC_BRK => "panic",
        Some(vector) => vector,
        None => "exception",
    });
    report(format_args!(
        "  ESR {:#018x}  ELR {:#018x}  FAR {:#018x}  SPSR {:#018x}\n",
        esr.bits(),
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
    backtrace(&[ELR_EL3.get(), dump.x[30]], dump.sp);
    give_up();
}

/// Tells the services that this PE answers nobody any more.
fn give_up() {
    // Before the MMU is on there is nobody to tell, nor are atomics to be used.
    if read_sctlr_el3().contains(SctlrEl3::M)
        && let Some(index) = Board::pe_index(MPIDR_EL1.get())
    {
        SDEI.pe_failed(MPIDR_EL1.get());
        PSCI.failed(index);
    }
}

/// The report itself caused an exception.
pub extern "C" fn again() {
    title("in the report of another");
    give_up();
}

/// A panic is an exception like any other, so that there is one way to a report.
/// Where it was is for the backtrace to say: messages and places of all the panics
/// that never happen, and what it takes to format them, would be a quarter of the
/// image.
#[panic_handler]
fn panic(_info: &PanicInfo<'_>) -> ! {
    // SAFETY: an exception, after which nothing goes on here.
    unsafe { core::arch::asm!("brk #0", options(noreturn)) }
}

/// Lists code addresses, innermost first: those given, then the return addresses
/// on the stack from `sp` on.
///
/// The image has no frame pointers, which every call would pay for. An address
/// behind a call instruction is a return address, though perhaps of a call that
/// ended before.
fn backtrace(innermost: &[u64], sp: u64) {
    report(format_args!("  backtrace:\n"));
    let given = innermost.iter().copied().filter(|pc| in_text(*pc));
    let on_stack = stack_words(sp as usize).filter(|word| is_return_address(*word));
    for address in given.chain(on_stack).take(MAX_BACKTRACE) {
        report(format_args!("    {address:#018x}\n"));
    }
}

/// Addresses in a backtrace: a recursion without end has enough to show its circle.
const MAX_BACKTRACE: usize = 24;

fn in_text(address: u64) -> bool {
    let (start, end) = text();
    address.is_multiple_of(4) && (start as u64..end as u64).contains(&address)
}

/// Whether the instruction before an address of the image is BL or BLR.
fn is_return_address(address: u64) -> bool {
    if !in_text(address) || !in_text(address - 4) {
        return false;
    }
    // SAFETY: inside the image's code, which is mapped and never written.
    let instruction = unsafe { ((address - 4) as *const u32).read() };
    instruction >> 26 == 0b10_0101 || instruction & 0xffff_fc1f == 0xd63f_0000
}

/// The words of the stack that `sp` is on, from there to its end; all of it if
/// `sp` is on the guard page below.
fn stack_words(sp: usize) -> impl Iterator<Item = u64> {
    let boot = (stack_start(&BOOT_STACK), BOOT_STACK_SIZE);
    let (start, size) = (0..Board::pe_count())
        .map(|slot| (slot_page(slot), PAGE))
        .chain([boot])
        .find(|(start, size)| (start - PAGE..start + size).contains(&sp))
        .unwrap_or((sp, 0));
    (start.max(sp.next_multiple_of(8))..start + size)
        .step_by(8)
        // SAFETY: a word of a stack, all of which are mapped.
        .map(|address| unsafe { (address as *const u64).read_volatile() })
}

/// Stops this PE for good.
pub fn stop() -> ! {
    loop {
        wfi();
    }
}

/// Crashes in the way that a user asked for.
#[cold]
pub fn provoke(way: Crash) {
    /// Never mapped: the first page of every board's address space is flash or
    /// ROM, which EL3 has left by now.
    const UNMAPPED: usize = 8;

    #[allow(unconditional_recursion)]
    fn recurse(depth: u64) -> u64 {
        // Each level keeps something on the stack.
        core::hint::black_box([depth; 16]);
        recurse(depth + 1).wrapping_add(depth)
    }

    match way {
        Crash::Panic => panic!("asked for"),
        Crash::Fault => {
            // SAFETY: a read that faults changes nothing.
            unsafe { (UNMAPPED as *const u64).read_volatile() };
        }
        Crash::Write => {
            let text = provoke as fn(Crash) as *mut u32;
            // SAFETY: text is read-only, so this faults and changes nothing.
            unsafe { text.write_volatile(0) };
        }
        Crash::Execute => {
            const RET: u32 = 0xd65f_03c0;
            let code = [RET; 4];
            // SAFETY: the stack can't be executed, so this faults; if it could,
            // it would return at once.
            let function: extern "C" fn() = unsafe { core::mem::transmute(code.as_ptr()) };
            function();
        }
        Crash::Stack => {
            core::hint::black_box(recurse(0));
        }
    }
}

//! What programs for Linux on arm64 need that have neither a standard library nor
//! one in C: they are built for the firmware's own bare-metal target, so that the
//! initramfs takes no other toolchain.

#![no_std]

use core::arch::asm;
use core::ffi::{CStr, c_char};
use core::fmt::{self, Write};
use core::panic::PanicInfo;
use core::slice;

/// Numbers of Linux's system calls on arm64.
pub mod number {
    /// `ioctl(fd, request, argument)`.
    pub const IOCTL: usize = 29;
    /// `openat(directory, path, flags, mode)`.
    pub const OPENAT: usize = 56;
    /// `write(fd, buffer, length)`.
    pub const WRITE: usize = 64;
    /// `exit_group(status)`.
    pub const EXIT_GROUP: usize = 94;
    /// `reboot(magic, magic2, command, argument)`.
    pub const REBOOT: usize = 142;
    /// `mmap(address, length, protection, flags, fd, offset)`.
    pub const MMAP: usize = 222;
    /// `kexec_file_load(kernel, initrd, length, command_line, flags)`.
    pub const KEXEC_FILE_LOAD: usize = 294;
}

/// What the kernel refused, and the positive `errno` with which it did.
#[derive(Clone, Copy, Debug)]
pub struct Error {
    /// What was asked for.
    pub what: &'static str,
    /// The kernel's `errno`.
    pub errno: usize,
}

/// Makes a system call; `what` names it in the error.
///
/// # Errors
///
/// The kernel's.
///
/// # Safety
///
/// As the system call's own: pointers among the arguments must be valid for what
/// it does with them.
pub unsafe fn call(
    what: &'static str,
    number: usize,
    arguments: [usize; 6],
) -> Result<usize, Error> {
    let [a, b, c, d, e, f] = arguments;
    let result: usize;
    // SAFETY: the caller vouches for what the call does to memory; the kernel keeps
    // all registers but x0.
    unsafe {
        asm!(
            "svc #0",
            inlateout("x0") a => result,
            in("x1") b,
            in("x2") c,
            in("x3") d,
            in("x4") e,
            in("x5") f,
            in("x8") number,
            options(nostack),
        );
    }
    if result > usize::MAX - 4096 {
        return Err(Error {
            what,
            errno: result.wrapping_neg(),
        });
    }
    Ok(result)
}

/// Opens a file with the flags of `openat`.
///
/// # Errors
///
/// The kernel's.
pub fn open(path: &CStr, flags: usize) -> Result<usize, Error> {
    /// Relative to the working directory: `AT_FDCWD`.
    const HERE: usize = (-100isize).cast_unsigned();
    // SAFETY: the path is a string that ends with a zero, and is only read.
    unsafe {
        call(
            "open",
            number::OPENAT,
            [HERE, path.as_ptr().addr(), flags, 0, 0, 0],
        )
    }
}

/// Ends the program.
pub fn exit(status: usize) -> ! {
    loop {
        // SAFETY: has no pointers.
        let _ = unsafe { call("exit", number::EXIT_GROUP, [status, 0, 0, 0, 0, 0]) };
    }
}

/// A line for standard output. It is written as a whole, since each write to the
/// kernel's log is a line of its own there.
pub struct Line {
    text: [u8; 200],
    length: usize,
}

impl Line {
    /// Formats a line, of which so much is kept as there is room for, and prints it.
    pub fn print(arguments: fmt::Arguments<'_>) {
        let mut line = Self {
            text: [b'\n'; 200],
            length: 0,
        };
        let _ = line.write_fmt(arguments);
        // With the newline, which is there already.
        let length = line.length + 1;
        let arguments = [1, line.text.as_ptr().addr(), length, 0, 0, 0];
        // SAFETY: the text is only read, and `write_str` leaves a byte of it free.
        let _ = unsafe { call("write", number::WRITE, arguments) };
    }
}

impl Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        // One byte stays for the newline.
        let room = self.text.len() - 1 - self.length;
        let text = text.as_bytes().get(..room).unwrap_or(text.as_bytes());
        for (to, from) in self.text.iter_mut().skip(self.length).zip(text) {
            *to = *from;
        }
        self.length += text.len();
        Ok(())
    }
}

/// Prints a line on standard output.
#[macro_export]
macro_rules! say {
    ($($argument:tt)*) => {
        $crate::Line::print(core::format_args!($($argument)*))
    };
}

/// The program's arguments after its name.
#[derive(Clone, Copy)]
pub struct Arguments(&'static [*const c_char]);

impl Arguments {
    /// Reads what the kernel left on the stack of a new program.
    ///
    /// # Safety
    ///
    /// `stack` is the stack pointer with which the program was started.
    pub unsafe fn new(stack: *const usize) -> Self {
        // SAFETY: the number of arguments is the first word there, and that many
        // pointers follow.
        let all = unsafe { slice::from_raw_parts(stack.add(1).cast(), *stack) };
        Self(all.get(1..).unwrap_or_default())
    }

    /// An argument, the first with index 0.
    pub fn get(self, index: usize) -> Option<&'static CStr> {
        // SAFETY: the kernel's arguments end with a zero, and stay.
        self.0
            .get(index)
            .map(|&argument| unsafe { CStr::from_ptr(argument) })
    }
}

/// Runs `main` with the arguments of the program, and exits: 0, or 1 after an error.
///
/// # Safety
///
/// As [`Arguments::new`].
pub unsafe fn start(stack: *const usize, main: fn(Arguments) -> Result<(), Error>) -> ! {
    // SAFETY: as the caller says.
    let arguments = unsafe { Arguments::new(stack) };
    match main(arguments) {
        Ok(()) => exit(0),
        Err(Error { what, errno }) => {
            say!("{what}: error {errno}");
            exit(1)
        }
    }
}

/// Makes `main` the program: where the kernel enters it, with its arguments at SP.
#[macro_export]
macro_rules! program {
    ($main:path) => {
        core::arch::global_asm!(
            ".globl _start",
            "_start:",
            "mov x0, sp",
            "b {start}",
            start = sym start,
        );

        extern "C" fn start(stack: *const usize) -> ! {
            // SAFETY: `_start`, where the kernel enters the program, passes SP.
            unsafe { $crate::start(stack, $main) }
        }
    };
}

#[panic_handler]
fn panic(info: &PanicInfo) -> ! {
    say!("{info}");
    exit(2)
}

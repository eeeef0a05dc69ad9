//! Loads a kernel to go on with, and goes on with it, as `kexec` of kexec-tools.

#![no_std]
#![no_main]

use core::ffi::CStr;

use guest::{Arguments, Error, call, exit, number, open, program, say};

program!(main);

/// `KEXEC_FILE_ON_CRASH`: the kernel to start after a panic.
const ON_CRASH: usize = 2;

fn main(arguments: Arguments) -> Result<(), Error> {
    match arguments.get(0).map(CStr::to_bytes) {
        Some(b"-l") => load(arguments, 0),
        Some(b"-p") => load(arguments, ON_CRASH),
        Some(b"-e") => execute(),
        _ => usage(),
    }
}

fn usage() -> ! {
    say!("usage: kexec -l|-p IMAGE INITRD COMMAND-LINE\n       kexec -e");
    exit(1)
}

fn load(arguments: Arguments, flags: usize) -> Result<(), Error> {
    let (Some(image), Some(initrd), Some(command_line)) =
        (arguments.get(1), arguments.get(2), arguments.get(3))
    else {
        usage()
    };
    let arguments = [
        open(image, 0)?,
        open(initrd, 0)?,
        command_line.to_bytes_with_nul().len(),
        command_line.as_ptr().addr(),
        flags,
        0,
    ];
    // SAFETY: the command line is as long as said, and only read.
    unsafe { call("kexec_file_load", number::KEXEC_FILE_LOAD, arguments) }?;
    Ok(())
}

fn execute() -> Result<(), Error> {
    /// `LINUX_REBOOT_MAGIC1`, `LINUX_REBOOT_MAGIC2`, `LINUX_REBOOT_CMD_KEXEC`.
    const KEXEC: [usize; 6] = [0xfee1_dead, 672_274_793, 0x4558_4543, 0, 0, 0];
    // SAFETY: has no pointers; that the kernel ends is what is wanted.
    unsafe { call("reboot", number::REBOOT, KEXEC) }?;
    Ok(())
}

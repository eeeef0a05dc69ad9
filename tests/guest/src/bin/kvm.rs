//! Runs a guest in KVM that checks its own registers: what interrupts it must leave
//! no trace in it.
//!
//! `kvm ROUNDS`: in each round the guest counts down with known values in its
//! registers, adds them up and reports the sum by a write that leaves it.

#![no_std]
#![no_main]

use core::arch::global_asm;
use core::ffi::CStr;
use core::ptr;
use core::slice;

use guest::{Arguments, Error, call, exit, number, open, program, say};

program!(main);

/// Where the guest's memory begins for it.
const GUEST_BASE: u64 = 0x8000_0000;
/// Its size in bytes.
const GUEST_SIZE: usize = 0x1_0000;
/// Where it writes its sums: nothing is there, so that the write leaves it.
const REPORT: u64 = 0x1000_0000;
/// What register `n` holds is `n` times this.
const PATTERN: u64 = 0x0123_4567_89ab_cdef;

// x0: where to report; x1 to x28: known values; x29, x30: scratch.
global_asm!(
    ".globl guest_code, guest_end",
    "guest_code:",
    "ldr x0, 3f",
    "ldr x29, 4f",
    ".irp n, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28",
    "mov x30, #\\n",
    "mul x\\n, x29, x30",
    ".endr",
    "mov sp, x0",
    "1:",
    "mov x30, #0x4000000",
    "2:",
    "subs x30, x30, #1",
    "b.ne 2b",
    "mov x29, #0",
    ".irp n, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28",
    "add x29, x29, x\\n",
    ".endr",
    "add x29, x29, x30",
    "mov x30, sp",
    "str x29, [x30]",
    "b 1b",
    ".balign 8",
    "3: .quad {report}",
    "4: .quad {pattern}",
    "guest_end:",
    report = const REPORT,
    pattern = const PATTERN,
);

unsafe extern "C" {
    static guest_code: u8;
    static guest_end: u8;
}

/// `struct kvm_userspace_memory_region`.
#[repr(C)]
struct Region {
    slot: u32,
    flags: u32,
    guest: u64,
    size: u64,
    host: u64,
}

/// `struct kvm_vcpu_init`.
#[repr(C)]
struct Init {
    target: u32,
    features: [u32; 7],
}

/// `struct kvm_one_reg`.
#[repr(C)]
struct OneReg {
    id: u64,
    value: u64,
}

/// The beginning of `struct kvm_run`, with its union for an exit by MMIO.
#[repr(C)]
struct Run {
    request: [u8; 8],
    reason: u32,
    ready: [u8; 20],
    address: u64,
    data: u64,
    length: u32,
    is_write: u8,
}

/// `KVM_EXIT_MMIO`.
const EXIT_MMIO: u32 = 6;

/// KVM's requests of `ioctl`.
mod request {
    pub const CREATE_VM: usize = 0xae01;
    pub const VCPU_MMAP_SIZE: usize = 0xae04;
    pub const CREATE_VCPU: usize = 0xae41;
    pub const SET_MEMORY: usize = 0x4020_ae46;
    pub const PREFERRED_TARGET: usize = 0x8020_aeaf;
    pub const VCPU_INIT: usize = 0x4020_aeae;
    pub const SET_ONE_REG: usize = 0x4010_aeac;
    pub const RUN: usize = 0xae80;
}

/// The ID of the PC among a vCPU's registers.
const PC: u64 = 0x6030_0000_0010_0040;

fn main(arguments: Arguments) -> Result<(), Error> {
    let rounds = arguments
        .get(0)
        .and_then(|argument| argument.to_str().ok())
        .and_then(|argument| argument.parse::<u32>().ok());
    let Some(rounds) = rounds else {
        say!("usage: kvm ROUNDS");
        exit(1)
    };
    let guest = Guest::new()?;
    say!("kvm: the guest runs");
    let sum: u64 = (1..=28)
        .map(|n| PATTERN.wrapping_mul(n))
        .fold(0, u64::wrapping_add);
    for round in 1..=rounds {
        let got = guest.round()?;
        if got != sum {
            say!("kvm: FAILED: round {round}: the registers add up to {got:#x}, not {sum:#x}");
            exit(1)
        }
    }
    say!("kvm: {rounds} rounds, the guest's registers are intact");
    Ok(())
}

/// A machine with one vCPU.
struct Guest {
    vcpu: usize,
    run: *mut Run,
}

impl Guest {
    fn new() -> Result<Self, Error> {
        const KVM: &CStr = c"/dev/kvm";
        /// `O_RDWR`.
        const READ_WRITE: usize = 2;
        /// `MAP_PRIVATE | MAP_ANONYMOUS`.
        const ANONYMOUS: usize = 0x22;
        /// `MAP_SHARED`.
        const SHARED: usize = 1;

        let kvm = open(KVM, READ_WRITE)?;
        let machine = ioctl("KVM_CREATE_VM", kvm, request::CREATE_VM, 0)?;
        let memory = map(GUEST_SIZE, ANONYMOUS, usize::MAX)?;
        // SAFETY: both symbols are the ends of the code above, which nothing writes.
        let code = unsafe {
            let start = &raw const guest_code;
            slice::from_raw_parts(start, (&raw const guest_end).addr() - start.addr())
        };
        // SAFETY: the mapping is new and larger than the code.
        unsafe { ptr::copy_nonoverlapping(code.as_ptr(), memory, code.len()) };
        let mut region = Region {
            slot: 0,
            flags: 0,
            guest: GUEST_BASE,
            size: GUEST_SIZE as u64,
            host: memory.addr() as u64,
        };
        ioctl_with(
            "KVM_SET_USER_MEMORY_REGION",
            machine,
            request::SET_MEMORY,
            &mut region,
        )?;
        let vcpu = ioctl("KVM_CREATE_VCPU", machine, request::CREATE_VCPU, 0)?;
        let mut init = Init {
            target: 0,
            features: [0; 7],
        };
        ioctl_with(
            "KVM_ARM_PREFERRED_TARGET",
            machine,
            request::PREFERRED_TARGET,
            &mut init,
        )?;
        ioctl_with("KVM_ARM_VCPU_INIT", vcpu, request::VCPU_INIT, &mut init)?;
        let start = GUEST_BASE;
        let mut pc = OneReg {
            id: PC,
            value: (&raw const start).addr() as u64,
        };
        ioctl_with("KVM_SET_ONE_REG", vcpu, request::SET_ONE_REG, &mut pc)?;
        let size = ioctl("KVM_GET_VCPU_MMAP_SIZE", kvm, request::VCPU_MMAP_SIZE, 0)?;
        let run = map(size, SHARED, vcpu)?.cast();
        Ok(Self { vcpu, run })
    }

    /// Runs the guest until it has reported a sum.
    fn round(&self) -> Result<u64, Error> {
        ioctl("KVM_RUN", self.vcpu, request::RUN, 0)?;
        // SAFETY: KVM keeps a `kvm_run` there, and writes it within KVM_RUN only.
        let run = unsafe { self.run.read_volatile() };
        if run.reason == EXIT_MMIO && run.is_write != 0 && run.address == REPORT {
            return Ok(run.data);
        }
        say!(
            "kvm: FAILED: the guest left with reason {} at {:#x}",
            run.reason,
            run.address
        );
        exit(1)
    }
}

fn map(length: usize, flags: usize, file: usize) -> Result<*mut u8, Error> {
    /// `PROT_READ | PROT_WRITE`.
    const READ_WRITE: usize = 3;
    // SAFETY: a new mapping, at an address that the kernel chooses.
    let address = unsafe {
        call(
            "mmap",
            number::MMAP,
            [0, length, READ_WRITE, flags, file, 0],
        )
    }?;
    Ok(ptr::with_exposed_provenance_mut(address))
}

/// An `ioctl` whose argument is no pointer.
fn ioctl(what: &'static str, file: usize, request: usize, argument: usize) -> Result<usize, Error> {
    // SAFETY: these requests take numbers.
    unsafe { call(what, number::IOCTL, [file, request, argument, 0, 0, 0]) }
}

/// An `ioctl` that reads or writes a structure.
fn ioctl_with<T>(
    what: &'static str,
    file: usize,
    request: usize,
    argument: &mut T,
) -> Result<usize, Error> {
    let address = ptr::from_mut(argument).addr();
    // SAFETY: the requests' numbers have the sizes of their structures in them.
    unsafe { call(what, number::IOCTL, [file, request, address, 0, 0, 0]) }
}

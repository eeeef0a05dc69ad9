//! Power-off and reset: pins 0 and 1 of the Secure PL061 (Arm DDI 0190), as
//! the device tree's `gpio-poweroff` and `gpio-restart` say.

use core::ptr::NonNull;

use aarch64_cpu::asm::{barrier, wfi};
use safe_mmio::fields::{ReadPureWrite, WriteOnly};
use safe_mmio::{UniqueMmioPointer, field};

use super::SECURE_GPIO;

/// Rising edge: QEMU ends, with status 0.
const OFF_PIN: u8 = 0;
/// Rising edge: the machine is reset.
const RESET_PIN: u8 = 1;

/// PL061 registers. The data register is there 256 times: bits `[9:2]` of the
/// address say which pins an access is for.
#[repr(C)]
struct Pl061 {
    data: [WriteOnly<u32>; 256],
    direction: ReadPureWrite<u32>,
}

fn raise(pin: u8) -> ! {
    let registers = NonNull::new(SECURE_GPIO as *mut Pl061);
    if let Some(registers) = registers {
        let bit = 1u32 << pin;
        // SAFETY: the machine's Secure PL061, one of DEVICES. Two PEs that get
        // here together do the same to it, in whatever order, and each ends the
        // machine.
        let mut gpio = unsafe { UniqueMmioPointer::new(registers) };
        if let Some(mut data) = field!(gpio, data).get(bit as usize) {
            data.write(0);
        }
        field!(gpio, direction).modify(|pins| pins | bit);
        if let Some(mut data) = field!(gpio, data).get(bit as usize) {
            data.write(bit);
        }
    }
    // The machine stops in a moment, but not if the PE stops before the write is
    // there.
    barrier::dsb(barrier::SY);
    loop {
        wfi();
    }
}

pub(super) fn off() -> ! {
    raise(OFF_PIN)
}

pub(super) fn reset() -> ! {
    raise(RESET_PIN)
}

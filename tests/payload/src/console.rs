//! The console: UART0, which belongs to the Normal world and which the firmware has left usable.

use arm_pl011_uart::{PL011Registers, Uart, UniqueMmioPointer};
use core::fmt::{self, Write};
use core::ptr::NonNull;
use spin::Once;
use spin::mutex::SpinMutex;

static UART: Once<SpinMutex<Uart<'static>>> = Once::new();

/// Takes the PL011 at `base` as the console.
///
/// # Safety
///
/// `base` is the address of a PL011 that nothing else in this program uses.
pub unsafe fn init(base: NonNull<PL011Registers>) {
    // SAFETY: The caller vouches for the address and for our being its only user.
    let registers = unsafe { UniqueMmioPointer::new(base) };
    UART.call_once(|| SpinMutex::new(Uart::new(registers)));
}

/// Writes to the console; before [`init`] there is none and the text is lost.
pub fn print(arguments: fmt::Arguments) {
    if let Some(uart) = UART.get() {
        // A PL011 never reports an error for output.
        let _ = uart.lock().write_fmt(arguments);
    }
}

/// Takes the console from a PE that has it and does not go on.
pub fn take() {
    let Some(uart) = UART.get() else { return };
    for _ in 0..100_000 {
        if !uart.is_locked() {
            return;
        }
        crate::arch::relax();
    }
    // SAFETY: Whoever has the console has had it for longer than any line takes. Should it go on after all, two PEs write
    // to the UART's registers, which only mixes their characters.
    unsafe { uart.force_unlock() };
}

/// Prints one line.
#[macro_export]
macro_rules! say {
    ($($argument:tt)*) => {
        $crate::console::print(format_args!("{}\r\n", format_args!($($argument)*)))
    };
}

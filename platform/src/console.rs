//! The consoles: PL011s, one that the Normal world takes over when it starts,
//! and one of the Secure world.

use core::fmt::{self, Write};
use core::ptr::NonNull;

use arm_pl011_uart::{DataBits, LineConfig, PL011Registers, Parity, StopBits, Uart};
use log::{Level, LevelFilter, Log, Metadata, Record};
use safe_mmio::UniqueMmioPointer;
use spin::mutex::{SpinMutex, SpinMutexGuard};

/// Bits per second of every console.
const BAUD_RATE: u32 = 115_200;

/// A board's consoles, and the sink of `log`.
pub struct Consoles {
    uarts: SpinMutex<Uarts>,
}

struct Uarts {
    boot: Option<Uart<'static>>,
    secure: Option<Uart<'static>>,
    /// The Normal world runs and owns the boot console.
    handed_over: bool,
}

impl Consoles {
    /// Consoles that nothing is written to yet.
    pub const fn new() -> Self {
        Self {
            uarts: SpinMutex::new(Uarts {
                boot: None,
                secure: None,
                handed_over: false,
            }),
        }
    }

    #[inline(never)]
    fn lock(&self) -> SpinMutexGuard<'_, Uarts> {
        self.uarts.lock()
    }

    /// Turns the consoles on.
    ///
    /// # Safety
    ///
    /// Both addresses are those of PL011s, mapped as Device memory from now on,
    /// clocked at `clock_hz`, and nothing else of EL3 uses them.
    pub unsafe fn enable(&self, boot: usize, secure: usize, clock_hz: u32) {
        let open = |address: usize| {
            let registers = NonNull::new(address as *mut PL011Registers)?;
            // SAFETY: the caller's promise.
            let mut uart = Uart::new(unsafe { UniqueMmioPointer::new(registers) });
            let line = LineConfig {
                data_bits: DataBits::Bits8,
                parity: Parity::None,
                stop_bits: StopBits::One,
            };
            uart.enable(line, BAUD_RATE, clock_hz).ok()?;
            Some(uart)
        };
        let mut uarts = self.lock();
        uarts.boot = open(boot);
        uarts.secure = open(secure);
    }

    /// The Normal world starts: the boot console is its own from now on.
    pub fn hand_over(&self) {
        self.lock().handed_over = true;
    }

    /// Writes to the console of the moment: before the Normal world runs the
    /// boot console, after that the Secure one.
    #[inline(never)]
    pub fn write(&self, message: fmt::Arguments<'_>) {
        let mut uarts = self.lock();
        let uart = if uarts.handed_over {
            &mut uarts.secure
        } else {
            &mut uarts.boot
        };
        if let Some(uart) = uart {
            let _ = write(uart, message);
        }
    }

    /// Writes a crash report: to both consoles, since nobody owns one any more,
    /// and without waiting for a lock that the crash may have left held.
    #[inline(never)]
    pub fn write_crash(&self, message: fmt::Arguments<'_>) {
        // SAFETY: this PE is about to stop for ever, and so is whoever held the
        // lock or the report would not be written here a second time: at worst
        // two reports are mixed up on the wire.
        let uarts = unsafe {
            if self.uarts.is_locked() {
                self.uarts.force_unlock();
            }
            &mut *self.lock()
        };
        for uart in [&mut uarts.boot, &mut uarts.secure].into_iter().flatten() {
            let _ = write(uart, message);
        }
    }
}

impl Default for Consoles {
    fn default() -> Self {
        Self::new()
    }
}

/// Terminals want a carriage return before a line feed.
fn write(uart: &mut Uart<'static>, message: fmt::Arguments<'_>) -> fmt::Result {
    struct Crlf<'a>(&'a mut Uart<'static>);
    impl Crlf<'_> {
        fn byte(&mut self, byte: u8) {
            while self.0.is_tx_fifo_full() {}
            self.0.write_word(byte);
        }
    }
    impl Write for Crlf<'_> {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            for byte in text.bytes() {
                if byte == b'\n' {
                    self.byte(b'\r');
                }
                self.byte(byte);
            }
            Ok(())
        }
    }
    Crlf(uart).write_fmt(message)
}

impl Log for Consoles {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            match record.level() {
                Level::Info => self.write(format_args!("bl31: {}\n", record.args())),
                level => self.write(format_args!("bl31: {level}: {}\n", record.args())),
            }
        }
    }

    fn flush(&self) {}
}

/// A log level by its name: `off`, `error`, `warn`, `info`, `debug` or `trace`.
pub fn log_level_named(name: &str) -> Option<LevelFilter> {
    // A file that has it may end with a line feed.
    name.trim_ascii().parse().ok()
}

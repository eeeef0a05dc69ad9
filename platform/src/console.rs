//! The consoles: PL011s, one that the Normal world takes over when it starts,
//! and one of the Secure world.

use core::fmt::{self, Write};
use core::ptr::NonNull;
use core::sync::atomic::{AtomicBool, Ordering::Relaxed};

use arm_pl011_uart::{DataBits, LineConfig, PL011Registers, Parity, StopBits, Uart};
use log::{Level, LevelFilter, Log, Metadata, Record};
use safe_mmio::UniqueMmioPointer;
use spin::mutex::{SpinMutex, SpinMutexGuard};

/// Bits per second of every console.
const BAUD_RATE: u32 = 115_200;

/// A text in a message. `str` itself can be padded and cut there, which is most of a
/// KiB of code.
pub struct Text<'a>(pub &'a str);

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// A board's consoles, and the sink of `log`.
pub struct Consoles {
    /// The addresses of the PL011s.
    boot: usize,
    secure: usize,
    /// The Normal world runs and owns the boot console. Locked while a message is
    /// written.
    handed_over: SpinMutex<bool>,
    /// The boot console takes nothing any more: the Normal world may have turned it
    /// off.
    boot_is_stuck: AtomicBool,
}

impl Consoles {
    /// The consoles at these addresses, before the Normal world runs.
    ///
    /// # Safety
    ///
    /// Both addresses are those of PL011s, mapped as Device memory whenever the
    /// MMU is on, and nothing else of EL3 uses them.
    pub const unsafe fn new(boot: usize, secure: usize) -> Self {
        Self {
            boot,
            secure,
            handed_over: SpinMutex::new(false),
            boot_is_stuck: AtomicBool::new(false),
        }
    }

    #[inline(never)]
    fn lock(&self) -> SpinMutexGuard<'_, bool> {
        self.handed_over.lock()
    }

    /// Turns the consoles on, whose clock is this.
    pub fn enable(&self, clock_hz: u32) {
        let line = LineConfig {
            data_bits: DataBits::Bits8,
            parity: Parity::None,
            stop_bits: StopBits::One,
        };
        for address in [self.boot, self.secure] {
            if let Some(mut uart) = uart(address) {
                // Fails for a clock that is too slow alone.
                let _ = uart.enable(line, BAUD_RATE, clock_hz);
            }
        }
    }

    /// The Normal world starts: the boot console is its own from now on.
    pub fn hand_over(&self) {
        *self.lock() = true;
    }

    /// Writes to the console of the moment: before the Normal world runs the
    /// boot console, after that the Secure one.
    #[inline(never)]
    pub fn write(&self, message: fmt::Arguments<'_>) {
        let handed_over = self.lock();
        let address = if *handed_over { self.secure } else { self.boot };
        let _ = write(address, message);
    }

    /// Writes a part of a crash report: to the Secure console, then to the other
    /// one, since nobody owns one any more. Takes no lock, which the crash may have
    /// left held, and which needs the MMU: at worst two messages are mixed up on the
    /// wire.
    #[inline(never)]
    pub fn write_crash(&self, message: fmt::Arguments<'_>) {
        let _ = write(self.secure, message);
        if !self.boot_is_stuck.load(Relaxed) && write(self.boot, message).is_err() {
            self.boot_is_stuck.store(true, Relaxed);
        }
    }
}

/// The PL011 at an address.
fn uart(address: usize) -> Option<Uart<'static>> {
    let registers = NonNull::new(address as *mut PL011Registers)?;
    // SAFETY: the address is one of `Consoles::new`. Whoever writes holds its lock,
    // or crashed.
    Some(Uart::new(unsafe { UniqueMmioPointer::new(registers) }))
}

/// How often a UART is asked whether it has room for a character until EL3 goes on
/// without: at the rate of the consoles it has some after 87 microseconds.
const PATIENCE: usize = 100_000;

/// Terminals want a carriage return before a line feed.
fn write(address: usize, message: fmt::Arguments<'_>) -> fmt::Result {
    struct Crlf(Uart<'static>);
    impl Crlf {
        fn byte(&mut self, byte: u8) -> fmt::Result {
            if !(0..PATIENCE).any(|_| !self.0.is_tx_fifo_full()) {
                return Err(fmt::Error);
            }
            self.0.write_word(byte);
            Ok(())
        }
    }
    impl Write for Crlf {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            for byte in text.bytes() {
                if byte == b'\n' {
                    self.byte(b'\r')?;
                }
                self.byte(byte)?;
            }
            Ok(())
        }
    }
    Crlf(uart(address).ok_or(fmt::Error)?).write_fmt(message)
}

impl Log for Consoles {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            match record.level() {
                Level::Info => self.write(format_args!("bl31: {}\n", record.args())),
                level => {
                    let level = Text(level.as_str());
                    self.write(format_args!("bl31: {level}: {}\n", record.args()));
                }
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

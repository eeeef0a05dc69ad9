//! The interrupt lines that are raised, and the one that ends a PE's sleep.

use super::Fuzzer;
use super::watch::Kind;
use crate::arch;
use crate::gic;
use crate::line::Line;
use crate::pe::Pe;
use arm_gic::gicv3::GicCpuInterface;
use core::sync::atomic::Ordering::Relaxed;

/// Lines that go up and down, and may be bound. [`WAKE_UP`] is not among them.
pub const RAISED: [Line; 4] = [Line::Virtual, Line::Hypervisor, Line::Rtc, Line::Uart];

/// The line that ends this PE's sleep: it is never bound, and nothing that is written to the GIC holds it up.
pub const WAKE_UP: Line = Line::Physical;

/// Its bit among a PE's own interrupts, and that of the SGI which PEs send each other.
pub const LEFT_ALONE: u32 = 1 << 30 | 1 << gic::SGI.raw_value();

/// Lowers all but [`WAKE_UP`].
pub fn lower() {
    RAISED
        .into_iter()
        .filter(|line| line.exists())
        .for_each(Line::lower);
}

/// A microsecond, in ticks of the counter.
pub fn microsecond() -> u64 {
    arch::counter_frequency() / 1_000_000
}

/// Makes sure that something will end a sleep of this PE, soon.
pub fn before_sleep(fuzzer: &Fuzzer, pe: &Pe) {
    super::writes::enable_wake_up(pe.index());
    GicCpuInterface::set_priority_mask(0xff);
    GicCpuInterface::enable_group1(true);
    fuzzer.sleeping.store(true, Relaxed);
    WAKE_UP.raise_after(fuzzer.random.below(50) * microsecond());
}

/// Raises or lowers one.
pub fn act(fuzzer: &Fuzzer) {
    let line = fuzzer.random.pick(&RAISED);
    // Whoever is interrupted may have the console, which the UART's line needs.
    let prints = line == Line::Uart && fuzzer.printing.load(Relaxed);
    if !line.exists() || prints {
        return;
    }
    fuzzer.note(Kind::Line, line.intid(), &[]);
    match fuzzer.random.below(4) {
        0 => line.lower(),
        1 if matches!(line, Line::Virtual | Line::Hypervisor) => {
            line.raise_after(fuzzer.random.below(100_000));
        }
        // The UART's line follows a character.
        _ => fuzzer.while_printing(|| line.raise()),
    }
}

//! Devices that raise interrupts when told to, and how the Normal world sees an interrupt.

use crate::arch;
use crate::check::{Outcome, check, equal, wait};
use crate::gic;
use crate::machine::Machine;
use crate::pe::Pe;
use arm_gic::gicv3::registers::{Gicd, GicrSgi};
use arm_gic::gicv3::{GicCpuInterface, GicDistributor, GicRedistributor};
use arm_gic::{IntId, InterruptGroup, Trigger, UniqueMmioPointer};
use arm_sysregs::{el0, el2, read_write_sysreg};
use core::ptr::NonNull;

// With E2H the names of EL1's timers mean EL2's, and these mean EL1's.
read_write_sysreg!(cntp_ctl_el02: s3_5_c14_c2_1, u64, safe_read, safe_write);
read_write_sysreg!(cntp_cval_el02: s3_5_c14_c2_2, u64, safe_read, safe_write);
read_write_sysreg!(cntv_ctl_el02: s3_5_c14_c3_1, u64, safe_read, safe_write);
read_write_sysreg!(cntv_cval_el02: s3_5_c14_c3_2, u64, safe_read, safe_write);

/// Registers of the PL031 real-time clock: their distances from its address.
const RTC_DR: usize = 0;
const RTC_MR: usize = 0x04;
const RTC_IMSC: usize = 0x10;
const RTC_RIS: usize = 0x14;
const RTC_ICR: usize = 0x1c;

/// Interrupt registers of the console's PL011.
const UART_IMSC: usize = 0x38;
const UART_RIS: usize = 0x3c;
const TX: u32 = 1 << 5;

/// Where a frame's TYPER and its affinity are, its size, and the bit that says that it is the last.
const GICR_TYPER: usize = 0x08;
const FRAME: usize = 0x2_0000;
const LAST: u64 = 1 << 4;

/// A device's interrupt line, which stays up until it is lowered.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Line {
    /// This PE's EL1 physical timer.
    Physical,
    /// This PE's virtual timer.
    Virtual,
    /// This PE's EL2 physical timer.
    Hypervisor,
    /// The real-time clock's match interrupt.
    Rtc,
    /// The UART's transmit interrupt.
    Uart,
}

/// Those of the PE.
pub const PPIS: [Line; 3] = [Line::Physical, Line::Virtual, Line::Hypervisor];
/// Those of the machine.
pub const SPIS: [Line; 2] = [Line::Rtc, Line::Uart];

fn read(address: usize) -> u32 {
    // SAFETY: A register of a device of this board's, in memory mapped as a device.
    unsafe { (address as *const u32).read_volatile() }
}

fn write(address: usize, value: u32) {
    // SAFETY: As in `read`; none of these registers makes the device write to memory.
    unsafe { (address as *mut u32).write_volatile(value) }
}

fn rtc(register: usize) -> usize {
    Machine::get().board.rtc + register
}

fn uart(register: usize) -> usize {
    Machine::get().board.uart + register
}

impl Line {
    /// Whether this machine has it.
    pub fn exists(self) -> bool {
        self != Self::Hypervisor || arch::el() == 2
    }

    /// Its INTID.
    pub fn intid(self) -> u64 {
        match self {
            Self::Physical => 30,
            Self::Virtual => 27,
            Self::Hypervisor => 26,
            Self::Rtc => Machine::get().board.rtc_intid,
            Self::Uart => Machine::get().board.uart_intid,
        }
    }

    /// Raises it, if it is not up yet.
    pub fn raise(self) {
        match self {
            // A time that is over.
            Self::Physical | Self::Virtual | Self::Hypervisor => self.timer(1, 0),
            Self::Rtc => {
                write(rtc(RTC_IMSC), 1);
                // The second can change between the two.
                while read(rtc(RTC_RIS)) & 1 == 0 {
                    write(rtc(RTC_MR), read(rtc(RTC_DR)));
                }
            }
            Self::Uart => {
                // It follows the first character that was sent.
                if read(uart(UART_RIS)) & TX == 0 {
                    crate::say!("payload: a character for the UART's interrupt");
                }
                write(uart(UART_IMSC), TX);
            }
        }
    }

    /// Has a timer's line go up after so many ticks of the counter.
    pub fn raise_after(self, ticks: u64) {
        self.timer(1, arch::counter() + ticks);
    }

    /// Lowers it.
    pub fn lower(self) {
        match self {
            Self::Physical | Self::Virtual | Self::Hypervisor => self.timer(0, u64::MAX),
            Self::Rtc => {
                write(rtc(RTC_IMSC), 0);
                write(rtc(RTC_ICR), 1);
            }
            Self::Uart => write(uart(UART_IMSC), 0),
        }
    }

    /// Down and up again: an edge.
    pub fn pulse(self) {
        self.lower();
        self.raise();
    }

    fn timer(self, control: u64, time: u64) {
        use el0::registers::{CntpCtlEl0, CntpCvalEl0, CntvCtlEl0, CntvCvalEl0};
        match self {
            Self::Hypervisor => {
                el2::accessors::write_cnthp_cval_el2(
                    el2::registers::CnthpCvalEl2::from_bits_retain(time),
                );
                el2::accessors::write_cnthp_ctl_el2(el2::registers::CnthpCtlEl2::from_bits_retain(
                    control,
                ));
            }
            Self::Physical if arch::is_vhe_host() => {
                write_cntp_cval_el02(time);
                write_cntp_ctl_el02(control);
            }
            Self::Physical => {
                el0::accessors::write_cntp_cval_el0(CntpCvalEl0::from_bits_retain(time));
                el0::accessors::write_cntp_ctl_el0(CntpCtlEl0::from_bits_retain(control));
            }
            _ if arch::is_vhe_host() => {
                write_cntv_cval_el02(time);
                write_cntv_ctl_el02(control);
            }
            _ => {
                el0::accessors::write_cntv_cval_el0(CntvCvalEl0::from_bits_retain(time));
                el0::accessors::write_cntv_ctl_el0(CntvCtlEl0::from_bits_retain(control));
            }
        }
        arch::synchronize();
    }
}

/// Lowers every line of this PE and of the machine.
pub fn lower_all() {
    for line in PPIS.into_iter().chain(SPIS).filter(|line| line.exists()) {
        line.lower();
    }
}

/// An interrupt's settings, as the Normal world made them or sees them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// Its priority, in the Normal world's terms.
    pub priority: u8,
    /// Whether it is edge-triggered.
    pub edge: bool,
    /// GICD_IROUTER of an SPI; 0 of a PPI.
    pub route: u64,
}

/// The registers that an interrupt is in: the PPI's of this PE, or the SPI's.
enum Place {
    Redistributor(NonNull<GicrSgi>),
    Distributor(NonNull<Gicd>),
}

fn place(intid: u64) -> Place {
    if intid >= 32 {
        let gicd = NonNull::new(Machine::get().gicd as *mut Gicd);
        return Place::Distributor(gicd.expect("there is a distributor"));
    }
    let affinity = Pe::current().mpidr();
    for base in Machine::get().gicr.into_iter().filter(|&base| base != 0) {
        let mut frame = base as usize;
        loop {
            // SAFETY: A register of a redistributor, by the device tree, which has one behind another up to
            // the last; reading it changes nothing.
            let typer = unsafe { ((frame + GICR_TYPER) as *const u64).read_volatile() };
            if typer >> 32 == affinity & 0xff_ffff | affinity >> 8 & 0xff00_0000 {
                let frame = NonNull::new(frame as *mut GicrSgi);
                return Place::Redistributor(frame.expect("not at address 0"));
            }
            if typer & LAST != 0 {
                break;
            }
            frame += FRAME;
        }
    }
    unreachable!("a PE without a redistributor")
}

/// One word of the arrays that redistributor and distributor have alike, and the interrupt's place in it.
fn word(intid: u64, array: usize, bits: u64) -> (*mut u32, u64) {
    // GICR_ISENABLER0 and its like are at the distributor's offsets in the frame's second page.
    const SGI_BASE: usize = 0x1_0000;
    let base = match place(intid) {
        Place::Redistributor(frame) => frame.as_ptr() as usize + SGI_BASE,
        Place::Distributor(gicd) => gicd.as_ptr() as usize,
    };
    let first = intid * bits;
    (
        (base + array + (first / 32 * 4) as usize) as *mut u32,
        first % 32,
    )
}

fn field(intid: u64, array: usize, bits: u64) -> u32 {
    let (word, shift) = word(intid, array, bits);
    // SAFETY: A register of the GIC with a field for this interrupt; reading it changes nothing.
    let value = unsafe { word.read_volatile() };
    value >> shift & ((1 << bits) - 1)
}

const ISENABLER: usize = 0x100;
const ISPENDR: usize = 0x200;
const ISACTIVER: usize = 0x300;
const IPRIORITYR: usize = 0x400;
const ICFGR: usize = 0xc00;

/// Whether the Normal world sees it enabled.
pub fn is_enabled(intid: u64) -> bool {
    field(intid, ISENABLER, 1) != 0
}

/// Whether the Normal world sees it pending.
pub fn is_pending(intid: u64) -> bool {
    field(intid, ISPENDR, 1) != 0
}

/// Whether the Normal world sees it active.
pub fn is_active(intid: u64) -> bool {
    field(intid, ISACTIVER, 1) != 0
}

/// How many INTIDs below 1020 there are, by GICD_TYPER.
pub fn intids() -> u64 {
    const GICD_TYPER: usize = 0x04;
    32 * (u64::from(read(Machine::get().gicd as usize + GICD_TYPER) & 0x1f) + 1)
}

/// Gives `redistributor` or `distributor` what the interrupt belongs to.
fn configure(
    intid: u64,
    redistributor: impl FnOnce(&mut GicRedistributor<'_>, IntId),
    distributor: impl FnOnce(&mut GicDistributor<'_>, IntId),
) {
    let Ok(id) = IntId::try_from(intid as u32) else {
        unreachable!("the tests' lines have INTIDs")
    };
    match place(intid) {
        Place::Redistributor(frame) => {
            // SAFETY: This PE's own frame; only this PE uses it, and only inside this function.
            let registers = unsafe { UniqueMmioPointer::new(frame) };
            redistributor(&mut GicRedistributor::new(registers), id);
        }
        Place::Distributor(gicd) => {
            // SAFETY: Only one PE at a time configures SPIs in a test, and only inside this function.
            let registers = unsafe { UniqueMmioPointer::new(gicd) };
            distributor(&mut GicDistributor::new(registers), id);
        }
    }
}

/// Makes the Normal world's settings. The GIC may refuse, which `settings` shows.
pub fn set(intid: u64, settings: Settings) {
    let trigger = if settings.edge {
        Trigger::Edge
    } else {
        Trigger::Level
    };
    configure(
        intid,
        |gicr, id| {
            let _ = gicr.set_interrupt_priority(id, settings.priority);
            let _ = gicr.set_trigger(id, trigger);
        },
        |gicd, id| {
            let _ = gicd.set_interrupt_priority(id, settings.priority);
            let _ = gicd.set_trigger(id, trigger);
            let _ = gicd.set_routing(id, Some(settings.route));
        },
    );
}

/// The settings that the Normal world sees.
pub fn settings(intid: u64) -> Settings {
    const IROUTER: usize = 0x6000;
    let route = match place(intid) {
        Place::Redistributor(_) => 0,
        Place::Distributor(gicd) => {
            let register = gicd.as_ptr() as usize + IROUTER + 8 * intid as usize;
            // SAFETY: The SPI's GICD_IROUTER.
            unsafe { (register as *const u64).read_volatile() }
        }
    };
    Settings {
        priority: field(intid, IPRIORITYR, 8) as u8,
        edge: field(intid, ICFGR, 2) & 0b10 != 0,
        route,
    }
}

/// Enables it for the Normal world, or disables it.
pub fn enable(intid: u64, enable: bool) {
    configure(
        intid,
        |gicr, id| {
            let _ = gicr.enable_interrupt(id, enable);
        },
        |gicd, id| {
            let _ = gicd.enable_interrupt(id, enable);
        },
    );
}

/// Checks that the Normal world can use the interrupt on this PE: enables it, raises its line and takes it.
#[track_caller]
pub fn usable(line: Line) -> Outcome {
    let intid = line.intid();
    check("not enabled when given back", !is_enabled(intid))?;
    check("not active when given back", !is_active(intid))?;
    line.pulse();
    enable(intid, true);
    check("enabled by the Normal world", is_enabled(intid))?;
    wait("the Normal world's interrupt", gic::waiting)?;
    let taken = GicCpuInterface::get_and_acknowledge_interrupt(InterruptGroup::Group1);
    let Some(taken) = taken else {
        return crate::check::fail("nothing to acknowledge");
    };
    line.lower();
    GicCpuInterface::end_interrupt(taken, InterruptGroup::Group1);
    enable(intid, false);
    equal(
        "the Normal world's interrupt",
        u64::from(taken.raw_value()),
        intid,
    )?;
    check("nothing is active afterwards", gic::idle())
}

/// Checks that the Normal world can't touch an interrupt that is EL3's.
#[track_caller]
pub fn out_of_reach(intid: u64) -> Outcome {
    enable(intid, true);
    check(
        "EL3's interrupt enabled by the Normal world",
        !is_enabled(intid),
    )?;
    set(
        intid,
        Settings {
            priority: 0x50,
            edge: true,
            route: 1,
        },
    );
    equal(
        "priority of EL3's interrupt",
        u64::from(settings(intid).priority),
        0,
    )
}

//! Interrupts as SDEI's events use them: EL3 takes one from the Normal world
//! while a handler is registered for it, and gives it back as it was.

use aarch64_cpu::asm::barrier;
use arm_gic::gicv3::registers::{Gicd, GicrSgi};
use arm_gic::gicv3::{GicDistributor, GicRedistributor};
use arm_gic::{IntId, UniqueMmioPointer};
use safe_mmio::field;

use crate::gic::{self, EVENT_PRIORITY};

/// What the Normal world had set for an interrupt that is EL3's for now. Its
/// trigger is not among it: that stays as it is.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Saved {
    /// As Secure accesses see it. Linux masks by priority, so it matters.
    priority: u8,
    /// GICD_IROUTER of an SPI, 0 of a PPI.
    route: u64,
    /// Its mark of an NMI (FEAT_GICv3_NMI): 0 or 1.
    nmi: u8,
}

/// A PPI of this PE, or an SPI.
pub struct Interrupt<'a> {
    intid: IntId,
    registers: Registers<'a>,
}

/// Where an interrupt's registers are.
enum Registers<'a> {
    Ppi(UniqueMmioPointer<'a, GicrSgi>),
    Spi(UniqueMmioPointer<'a, Gicd>),
}

/// The registers named `$array` of a GICR or GICD, each with `$bits` bits for
/// an interrupt: calls `$with` with the one that has this interrupt's, and with
/// the number of its lowest bit there.
macro_rules! with_register {
    ($interrupt:expr, $array:ident, $bits:literal, $with:expr) => {{
        let first = $interrupt.intid.raw_value() as usize * $bits;
        let (index, bit) = (first / 32, first % 32);
        match &mut $interrupt.registers {
            Registers::Ppi(frame) => {
                let mut sgi = field!(*frame, sgi);
                field!(sgi, $array).get(index).map(|word| $with(word, bit))
            }
            Registers::Spi(gicd) => field!(*gicd, $array)
                .get(index)
                .map(|word| $with(word, bit)),
        }
    }};
}

/// Whether the interrupt's bit is set in the registers named `$array`.
macro_rules! is_set {
    ($interrupt:expr, $array:ident) => {
        with_register!($interrupt, $array, 1, |word: Word<'_>, bit| {
            word.read() >> bit & 1 != 0
        })
        .unwrap_or(false)
    };
}

/// Writes 1 to the interrupt's bit of the registers named `$array`, in which
/// zeros do nothing.
macro_rules! write_one {
    ($interrupt:expr, $array:ident) => {
        with_register!($interrupt, $array, 1, |mut word: Word<'_>, bit| {
            word.write(1u32 << bit)
        })
    };
}

type Word<'a> = UniqueMmioPointer<'a, safe_mmio::fields::ReadPureWrite<u32>>;

impl<'a> Interrupt<'a> {
    /// A PPI of this PE, whose redistributor frame this is. `None` if there is no
    /// such PPI.
    pub fn ppi(intid: IntId, frame: UniqueMmioPointer<'a, GicrSgi>) -> Option<Self> {
        intid.is_ppi().then_some(Self {
            intid,
            registers: Registers::Ppi(frame),
        })
    }

    /// An SPI. `None` if there is no such SPI.
    pub fn spi(intid: IntId, mut gicd: UniqueMmioPointer<'a, Gicd>) -> Option<Self> {
        // The SPIs follow the 32 private interrupts.
        let last = 31 + field!(gicd, typer).read().num_spis();
        (intid.is_spi() && intid.raw_value() <= last).then_some(Self {
            intid,
            registers: Registers::Spi(gicd),
        })
    }

    /// Whether it is in Non-secure Group 1.
    pub fn is_nonsecure(&mut self) -> bool {
        is_set!(self, igroupr)
    }

    /// Whether it is active.
    pub fn is_active(&mut self) -> bool {
        is_set!(self, isactiver)
    }

    /// Whether an acknowledged interrupt still has a reason: its line, if it is
    /// level-sensitive.
    pub fn is_asserted(&mut self) -> bool {
        client_stores_are_done();
        let edge = with_register!(self, icfgr, 2, |word: Word<'_>, bit| {
            word.read() >> bit & EDGE != 0
        });
        // Pending is the line or a latch, which the acknowledge has cleared
        // (Arm IHI 0069 4.1.2).
        edge.unwrap_or(false) || is_set!(self, ispendr)
    }

    /// Takes it from the Normal world: disabled and idle, Group 0, at a priority
    /// that the Normal world can't mask. Answers what the Normal world had set.
    pub fn claim(&mut self) -> Saved {
        self.disable();
        let saved = Saved {
            priority: self.priority(),
            route: self.route(),
            nmi: is_set!(self, inmir).into(),
        };
        // A Group 0 interrupt that is marked as an NMI leaves its active priority
        // behind on QEMU. Elsewhere the mark may not be writable in Group 0.
        if saved.nmi != 0 {
            self.set_nmi(0);
        }
        self.set_group(GROUP_0);
        // From here on the Normal world can't write to it. This puts right what it
        // has written since it was looked at: one that is active never arrives.
        self.disable();
        self.set_nmi(0);
        write_one!(self, icactiver);
        self.set_priority(EVENT_PRIORITY);
        self.clear_pending();
        saved
    }

    /// Makes it EL3's for good, before the Normal world runs: it is disabled and
    /// idle.
    pub fn take(&mut self, edge: bool) {
        self.set_group(GROUP_0);
        self.set_priority(EVENT_PRIORITY);
        let trigger = if edge { EDGE } else { 0 };
        with_register!(self, icfgr, 2, |mut word: Word<'_>, bit: usize| {
            word.modify(|triggers: u32| triggers & !(EDGE << bit) | trigger << bit)
        });
    }

    /// Ends its use: disabled, no edge of it left, and not active if it was
    /// `acknowledged`. With what [`Interrupt::claim`] answered it is the Normal
    /// world's again: Non-secure Group 1, with its priority, target and mark of an
    /// NMI.
    pub fn release(&mut self, acknowledged: bool, saved: Option<Saved>) {
        self.disable();
        if acknowledged {
            self.deactivate();
        }
        self.clear_pending();
        if let Some(saved) = saved {
            self.set_priority(saved.priority);
            self.set_route(saved.route);
            self.set_group(GROUP_1_NS);
            if saved.nmi != 0 {
                self.set_nmi(saved.nmi);
            }
        }
    }

    /// Lets it be delivered.
    pub fn enable(&mut self) {
        write_one!(self, isenabler);
    }

    /// Holds it off. It is not delivered any more when this returns.
    pub fn disable(&mut self) {
        write_one!(self, icenabler);
        match &self.registers {
            Registers::Ppi(frame) => gic::wait_for_redistributor(frame),
            Registers::Spi(gicd) => gic::wait_for_distributor(gicd),
        }
    }

    /// Forgets an edge that has not been delivered.
    pub fn clear_pending(&mut self) {
        write_one!(self, icpendr);
    }

    /// Deactivates it after its priority was dropped.
    pub fn deactivate(&mut self) {
        client_stores_are_done();
        if self.intid.is_ppi() {
            gic::deactivate(self.intid.raw_value());
            // The redistributor has it when its registers are next accessed:
            // `is_active` must not see what is over.
            barrier::isb(barrier::SY);
            barrier::dsb(barrier::SY);
        } else {
            // Not by this PE's interface: another one may have acknowledged it.
            write_one!(self, icactiver);
        }
    }

    /// Sends an SPI to the PE with these affinity fields; nothing for a PPI.
    pub fn set_route(&mut self, irouter: u64) {
        if let Registers::Spi(gicd) = &mut self.registers {
            // The INTID is an SPI's.
            let _ = GicDistributor::new(gicd.reborrow()).set_routing(self.intid, Some(irouter));
        }
    }

    fn route(&mut self) -> u64 {
        match &mut self.registers {
            Registers::Ppi(_) => 0,
            Registers::Spi(gicd) => self
                .intid
                .spi_index()
                .and_then(|index| Some(field!(*gicd, irouter).get(index)?.read()))
                .unwrap_or(0),
        }
    }

    /// Marks it as an NMI (1) or not (0); without FEAT_GICv3_NMI the register is RES0.
    fn set_nmi(&mut self, nmi: u8) {
        with_register!(self, inmir, 1, |mut word: Word<'_>, bit: usize| {
            word.modify(|marks: u32| marks & !(1u32 << bit) | u32::from(nmi) << bit)
        });
    }

    fn priority(&mut self) -> u8 {
        with_register!(self, ipriorityr, 8, |word: Word<'_>, bit| {
            (word.read() >> bit) as u8
        })
        .unwrap_or(0)
    }

    // arm-gic's only error here is an INTID of the other kind.

    fn set_priority(&mut self, priority: u8) {
        let _ =
            match &mut self.registers {
                Registers::Ppi(frame) => GicRedistributor::new(frame.reborrow())
                    .set_interrupt_priority(self.intid, priority),
                Registers::Spi(gicd) => GicDistributor::new(gicd.reborrow())
                    .set_interrupt_priority(self.intid, priority),
            };
    }

    /// Moves it to Non-secure Group 1 (1) or Group 0 (0). No interrupt is ever in
    /// Secure Group 1: the modifier bits are 0.
    fn set_group(&mut self, group: u32) {
        with_register!(self, igroupr, 1, |mut word: Word<'_>, bit: usize| {
            word.modify(|groups: u32| groups & !(1u32 << bit) | group << bit)
        });
    }
}

/// A handler has quieted its device by stores, which are not ordered with accesses
/// to the GIC. Looked at or deactivated before they are done, a level-sensitive
/// interrupt occurs once more for nothing.
fn client_stores_are_done() {
    barrier::dsb(barrier::SY);
}

/// An interrupt's bit in GICD_IGROUPR.
const GROUP_0: u32 = 0;
/// See [`GROUP_0`].
const GROUP_1_NS: u32 = 1;

/// The upper of an interrupt's two bits in GICD_ICFGR: edge-triggered.
pub(crate) const EDGE: u32 = 0b10;

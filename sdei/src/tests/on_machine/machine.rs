// SPDX-License-Identifier: MIT OR Apache-2.0

//! A machine under the dispatcher: PEs, an interrupt controller, and clients that are called back.

use std::{vec, vec::Vec};

pub use super::super::registers::Registers;
pub use super::support::mpidr;
use super::support::{Fake, Hardware, Irq};
use crate::{
    Client, ClientEl, Control, Dispatcher, Error, Event, Events, Pe, Priority, PstateFeatures,
    SharedPe,
    call::{FUNCTION_BASE, flags},
    dispatcher::Snapshot,
};

pub const PRIVATE: usize = 8;
pub const SHARED: usize = 7;

/// Explicit private events.
pub const PRIVATE_CRITICAL: i32 = 100;
pub const PRIVATE_NORMAL: i32 = 101;
/// A private event of a fixed interrupt.
pub const PRIVATE_FIXED: i32 = 110;
pub const FIXED_PPI: u32 = 29;
/// Private dynamic slots; the last one is Critical.
pub const SLOT: i32 = 1000;
pub const SLOT_CRITICAL: i32 = 1003;
/// Explicit shared events.
pub const SHARED_NORMAL: i32 = 300;
pub const SHARED_CRITICAL: i32 = 301;
/// A shared event of a fixed interrupt.
pub const SHARED_FIXED: i32 = 310;
pub const FIXED_SPI: u32 = 40;
/// Shared dynamic slots; the last one is Critical.
pub const SHARED_SLOT: i32 = 2000;
pub const SHARED_SLOT_CRITICAL: i32 = 2003;

/// A PPI and an SPI that the client may bind.
pub const PPI: u32 = 27;
pub const SPI: u32 = 50;
/// A PPI and an SPI of the Secure world.
pub const SECURE_PPI: u32 = 26;
pub const SECURE_SPI: u32 = 41;

const N: Priority = Priority::Normal;
const C: Priority = Priority::Critical;

pub const EVENTS: Events<PRIVATE, SHARED> = Events::new(
    [
        Event::SIGNAL,
        Event::explicit(PRIVATE_CRITICAL, C),
        Event::explicit(PRIVATE_NORMAL, N),
        Event::interrupt(PRIVATE_FIXED, FIXED_PPI, N),
        Event::dynamic(SLOT, N),
        Event::dynamic(SLOT + 1, N),
        Event::dynamic(SLOT + 2, N),
        Event::dynamic(SLOT_CRITICAL, C),
    ],
    [
        Event::explicit(SHARED_NORMAL, N),
        Event::explicit(SHARED_CRITICAL, C),
        Event::interrupt(SHARED_FIXED, FIXED_SPI, N),
        Event::dynamic(SHARED_SLOT, N),
        Event::dynamic(SHARED_SLOT + 1, N),
        Event::dynamic(SHARED_SLOT + 2, N),
        Event::dynamic(SHARED_SLOT_CRITICAL, C),
    ],
);

/// Calls by their number in the range.
pub mod n {
    pub const VERSION: u32 = 0x00;
    pub const REGISTER: u32 = 0x01;
    pub const ENABLE: u32 = 0x02;
    pub const DISABLE: u32 = 0x03;
    pub const CONTEXT: u32 = 0x04;
    pub const COMPLETE: u32 = 0x05;
    pub const RESUME: u32 = 0x06;
    pub const UNREGISTER: u32 = 0x07;
    pub const STATUS: u32 = 0x08;
    pub const GET_INFO: u32 = 0x09;
    pub const ROUTING_SET: u32 = 0x0a;
    pub const MASK: u32 = 0x0b;
    pub const UNMASK: u32 = 0x0c;
    pub const BIND: u32 = 0x0d;
    pub const RELEASE: u32 = 0x0e;
    pub const SIGNAL: u32 = 0x0f;
    pub const FEATURES: u32 = 0x10;
    pub const PRIVATE_RESET: u32 = 0x11;
    pub const SHARED_RESET: u32 = 0x12;
}

/// EL1h with interrupts unmasked, and Z and C set.
pub const EL1H: u64 = 0x6000_0005;
/// Where the client runs.
pub const START: u64 = 0x4000_1000;
/// EL0t.
pub const EL0T: u64 = 0;

/// A PE's own part of the dispatcher's state.
pub type Own = Pe<PRIVATE, u8>;

/// The dispatcher.
pub type Sdei = Dispatcher<Fake, Vec<SharedPe>, Fake, PRIVATE, SHARED>;

/// Everything there is to know about a machine, to compare and to go back to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    pub pes: Vec<Own>,
    pub frames: Vec<Registers>,
    pub shared: Snapshot<u8, PRIVATE, SHARED>,
    pub hardware: Hardware,
}

/// The machine.
pub struct Machine {
    pub dispatcher: Sdei,
    pub pes: Vec<Own>,
    pub frames: Vec<Registers>,
}

/// The entry point that `register` gives an event.
pub fn handler(event: i32) -> u64 {
    0xffff_8000_0800_0000 + u64::from(event as u32) * 0x100
}

/// The argument that `register` gives an event.
pub fn argument(event: i32) -> u64 {
    0xa5a5_0000_0000_0000 | u64::from(event as u32)
}

impl Machine {
    /// A machine whose PEs are all on and masked, at EL1.
    pub fn new(pes: usize) -> Self {
        let mut machine = Self::off(pes);
        for pe in 0..pes {
            machine.on(pe);
        }
        machine
    }

    /// A machine whose PEs are all off.
    pub fn off(pes: usize) -> Self {
        let irq = |secure, group0, route| Irq {
            secure,
            group0,
            route,
            ..Irq::default()
        };
        let ppi = |pe| {
            vec![
                (SECURE_PPI, irq(true, false, pe)),
                (PPI, irq(false, false, pe)),
                (28, irq(false, false, pe)),
                (FIXED_PPI, irq(true, true, pe)),
                (30, irq(false, false, pe)),
                (31, irq(false, false, pe)),
                (25, irq(false, false, pe)),
            ]
        };
        let spi = [FIXED_SPI, SECURE_SPI]
            .map(|intid| (intid, irq(true, intid == FIXED_SPI, 0)))
            .into_iter()
            .chain((SPI..SPI + 6).map(|intid| (intid, irq(false, false, 0))))
            .collect();
        let hardware = Hardware {
            client: Client {
                el: ClientEl::El1,
                features: PstateFeatures::default(),
            },
            control: Control {
                sctlr: 1 << 23,
                host: true,
            },
            vbar: 0xffff_8000_0801_0000,
            sgi: vec![false; pes],
            exception: vec![None; pes],
            ppi: (0..pes).map(ppi).collect(),
            spi,
        };
        let fake = Fake::new(hardware);
        let shared = (0..pes).map(|_| SharedPe::new()).collect();
        Self {
            dispatcher: Dispatcher::with_interrupts(EVENTS, shared, fake.clone(), fake),
            pes: vec![Pe::new(); pes],
            frames: vec![
                Registers {
                    x: core::array::from_fn(|i| 0xc0de_0000 + i as u64),
                    pc: START,
                    pstate: EL1H,
                };
                pes
            ],
        }
    }

    pub fn state(&self) -> State {
        State {
            pes: self.pes.clone(),
            frames: self.frames.clone(),
            shared: self.dispatcher.snapshot(),
            hardware: self.dispatcher.port().hardware().clone(),
        }
    }

    pub fn load(&mut self, state: &State) {
        self.pes.clone_from(&state.pes);
        self.frames.clone_from(&state.frames);
        self.dispatcher.restore(&state.shared);
        self.dispatcher
            .port()
            .hardware()
            .clone_from(&state.hardware);
    }

    pub fn hardware<R>(&self, f: impl FnOnce(&mut Hardware) -> R) -> R {
        f(&mut self.dispatcher.port().hardware())
    }

    /// A copy of an interrupt's state.
    pub fn irq(&self, pe: usize, intid: u32) -> Irq {
        self.hardware(|hardware| hardware.irq(pe, intid).unwrap().clone())
    }

    fn enter(&mut self, pe: usize) -> (&Sdei, &mut Own, &mut Registers) {
        self.dispatcher.port().enter(pe);
        (&self.dispatcher, &mut self.pes[pe], &mut self.frames[pe])
    }

    pub fn on(&mut self, pe: usize) {
        let (dispatcher, own, frame) = self.enter(pe);
        dispatcher.pe_on(own, mpidr(pe));
        frame.pc = START;
        frame.pstate = EL1H;
    }

    pub fn cpu_off(&mut self, pe: usize) {
        let (dispatcher, own, frame) = self.enter(pe);
        dispatcher.pe_off(own);
        frame.pc = 0;
    }

    /// CPU_SUSPEND to a power-down state, and back.
    pub fn suspend(&mut self, pe: usize) -> Result<(), Error> {
        let (dispatcher, own, _) = self.enter(pe);
        if !dispatcher.may_suspend(own) {
            return Err(Error::Denied);
        }
        dispatcher.pe_resume(own);
        Ok(())
    }

    /// An SMC with any function ID, without taking any interrupt.
    pub fn smc(&mut self, pe: usize, function: u64, args: &[u64]) -> u64 {
        let (dispatcher, own, frame) = self.enter(pe);
        frame.x[0] = function;
        frame.x[1..6].fill(0);
        frame.x[1..=args.len()].copy_from_slice(args);
        dispatcher.call(frame, own);
        frame.x[0]
    }

    /// A call of the interface by its number, without taking any interrupt.
    pub fn call(&mut self, pe: usize, number: u32, args: &[u64]) -> u64 {
        self.smc(pe, u64::from(FUNCTION_BASE + number), args)
    }

    /// As `call`, for a call that succeeds and enters no handler.
    #[track_caller]
    pub fn ok(&mut self, pe: usize, number: u32, args: &[u64]) -> u64 {
        let pc = self.frames[pe].pc;
        let answer = self.call(pe, number, args);
        assert_eq!(self.frames[pe].pc, pc, "PE {pe} entered a handler");
        assert!(
            (answer as i64) >= 0,
            "call {number:#x} answered {answer:#x}"
        );
        answer
    }

    /// A call that must be refused and change nothing.
    #[track_caller]
    pub fn refused(&mut self, pe: usize, number: u32, args: &[u64], error: Error) {
        let before = self.state();
        let answer = self.call(pe, number, args);
        assert_eq!(
            answer,
            error.code(),
            "call {number:#x}({args:x?}) answered {}",
            (answer as i64)
        );
        let mut after = self.state();
        assert_eq!(after.frames[pe].x[6..], before.frames[pe].x[6..]);
        after.frames[pe].x = before.frames[pe].x;
        assert!(
            after == before,
            "call {number:#x}({args:x?}) was refused and yet changed something:\n{before:?}\n{after:?}"
        );
    }

    /// Takes one interrupt on a PE, if there is one, and answers its INTID (0 for the SGI of
    /// `notify`). EL3's interrupts can't be masked.
    pub fn take_interrupt(&mut self, pe: usize) -> Option<u32> {
        let (dispatcher, own, frame) = self.enter(pe);
        if core::mem::take(&mut dispatcher.port().hardware().sgi[pe]) {
            dispatcher.signalled(frame, own);
            return Some(0);
        }
        let intid = dispatcher.port().hardware().acknowledge(pe)?;
        assert!(
            dispatcher.interrupt(frame, own, intid),
            "INTID {intid} is enabled for EL3 and yet no event's"
        );
        Some(intid)
    }

    /// Whether an interrupt for EL3 is pending at a PE.
    pub fn is_interrupted(&self, pe: usize) -> bool {
        self.hardware(|hardware| hardware.sgi[pe] || hardware.highest(pe).is_some())
    }

    /// Takes interrupts on all PEs that are on until there are none.
    pub fn settle(&mut self) {
        let mut busy = true;
        let mut rounds = 0;
        while busy {
            busy = false;
            for pe in 0..self.pes.len() {
                if self.pes[pe].index == pe {
                    busy |= self.take_interrupt(pe).is_some();
                }
            }
            rounds += 1;
            assert!(rounds < 100, "an interrupt comes for ever");
        }
    }

    #[track_caller]
    pub fn register(&mut self, pe: usize, event: i32) {
        self.register_with(pe, event, 0, 0);
    }

    #[track_caller]
    pub fn register_with(&mut self, pe: usize, event: i32, flags: u64, affinity: u64) {
        let relative = flags & flags::RELATIVE != 0;
        let entry = if relative { 0x1000 } else { handler(event) };
        let args = [number(event), entry, argument(event), flags, affinity];
        assert_eq!(self.ok(pe, n::REGISTER, &args), 0);
    }

    /// Registers an event, enables it and unmasks the PE.
    #[track_caller]
    pub fn ready(&mut self, pe: usize, event: i32) {
        self.register(pe, event);
        assert_eq!(self.ok(pe, n::ENABLE, &[number(event)]), 0);
        assert_eq!(self.ok(pe, n::UNMASK, &[]), 0);
    }

    #[track_caller]
    pub fn signal(&mut self, from: usize, to: usize) {
        assert_eq!(self.call(from, n::SIGNAL, &[0, mpidr(to)]), 0);
    }

    /// The SGI of `notify` comes to a PE.
    pub fn signal_sgi(&self, pe: usize) {
        self.hardware(|hardware| hardware.sgi[pe] = true);
    }

    pub fn raise(&mut self, pe: usize, event: i32) -> Result<(), Error> {
        let (dispatcher, own, frame) = self.enter(pe);
        dispatcher.raise(frame, own, event)
    }

    /// The client's device asserts an interrupt.
    pub fn assert_irq(&mut self, pe: usize, intid: u32) {
        self.hardware(|hardware| hardware.irq(pe, intid).unwrap().pending = true);
    }

    /// Which event's handler a PE is at the entry of.
    #[track_caller]
    pub fn entered(&self, pe: usize) -> i32 {
        let pc = self.frames[pe].pc;
        let event = i32::try_from(pc.wrapping_sub(handler(0)) / 0x100).unwrap_or(-1);
        assert_eq!(pc, handler(event), "PE {pe} is at no handler's entry");
        event
    }

    /// Whether the PE is at the entry of this event's handler.
    pub fn is_in(&self, pe: usize, event: i32) -> bool {
        self.frames[pe].pc == handler(event)
    }

    pub fn status(&mut self, pe: usize, event: i32) -> u64 {
        self.call(pe, n::STATUS, &[number(event)])
    }
}

/// An event's number as a register holds it: sign-extended, as a C client passes it.
pub fn number(event: i32) -> u64 {
    i64::from(event) as u64
}

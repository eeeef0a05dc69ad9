// SPDX-License-Identifier: MIT OR Apache-2.0

//! Raw SMC arguments, with interrupts and power changes between them: nothing panics, every
//! answer is one that a client may get, and interrupts are used by their owner only.
//!
//! ```sh
//! cargo +nightly fuzz run smc -- -max_total_time=60
//! ```
#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use sdei::{
    self as api, Client, ClientEl, Control, Dispatcher, Error, Event, Events, Pe, Priority, PstateFeatures, REGISTERS,
    SharedPe, call,
};
use registers::Registers;
use support::{Fake, Hardware, Irq, mpidr};

// The hardware of the crate's own tests.
#[path = "../../src/tests/registers.rs"]
mod registers;
#[path = "../../src/tests/on_machine/support.rs"]
mod support;

const PES: usize = 3;

const EVENTS: Events<6, 5> = Events::new(
    [
        Event::SIGNAL,
        Event::explicit(100, Priority::Critical),
        Event::interrupt(110, 29, Priority::Normal),
        Event::dynamic(1000, Priority::Normal),
        Event::dynamic(1001, Priority::Normal),
        Event::dynamic(1002, Priority::Critical),
    ],
    [
        Event::explicit(300, Priority::Normal),
        Event::interrupt(310, 40, Priority::Normal),
        Event::dynamic(2000, Priority::Normal),
        Event::dynamic(2001, Priority::Normal),
        Event::dynamic(2002, Priority::Critical),
    ],
);

/// An argument: any value, or one that means something.
#[derive(Arbitrary, Clone, Copy, Debug)]
enum Argument {
    Raw(u64),
    Small(u8),
    Slot(u8),
    Address(u16),
}

impl Argument {
    fn value(self) -> u64 {
        match self {
            Self::Raw(value) => value,
            Self::Small(value) => value.into(),
            Self::Slot(value) => u64::from(value & 1) * 1000 + 1000 + u64::from(value >> 1) % 4,
            Self::Address(value) => u64::from(value) << 2,
        }
    }
}

#[derive(Arbitrary, Debug)]
enum Step {
    Call(u8, [Argument; 5]),
    Smc([u64; 6], u8),
    Interrupt,
    Assert(u8, bool),
    Line(u8, bool),
    Raise(bool),
    Off,
    On,
    Suspend,
}

const EL1H: u64 = 0b0101;
/// Where no handler is: entry points are aligned.
const START: u64 = 0x8001;

/// The interrupts that there are, by how far they are from the first PPI.
const INTIDS: u32 = 84;

fn hardware() -> Hardware {
    let irqs = |range: core::ops::Range<u32>, pe| {
        let irq = |intid| {
            let fixed = intid == 29 || intid == 40;
            Irq { secure: fixed || intid == 20, group0: fixed, route: pe, ..Irq::default() }
        };
        range.map(|intid| (intid, irq(intid))).collect()
    };
    Hardware {
        client: Client { el: ClientEl::El1, features: PstateFeatures::default() },
        control: Control { sctlr: 0, host: true },
        vbar: u64::MAX,
        sgi: vec![false; PES],
        exception: vec![None; PES],
        ppi: (0..PES).map(|pe| irqs(16..32, pe)).collect(),
        spi: irqs(32..16 + INTIDS, 0),
    }
}

type Sdei = Dispatcher<Fake, [SharedPe; PES], Fake, 6, 5>;

/// A call; where it entered no handler and resumed nothing, its answer is one of the interface's.
fn smc(sdei: &Sdei, pe: &mut Pe<6, u8>, frame: &mut Registers) {
    let function = frame.x[0] as u32;
    let before = frame.clone();
    sdei.call(frame, pe);
    if frame.pc == before.pc {
        let answer = frame.x[0];
        let errors = [
            Error::NotSupported,
            Error::InvalidParameters,
            Error::Denied,
            Error::Pending,
            Error::OutOfResource,
        ];
        let is_error = errors.iter().any(|error| error.code() == answer);
        // EVENT_CONTEXT and EVENT_COMPLETE answer what the client had in its registers.
        let number = (function & !(1 << 16)).wrapping_sub(call::FUNCTION_BASE);
        let is_clients = matches!(number, 4 | 5);
        assert!(answer >> 63 == 0 || is_error || is_clients, "{answer:#x}");
        if is_error && !is_clients {
            assert_eq!(frame.x[1..], before.x[1..]);
        }
    }
    // Back to the client, as if whatever was entered had run and left its registers so.
    *frame = Registers {
        pc: START,
        pstate: EL1H,
        ..before
    };
}

fuzz_target!(|steps: Vec<(u8, Step)>| {
    let fake = Fake::new(hardware());
    let shared = std::array::from_fn(|_| SharedPe::new());
    let sdei = Sdei::with_interrupts(EVENTS, shared, fake.clone(), fake.clone());
    let mut pes: [Pe<6, u8>; PES] = std::array::from_fn(|_| Pe::new());
    let start = Registers {
        x: [0; REGISTERS],
        pc: START,
        pstate: EL1H,
    };
    let mut frames = std::array::from_fn::<_, PES, _>(|_| start.clone());
    for (index, pe) in pes.iter_mut().enumerate() {
        fake.enter(index);
        sdei.pe_on(pe, mpidr(index));
    }
    for (index, step) in steps {
        let index = usize::from(index) % PES;
        fake.enter(index);
        let (pe, frame) = (&mut pes[index], &mut frames[index]);
        match step {
            Step::Call(number, args) => {
                frame.x[0] = u64::from(call::FUNCTION_BASE + u32::from(number) % 0x14);
                frame.x[1..6].copy_from_slice(&args.map(Argument::value));
                smc(&sdei, pe, frame);
            }
            Step::Smc(x, pstate) => {
                frame.x[..6].copy_from_slice(&x);
                frame.pstate = pstate.into();
                smc(&sdei, pe, frame);
            }
            Step::Interrupt => {
                if std::mem::take(&mut fake.hardware().sgi[index]) {
                    sdei.signalled(frame, pe);
                    continue;
                }
                let acknowledged = fake.hardware().acknowledge(index);
                if let Some(intid) = acknowledged {
                    assert!(
                        sdei.interrupt(frame, pe, intid),
                        "INTID {intid} is no event's"
                    );
                }
            }
            Step::Assert(intid, level) => {
                let intid = u32::from(intid) % INTIDS + 16;
                if let Some(irq) = fake.hardware().irq(index, intid) {
                    irq.pending = true;
                    irq.level = level;
                }
            }
            Step::Line(intid, up) => {
                let intid = u32::from(intid) % INTIDS + 16;
                if let Some(irq) = fake.hardware().irq(index, intid) {
                    irq.pending = up;
                }
            }
            Step::Raise(private) => {
                let event = if private { 100 } else { 300 };
                let _ = sdei.raise(frame, pe, event);
            }
            Step::Off => sdei.pe_off(pe),
            Step::On => sdei.pe_on(pe, mpidr(index)),
            Step::Suspend => {
                if sdei.may_suspend(pe) {
                    sdei.pe_resume(pe);
                }
            }
        }
    }
});

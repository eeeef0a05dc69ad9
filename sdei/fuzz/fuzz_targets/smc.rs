//! Raw SMC arguments, with interrupts and power changes between them: nothing panics, every
//! answer is one that a client may get, and interrupts are used by their owner only.
//!
//! ```sh
//! cargo +nightly fuzz run smc -- -max_total_time=60
//! ```
#![no_main]

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
};

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use sdei::{
    Client, ClientEl, Control, Dispatcher, Error, Event, Events, Features, Frame, Owner, Pe, Port, Priority,
    REGISTERS, SharedPe, call, is_ppi,
};

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

#[derive(Clone, Copy, Default)]
struct Irq {
    group0: bool,
    enabled: bool,
    level: bool,
    pending: bool,
    active: bool,
    route: usize,
}

#[derive(Default)]
struct Board {
    pe: Cell<usize>,
    sgis: [Cell<bool>; PES],
    /// By INTID, and for PPIs by PE.
    irqs: RefCell<BTreeMap<(u32, usize), Irq>>,
}

impl Board {
    fn key(&self, intid: u32) -> (u32, usize) {
        (intid, if is_ppi(intid) { self.pe.get() } else { 0 })
    }

    fn irq<R>(&self, intid: u32, f: impl FnOnce(&mut Irq) -> R) -> R {
        f(self.irqs.borrow_mut().entry(self.key(intid)).or_default())
    }

    fn own(&self, intid: u32, f: impl FnOnce(&mut Irq)) {
        self.irq(intid, |irq| {
            assert!(irq.group0, "INTID {intid} is not EL3's");
            f(irq);
        });
    }

    /// What the PE acknowledges now.
    fn acknowledge(&self) -> Option<u32> {
        let pe = self.pe.get();
        let mut irqs = self.irqs.borrow_mut();
        let ((intid, _), irq) = irqs.iter_mut().find(|((intid, owner), irq)| {
            let here = if is_ppi(*intid) { *owner } else { irq.route };
            irq.group0 && irq.enabled && irq.pending && !irq.active && here == pe
        })?;
        irq.active = true;
        irq.pending = irq.level;
        Some(*intid)
    }
}

impl Port for &Board {
    fn pe_index(&self, affinity: u64) -> Option<usize> {
        usize::try_from(affinity & 0xff_00ff_ffff)
            .ok()
            .filter(|&index| index < PES)
    }
    fn notify(&self, pe: usize) {
        self.sgis[pe].set(true);
    }
    fn client(&self) -> Client {
        Client {
            el: ClientEl::El1,
            features: Features::default(),
        }
    }
    fn control(&self, _: ClientEl) -> Control {
        Control {
            sctlr: 0,
            host: true,
        }
    }
    fn exlock_enabled(&self, _: ClientEl) -> bool {
        false
    }
    fn vbar(&self, _: ClientEl) -> u64 {
        u64::MAX
    }
    fn take_exception(&self, _: ClientEl, _: u64, _: u64) {}
    fn owner(&self, intid: u32) -> Option<Owner> {
        assert!((16..5120).contains(&intid));
        let owner = if self.irq(intid, |irq| irq.group0) || intid == 20 {
            Owner::Secure
        } else {
            Owner::NonSecure
        };
        (intid < 100).then_some(owner)
    }
    fn is_active(&self, intid: u32) -> bool {
        self.irq(intid, |irq| irq.active)
    }
    fn claim(&self, intid: u32) {
        self.irq(intid, |irq| {
            assert!(!irq.group0 && !irq.active);
            irq.group0 = true;
            irq.enabled = false;
        });
    }
    fn give_back(&self, intid: u32) {
        self.own(intid, |irq| {
            assert!(!irq.active);
            irq.group0 = false;
            irq.enabled = false;
        });
    }
    fn route(&self, intid: u32, pe: usize) {
        self.own(intid, |irq| irq.route = pe);
    }
    fn enable(&self, intid: u32) {
        self.own(intid, |irq| irq.enabled = true);
    }
    fn disable(&self, intid: u32) {
        self.own(intid, |irq| irq.enabled = false);
    }
    fn clear_pending(&self, intid: u32) {
        self.own(intid, |irq| irq.pending &= irq.level);
    }
    fn is_asserted(&self, intid: u32) -> bool {
        self.irq(intid, |irq| !irq.level || irq.pending)
    }
    fn deactivate(&self, intid: u32) {
        self.own(intid, |irq| {
            assert!(irq.active);
            irq.active = false;
        });
    }
}

#[derive(Clone)]
struct Saved {
    x: [u64; REGISTERS],
    pc: u64,
    pstate: u64,
}

impl Frame for Saved {
    fn x(&self) -> &[u64; REGISTERS] {
        &self.x
    }
    fn x_mut(&mut self) -> &mut [u64; REGISTERS] {
        &mut self.x
    }
    fn pc(&self) -> u64 {
        self.pc
    }
    fn pstate(&self) -> u64 {
        self.pstate
    }
    fn set_return(&mut self, pc: u64, pstate: u64) {
        (self.pc, self.pstate) = (pc, pstate);
    }
}

const EL1H: u64 = 0b0101;
/// Where no handler is: entry points are aligned.
const START: u64 = 0x8001;

/// A call; where it entered no handler and resumed nothing, its answer is one of the interface's.
fn smc(sdei: &Dispatcher<&Board, 6, 5>, pe: &mut Pe<'_, 6>, frame: &mut Saved) {
    let function = frame.x[0] as u32;
    let before = frame.clone();
    sdei.call(pe, frame);
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
    *frame = Saved {
        pc: START,
        pstate: EL1H,
        ..before
    };
}

fuzz_target!(|steps: Vec<(u8, Step)>| {
    let board = Board::default();
    for pe in 0..PES {
        board.pe.set(pe);
        board.irq(29, |irq| irq.group0 = true);
    }
    board.irq(40, |irq| irq.group0 = true);
    let shared: [SharedPe; PES] = std::array::from_fn(|_| SharedPe::new());
    let sdei = Dispatcher::new(EVENTS, &shared, &board);
    let mut pes: [Pe<'_, 6>; PES] = std::array::from_fn(|_| Pe::new());
    let start = Saved {
        x: [0; REGISTERS],
        pc: START,
        pstate: EL1H,
    };
    let mut frames = std::array::from_fn::<_, PES, _>(|_| start.clone());
    for (index, pe) in pes.iter_mut().enumerate() {
        board.pe.set(index);
        sdei.pe_on(pe, index);
    }
    for (index, step) in steps {
        let index = usize::from(index) % PES;
        board.pe.set(index);
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
                if board.sgis[index].take() {
                    sdei.signalled(pe, frame);
                } else if let Some(intid) = board.acknowledge() {
                    assert!(
                        sdei.interrupt(pe, frame, intid),
                        "INTID {intid} is no event's"
                    );
                }
            }
            Step::Assert(intid, level) => {
                let intid = u32::from(intid) % 84 + 16;
                board.irq(intid, |irq| {
                    irq.pending = true;
                    irq.level = level;
                });
            }
            Step::Line(intid, up) => {
                let intid = u32::from(intid) % 84 + 16;
                board.irq(intid, |irq| irq.pending = up);
            }
            Step::Raise(private) => {
                let event = if private { 100 } else { 300 };
                let _ = sdei.raise(pe, frame, event);
            }
            Step::Off => sdei.pe_off(pe),
            Step::On => sdei.pe_on(pe, index),
            Step::Suspend => {
                if sdei.pe_suspend(pe).is_ok() {
                    sdei.pe_resume(pe);
                }
            }
        }
    }
});

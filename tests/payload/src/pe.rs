//! The PEs: how they are started, given work, and what their event handlers saw.

use crate::arch::{self, Code};
use crate::check::{Outcome, check, equal, wait};
use crate::{attack, gic, psci, sdei};
use core::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering::*};
use spin::mutex::SpinMutex;

/// The most PEs, as many as the firmware has memory for.
pub const MAX: usize = 512;
const STACK: u64 = 16 << 10;
const HANDLER_STACK: u64 = 8 << 10;

/// Work for another PE.
pub type Job = fn(&'static Pe, u64) -> Outcome;

/// What an event's handler does: how it ends.
pub type Behaviour = fn(&'static Pe) -> Finish;

/// The call that ends a handler, with its argument.
#[repr(C)]
pub struct Finish {
    function: u64,
    argument: u64,
}

impl Finish {
    /// COMPLETE, handled.
    pub fn complete() -> Self {
        Self {
            function: sdei::Function::Complete.id(),
            argument: 0,
        }
    }

    /// COMPLETE, failed.
    pub fn complete_failed() -> Self {
        Self {
            function: sdei::Function::Complete.id(),
            argument: 1,
        }
    }

    /// COMPLETE with an argument that may be none.
    pub fn complete_with(argument: u64) -> Self {
        Self {
            function: sdei::Function::Complete.id(),
            argument,
        }
    }

    /// COMPLETE_AND_RESUME at `address`.
    pub fn resume(address: u64) -> Self {
        Self {
            function: sdei::Function::CompleteAndResume.id(),
            argument: address,
        }
    }
}

/// One PE's event handler: what it does and what it saw. `entry.s` writes it.
#[repr(C)]
pub struct Handling {
    /// x0..x30 at entry; x18..x30 are put back before the handler ends.
    pub x: [AtomicU64; 31],
    /// NZCV at entry.
    pub nzcv: AtomicU64,
    /// SPSel at entry.
    pub spsel: AtomicU64,
    /// SP at entry, put back before the handler ends.
    pub sp: AtomicU64,
    /// The stack it runs on.
    pub stack: AtomicU64,
    /// ELR of this EL at entry.
    pub elr: AtomicU64,
    /// SPSR of this EL at entry.
    pub spsr: AtomicU64,
    /// DAIF at entry.
    pub daif: AtomicU64,
    /// PAN, UAO, DIT, TCO and SSBS at entry, in SPSR's format.
    pub pstate: AtomicU64,
    /// How often it was entered.
    pub count: AtomicU64,
    index: AtomicUsize,
    behaviour: AtomicUsize,
}

/// One PE.
#[repr(C)]
pub struct Pe {
    /// Top of its stack.
    pub stack: AtomicU64,
    /// The innermost `enter`'s frame, or 0.
    pub entered: AtomicU64,
    /// x0..x30 as CPU_ON left them, but for x9, x10, x19, x24..x27 and x30.
    pub entry_x: [AtomicU64; 31],
    /// SCTLR of its EL as CPU_ON left it.
    pub entry_sctlr: AtomicU64,
    /// CurrentEL there.
    pub entry_el: AtomicU64,
    /// DAIF there.
    pub entry_daif: AtomicU64,
    /// SPSel there.
    pub entry_spsel: AtomicU64,
    /// Its event 0 handler.
    pub handling: Handling,
    /// The word on which the spinning snippets wait.
    pub leave: AtomicU32,
    /// Interrupts it has taken.
    pub interrupts: AtomicU64,
    /// For tests: between a PE and who watches it.
    pub words: [AtomicU64; 4],
    mpidr: AtomicU64,
    state: AtomicU32,
    work: SpinMutex<Option<(Job, u64)>>,
    result: SpinMutex<Outcome>,
}

/// Not started by us, or off.
const OFF: u32 = 0;
/// Waits for work.
const READY: u32 = 1;
/// Has work.
const BUSY: u32 = 2;

static PES: [Pe; MAX] = [const { Pe::new() }; MAX];

unsafe extern "C" {
    static _stacks: u8;
}

impl Handling {
    /// Of no handler yet.
    pub const fn new() -> Self {
        Self {
            x: [const { AtomicU64::new(0) }; 31],
            nzcv: AtomicU64::new(0),
            spsel: AtomicU64::new(0),
            sp: AtomicU64::new(0),
            stack: AtomicU64::new(0),
            elr: AtomicU64::new(0),
            spsr: AtomicU64::new(0),
            daif: AtomicU64::new(0),
            pstate: AtomicU64::new(0),
            count: AtomicU64::new(0),
            index: AtomicUsize::new(0),
            behaviour: AtomicUsize::new(0),
        }
    }

    /// Gives the handler the PE that its behaviour is told, and the top of its stack.
    pub fn place(&self, index: usize, stack: u64) {
        self.index.store(index, Relaxed);
        self.stack.store(stack, Relaxed);
    }

    /// How often the handler was entered.
    pub fn count(&self) -> u64 {
        self.count.load(Acquire)
    }

    /// x`index` at the last entry.
    pub fn x(&self, index: usize) -> u64 {
        self.x[index].load(Acquire)
    }

    /// Sets what the handler does and forgets what it saw.
    pub fn set(&self, behaviour: Behaviour) {
        self.count.store(0, Release);
        self.change(behaviour);
    }

    /// Sets what the handler does.
    pub fn change(&self, behaviour: Behaviour) {
        self.behaviour.store(behaviour as usize, Release);
    }
}

impl Pe {
    const fn new() -> Self {
        Self {
            stack: AtomicU64::new(0),
            entered: AtomicU64::new(0),
            entry_x: [const { AtomicU64::new(0) }; 31],
            entry_sctlr: AtomicU64::new(0),
            entry_el: AtomicU64::new(0),
            entry_daif: AtomicU64::new(0),
            entry_spsel: AtomicU64::new(0),
            handling: Handling::new(),
            leave: AtomicU32::new(0),
            interrupts: AtomicU64::new(0),
            words: [const { AtomicU64::new(0) }; 4],
            mpidr: AtomicU64::new(0),
            state: AtomicU32::new(OFF),
            work: SpinMutex::new(None),
            result: SpinMutex::new(Ok(())),
        }
    }

    /// The PE with this index in the device tree.
    pub fn at(index: usize) -> &'static Self {
        &PES[index]
    }

    /// The PE that runs this.
    pub fn current() -> &'static Self {
        // SAFETY: `arch::adopt` put an element of `PES` there before anything that calls this runs.
        unsafe { &*arch::adopted() }
    }

    /// Its index in the device tree.
    pub fn index(&self) -> usize {
        self.handling.index.load(Relaxed)
    }

    /// Its affinity fields, as MPIDR_EL1 has them.
    pub fn mpidr(&self) -> u64 {
        self.mpidr.load(Relaxed)
    }

    /// Gives the PE at `index` its MPIDR and stacks.
    pub fn describe(index: usize, mpidr: u64) {
        let pe = Self::at(index);
        let stacks = &raw const _stacks as u64;
        let top = stacks + (index as u64 + 1) * (STACK + HANDLER_STACK);
        pe.handling.index.store(index, Relaxed);
        pe.mpidr.store(mpidr, Relaxed);
        pe.stack.store(top - HANDLER_STACK, Relaxed);
        pe.handling.stack.store(top, Relaxed);
        pe.handling.set(|_| Finish::complete());
    }

    /// Turns the PE on and waits until it is ready for work.
    pub fn turn_on(&'static self) -> Outcome {
        self.begin()?;
        self.await_ready()
    }

    /// CPU_ON to where it gets ready for work.
    pub fn begin(&'static self) -> Outcome {
        let context: *const Self = self;
        let answer = psci::cpu_on(self.mpidr(), Code::Secondary.address(), context as u64);
        equal("CPU_ON", answer, psci::SUCCESS)
    }

    /// Waits until the PE says that it is ready for work.
    pub fn await_ready(&self) -> Outcome {
        wait("a PE that was turned on never ran", || {
            self.state.load(Acquire) == READY
        })
    }

    /// Gives the PE something to do.
    pub fn start(&'static self, job: Job, argument: u64) -> Outcome {
        check(
            "a PE that has to work is not ready",
            self.state.load(Acquire) == READY,
        )?;
        *self.work.lock() = Some((job, argument));
        self.state.store(BUSY, Release);
        Ok(())
    }

    /// Gives the PE, which is off, something to do as soon as it is turned on. [`finish`](Self::finish) waits for it.
    pub fn prepare(&'static self, job: Job, argument: u64) {
        *self.work.lock() = Some((job, argument));
    }

    /// Waits for the end of what [`start`](Self::start) started, and hands on its result.
    #[track_caller]
    pub fn finish(&self) -> Outcome {
        wait("a PE never finished its work", || {
            self.state.load(Acquire) == READY
        })?;
        *self.result.lock()
    }

    /// [`start`](Self::start) and [`finish`](Self::finish).
    #[track_caller]
    pub fn run(&'static self, job: Job, argument: u64) -> Outcome {
        self.start(job, argument)?;
        self.finish()
    }

    /// Has the PE turn itself off, and waits until the firmware says so.
    pub fn turn_off(&'static self) -> Outcome {
        self.start(
            |pe, _| {
                pe.gone();
                psci::cpu_off()
            },
            0,
        )?;
        self.await_off()
    }

    /// Waits until the firmware says that the PE is off.
    #[track_caller]
    pub fn await_off(&self) -> Outcome {
        wait("AFFINITY_INFO never said OFF", || {
            psci::affinity_info(self.mpidr(), 0) == psci::OFF
        })?;
        self.gone();
        Ok(())
    }

    /// Notes that the PE turns itself off.
    pub fn gone(&self) {
        self.state.store(OFF, Release);
    }

    /// Whether the PE waits for work.
    pub fn is_ready(&self) -> bool {
        self.state.load(Acquire) == READY
    }

    /// Registers, enables and unmasks event 0 on this PE with this behaviour.
    #[track_caller]
    pub fn listen(&'static self, behaviour: Behaviour) -> Outcome {
        self.register(behaviour)?;
        equal("EVENT_ENABLE(0)", sdei::enable(0), 0)?;
        equal("PE_UNMASK", sdei::pe_unmask(), 0)
    }

    /// Registers event 0 on this PE with this behaviour.
    #[track_caller]
    pub fn register(&'static self, behaviour: Behaviour) -> Outcome {
        self.handling.set(behaviour);
        equal(
            "EVENT_REGISTER(0)",
            sdei::register(0, Code::Event.address(), self.handling_address()),
            0,
        )
    }

    /// The argument with which [`Code::Event`] is registered on this PE.
    pub fn handling_address(&self) -> u64 {
        let handling: *const Handling = &self.handling;
        handling as u64
    }

    /// Waits until this PE's handler was entered `count` times.
    #[track_caller]
    pub fn await_count(&self, count: u64) -> Outcome {
        wait("the handler was not entered", || {
            self.handling.count() >= count
        })?;
        equal("entries of the handler", self.handling.count(), count)
    }
}

/// Rust's end of `secondary_entry`.
pub extern "C" fn secondary_main(pe: &'static Pe) -> ! {
    arch::adopt(pe);
    gic::init_pe();
    if attack::is_active() {
        attack::start(pe);
    }
    work(pe)
}

/// Makes this PE the one at `index`: the one that booted, or one that was away.
pub fn adopt(index: usize) {
    arch::adopt(Pe::at(index));
    gic::init_pe();
}

fn work(pe: &'static Pe) -> ! {
    loop {
        let work = pe.work.lock().take();
        if let Some((job, argument)) = work {
            let result = job(pe, argument);
            *pe.result.lock() = result;
        }
        pe.state.store(READY, Release);
        while pe.state.load(Acquire) != BUSY {
            arch::relax();
        }
    }
}

/// Rust's part of `event_entry`.
pub extern "C" fn handle_event(handling: &'static Handling) -> Finish {
    let (elr, spsr) = arch::exception_registers();
    handling.elr.store(elr, Relaxed);
    handling.spsr.store(spsr, Relaxed);
    handling
        .daif
        .store(arm_sysregs::el0::accessors::read_daif().bits(), Relaxed);
    handling.pstate.store(arch::readable_pstate().1, Relaxed);
    let behaviour = handling.behaviour.load(Acquire);
    // SAFETY: `change` is the only writer, and stores a `Behaviour` before the event can be enabled.
    let behaviour: Behaviour = unsafe { core::mem::transmute::<usize, Behaviour>(behaviour) };
    let finish = behaviour(Pe::at(handling.index.load(Relaxed)));
    handling.count.fetch_add(1, AcqRel);
    finish
}

/// A call that ends a handler has returned.
pub extern "C" fn completion_refused(answer: i64) -> ! {
    panic!("the call that ends a handler returned {answer}");
}

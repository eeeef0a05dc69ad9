//! Attacks that worked once, each as a test: what they relied on may not come back.

use super::perform::EC_ILLEGAL;
use super::{state, writes};
use crate::arch::{self, Code, DAIF, Registers};
use crate::check::{Outcome, check, equal, fail, wait};
use crate::event::{self, SHARED};
use crate::line::Line;
use crate::machine::Machine;
use crate::pe::{self, Behaviour, Finish, Pe};
use crate::tests::bound::lowering;
use crate::tests::interrupted::{Place, Spin};
use crate::tests::shared::bind_first;
use crate::tests::{Env, tests};
use crate::{gic, psci, sdei};
use arm_sysregs::el1::accessors::read_id_aa64pfr0_el1;
use core::sync::atomic::{AtomicU64, Ordering::*};
use smccc::psci as id;

tests! { "attack":
    2 illegal_return_to_el1,
    2 illegal_return_to_aarch32,
    2 resume_over_an_illegal_return,
    3 sgis_made_active,
    3 waker_written_by_others,
    2 shared_event_of_a_pe_that_goes_off,
}

/// HCR_EL2.TGE: there is no EL1 to return to.
const TGE: u64 = 1 << 27;
/// HCR_EL2.RW: EL1 is AArch64.
const RW: u64 = 1 << 31;

unsafe extern "C" {
    fn spin_aarch32_hvc();
}

/// Changes the bits `words[1]` of HCR_EL2 if it has interrupted EL1, and says in `words[0]` that it did.
fn spoil(pe: &'static Pe) -> bool {
    let mode = pe.handling.x(3) & 0x1f;
    let is_el1 = matches!(mode, 0b00101 | 0b10011);
    if is_el1 {
        state::set_hcr(state::hcr() ^ pe.words[1].load(Acquire));
        pe.words[0].store(1, Release);
    }
    is_el1
}

/// Signals a PE that is about to be at EL1 until its handler has interrupted that.
fn spoil_from_here(pe: &'static Pe) -> Outcome {
    wait("EL1 was never interrupted", || {
        let before = pe.handling.count();
        sdei::signal(pe.mpidr());
        wait("the handler was not entered", || {
            pe.handling.count() > before
        })
        .is_ok()
            && pe.words[0].load(Acquire) == 1
    })
}

/// Has the first other PE spin at EL1, and its handler change `bits` before it ends as `behaviour` does; then the PE works on.
fn illegal(env: &'static Env, job: pe::Job, bits: &[u64], behaviour: Behaviour) -> Outcome {
    if arch::el() == 1 {
        return Ok(());
    }
    let pe = env.other(0)?;
    for &bits in bits {
        pe.run(|pe, _| pe.listen(|_| Finish::complete()), 0)?;
        pe.words[0].store(0, Release);
        pe.words[1].store(bits, Release);
        pe.leave.store(0, Release);
        pe.handling.set(behaviour);
        pe.start(job, 0)?;
        spoil_from_here(pe)?;
        pe.finish()?;
        pe.handling.set(|_| Finish::complete());
        equal("SIGNAL", sdei::signal(pe.mpidr()), 0)?;
        pe.await_count(1)?;
        pe.run(
            |_, _| {
                check("interrupts arrive", gic::interrupts_work())?;
                equal("PE_MASK", sdei::pe_mask(), 1)?;
                equal("PRIVATE_RESET", sdei::private_reset(), 0)
            },
            0,
        )?;
    }
    Ok(())
}

fn complete(pe: &'static Pe) -> Finish {
    spoil(pe);
    Finish::complete()
}

fn complete_failed(pe: &'static Pe) -> Finish {
    spoil(pe);
    Finish::complete_failed()
}

/// The exception that hardware takes after an illegal return, to the client's EL, where the interrupted code was.
fn is_illegal(registers: &Registers) -> Outcome {
    equal("how EL1 ended", registers.class(), EC_ILLEGAL)
}

/// Spins at EL1 under this EL until a handler has ended that, however. HCR_EL2 is as before then.
fn spin_at_el1(pe: &'static Pe) -> Spin {
    let hcr = state::hcr();
    let mut spin = Spin::new(pe, Place::Guest, DAIF);
    spin.run();
    state::set_hcr(hcr);
    spin
}

/// What spun has its registers, and was interrupted there; it may not have been in its loop yet.
fn is_unharmed(spin: &Spin) -> Outcome {
    check("the interrupted PC", in_spin(spin.registers.pc))?;
    spin.check_registers(0..0)
}

fn illegal_return_to_el1(env: &'static Env) -> Outcome {
    for behaviour in [complete as Behaviour, complete_failed] {
        illegal(
            env,
            |pe, _| {
                let spin = spin_at_el1(pe);
                is_illegal(&spin.registers)?;
                is_unharmed(&spin)
            },
            &[TGE, RW, TGE | RW],
            behaviour,
        )?;
    }
    Ok(())
}

fn illegal_return_to_aarch32(env: &'static Env) -> Outcome {
    if read_id_aa64pfr0_el1().el1() != 2 {
        return Ok(());
    }
    illegal(
        env,
        |pe, _| {
            let hcr = state::hcr();
            let start = spin_aarch32_hvc as *const () as u64;
            let mut registers = Registers::pattern(start);
            registers.pstate = 0x13 | 0b111 << 6;
            registers.x[1] = pe.leave.as_ptr() as u64;
            arch::set_aarch32_guest(true);
            // SAFETY: The code ends with HVC, or before it.
            unsafe { arch::enter(&mut registers) };
            state::set_hcr(hcr);
            is_illegal(&registers)?;
            let pc = registers.pc.wrapping_sub(start);
            check("the interrupted PC is in the loop", pc <= 16)
        },
        &[RW, TGE],
        complete,
    )
}

/// COMPLETE_AND_RESUME goes to the client's EL, which is always there.
fn resume_over_an_illegal_return(env: &'static Env) -> Outcome {
    illegal(
        env,
        |pe, _| is_unharmed(&spin_at_el1(pe)),
        &[TGE, RW, TGE | RW],
        |pe| {
            if spoil(pe) {
                Finish::resume(Code::Leave.address())
            } else {
                Finish::complete()
            }
        },
    )
}

/// Whether this PC is in the code that spins at EL1.
fn in_spin(pc: u64) -> bool {
    pc.wrapping_sub(Code::SpinThenHvc.address()) < 20
}

/// How often a PE goes off and on while another attacks it.
const ROUNDS: u64 = 200;

/// The first other PE goes off and on while the second does `hammer` to it.
fn off_and_on_under(env: &'static Env, hammer: pe::Job, works: bool) -> Outcome {
    writes::init();
    let (target, attacker) = (env.other(0)?, env.other(1)?);
    attacker.leave.store(0, Release);
    attacker.start(hammer, target.index() as u64)?;
    for _ in 0..ROUNDS {
        target.turn_off()?;
        target.turn_on()?;
        if works {
            target.run(|pe, _| pe.listen(|_| Finish::complete()), 0)?;
            equal("SIGNAL", sdei::signal(target.mpidr()), 0)?;
            target.await_count(1)?;
        }
    }
    attacker.leave.store(1, Release);
    attacker.finish()?;
    target.run(
        |pe, _| {
            sdei::pe_mask();
            equal("PRIVATE_RESET", sdei::private_reset(), 0)?;
            writes::restore_redistributor(pe.index());
            gic::init_pe();
            check("interrupts arrive", gic::interrupts_work())?;
            pe.listen(|_| Finish::complete())
        },
        0,
    )?;
    equal("SIGNAL", sdei::signal(target.mpidr()), 0)?;
    target.await_count(1)
}

/// EL3's SGIs of a PE are made active while it comes on.
fn sgis_made_active(env: &'static Env) -> Outcome {
    off_and_on_under(
        env,
        |pe, target| {
            let mut round = 0_u64;
            while pe.leave.load(Acquire) == 0 {
                writes::make_active(target as usize, 1 << 8 | 1 << 9 | 1 << 29);
                round += 1;
                if round.is_multiple_of(64) {
                    arch::relax();
                }
            }
            Ok(())
        },
        true,
    )
}

/// A PE's redistributor is told to sleep, and not to, while the PE comes on.
fn waker_written_by_others(env: &'static Env) -> Outcome {
    off_and_on_under(
        env,
        |pe, target| {
            let mut round = 0_u64;
            while pe.leave.load(Acquire) == 0 {
                round += 1;
                writes::waker(
                    target as usize,
                    if round.is_multiple_of(8) { 0 } else { 1 << 1 },
                );
                if round.is_multiple_of(64) {
                    arch::relax();
                }
            }
            writes::waker(target as usize, 0);
            Ok(())
        },
        false,
    )
}

/// Where the PE that goes off left its stack pointer.
static CELL: AtomicU64 = AtomicU64::new(0);

/// The only PE that is on registers a shared event that may go to any PE, turns another one on, and goes off before that has
/// come on: the event is the other one's.
fn shared_event_of_a_pe_that_goes_off(env: &'static Env) -> Outcome {
    let me = env.me();
    let Some(other) = env.others().next() else {
        return fail("no other PE");
    };
    for _ in 0..3 {
        bind_first(Line::Rtc, false)?;
        event::listen(SHARED, lowering(Line::Rtc))?;
        other.prepare(
            |_, boot| {
                let boot = Pe::at(boot as usize);
                wait("the first PE goes off", || {
                    psci::affinity_info(boot.mpidr(), 0) == psci::OFF
                })?;
                equal("PE_UNMASK", sdei::pe_unmask(), 0)?;
                Line::Rtc.raise();
                let end = arch::counter() + arch::counter_frequency();
                while event::count(SHARED, boot) == 0 && arch::counter() < end {
                    arch::relax();
                }
                Line::Rtc.lower();
                let cell = CELL.as_ptr() as u64;
                let answer = psci::cpu_on(boot.mpidr(), Code::ComeBack.address(), cell);
                equal("CPU_ON", answer, psci::SUCCESS)
            },
            Machine::get().boot as u64,
        );
        other.begin()?;
        let answer = arch::go_away(id::PSCI_CPU_OFF, [0; 3], &CELL);
        equal("CPU_OFF", answer, arch::RESUMED)?;
        pe::adopt(me.index());
        other.await_ready()?;
        other.finish()?;
        equal(
            "entries of the shared event's handler",
            event::count(SHARED, me),
            1,
        )?;
        equal("DISABLE", sdei::disable(SHARED), 0)?;
        equal("UNREGISTER", sdei::unregister(SHARED), 0)?;
        equal("RELEASE", event::release(SHARED), 0)?;
        other.turn_off()?;
    }
    Ok(())
}

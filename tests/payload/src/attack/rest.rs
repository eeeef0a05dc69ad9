//! The end of the attack: everything is brought to rest, and then everything works.

use super::watch::{Kind, patience, poke};
use super::{ACTIVE, Fuzzer, MADE, lines, state, writes};
use crate::arch::{self, Code, relax};
use crate::check::{Outcome, check, equal};
use crate::machine::Machine;
use crate::pe::{Finish, Pe};
use crate::{gic, psci, say, sdei};
use arm_gic::InterruptGroup;
use arm_gic::gicv3::GicCpuInterface;
use core::sync::atomic::{AtomicBool, Ordering::*};

/// The PE that booted has come to the end.
static ARRIVED: AtomicBool = AtomicBool::new(false);

/// A PE has come to the end. The one that booted goes on from here; the others wait for work.
pub fn come(fuzzer: &'static Fuzzer, pe: &'static Pe) {
    state::reset();
    arch::set_sctlr_entry(arch::SCTLR_SPAN);
    fuzzer.note(Kind::End, 0, &[]);
    if pe.index() != Machine::get().boot {
        call_boot_pe(fuzzer);
        if let Err(why) = quiet(pe) {
            say!("PE {}: {why}", pe.index());
            fuzzer.fail("a PE did not come to rest", pe.index() as u64);
        }
        return;
    }
    ARRIVED.store(true, Release);
    await_others(fuzzer);
    ACTIVE.store(false, Release);
    match quiet(pe).and_then(|()| check_all(pe)) {
        Ok(()) => say!("ok attack.fuzz"),
        Err(why) => {
            say!("{why}");
            fuzzer.fail("after the attack something does not work", 0);
        }
    }
    say!("attack: {} calls made", MADE.load(Relaxed));
    say!("payload: 1 passed, 0 failed");
    psci::system_off()
}

/// Turns the PE that booted on, should it be off, until it has come to the end too.
fn call_boot_pe(fuzzer: &Fuzzer) {
    let boot = Pe::at(Machine::get().boot);
    let context: *const Pe = boot;
    let end = arch::counter() + patience();
    while !ARRIVED.load(Acquire) {
        psci::cpu_on(boot.mpidr(), Code::Secondary.address(), context as u64);
        poke(boot);
        if arch::counter() > end {
            fuzzer.fail("the PE that booted never comes to the end", 0);
        }
        relax();
    }
}

/// Waits until every other PE waits for work or is off, which is so once two looks in turn say so: after the first no PE is
/// left that turns others on.
fn await_others(fuzzer: &Fuzzer) {
    let machine = Machine::get();
    let end = arch::counter() + patience();
    let mut looks = 0;
    while looks < 2 {
        let mut all = true;
        for pe in (0..machine.pes).map(Pe::at) {
            let is_off = || psci::affinity_info(pe.mpidr(), 0) == psci::OFF;
            if pe.index() != machine.boot && !pe.is_ready() && !is_off() {
                all = false;
                poke(pe);
            }
        }
        looks = if all { looks + 1 } else { 0 };
        if arch::counter() > end {
            fuzzer.fail("a PE never comes to the end", 0);
        }
        relax();
    }
}

/// Gives up what this PE has of SDEI, and puts its part of the GIC right.
fn quiet(pe: &'static Pe) -> Outcome {
    sdei::pe_mask();
    lines::lower();
    lines::WAKE_UP.lower();
    equal("PRIVATE_RESET after the attack", sdei::private_reset(), 0)?;
    writes::restore_redistributor(pe.index());
    GicCpuInterface::get_and_acknowledge_interrupt(InterruptGroup::Group1)
        .into_iter()
        .for_each(|intid| GicCpuInterface::end_interrupt(intid, InterruptGroup::Group1));
    gic::init_pe();
    // What was acknowledged as non-maskable QEMU does not always take back at its end: an active priority of the Normal world's.
    state::clear_active_priorities();
    check("no interrupt is active after the attack", gic::idle())
}

/// Registers and enables event 0 on this PE, which a signal of its own and an interrupt reach.
fn listen(pe: &'static Pe, _: u64) -> Outcome {
    pe.listen(|_| Finish::complete())?;
    equal("SIGNAL to self", sdei::signal(pe.mpidr()), 0)?;
    pe.await_count(1)?;
    check("interrupts arrive", gic::interrupts_work())
}

/// Signals the PE at `target`.
fn signal(_: &'static Pe, target: u64) -> Outcome {
    let target = Pe::at(target as usize);
    let before = target.handling.count();
    equal("SIGNAL", sdei::signal(target.mpidr()), 0)?;
    target.await_count(before + 1)
}

fn check_all(me: &'static Pe) -> Outcome {
    equal("SHARED_RESET after the attack", sdei::shared_reset(), 0)?;
    psci::call32(smccc::psci::PSCI_MEM_PROTECT, 0, 0, 0);
    writes::restore_distributor();
    listen(me, 0)?;
    let others = || {
        (0..Machine::get().pes)
            .map(Pe::at)
            .filter(|pe| pe.index() != me.index())
    };
    for pe in others().filter(|pe| !pe.is_ready()) {
        pe.gone();
        pe.turn_on()?;
    }
    for round in 0..2 {
        for pe in others() {
            pe.run(listen, 0)?;
            signal(me, pe.index() as u64)?;
            pe.run(signal, me.index() as u64)?;
            if round == 0 {
                pe.turn_off()?;
                pe.turn_on()?;
            }
        }
    }
    Ok(())
}

//! `stage=reset`: SYSTEM_RESET in the ways a kernel gets there, the last boot ending with SYSTEM_OFF in a handler.
//!
//! `stage=protect`: MEM_PROTECT over a SYSTEM_RESET.
//!
//! Which boot this is stands in memory that the payload never clears and QEMU keeps over a reset.

use crate::check::{Outcome, check, equal, fail, wait};
use crate::event::{TIMER, arm_timer};
use crate::machine::Machine;
use crate::pe::{Finish, Job, Pe};
use crate::tests::Env;
use crate::tests::linux::{event_0_row, on_each, probe_row};
use crate::{arch, gic, psci, say, sdei};
use core::arch::asm;
use core::sync::atomic::{AtomicU64, Ordering::*};
use dtoolkit::fdt::Fdt;
use dtoolkit::{Node, Property};

/// What lives through a reset.
#[repr(C)]
struct Survivor {
    magic: AtomicU64,
    boots: AtomicU64,
    passed: AtomicU64,
    failed: AtomicU64,
}

const MAGIC: u64 = u64::from_le_bytes(*b"survivor");

unsafe extern "C" {
    #[link_name = "_survivor"]
    static SURVIVOR: Survivor;
}

/// Something that ends the machine's run.
type Way = fn(&'static Env) -> Outcome;

/// The name of what brought this boot about, and what brings about the next; the first comes from power-on.
const WAYS: [(&str, Way); 6] = [
    ("power_on", plain),
    ("plain", after_kernels_shutdown),
    ("after_kernels_shutdown", from_another_pe),
    ("from_another_pe", in_a_handler),
    ("in_a_handler", with_parked_pes),
    ("with_parked_pes", off_in_a_handler),
];

/// One boot of several.
pub fn run(machine: &'static Machine) {
    // SAFETY: The linker script keeps a page for it, which nothing else uses, and any bits are valid atomics.
    let survivor = unsafe { &SURVIVOR };
    if survivor.magic.swap(MAGIC, Relaxed) != MAGIC {
        survivor.boots.store(0, Relaxed);
        survivor.passed.store(0, Relaxed);
        survivor.failed.store(0, Relaxed);
    }
    let boot = survivor.boots.fetch_add(1, Relaxed) as usize;
    let Some((name, next)) = WAYS.get(boot) else {
        return;
    };
    say!("run reset.{name}");
    let env = Env::new(machine);
    match whole(env).and_then(|()| nothing_believed(machine, boot)) {
        Ok(()) => {
            say!("ok reset.{name}");
            survivor.passed.fetch_add(1, Relaxed);
        }
        Err(why) => {
            say!("not ok reset.{name}: {why}");
            survivor.failed.fetch_add(1, Relaxed);
        }
    }
    if boot == WAYS.len() - 1 {
        say!(
            "payload: {} passed, {} failed",
            survivor.passed.load(Relaxed),
            survivor.failed.load(Relaxed)
        );
        survivor.magic.store(0, Relaxed);
    }
    // SAFETY: Cleans one line to memory, where it survives the caches being turned off.
    unsafe { asm!("dc civac, {}", "dsb sy", in(reg) &raw const SURVIVOR, options(nostack)) };
    if let Err(why) = forge(machine).and_then(|()| next(env)) {
        say!("not ok reset.{name}: {why}");
    }
    say!("payload: the machine went on after what should have ended it");
}

/// Memory that is protected is cleared by the next boot, which MEM_PROTECT's answer says that it is.
pub fn protect(machine: &'static Machine) {
    const MARK: u64 = u64::from_le_bytes(*b"a secret");
    let ram = machine.ram.clone();
    let size = ram.end - ram.start;
    let places = [size / 2, size / 3 * 2, size - 4096, size - 8].map(|at| {
        // SAFETY: RAM, 8-byte aligned, that this image is far below of; any bits are valid atomics.
        unsafe { &*((ram.start + (at & !7)) as *const AtomicU64) }
    });
    if psci::mem_protect(true) == 0 {
        for place in places {
            place.store(MARK, Relaxed);
            // SAFETY: Cleans one line to memory, where it survives the caches being turned off.
            unsafe { asm!("dc civac, {}", "dsb sy", in(reg) place, options(nostack)) };
        }
        psci::system_reset();
    }
    say!("run reset.protect");
    let all = || {
        for place in places {
            equal("what was protected", place.load(Relaxed), 0)?;
        }
        equal("MEM_PROTECT off", psci::mem_protect(false), 1)
    };
    match all() {
        Ok(()) => {
            say!("ok reset.protect");
            say!("payload: 1 passed, 0 failed");
        }
        Err(why) => {
            say!("not ok reset.protect: {why}");
            say!("payload: 0 passed, 1 failed");
        }
    }
}

/// After a reset everything is as after power-on.
fn whole(env: &'static Env) -> Outcome {
    equal("the first PE_MASK", env.first_mask, 0)?;
    equal("STATUS", sdei::status(0), 0)?;
    for pe in env.others() {
        equal(
            "AFFINITY_INFO",
            psci::affinity_info(pe.mpidr(), 0),
            psci::OFF,
        )?;
    }
    env.all_on()?;
    probe_row(env)?;
    event_0_row(env)?;
    for index in 0..env.machine.pes {
        let pe = Pe::at(index);
        equal("SIGNAL", sdei::signal(pe.mpidr()), 0)?;
        pe.await_count(1)?;
    }
    on_each(env, |_, _| {
        check("interrupts arrive", gic::interrupts_work())
    })
}

/// Where the firmware would find it after the reset, leaves a device tree that has EL3 crash, arm its Secure timer for
/// anyone, and clear addresses at which there is no RAM: EL3 must not take the Normal world's word for any of it.
fn forge(machine: &'static Machine) -> Outcome {
    /// What the harness has EL3 ignore, and what it must not ignore before the Normal world has run.
    const NAMES: [&[u8]; 2] = [b"bl31,later\0", b"bl31,crash\0"];
    /// A range of RAM of this size ends behind all there is.
    const HUGE: u64 = 1 << 40;
    let Some(place) = machine.board.forged_tree else {
        return Ok(());
    };
    // SAFETY: RAM that nothing else uses; the tree may be there already.
    unsafe { core::ptr::copy(machine.tree.as_ptr(), place as *mut u8, machine.tree.len()) };
    // SAFETY: As above.
    let forged = unsafe { core::slice::from_raw_parts_mut(place as *mut u8, machine.tree.len()) };
    let [old, new] = NAMES;
    if let Some(at) = forged.windows(old.len()).position(|bytes| bytes == old) {
        forged[at..][..new.len()].copy_from_slice(new);
    }
    check(
        "the tree has an option that crashes",
        forged.windows(new.len()).any(|bytes| bytes == new),
    )?;
    // The last two cells of the memory node's `reg`.
    let tree = Fdt::new(machine.tree).map_err(|_| ()).ok();
    let memory = tree.and_then(|tree| tree.find_node("/memory"));
    let reg = memory.and_then(|memory| memory.property("reg"));
    let Some(reg) = reg else {
        return fail("the tree has no memory");
    };
    let end = reg.value().as_ptr_range().end as usize - machine.tree.as_ptr() as usize;
    forged[end - 8..end].copy_from_slice(&HUGE.to_be_bytes());
    for line in forged.chunks(64) {
        // SAFETY: Cleans one line to memory, where it survives the caches being turned off.
        unsafe { asm!("dc civac, {}", "dsb sy", in(reg) line.as_ptr(), options(nostack)) };
    }
    psci::mem_protect(true);
    Ok(())
}

/// What [`forge`] left is not what EL3 goes by.
fn nothing_believed(machine: &'static Machine, boot: usize) -> Outcome {
    if machine.board.forged_tree.is_none() || boot == 0 {
        return Ok(());
    }
    check("EL3's timer is not offered", arm_timer(TIMER, 0) != 0)?;
    check("RAM that there is not", machine.ram.end <= 0xff00_0000)
}

/// With everything registered, enabled and running.
fn plain(_: &'static Env) -> Outcome {
    psci::system_reset()
}

fn after_kernels_shutdown(env: &'static Env) -> Outcome {
    on_each(env, |_, _| {
        equal("UNREGISTER", sdei::unregister(0), 0)?;
        equal("PE_MASK", sdei::pe_mask(), 1)
    })?;
    on_each(env, |_, _| equal("PRIVATE_RESET", sdei::private_reset(), 0))?;
    equal("SHARED_RESET", sdei::shared_reset(), 0)?;
    on_each(env, |_, _| equal("PE_MASK once more", sdei::pe_mask(), 0))?;
    psci::system_reset()
}

/// The last of the PEs; the one that boots if there is no other.
fn last(env: &'static Env) -> &'static Pe {
    env.others().last().unwrap_or(env.me())
}

/// Runs `job`, which ends the machine, on the last PE.
fn end(env: &'static Env, job: Job) -> Outcome {
    if last(env).index() == env.machine.boot {
        return job(last(env), 0);
    }
    last(env).start(job, 0)?;
    wait("the end of the machine", || false)
}

fn from_another_pe(env: &'static Env) -> Outcome {
    end(env, |_, _| psci::system_reset())
}

/// As a watchdog's driver does: signals everyone in a handler, then resets.
fn in_a_handler(env: &'static Env) -> Outcome {
    last(env).handling.change(|_| {
        for index in 0..Machine::get().pes {
            sdei::signal(Pe::at(index).mpidr());
        }
        psci::system_reset()
    });
    equal("SIGNAL", sdei::signal(last(env).mpidr()), 0)?;
    wait("the end of the machine", || false)
}

fn with_parked_pes(env: &'static Env) -> Outcome {
    for pe in env.others() {
        pe.words[0].store(0, Release);
        pe.handling.change(|pe| {
            pe.words[0].store(1, Release);
            loop {
                arch::wfi();
            }
        });
        equal("SIGNAL", sdei::signal(pe.mpidr()), 0)?;
        wait("the PE that parks", || pe.words[0].load(Acquire) == 1)?;
    }
    psci::system_reset()
}

fn off_in_a_handler(env: &'static Env) -> Outcome {
    last(env)
        .handling
        .change(|_| -> Finish { psci::system_off() });
    equal("SIGNAL", sdei::signal(last(env).mpidr()), 0)?;
    wait("the end of the machine", || false)
}

//! BL31: the EL3 runtime firmware. It boots the machine into the Normal world,
//! stays behind, and answers: SDEI (Arm DEN0054), PSCI (DEN0022), SMCCC (DEN0028).
//!
//! The way of a call: [`vectors`] stores the registers and calls [`smc`], which
//! finds the service; the way of an interrupt: [`vectors`], [`interrupt`]. What
//! a board is, is in the crate `platform`; what the services decide, in `sdei`
//! and `psci`.

#![no_std]
#![no_main]

mod arch;
mod availability;
mod crash;
mod entry;
mod features;
mod handover;
mod interrupt;
mod memory;
mod mmu;
mod pe;
mod power;
mod queries;
mod secure_timer;
mod services;
mod smc;
mod trap;
mod trng;
mod vectors;
mod workarounds;

use core::sync::atomic::Ordering;

use aarch64_cpu::asm::{barrier, sev};
use aarch64_cpu::registers::{MPIDR_EL1, Readable};
use arm_sysregs::el0::accessors::write_cntfrq_el0;
use arm_sysregs::el0::registers::CntfrqEl0;
use log::{LevelFilter, info};
use platform::{Bl33, BootError, Platform, board::Board, console::Text};
use psci::{Entry, ExecutionState};

use mmu::Map;
use pe::{PeData, slot_state};
use services::PSCI;

/// The log level if the board's options don't say, set when the image is built.
fn default_log_level() -> LevelFilter {
    option_env!("BL31_LOG")
        .and_then(platform::console::log_level_named)
        .unwrap_or(LevelFilter::Info)
}

/// The PE that boots, on the boot stack, with the MMU still off.
extern "C" fn boot_main() -> ! {
    // SAFETY: the first thing that is done, once, with the caches off.
    unsafe { Board::prepare() };
    // SAFETY: before anything that needs memory as Rust knows it, once, on the
    // boot stack.
    let mut map = unsafe { mmu::turn_on() };
    Board::consoles().enable(Board::UART_CLOCK_HZ);
    log::set_max_level(default_log_level());
    // The only logger there is: this can't fail.
    let _ = log::set_logger(Board::consoles());

    match boot(&mut map) {
        Ok(bl33) => enter(map, &bl33),
        Err(error) => {
            // Not a matter of the log level: there is nothing else to see.
            Board::consoles().write(format_args!("bl31: cannot boot: {error}\n"));
            crash::stop()
        }
    }
}

/// Finds out what machine this is, lets the other PEs go, and loads what is to
/// run in the Normal world.
#[cold]
fn boot(map: &mut Map) -> Result<Bl33, BootError> {
    // SAFETY: the map has the board's devices, and this is done once, before
    // any other PE runs.
    let options = unsafe { Board::discover(map) }?;
    if let Some(level) = options.log_level {
        log::set_max_level(level);
    }
    if let Some(crash) = options.crash {
        crash::provoke(crash);
    }
    if options.test_timer {
        secure_timer::offer();
    }
    let pes = Board::pe_count();
    info!(
        "version {} on {}, {pes} PE{}; SDEI {}.{}, PSCI {}.{}, SMCCC {}.{}",
        Text(env!("CARGO_PKG_VERSION")),
        Text(Board::NAME),
        Text(if pes == 1 { "" } else { "s" }),
        sdei::call::VERSION_MAJOR,
        sdei::call::VERSION_MINOR,
        u64::from(psci::VERSION >> 16),
        u64::from(psci::VERSION & 0xffff),
        u64::from(smc::SMCCC_VERSION >> 16),
        u64::from(smc::SMCCC_VERSION & 0xffff),
    );
    map.slots(pes);
    for (index, owner) in entry::SLOT_OWNERS.iter().enumerate().take(pes) {
        owner.store(Board::pe_affinity(index), Ordering::Relaxed);
        // SAFETY: just mapped, and its PE does not run yet.
        unsafe { slot_state(index).write(PeData::new(index)) };
    }
    entry::SLOT_COUNT.store(pes, Ordering::Relaxed);
    // Tables and slots can be seen before the gate is found open. Those who find
    // it so have their caches on when they look.
    barrier::dsb(barrier::SY);
    Board::release();
    // It is open before whoever this wakes looks again and sleeps on.
    barrier::dsb(barrier::SY);
    sev();
    // SAFETY: after `discover`, and once.
    unsafe { Board::load_bl33(map) }
}

/// Enters the Normal world on the PE that boots.
#[cold]
fn enter(map: Map, bl33: &Bl33) -> ! {
    let index = Board::pe_index(MPIDR_EL1.get()).unwrap_or_default();
    let slot = slot_state(index);
    // SAFETY: `boot` has filled the slot, and it is this PE's alone.
    let pe = unsafe { &mut *slot };
    open_pe();
    PSCI.boot(index);
    power::start(
        pe,
        &Entry {
            address: bl33.entry,
            context: bl33.device_tree,
            state: ExecutionState::AArch64,
            big_endian: false,
        },
    );
    info!(
        "starting {} at {:#x} in EL{}, device tree at {:#x}",
        Text(bl33.what),
        bl33.entry,
        sdei_aarch64::client_el() as u64,
        bl33.device_tree,
    );
    Board::consoles().hand_over();
    map.finish();
    // SAFETY: the slot is filled, for the EL that `start` set.
    unsafe { vectors::enter_normal_world(slot) }
}

/// Every PE but the one that boots, on its slot with the MMU on, out of a reset;
/// and each that was powered down since. Returns into the Normal world once
/// another PE has turned it on, or where it was suspended.
extern "C" fn secondary_main(slot: *mut PeData) -> ! {
    open_pe();
    // SAFETY: `boot` has filled the slot, and it is this PE's alone: it has its
    // index.
    let pe = unsafe { &mut *slot };
    power::reset(pe);
    // SAFETY: the slot is filled, for the EL that the PE's entry set.
    unsafe { vectors::enter_normal_world(slot) }
}

/// Brings the registers of EL3 that a PE loses when it goes down to what they
/// are for good.
fn open_pe() {
    features::open();
    if let Some(frequency) = Board::counter_frequency() {
        write_cntfrq_el0(CntfrqEl0::from_bits_retain(frequency));
    }
}

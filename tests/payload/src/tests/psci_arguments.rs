//! PSCI's arguments at their edges: each is refused with the error of the specification (DEN0022 5.1), or taken.

use super::smccc::{exact, only_x0, untouched};
use super::{Env, tests};
use crate::arch::{self, Code};
use crate::check::{Outcome, equal, fail};
use crate::pe::Pe;
use crate::psci::{
    self, ALREADY_ON, DENIED, INVALID_ADDRESS, INVALID_PARAMETERS, NOT_SUPPORTED, OFF, SUCCESS,
};
use core::sync::atomic::{AtomicU64, Ordering::*};
use smccc::psci as id;

tests! { "psci":
    1 every_function_id,
    2 first_and_last_instruction_of_memory,
    2 entry_points_at_every_edge,
    2 upper_halves_are_ignored,
    1 affinity_levels,
    1 power_states,
    1 mem_protect,
    1 mem_protect_check_range,
    1 system_resets_and_offs_of_no_type,
    1 nodes_and_statistics_of_nothing,
    1 suspend_modes,
}

/// SYSTEM_OFF2, which the crate `smccc` lacks.
const SYSTEM_OFF2_32: u32 = 0x8400_0015;
const SYSTEM_OFF2_64: u32 = 0xc400_0015;

/// What FEATURES says of a call that there is, and how the call refuses `arguments`; `None` for calls that can't
/// be refused.
type Function = (u32, i64, Option<([u64; 3], i64)>);

/// Every call that QEMU's `virt` offers, in one width.
const OFFERED: [Function; 21] = {
    const INVALID: i64 = INVALID_PARAMETERS;
    const NONE: u64 = 0xff_ffff;
    [
        (id::PSCI_VERSION, 0, None),
        (id::PSCI_CPU_SUSPEND_32, 3, Some(([1 << 31, 0, 0], INVALID))),
        (id::PSCI_CPU_OFF, 0, None),
        (id::PSCI_CPU_ON_32, 0, Some(([NONE, 0, 0], INVALID))),
        (id::PSCI_AFFINITY_INFO_32, 0, Some(([NONE, 0, 0], INVALID))),
        (id::PSCI_MIGRATE_INFO_TYPE, 0, None),
        (id::PSCI_SYSTEM_OFF, 0, None),
        (id::PSCI_SYSTEM_RESET, 0, None),
        (id::PSCI_FEATURES, 0, Some(([1, 0, 0], NOT_SUPPORTED))),
        (id::PSCI_CPU_FREEZE, 0, None),
        (
            id::PSCI_CPU_DEFAULT_SUSPEND_32,
            0,
            Some(([0; 3], INVALID_ADDRESS)),
        ),
        (id::PSCI_NODE_HW_STATE_32, 0, Some(([NONE, 0, 0], INVALID))),
        (
            id::PSCI_SYSTEM_SUSPEND_32,
            0,
            Some(([0; 3], INVALID_ADDRESS)),
        ),
        (id::PSCI_SET_SUSPEND_MODE, 0, Some(([2, 0, 0], INVALID))),
        (id::PSCI_STAT_RESIDENCY_32, 0, Some(([NONE, 1, 0], INVALID))),
        (id::PSCI_STAT_COUNT_32, 0, Some(([NONE, 1, 0], INVALID))),
        (id::PSCI_SYSTEM_RESET2_32, 0, Some(([1, 0, 0], INVALID))),
        (id::PSCI_MEM_PROTECT, 0, None),
        (
            id::PSCI_MEM_PROTECT_CHECK_RANGE_32,
            0,
            Some(([0; 3], DENIED)),
        ),
        (SYSTEM_OFF2_32, 1, Some(([2, 0, 0], INVALID))),
        (smccc::arch::SMCCC_VERSION, 0, None),
    ]
};

/// The function numbers of the calls that have an SMC64 form.
const WIDE: [u32; 11] = [1, 3, 4, 0xc, 0xd, 0xe, 0x10, 0x11, 0x12, 0x14, 0x15];

/// Checks that the call answers `answer`, an error in 64 bits whatever its convention, and touches no other register.
#[track_caller]
fn refused(function: u32, arguments: &[u64], answer: i64) -> Outcome {
    let after = exact(Code::SmcThenSvc, function.into(), arguments);
    equal("the answer", after.x[0], answer.cast_unsigned())?;
    untouched("a refused PSCI call", &after, arguments)
}

/// FEATURES and the call agree, for each of the range in both widths.
fn every_function_id(_: &'static Env) -> Outcome {
    for function in (0x8400_0000..=0x8400_001f).chain(0xc400_0000..=0xc400_001f) {
        let wide = function >> 30 & 1 == 1;
        let narrow = function & !(1 << 30);
        let offered = OFFERED
            .iter()
            .find(|row| row.0 == narrow && (!wide || WIDE.contains(&(function & 0x1f))));
        let features = psci::features(function);
        match offered {
            Some(&(_, flags, refusal)) => {
                equal("FEATURES", features, flags)?;
                if let Some((arguments, error)) = refusal {
                    refused(function, &arguments, error)?;
                }
            }
            None => {
                equal("FEATURES of no call", features, NOT_SUPPORTED)?;
                only_x0("no call", function.into(), u64::MAX)?;
            }
        }
    }
    equal(
        "FEATURES(SMCCC_VERSION)",
        psci::features(smccc::arch::SMCCC_VERSION),
        0,
    )
}

/// `br x0`: an entry point of one instruction that goes on to the context ID.
const BR_X0: u32 = 0xd61f_0000;

/// The PE that [`edge_entry`] is run by.
static STARTED: AtomicU64 = AtomicU64::new(0);

// Where the single instruction goes to: `secondary_entry` with the PE in x0.
core::arch::global_asm!(
    ".section .text.edge, \"ax\"",
    ".global edge_entry",
    "edge_entry:",
    "adrp x0, {started}",
    "add x0, x0, :lo12:{started}",
    "ldr x0, [x0]",
    "b secondary_entry",
    started = sym STARTED,
);

unsafe extern "C" {
    fn edge_entry();
}

/// A PE starts at the first word of RAM, and at the last.
fn first_and_last_instruction_of_memory(env: &'static Env) -> Outcome {
    let Some(pe) = env.others().next() else {
        return fail("too few PEs");
    };
    let context: *const Pe = pe;
    STARTED.store(context as u64, Release);
    for address in [env.machine.ram.start, env.machine.ram.end - 4] {
        let word = address as *mut u32;
        // SAFETY: RAM, mapped, aligned; nobody else uses it meanwhile and it gets its value back.
        let before = unsafe { word.read_volatile() };
        let patch = |value| {
            // SAFETY: As above; the cleaning makes it visible to a PE whose caches are off.
            unsafe {
                word.write_volatile(value);
                core::arch::asm!("dc cvac, {}", "dsb sy", in(reg) word, options(nostack));
            }
        };
        patch(BR_X0);
        let answer = psci::cpu_on(pe.mpidr(), address, edge_entry as *const () as u64);
        let outcome = equal("CPU_ON to an edge of RAM", answer, SUCCESS)
            .and_then(|()| pe.await_ready())
            .and_then(|()| pe.turn_off());
        patch(before);
        outcome?;
    }
    Ok(())
}

/// Addresses that no PE may enter: outside of Non-secure RAM, or no instruction's.
fn bad_entries(env: &Env) -> impl Iterator<Item = u64> {
    let ram = &env.machine.ram;
    let entry = Code::Secondary.address();
    [
        entry + 1,
        entry + 2,
        entry + 3,
        ram.start - 1,
        ram.start - 2,
        ram.start - 4,
        ram.end - 3,
        ram.end - 1,
        ram.end,
        ram.end + 4,
        0x40_1000_0000,
        entry | 1 << 40,
        entry | 1 << 52,
        entry | 1 << 63,
        u64::MAX - 3,
        u64::MAX,
    ]
    .into_iter()
    .chain(env.machine.board.not_ram.iter().copied())
}

fn entry_points_at_every_edge(env: &'static Env) -> Outcome {
    let Some(pe) = env.others().next() else {
        return fail("too few PEs");
    };
    let power_down = env.machine.power_down.unwrap_or(0).into();
    for bad in bad_entries(env) {
        refused(id::PSCI_CPU_ON_64, &[pe.mpidr(), bad, 0], INVALID_ADDRESS)?;
        refused(
            id::PSCI_CPU_SUSPEND_64,
            &[power_down, bad, 0],
            INVALID_ADDRESS,
        )?;
        refused(id::PSCI_CPU_DEFAULT_SUSPEND_64, &[bad, 0], INVALID_ADDRESS)?;
        refused(id::PSCI_SYSTEM_SUSPEND_64, &[bad, 0], INVALID_ADDRESS)?;
        if u32::try_from(bad).is_ok() {
            refused(id::PSCI_CPU_ON_32, &[pe.mpidr(), bad, 0], INVALID_ADDRESS)?;
            refused(
                id::PSCI_CPU_SUSPEND_32,
                &[power_down, bad, 0],
                INVALID_ADDRESS,
            )?;
            refused(id::PSCI_CPU_DEFAULT_SUSPEND_32, &[bad, 0], INVALID_ADDRESS)?;
            refused(id::PSCI_SYSTEM_SUSPEND_32, &[bad, 0], INVALID_ADDRESS)?;
        }
        equal("AFFINITY_INFO", psci::affinity_info(pe.mpidr(), 0), OFF)?;
    }
    Ok(())
}

/// SMC32 calls have 32 bits of each argument, and answer as many; 32-bit arguments of SMC64 calls, too.
fn upper_halves_are_ignored(env: &'static Env) -> Outcome {
    const JUNK: u64 = 0xdead_beef << 32;
    let own = env.me().mpidr();
    refused(id::PSCI_AFFINITY_INFO_32, &[own | JUNK, JUNK], 0)?;
    refused(
        id::PSCI_AFFINITY_INFO_64,
        &[own | JUNK, 0],
        INVALID_PARAMETERS,
    )?;
    refused(id::PSCI_AFFINITY_INFO_64, &[own, JUNK], 0)?;
    refused(
        id::PSCI_FEATURES,
        &[JUNK | u64::from(id::PSCI_CPU_ON_64)],
        0,
    )?;
    refused(id::PSCI_NODE_HW_STATE_32, &[own | JUNK, JUNK], 0)?;
    refused(
        id::PSCI_CPU_SUSPEND_64,
        &[JUNK | 1 << 31, 0, 0],
        INVALID_PARAMETERS,
    )?;
    refused(id::PSCI_MEM_PROTECT, &[JUNK], 0)?;
    refused(
        id::PSCI_SYSTEM_RESET2_64,
        &[JUNK | 1, 0],
        INVALID_PARAMETERS,
    )?;
    let Some(pe) = env.others().next() else {
        return fail("too few PEs");
    };
    let context: *const Pe = pe;
    let arguments = [pe.mpidr(), Code::Secondary.address(), context as u64];
    if arguments
        .iter()
        .any(|&argument| u32::try_from(argument).is_err())
    {
        return fail("the payload is beyond what an SMC32 call can name");
    }
    refused(
        id::PSCI_CPU_ON_32,
        &arguments.map(|argument| argument | JUNK),
        0,
    )?;
    pe.await_ready()?;
    equal(
        "x0, the context ID",
        pe.entry_x[0].load(Acquire),
        context as u64,
    )
}

/// Whatever is below the level does not matter; what is in it or above it, and reserved bits, does.
fn affinity_levels(env: &'static Env) -> Outcome {
    let own = env.me().mpidr();
    let masks = [0, 0xff, 0xffff, 0xff_ffff];
    for (level, mask) in (0..).zip(masks) {
        refused(id::PSCI_AFFINITY_INFO_64, &[own | mask, level], 0)?;
        for bit in (24..32).chain(40..64) {
            let target = own | 1 << bit;
            refused(
                id::PSCI_AFFINITY_INFO_64,
                &[target, level],
                INVALID_PARAMETERS,
            )?;
        }
        let elsewhere = own | 0xff << 32;
        refused(
            id::PSCI_AFFINITY_INFO_64,
            &[elsewhere, level],
            INVALID_PARAMETERS,
        )?;
    }
    refused(
        id::PSCI_AFFINITY_INFO_64,
        &[own | 0xff << 8, 1],
        INVALID_PARAMETERS,
    )?;
    refused(
        id::PSCI_AFFINITY_INFO_64,
        &[own | 0xff << 16, 2],
        INVALID_PARAMETERS,
    )?;
    for level in 0..3 {
        refused(id::PSCI_AFFINITY_INFO_32, &[own, level], 0)?;
    }
    // There is no Aff3 for SMC32.
    for level in [3, 4, 1 << 31, 0xffff_ffff] {
        refused(id::PSCI_AFFINITY_INFO_32, &[own, level], INVALID_PARAMETERS)?;
    }
    refused(id::PSCI_AFFINITY_INFO_64, &[own, 4], INVALID_PARAMETERS)
}

/// Reserved bits, states that there are not, states of the other kind.
fn power_states(_: &'static Env) -> Outcome {
    let entry = Code::Secondary.address();
    let standby = 1;
    let bits = (26..30).chain([31]).map(|bit| standby | 1 << bit);
    let bits = bits.chain((26..30).chain([31]).map(|bit| 0x4000_0002 | 1 << bit));
    let states = [
        0,
        2,
        0x11,
        0x22,
        0x222,
        0x0003_0000,
        0x3001,
        0xf001,
        0x1_0001,
        0x4000_0000,
        0x4000_0001,
        0x4000_0003,
        0x4000_0012,
        0x4000_0020,
        0x4000_0122,
        0x4000_0200,
        0x4000_0202,
        0x4000_1222 | 0xf000,
        0x4000_2222 | 1 << 16,
        0x7fff_ffff,
        0xffff_ffff,
    ];
    for state in bits.chain(states) {
        refused(
            id::PSCI_CPU_SUSPEND_64,
            &[state, entry, 0],
            INVALID_PARAMETERS,
        )?;
        refused(
            id::PSCI_CPU_SUSPEND_32,
            &[state, entry, 0],
            INVALID_PARAMETERS,
        )?;
    }
    Ok(())
}

/// It answers what it was, and anything but 0 turns it on.
fn mem_protect(_: &'static Env) -> Outcome {
    let mut before = 0;
    for wanted in [0, 0, 1, 1, 0, 2, 0x8000_0000, 0xffff_ffff, 0, 0] {
        refused(id::PSCI_MEM_PROTECT, &[wanted], before)?;
        before = (wanted != 0).into();
    }
    Ok(())
}

fn mem_protect_check_range(env: &'static Env) -> Outcome {
    let (start, end) = (env.machine.ram.start, env.machine.ram.end);
    let size = end - start;
    let good = [
        (start, 1),
        (start, size),
        (start + 1, size - 1),
        (end - 1, 1),
        (end - 4, 4),
    ];
    let bad = [
        (start, 0),
        (end, 0),
        (0, 0),
        (start - 1, 1),
        (start - 1, 2),
        (start, size + 1),
        (end - 1, 2),
        (end, 1),
        (0, 1),
        (0, end),
        (env.machine.board.uart as u64, 4),
        (env.machine.board.el3.start, 0x1000),
        (env.machine.board.el3.end - 1, 1),
    ];
    for (base, length) in good {
        refused(
            id::PSCI_MEM_PROTECT_CHECK_RANGE_64,
            &[base, length],
            SUCCESS,
        )?;
        if end <= 1 << 32 {
            refused(
                id::PSCI_MEM_PROTECT_CHECK_RANGE_32,
                &[base, length],
                SUCCESS,
            )?;
        }
    }
    for (base, length) in bad {
        refused(id::PSCI_MEM_PROTECT_CHECK_RANGE_64, &[base, length], DENIED)?;
        refused(id::PSCI_MEM_PROTECT_CHECK_RANGE_32, &[base, length], DENIED)?;
    }
    // Round the end of the address space, to something that is RAM.
    let wrapping = [
        (start, 0u64.wrapping_sub(start)),
        (start, u64::MAX),
        (end - 1, u64::MAX),
        (start, 1 << 63),
        (u64::MAX, 1),
        (u64::MAX, 2),
        (u64::MAX, start + 2),
        (start | 1 << 63, 4),
    ];
    for (base, length) in wrapping {
        refused(id::PSCI_MEM_PROTECT_CHECK_RANGE_64, &[base, length], DENIED)?;
    }
    Ok(())
}

/// SYSTEM_RESET2 and SYSTEM_OFF2: the machine goes on.
fn system_resets_and_offs_of_no_type(_: &'static Env) -> Outcome {
    // The upper half are a vendor's, of which there are none.
    for kind in [1, 2, 0x7fff_ffff, 0x8000_0000, 0x8000_0001, 0xffff_ffff] {
        for function in [id::PSCI_SYSTEM_RESET2_32, id::PSCI_SYSTEM_RESET2_64] {
            refused(function, &[kind, 0], INVALID_PARAMETERS)?;
            refused(function, &[kind, u64::MAX], INVALID_PARAMETERS)?;
        }
    }
    for function in [SYSTEM_OFF2_32, SYSTEM_OFF2_64] {
        for (kind, cookie) in [
            (2, 0),
            (3, 0),
            (0x8000_0000, 0),
            (0xffff_ffff, 0),
            (0, 1),
            (1, 1),
        ] {
            refused(function, &[kind, cookie], INVALID_PARAMETERS)?;
        }
    }
    refused(SYSTEM_OFF2_64, &[1, 1 << 63], INVALID_PARAMETERS)
}

fn nodes_and_statistics_of_nothing(env: &'static Env) -> Outcome {
    let own = env.me().mpidr();
    let no_pes = [own | 0xff, own | 1 << 24, own | 1 << 31, 0xff_ffff];
    for (narrow, wide, good) in [
        (id::PSCI_NODE_HW_STATE_32, id::PSCI_NODE_HW_STATE_64, 0),
        (id::PSCI_STAT_COUNT_32, id::PSCI_STAT_COUNT_64, 1),
        (id::PSCI_STAT_RESIDENCY_32, id::PSCI_STAT_RESIDENCY_64, 1),
    ] {
        for target in no_pes {
            refused(narrow, &[target, good], INVALID_PARAMETERS)?;
            refused(wide, &[target, good], INVALID_PARAMETERS)?;
        }
        refused(wide, &[own | 1 << 40, good], INVALID_PARAMETERS)?;
        refused(wide, &[own | 1 << 63, good], INVALID_PARAMETERS)?;
        // No level, and no power_state.
        for other in [3, 4, 0x1_0000, 0x8000_0000, 0xffff_ffff] {
            refused(narrow, &[own, other], INVALID_PARAMETERS)?;
            refused(wide, &[own, other], INVALID_PARAMETERS)?;
        }
    }
    for level in 0..3 {
        refused(id::PSCI_NODE_HW_STATE_64, &[own, level], 0)?;
    }
    Ok(())
}

fn suspend_modes(_: &'static Env) -> Outcome {
    for mode in [2, 3, 0x8000_0000, 0xffff_ffff] {
        refused(id::PSCI_SET_SUSPEND_MODE, &[mode], INVALID_PARAMETERS)?;
    }
    // The mode it is in, and has to be in for what other tests do.
    refused(id::PSCI_SET_SUSPEND_MODE, &[0], SUCCESS)?;
    equal(
        "CPU_ON of this PE",
        psci::cpu_on(arch::mpidr() & arch::AFFINITY, Code::Secondary.address(), 0),
        ALREADY_ON,
    )
}

//! Every argument of the calls on interrupts and shared events at its edges, and what can be asked of each event.

use super::{Env, tests};
use crate::arch;
use crate::check::{Outcome, check, equal};
use crate::event::{
    self, PRIVATE, PRIVATE_CRITICAL, SHARED, SHARED_CRITICAL, TIMER, TIMER_CRITICAL,
};
use crate::event::{TO_PE, bind, register, release, routing_set};
use crate::line::{self, Line};
use crate::pe::Finish;
use crate::sdei::{self, DENIED, Function, INVALID_PARAMETERS, OUT_OF_RESOURCE, REGISTERED};

tests! { "edge":
    1 features,
    1 bind_arguments,
    1 bind_one_more_than_slots,
    1 release_arguments,
    1 event_arguments,
    1 register_arguments,
    1 routing_arguments,
    1 information,
    1 not_signalable,
}

/// Numbers that are no event here, in both halves of the register.
const NO_EVENTS: [u64; 14] = [
    1,
    999,
    1003,
    1999,
    2003,
    4999,
    5002,
    0x7fff_ffff,
    0x8000_0000,
    0x8000_03e8,
    0xffff_ffff,
    u64::MAX,
    1 << 63 | 1,
    1 << 32 | 7,
];

/// All slots and explicit events.
const EVENTS: [u64; 8] = [1000, 1001, 1002, 2000, 2001, 2002, TIMER, TIMER_CRITICAL];

/// The last SPI.
fn last_spi() -> u64 {
    line::intids().min(1020) - 1
}

fn features(_: &'static Env) -> Outcome {
    let features = |what| sdei::call1(Function::Features, what);
    equal("bind slots", features(0), 3 | 3 << 16)?;
    equal("relative mode", features(1), 1)
}

fn bind_arguments(_: &'static Env) -> Outcome {
    let invalid = [
        0,
        1,
        14,
        15,
        last_spi() + 1,
        1019,
        1020,
        1021,
        1022,
        1023,
        1024,
        1055,
        1056,
        1119,
        1120,
        4095,
        4096,
        5119,
        5120,
        8192,
        0x7fff_ffff,
        0x8000_0000,
        0xffff_ffff,
        1 << 32 | 30,
        1 << 63,
        1 << 63 | 30,
        u64::MAX,
    ];
    for intid in invalid
        .into_iter()
        .filter(|&intid| intid > last_spi() || intid < 16)
    {
        equal("BIND of no PPI or SPI", bind(intid), INVALID_PARAMETERS)?;
    }
    // The Secure timer's is EL3's.
    equal("BIND of a Secure interrupt", bind(29), DENIED)?;
    for (intid, event) in [
        (16, PRIVATE),
        (31, PRIVATE),
        (32, SHARED),
        (last_spi(), SHARED),
    ] {
        equal("BIND of the first or last", bind(intid), event as i64)?;
        equal("RELEASE", release(event), 0)?;
    }
    Ok(())
}

/// The slots are used up, none is lost, and each comes back.
fn bind_one_more_than_slots(_: &'static Env) -> Outcome {
    for (first, intid) in [(PRIVATE, 20), (SHARED, 40)] {
        for round in 0..3 {
            for slot in 0..3 {
                equal("BIND", bind(intid + slot), (first + slot) as i64)?;
            }
            equal("BIND without a free slot", bind(intid + 3), OUT_OF_RESOURCE)?;
            for slot in 0..3 {
                equal("BIND again", bind(intid + slot), (first + slot) as i64)?;
            }
            equal("RELEASE", release(first + round), 0)?;
            equal(
                "BIND to the free slot",
                bind(intid + 3),
                (first + round) as i64,
            )?;
            equal(
                "BIND without a free slot",
                bind(intid + round),
                OUT_OF_RESOURCE,
            )?;
            for slot in 0..3 {
                equal("RELEASE", release(first + slot), 0)?;
            }
        }
    }
    // The two kinds don't share slots.
    for slot in 0..3 {
        equal("BIND", bind(20 + slot), (PRIVATE + slot) as i64)?;
        equal("BIND", bind(40 + slot), (SHARED + slot) as i64)?;
    }
    equal("SHARED_RESET", sdei::shared_reset(), 0)?;
    equal("BIND after SHARED_RESET", bind(23), PRIVATE as i64)?;
    equal("BIND after SHARED_RESET", bind(43), SHARED as i64)
}

fn release_arguments(_: &'static Env) -> Outcome {
    for event in NO_EVENTS.into_iter().chain(EVENTS).chain([0, 1 << 32]) {
        equal(
            "RELEASE of what is not bound",
            release(event),
            INVALID_PARAMETERS,
        )?;
    }
    equal("BIND", bind(20), PRIVATE as i64)?;
    equal("BIND", bind(40), SHARED as i64)?;
    for event in NO_EVENTS
        .into_iter()
        .chain([0, 1001, 1002, 2001, 2002, TIMER, TIMER_CRITICAL])
    {
        equal(
            "RELEASE of what is not bound",
            release(event),
            INVALID_PARAMETERS,
        )?;
    }
    // The upper half of the register does not count.
    equal("RELEASE", release(PRIVATE | 0xffff_ffff << 32), 0)?;
    equal("RELEASE", release(SHARED | 1 << 32), 0)
}

/// The calls that take an event and nothing else of note.
fn event_arguments(_: &'static Env) -> Outcome {
    let calls = [Function::Enable, Function::Disable, Function::Unregister];
    for event in NO_EVENTS {
        for function in calls.into_iter().chain([Function::Status]) {
            equal(
                "no such event",
                sdei::call1(function, event),
                INVALID_PARAMETERS,
            )?;
        }
        let answer = event::try_register(event, 0, 0, |_| Finish::complete());
        equal("REGISTER of no event", answer, INVALID_PARAMETERS)?;
    }
    // Slots exist before anything is bound to them.
    for event in EVENTS {
        equal("STATUS", sdei::status(event), 0)?;
        for function in calls {
            equal("not registered", sdei::call1(function, event), DENIED)?;
        }
        equal("STATUS", sdei::status(event), 0)?;
    }
    for event in [1000, 1001, 1002, 2000, 2001, 2002] {
        let answer = event::try_register(event, 0, 0, |_| Finish::complete());
        equal("REGISTER of a slot that is not bound", answer, DENIED)?;
    }
    Ok(())
}

fn register_arguments(env: &'static Env) -> Outcome {
    let me = env.me().mpidr();
    equal("BIND", bind(20), PRIVATE as i64)?;
    equal("BIND", bind(40), SHARED as i64)?;
    for event in [PRIVATE, SHARED, TIMER] {
        let register = |entry, flags, affinity| {
            sdei::call(Function::Register, [event, entry, 0, flags, affinity])
        };
        for entry in [0, 1, 2, 3, 5, 0xffff_0000_0000_0001, u64::MAX] {
            equal(
                "REGISTER, entry point",
                register(entry, 0, 0),
                INVALID_PARAMETERS,
            )?;
        }
        for flags in [4, 8, 1 << 31, 1 << 32, 1 << 63, u64::MAX] {
            equal(
                "REGISTER, flags",
                register(4, flags, me),
                INVALID_PARAMETERS,
            )?;
        }
        equal("STATUS", sdei::status(event), 0)?;
        equal(
            "registered by the upper half",
            sdei::status(event | 1 << 32),
            0,
        )?;
    }
    for affinity in no_pes(me) {
        let answer = event::try_register(SHARED, TO_PE, affinity, |_| Finish::complete());
        equal("REGISTER to no PE", answer, INVALID_PARAMETERS)?;
    }
    equal("STATUS", sdei::status(SHARED), 0)?;
    check(
        "still the Normal world's",
        line::settings(40).route == line::settings(41).route,
    )?;
    // On a private event routing and affinity mean nothing, and with RM_ANY the affinity does not.
    for (event, flags) in [(PRIVATE, TO_PE), (PRIVATE, 0), (SHARED, 0)] {
        let answer = event::try_register(event, flags, u64::MAX, |_| Finish::complete());
        equal("REGISTER", answer, 0)?;
        let answer = event::try_register(event, flags, 0, |_| Finish::complete());
        equal("REGISTER again", answer, DENIED)?;
        equal("UNREGISTER", sdei::unregister(event), 0)?;
    }
    Ok(())
}

/// Affinities that no PE has.
fn no_pes(me: u64) -> [u64; 6] {
    [
        me | 0xff,
        me | 0xff << 8,
        me | 0xff << 16,
        me | 0xff << 32,
        0xff_00ff_ffff,
        u64::MAX,
    ]
}

fn routing_arguments(env: &'static Env) -> Outcome {
    let me = env.me().mpidr();
    for event in NO_EVENTS
        .into_iter()
        .chain([0, PRIVATE, PRIVATE_CRITICAL, TIMER])
    {
        equal("ROUTING_SET", routing_set(event, 0, 0), INVALID_PARAMETERS)?;
        equal("ROUTING_SET", routing_set(event, 1, me), INVALID_PARAMETERS)?;
    }
    equal(
        "ROUTING_SET, not registered",
        routing_set(SHARED, 0, 0),
        DENIED,
    )?;
    equal("BIND", bind(40), SHARED as i64)?;
    equal(
        "ROUTING_SET, not registered",
        routing_set(SHARED, 1, me),
        DENIED,
    )?;
    register(SHARED, |_| Finish::complete())?;
    for mode in [
        2,
        3,
        0x7fff_ffff,
        1 << 31,
        1 << 32,
        1 << 32 | 1,
        1 << 63,
        u64::MAX,
    ] {
        equal(
            "ROUTING_SET, mode",
            routing_set(SHARED, mode, me),
            INVALID_PARAMETERS,
        )?;
    }
    for affinity in no_pes(me) {
        equal(
            "ROUTING_SET to no PE",
            routing_set(SHARED, 1, affinity),
            INVALID_PARAMETERS,
        )?;
    }
    equal("routing mode", sdei::get_info(SHARED, 3), 0)?;
    // Only the affinity fields count.
    for affinity in [
        me,
        arch::mpidr(),
        me | 1 << 31,
        me | 0xff << 24,
        me | 1 << 63,
    ] {
        equal("ROUTING_SET", routing_set(SHARED, 1, affinity), 0)?;
        equal("routing mode", sdei::get_info(SHARED, 3), 1)?;
        equal("routing affinity", sdei::get_info(SHARED, 4), me as i64)?;
    }
    equal("ROUTING_SET", routing_set(SHARED, 0, u64::MAX), 0)?;
    equal("routing mode", sdei::get_info(SHARED, 3), 0)?;
    equal("ENABLE", sdei::enable(SHARED), 0)?;
    equal("ROUTING_SET, enabled", routing_set(SHARED, 1, me), DENIED)?;
    equal("DISABLE", sdei::disable(SHARED), 0)?;
    equal("ROUTING_SET", routing_set(SHARED, 1, me), 0)?;
    equal("UNREGISTER", sdei::unregister(SHARED), 0)?;
    equal("RELEASE", release(SHARED), 0)
}

/// EVENT_GET_INFO of each event: bound or not and registered or not, its nature is the same.
fn information(_: &'static Env) -> Outcome {
    for stage in 0..3 {
        if stage == 1 {
            for slot in 0..3 {
                equal("BIND", bind(20 + slot), (PRIVATE + slot) as i64)?;
                equal("BIND", bind(40 + slot), (SHARED + slot) as i64)?;
            }
        } else if stage == 2 {
            for event in EVENTS {
                register(event, |_| Finish::complete())?;
                equal("STATUS", sdei::status(event), REGISTERED)?;
            }
        }
        for event in EVENTS {
            let shared = (SHARED..=SHARED_CRITICAL).contains(&event);
            let critical = [PRIVATE_CRITICAL, SHARED_CRITICAL, TIMER_CRITICAL].contains(&event);
            equal("type", sdei::get_info(event, 0), shared.into())?;
            equal("not signalable", sdei::get_info(event, 1), 1)?;
            equal("priority", sdei::get_info(event, 2), critical.into())?;
            let routing = match (shared, stage) {
                (false, _) => INVALID_PARAMETERS,
                (true, 2) => 0,
                (true, _) => DENIED,
            };
            equal("routing mode", sdei::get_info(event, 3), routing)?;
            if routing != 0 {
                equal("routing affinity", sdei::get_info(event, 4), routing)?;
            }
            for what in [5, 0x7fff_ffff, 1 << 31, 1 << 32, 1 << 63, u64::MAX] {
                equal("GET_INFO", sdei::get_info(event, what), INVALID_PARAMETERS)?;
            }
        }
    }
    for event in NO_EVENTS {
        for what in 0..6 {
            equal("GET_INFO", sdei::get_info(event, what), INVALID_PARAMETERS)?;
        }
    }
    for event in EVENTS {
        equal("UNREGISTER", sdei::unregister(event), 0)?;
    }
    Ok(())
}

/// Only event 0 can be signalled.
fn not_signalable(env: &'static Env) -> Outcome {
    let me = env.me().mpidr();
    equal("BIND", bind(Line::Virtual.intid()), PRIVATE as i64)?;
    equal("BIND", bind(40), SHARED as i64)?;
    for event in [PRIVATE, SHARED, TIMER, TIMER_CRITICAL] {
        event::listen(event, |_| Finish::complete())?;
        let answer = sdei::call(Function::Signal, [event, me, 0, 0, 0]);
        equal("SIGNAL of another event", answer, INVALID_PARAMETERS)?;
    }
    equal("PE_UNMASK", sdei::pe_unmask(), 0)?;
    for event in [PRIVATE, SHARED, TIMER, TIMER_CRITICAL] {
        equal("entries of the handler", event::count(event, env.me()), 0)?;
    }
    Ok(())
}

//! SDEI's calls outside a handler: every answer that private events can give (DEN0054 chapter 5).

use super::smccc::{exact, only_x0, untouched};
use super::{Env, tests};
use crate::arch::{self, Code, EC_HVC, Registers};
use crate::check::{Outcome, check, equal};
use crate::pe::{Finish, Pe};
use crate::sdei::{self, DENIED, ENABLED, Function, INVALID_PARAMETERS, NOT_SUPPORTED, REGISTERED};

tests! { "sdei":
    1 version,
    1 registers_kept,
    1 smc32_is_not_supported,
    1 guest_is_not_supported,
    1 device_tree,
    1 starts_masked,
    1 no_such_event,
    1 upper_half_is_ignored,
    1 register_arguments,
    1 register_flags,
    1 relative_mode,
    1 states,
    1 get_info,
    1 routing_set,
    1 mask,
    1 outside_a_handler,
    1 bind,
    1 release,
    1 features,
    1 signal_arguments,
    1 resets,
}

/// Numbers that are no event.
const NO_EVENTS: [u64; 9] = [
    1,
    7,
    999,
    1999,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    u64::MAX,
    1 << 63 | 1,
];

fn version(_: &'static Env) -> Outcome {
    let version = sdei::call1(Function::Version, 0);
    equal("major and minor", version >> 32, 0x1_0001)?;
    only_x0(
        "SDEI_VERSION",
        Function::Version.id(),
        version.cast_unsigned(),
    )
}

/// Every call with rubbish in every argument.
fn registers_kept(_: &'static Env) -> Outcome {
    for function in Function::ALL {
        let after = exact(Code::SmcThenSvc, function.id(), &[]);
        untouched("an SDEI call", &after, &[])?;
    }
    let refused = [
        (Function::Register, INVALID_PARAMETERS),
        (Function::Enable, INVALID_PARAMETERS),
        (Function::Disable, INVALID_PARAMETERS),
        (Function::Complete, DENIED),
        (Function::Unregister, INVALID_PARAMETERS),
        (Function::Status, INVALID_PARAMETERS),
        (Function::GetInfo, INVALID_PARAMETERS),
        (Function::RoutingSet, INVALID_PARAMETERS),
        (Function::Bind, INVALID_PARAMETERS),
        (Function::Release, INVALID_PARAMETERS),
        (Function::Signal, INVALID_PARAMETERS),
    ];
    for (function, answer) in refused {
        only_x0(
            "an SDEI call with rubbish",
            function.id(),
            answer.cast_unsigned(),
        )?;
    }
    Ok(())
}

fn smc32_is_not_supported(env: &'static Env) -> Outcome {
    env.me().listen(|_| Finish::complete())?;
    for function in Function::ALL {
        let after = exact(
            Code::SmcThenSvc,
            function.id() & !(1 << 30),
            &[0, Code::Event.address(), 0, 0],
        );
        equal("an SMC32 encoding", after.x[0], u64::MAX)?;
        untouched(
            "an SMC32 encoding",
            &after,
            &[0, Code::Event.address(), 0, 0],
        )?;
        equal("STATUS after it", sdei::status(0), REGISTERED | ENABLED)?;
    }
    equal("PE_MASK after them", sdei::pe_mask(), 1)
}

/// The client is EL2 where there is one: EL1 under it is told that there is no SDEI.
fn guest_is_not_supported(env: &'static Env) -> Outcome {
    if arch::el() != 2 {
        return Ok(());
    }
    env.me().listen(|_| Finish::complete())?;
    for function in Function::ALL {
        let mut registers = Registers::pattern(Code::SmcThenHvc.address());
        registers.x[0] = function.id();
        registers.x[1] = 0;
        registers.x[2] = env.me().mpidr();
        registers.pstate = arch::DAIF | 0b0101;
        let before = registers.clone();
        arch::set_guest(true);
        // SAFETY: The snippet runs at EL1 with its MMU off and ends with HVC.
        unsafe { arch::enter(&mut registers) };
        arch::set_guest(false);
        equal("how the guest ended", registers.class(), EC_HVC)?;
        equal(
            "a guest's call",
            registers.x[0].cast_signed(),
            NOT_SUPPORTED,
        )?;
        for index in 1..31 {
            equal("a guest's registers", registers.x[index], before.x[index])?;
        }
        equal("STATUS after it", sdei::status(0), REGISTERED | ENABLED)?;
    }
    equal("entries of the handler", env.me().handling.count(), 0)?;
    equal("PE_MASK after them", sdei::pe_mask(), 1)
}

fn device_tree(env: &'static Env) -> Outcome {
    check(
        "/psci is compatible with arm,psci-1.0",
        env.machine.has_psci,
    )?;
    check(
        "/firmware/sdei is compatible with arm,sdei-1.0",
        env.machine.has_sdei,
    )
}

fn starts_masked(env: &'static Env) -> Outcome {
    equal("the boot PE's first PE_MASK", env.first_mask, 0)
}

fn no_such_event(_: &'static Env) -> Outcome {
    for event in NO_EVENTS {
        let entry = Code::Event.address();
        equal(
            "REGISTER",
            sdei::register(event, entry, 0),
            INVALID_PARAMETERS,
        )?;
        equal("ENABLE", sdei::enable(event), INVALID_PARAMETERS)?;
        equal("DISABLE", sdei::disable(event), INVALID_PARAMETERS)?;
        equal("UNREGISTER", sdei::unregister(event), INVALID_PARAMETERS)?;
        equal("STATUS", sdei::status(event), INVALID_PARAMETERS)?;
        for what in 0..5 {
            equal("GET_INFO", sdei::get_info(event, what), INVALID_PARAMETERS)?;
        }
        let routing = sdei::call(Function::RoutingSet, [event, 0, 0, 0, 0]);
        equal("ROUTING_SET", routing, INVALID_PARAMETERS)?;
        equal(
            "RELEASE",
            sdei::call1(Function::Release, event),
            INVALID_PARAMETERS,
        )?;
        let signal = sdei::call(Function::Signal, [event, arch::mpidr(), 0, 0, 0]);
        equal("SIGNAL", signal, INVALID_PARAMETERS)?;
    }
    Ok(())
}

fn upper_half_is_ignored(env: &'static Env) -> Outcome {
    for upper in [1 << 32, 1 << 63, 0xffff_ffff << 32] {
        let argument = env.me().handling_address();
        equal(
            "REGISTER",
            sdei::register(upper, Code::Event.address(), argument),
            0,
        )?;
        equal("STATUS", sdei::status(upper), REGISTERED)?;
        equal("ENABLE", sdei::enable(upper), 0)?;
        equal("GET_INFO", sdei::get_info(upper, 0), 0)?;
        equal("STATUS", sdei::status(0), REGISTERED | ENABLED)?;
        let signal = sdei::call(Function::Signal, [upper, arch::mpidr(), 0, 0, 0]);
        equal("SIGNAL", signal, 0)?;
        equal("DISABLE", sdei::disable(upper), 0)?;
        equal("UNREGISTER", sdei::unregister(upper), 0)?;
        equal("STATUS", sdei::status(0), 0)?;
    }
    Ok(())
}

fn register_arguments(env: &'static Env) -> Outcome {
    let entry = Code::Event.address();
    for bad in [
        0,
        1,
        2,
        3,
        entry + 1,
        entry + 2,
        entry | 3,
        u64::MAX,
        1 << 63 | 2,
    ] {
        equal(
            "REGISTER with a bad entry point",
            sdei::register(0, bad, 0),
            INVALID_PARAMETERS,
        )?;
        equal("STATUS after it", sdei::status(0), 0)?;
    }
    // Virtual addresses of the client: nothing else about them can be checked.
    for good in [
        4,
        entry,
        0xffff_8000_8001_0000,
        0xffff_ffff_ffff_fffc,
        env.machine.board.el3.start,
        1 << 63,
    ] {
        for argument in [0, u64::MAX, 1 << 63] {
            equal("REGISTER", sdei::register(0, good, argument), 0)?;
            equal("STATUS", sdei::status(0), REGISTERED)?;
            equal("REGISTER again", sdei::register(0, entry, 0), DENIED)?;
            equal("UNREGISTER", sdei::unregister(0), 0)?;
        }
    }
    // The first registration is what counts.
    env.me().listen(|_| Finish::complete())?;
    equal("REGISTER elsewhere", sdei::register(0, 4, 0), DENIED)?;
    equal("SIGNAL", sdei::signal(arch::mpidr()), 0)?;
    env.me().await_count(1)
}

fn register_flags(_: &'static Env) -> Outcome {
    let with = |flags, affinity| {
        sdei::call(
            Function::Register,
            [0, Code::Event.address(), 0, flags, affinity],
        )
    };
    for bit in 2..64 {
        equal(
            "REGISTER with an unknown flag",
            with(1 << bit, 0),
            INVALID_PARAMETERS,
        )?;
        equal(
            "REGISTER with an unknown flag",
            with(1 << bit | 1, 0),
            INVALID_PARAMETERS,
        )?;
        equal("STATUS after it", sdei::status(0), 0)?;
    }
    equal(
        "REGISTER with all flags",
        with(u64::MAX, 0),
        INVALID_PARAMETERS,
    )?;
    // Routing means nothing for a private event, whatever the affinity.
    for (flags, affinity) in [
        (0, u64::MAX),
        (1, 0),
        (1, u64::MAX),
        (1, 0xff_00ff_ffff),
        (0, 1 << 63),
    ] {
        equal("REGISTER with a routing", with(flags, affinity), 0)?;
        equal("UNREGISTER", sdei::unregister(0), 0)?;
    }
    Ok(())
}

/// The entry point as an offset from VBAR, read at dispatch (DEN0054 1.1, EVENT_REGISTER).
fn relative_mode(env: &'static Env) -> Outcome {
    let me = env.me();
    me.handling.set(|_| Finish::complete());
    let offset = Code::Event.address().wrapping_sub(arch::vbar());
    let answer = sdei::call(
        Function::Register,
        [0, offset, me.handling_address(), 0b10, 0],
    );
    equal("REGISTER with an offset", answer, 0)?;
    equal("ENABLE", sdei::enable(0), 0)?;
    equal("PE_UNMASK", sdei::pe_unmask(), 0)?;
    equal("SIGNAL", sdei::signal(arch::mpidr()), 0)?;
    me.await_count(1)
}

fn states(_: &'static Env) -> Outcome {
    let entry = Code::Event.address();
    let status = |want| equal("STATUS", sdei::status(0), want);
    status(0)?;
    equal("ENABLE, unregistered", sdei::enable(0), DENIED)?;
    equal("DISABLE, unregistered", sdei::disable(0), DENIED)?;
    equal("UNREGISTER, unregistered", sdei::unregister(0), DENIED)?;
    status(0)?;
    equal("REGISTER", sdei::register(0, entry, 0), 0)?;
    status(REGISTERED)?;
    equal("REGISTER, registered", sdei::register(0, entry, 0), DENIED)?;
    status(REGISTERED)?;
    equal("DISABLE, disabled", sdei::disable(0), 0)?;
    status(REGISTERED)?;
    for _ in 0..2 {
        equal("ENABLE", sdei::enable(0), 0)?;
        status(REGISTERED | ENABLED)?;
    }
    equal("REGISTER, enabled", sdei::register(0, entry, 0), DENIED)?;
    status(REGISTERED | ENABLED)?;
    for _ in 0..2 {
        equal("DISABLE", sdei::disable(0), 0)?;
        status(REGISTERED)?;
    }
    equal("UNREGISTER, disabled", sdei::unregister(0), 0)?;
    status(0)?;
    equal("REGISTER", sdei::register(0, entry, 0), 0)?;
    equal("ENABLE", sdei::enable(0), 0)?;
    equal("UNREGISTER, enabled", sdei::unregister(0), 0)?;
    status(0)
}

fn get_info(_: &'static Env) -> Outcome {
    for registered in [false, true] {
        if registered {
            equal("REGISTER", sdei::register(0, Code::Event.address(), 0), 0)?;
        }
        equal("type: private", sdei::get_info(0, 0), 0)?;
        equal("signalable", sdei::get_info(0, 1), 0)?;
        equal("priority: normal", sdei::get_info(0, 2), 0)?;
        for what in [3, 4, 5, 0x7fff_ffff, 0xffff_ffff, u64::MAX, 1 << 31] {
            equal("GET_INFO", sdei::get_info(0, what), INVALID_PARAMETERS)?;
        }
    }
    Ok(())
}

fn routing_set(_: &'static Env) -> Outcome {
    for registered in [false, true] {
        if registered {
            equal("REGISTER", sdei::register(0, Code::Event.address(), 0), 0)?;
        }
        for arguments in [
            [0, 0, 0],
            [0, 1, arch::mpidr()],
            [0, 2, 0],
            [0, u64::MAX, u64::MAX],
        ] {
            let [event, mode, affinity] = arguments;
            let answer = sdei::call(Function::RoutingSet, [event, mode, affinity, 0, 0]);
            equal("ROUTING_SET of a private event", answer, INVALID_PARAMETERS)?;
        }
    }
    equal("STATUS", sdei::status(0), REGISTERED)
}

fn mask(_: &'static Env) -> Outcome {
    equal("PE_MASK, masked", sdei::pe_mask(), 0)?;
    equal("PE_UNMASK", sdei::pe_unmask(), 0)?;
    equal("PE_UNMASK, unmasked", sdei::pe_unmask(), 0)?;
    equal("PE_MASK", sdei::pe_mask(), 1)?;
    equal("PE_MASK, masked", sdei::pe_mask(), 0)
}

fn outside_a_handler(env: &'static Env) -> Outcome {
    let refused = || {
        for index in [0, 1, 17] {
            equal("CONTEXT", sdei::context(index), DENIED)?;
        }
        for status in [0, 1] {
            equal("COMPLETE", sdei::call1(Function::Complete, status), DENIED)?;
        }
        let resume = sdei::call1(Function::CompleteAndResume, Code::Leave.address());
        equal("COMPLETE_AND_RESUME", resume, DENIED)
    };
    refused()?;
    env.me().listen(|_| Finish::complete())?;
    refused()?;
    equal("STATUS", sdei::status(0), REGISTERED | ENABLED)
}

/// What is no PPI or SPI; `edge.bind_arguments` has the rest.
fn bind(_: &'static Env) -> Outcome {
    let bind = |intid| sdei::call1(Function::Bind, intid);
    for no in [
        0,
        1,
        8,
        15,
        1019,
        1020,
        1021,
        1022,
        1023,
        1024,
        4096,
        8192,
        0x7fff_ffff,
        0xffff_ffff,
    ] {
        equal(
            "INTERRUPT_BIND of what is no PPI or SPI",
            bind(no),
            INVALID_PARAMETERS,
        )?;
    }
    Ok(())
}

fn release(_: &'static Env) -> Outcome {
    for event in [0, 1 << 32, 1000, 1001, 2000, 2001] {
        let answer = sdei::call1(Function::Release, event);
        equal(
            "INTERRUPT_RELEASE of what is not bound",
            answer,
            INVALID_PARAMETERS,
        )?;
    }
    Ok(())
}

fn features(_: &'static Env) -> Outcome {
    let features = |what| sdei::call1(Function::Features, what);
    check("bind slots", features(0) >= 0 && features(0) >> 32 == 0)?;
    equal("relative mode", features(1), 1)?;
    for what in [2, 3, 0xffff_ffff, 1 << 31, u64::MAX] {
        equal("FEATURES", features(what), INVALID_PARAMETERS)?;
    }
    Ok(())
}

fn signal_arguments(env: &'static Env) -> Outcome {
    let me = env.me();
    let own = me.mpidr();
    equal(
        "SIGNAL to an unregistered PE",
        sdei::signal(own),
        INVALID_PARAMETERS,
    )?;
    me.listen(|_| Finish::complete())?;
    // No PE of this machine.
    for target in [
        own | 0xff << 32,
        own | 0xff << 16,
        own | 0xff << 8,
        own | 0xff,
        0xff_00ff_ffff,
    ] {
        equal("SIGNAL to no PE", sdei::signal(target), INVALID_PARAMETERS)?;
    }
    for event in [1, 0xffff_ffff, 1 << 31] {
        let answer = sdei::call(Function::Signal, [event, own, 0, 0, 0]);
        equal("SIGNAL of another event", answer, INVALID_PARAMETERS)?;
    }
    equal("entries of the handler", me.handling.count(), 0)?;
    // Only the affinity fields count.
    let targets = [
        own,
        arch::mpidr(),
        own | 1 << 31,
        own | 1 << 24,
        own | 1 << 30,
        own | 0xff << 24,
        own | 0xff << 40,
        own | 1 << 63,
    ];
    for (number, target) in targets.into_iter().enumerate() {
        equal("SIGNAL to this PE", sdei::signal(target), 0)?;
        me.await_count(number as u64 + 1)?;
    }
    // A registered event may be signalled while it is disabled.
    equal("DISABLE", sdei::disable(0), 0)?;
    equal("SIGNAL, disabled", sdei::signal(own), 0)?;
    equal("entries of the handler", me.handling.count(), 8)
}

fn resets(env: &'static Env) -> Outcome {
    let me: &'static Pe = env.me();
    equal(
        "PRIVATE_RESET, nothing registered",
        sdei::private_reset(),
        0,
    )?;
    equal("SHARED_RESET, nothing registered", sdei::shared_reset(), 0)?;
    me.register(|_| Finish::complete())?;
    equal("SHARED_RESET", sdei::shared_reset(), 0)?;
    equal("STATUS after SHARED_RESET", sdei::status(0), REGISTERED)?;
    equal("ENABLE", sdei::enable(0), 0)?;
    equal("SIGNAL, masked", sdei::signal(me.mpidr()), 0)?;
    equal("PRIVATE_RESET", sdei::private_reset(), 0)?;
    equal("STATUS after PRIVATE_RESET", sdei::status(0), 0)?;
    // What was pending is gone.
    me.listen(|_| Finish::complete())?;
    equal("entries of the handler", me.handling.count(), 0)?;
    equal("PRIVATE_RESET", sdei::private_reset(), 0)?;
    // It does not touch the mask.
    equal("PE_MASK after PRIVATE_RESET", sdei::pe_mask(), 1)
}

//! The kernel with SDEI's NMI where it masks interrupts by priority, not by PSTATE
//! (`irqchip.gicv3_pseudo_nmi=1`): what its other tests do, once more.
//!
//! Linux asks for backtraces by event 0 as before. To stop CPUs it tries a
//! pseudo-NMI first, which reaches one that has masked its interrupts, and event 0
//! for the rest: one whose PSTATE.DAIF is set.

use super::power::{self, Kdump, PANIC_IN_THE_HANDLER, WEDGED};
use super::{Dumped, Test, Wedge};

/// A machine that all of them are run on.
struct On {
    /// Its CPU model.
    cpu: &'static str,
    /// Whether it has EL2.
    el2: bool,
}

const MACHINES: [On; 4] = [
    On {
        cpu: "max",
        el2: true,
    },
    On {
        cpu: "max",
        el2: false,
    },
    On {
        cpu: "neoverse-n1",
        el2: true,
    },
    On {
        cpu: "neoverse-n1",
        el2: false,
    },
];

/// Of [`all`], those that are always run: each kind once, on each machine something.
/// To stop a CPU takes half a minute on `max`, where Linux
/// waits with WFIT.
const CHOSEN: [&str; 9] = [
    "pseudo-NMI: backtrace of a wedged CPU, max",
    "pseudo-NMI: backtrace of a CPU with DAIF set, neoverse-n1 without EL2",
    "pseudo-NMI: panic stops a wedged CPU, neoverse-n1 without EL2",
    "pseudo-NMI: panic stops a CPU with DAIF set, neoverse-n1",
    "pseudo-NMI: PSCI checker, max",
    "pseudo-NMI: PSCI checker, neoverse-n1 without EL2",
    "pseudo-NMI: suspend to RAM and to idle, max without EL2",
    "pseudo-NMI: kdump, wedged CPU off, neoverse-n1 without EL2",
    "pseudo-NMI: kdump, handler parked, neoverse-n1",
];

/// How a kernel dies that masks interrupts by priority.
const KDUMPS: [Kdump; 3] = [
    Kdump {
        name: "wedged CPU off",
        append: "nokaslr crashkernel=256M",
        panic: "sysrq triggered crash",
        stopped: Wedge::Masked.stopped(true),
        up: 4,
        cpu: Dumped {
            masked: false,
            ..WEDGED
        },
    },
    Kdump {
        name: "handler parked",
        append: "nokaslr crashkernel=256M bl31.wedge=daif lkdtm.cpoint_count=1",
        panic: "sysrq triggered crash",
        stopped: Wedge::Daif.stopped(true),
        up: 3,
        cpu: WEDGED,
    },
    PANIC_IN_THE_HANDLER,
];

/// The tests that are always run.
pub(super) fn tests() -> impl Iterator<Item = Test> {
    all().filter(|test| CHOSEN.contains(&test.name.as_str()))
}

/// The rest, which takes many minutes together.
pub(super) fn slow() -> impl Iterator<Item = Test> {
    all().filter(|test| !CHOSEN.contains(&test.name.as_str()))
}

/// Suspend, on a board whose PEs lose their priority mask over it.
pub(crate) fn suspend_on_fvp() -> Test {
    let name = "pseudo-NMI: suspend to RAM and to idle, 4 CPUs";
    power::suspend(name, 4, |test| {
        test.pseudo_nmi = true;
        test.append(FEW_ROUNDS);
    })
}

/// One thread runs all PEs in turn, and the guest's time is counted in instructions, 32 ns
/// each: for tests in which Linux waits for a PE that the host may not run in that time.
///
/// The hotplug storm: a CPU that goes down after it was asked for a backtrace never answers,
/// and Linux waits for it in 10 000 delays of 1 ms, while all other CPUs spin. With a thread
/// for each PE a delay lasts for as long as the host runs those that spin: on two processors
/// of a host with a load of 15 Linux waited for 50 to 90 s there.
///
/// A CPU stopped by a pseudo-NMI: Linux gives it 10 ms, and then signals event 0. If it runs
/// only after that it is stopped in event 0's handler, and not off when the next kernel starts.
const IN_TURN: &[&str] = &["-icount", "shift=5,sleep=off"];

/// For the command line of a kernel that shall suspend only twice each.
const FEW_ROUNDS: &str = "bl31.rounds=2";

fn all() -> impl Iterator<Item = Test> {
    MACHINES.iter().flat_map(on)
}

fn on(machine: &On) -> Vec<Test> {
    let name = |what: &str| {
        let without = if machine.el2 { "" } else { " without EL2" };
        format!("pseudo-NMI: {what}, {}{without}", machine.cpu)
    };
    let change = |test: &mut Test| {
        test.cpu = machine.cpu;
        test.el2 = machine.el2;
        test.pseudo_nmi = true;
    };
    let mut tests = vec![
        super::psci_checker(&name("PSCI checker"), 4, change),
        super::nmi_hotplug(&name("hotplug"), 4, change),
        power::suspend(&name("suspend to RAM and to idle"), 4, |test| {
            change(test);
            test.append(FEW_ROUNDS);
        }),
        power::kexec(&name("kexec, 10 in a row"), change),
    ];
    for (wedge, what) in [
        (Wedge::Masked, "a wedged CPU"),
        (Wedge::Daif, "a CPU with DAIF set"),
    ] {
        let backtrace = name(&format!("backtrace of {what}"));
        let panic = name(&format!("panic stops {what}"));
        tests.push(super::backtrace(&backtrace, 4, wedge, change));
        tests.push(super::panics(&panic, 4, wedge, change));
    }
    for kdump in &KDUMPS {
        let name = name(&format!("kdump, {}", kdump.name));
        tests.push(power::dies(&name, kdump, |test| {
            change(test);
            if kdump.stopped == Wedge::Masked.stopped(true) {
                test.extra = IN_TURN;
            }
        }));
    }
    if machine.cpu != "max" {
        let name = name("hotplug storm under event 0");
        tests.push(power::storm(&name, |test| {
            change(test);
            test.extra = IN_TURN;
        }));
    }
    if machine.el2 {
        let name = name("a guest that event 0 interrupts");
        tests.push(power::guest(&name, change));
    }
    tests
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chosen_are_there() {
        assert_eq!(tests().count(), CHOSEN.len());
    }
}

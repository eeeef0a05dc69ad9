//! What Linux does with power, and with its own death: suspend, hotplug under
//! event 0, reboot, kexec, kdump; and with a guest of its own.

use super::{
    Boot, Dumped, FORBIDDEN_WEDGED, NEWEST, NMI, Step, Test, Wedge, detected, scripted, using_nmi,
};

/// Lines that no healthy run shows in which backtraces are asked for.
const FORBIDDEN_BACKTRACES: &[&str] = &[
    r"BUG:",
    r"WARNING:",
    r"Oops",
    r"Kernel panic",
    r"soft lockup",
    r"hard LOCKUP",
    r"rcu.*detected stalls",
    r"CPU\d+: failed to (come online|boot)",
    r"sdei: .*([Ff]ail|[Nn]ot supported)",
    r"psci: failed",
    r"undefined instruction",
    r"bl31-test: FAILED",
    r"bl31: cannot boot",
    r"bl31: EL3 crash",
];

/// Runs under `-icount`, on one thread: time is counted in instructions, and the many
/// PEs of a machine on a few processors of the host don't spin.
const IN_TURN: &[&str] = &["-icount", "shift=1,sleep=off"];

/// The CPU that LKDTM spins on with interrupts masked.
pub(super) const WEDGED: Dumped = Dumped {
    function: "lkdtm_HARDLOCKUP",
    masked: true,
};

/// The CPU that panicked in event 0's handler.
pub(super) const PANICKED: Dumped = Dumped {
    function: "__crash_kexec",
    masked: true,
};

/// All of these tests.
pub(super) fn tests() -> Vec<Test> {
    let mut tests = vec![
        suspend("NMI: suspend to RAM and to idle, 4 CPUs", 4, |_| {}),
        suspend(
            "NMI: suspend to RAM and to idle, 8 CPUs without EL2",
            8,
            |test| test.el2 = false,
        ),
        overtaken(),
        storm(STORM, |_| {}),
        reboot_modes(),
        guest(GUEST, |_| {}),
        kexec(KEXEC, |_| {}),
    ];
    tests.extend(kdump());
    tests.push(wide(8, ONE_BY_ONE, &[]));
    tests.push(wide(8, AT_ONCE, &[]));
    tests
}

/// The tests that take many minutes: on more PEs than the host will ever have.
pub(super) fn slow() -> Vec<Test> {
    let boot = Boot::Linux {
        kernel: NEWEST,
        script: Some("boot"),
        append: "",
    };
    let mut boots = Test::new("slow: boot 7.3, 128 CPUs", boot);
    boots.cpus = 128;
    boots.extra = IN_TURN;
    vec![
        detected(boots)
            .expect("bl31-test: ran on 128 CPUs")
            .expect("reboot: Power down")
            .power_off(),
        wide(72, ONE_BY_ONE, IN_TURN),
        wide(72, AT_ONCE, IN_TURN),
    ]
}

/// Suspends on a machine so slow, 256 ns for an instruction, that the alarm rings before all
/// CPUs are down: Linux brings those up again that are, and the script tries once more.
fn overtaken() -> Test {
    let name = "NMI: suspend overtaken by the alarm, 8 CPUs without EL2";
    let mut test = suspend(name, 8, |test| {
        test.el2 = false;
        // The RTC counts the guest's time, too.
        test.extra = &["-icount", "shift=8,sleep=off", "-rtc", "clock=vm"];
        test.append("bl31.rounds=2");
    });
    for state in ["mem", "freeze"] {
        let tried = format!("bl31-test: {state} after 2 s: .*Device or resource busy$");
        let done = Step::Expect(format!("bl31-test: {state} done$"));
        if let Some(at) = test.steps.iter().position(|step| *step == done) {
            test.steps.insert(at, Step::Expect(tried));
        }
    }
    test
}

/// Suspends and wakes, to RAM and to idle. `change` is made to the machine.
pub(crate) fn suspend(name: &str, cpus: u32, change: impl FnOnce(&mut Test)) -> Test {
    let mut test = scripted(name, NMI, "suspend", cpus);
    test.forbidden = FORBIDDEN_BACKTRACES;
    change(&mut test);
    let test = using_nmi(test)
        .expect("PM: suspend entry \\(deep\\)")
        .expect("bl31-test: mem done$")
        .expect("PM: suspend entry \\(s2idle\\)")
        .expect("bl31-test: freeze done$");
    test.expect("bl31-test: backtraces done")
        .expect("reboot: Power down")
        .power_off()
}

/// The name of [`storm`]'s own test.
pub(crate) const STORM: &str = "NMI: hotplug storm under event 0";

/// Takes CPUs down and up while others ask all for backtraces. `change` is made to
/// the machine.
pub(crate) fn storm(name: &str, change: impl FnOnce(&mut Test)) -> Test {
    let boot = Boot::Linux {
        kernel: NMI,
        script: Some("storm"),
        // A CPU that goes down just after it was asked for a backtrace never answers,
        // and Linux waits for it for 10 s, in which it stops nothing else either.
        append: "watchdog_thresh=60 rcupdate.rcu_cpu_stall_timeout=120",
    };
    let mut test = Test::new(name, boot);
    // On `max`, with WFIT, those become 25.
    test.cpu = "neoverse-n1";
    test.cpus = 8;
    test.forbidden = FORBIDDEN_BACKTRACES;
    change(&mut test);
    using_nmi(test)
        .expect("NMI backtrace for cpu [1-7]\\b")
        .expect("bl31-test: storm over")
        .expect("bl31-test: backtraces done")
        .expect("reboot: Power down")
        .power_off()
}

/// Resets the machine in each mode that the kernel offers.
pub(crate) fn reboot_modes() -> Test {
    let boot = Boot::Linux {
        kernel: NEWEST,
        script: None,
        append: "",
    };
    let mut test = detected(Test::new("reboot in each mode", boot));
    for line in [
        "echo cold > /sys/kernel/reboot/mode; reboot -f",
        "echo warm > /sys/kernel/reboot/mode; reboot -f",
        "echo soft > /sys/kernel/reboot/mode; reboot -f",
        "echo hard > /sys/kernel/reboot/mode; reboot -f",
        "echo gpio > /sys/kernel/reboot/mode; reboot -f",
        "echo b > /proc/sysrq-trigger",
    ] {
        test = detected(test.expect("^bl31:.*# ").types(line));
    }
    test.expect("^bl31:.*# ")
        .types("poweroff -f")
        .expect("reboot: Power down")
        .power_off()
}

/// The name of [`guest`]'s own test.
pub(crate) const GUEST: &str = "NMI: a guest that event 0 interrupts";

/// Event 0 comes while a guest runs. `change` is made to the machine.
pub(crate) fn guest(name: &str, change: impl FnOnce(&mut Test)) -> Test {
    let mut test = scripted(name, NMI, "kvm", 4);
    test.forbidden = FORBIDDEN_BACKTRACES;
    change(&mut test);
    using_nmi(test)
        .expect("kvm: the guest runs")
        .expect("NMI backtrace for cpu 1\\b")
        // The guest's own, by its address there.
        .expect(r"pc : 0x800000[0-9a-f]{2}$")
        .expect("kvm: \\d+ rounds, the guest's registers are intact")
        .expect("bl31-test: guest done")
        .power_off()
}

/// The name of [`kexec`]'s own test.
pub(crate) const KEXEC: &str = "NMI: kexec, 10 in a row";

/// Starts one kernel after another. `change` is made to the machine.
pub(crate) fn kexec(name: &str, change: impl FnOnce(&mut Test)) -> Test {
    let boot = Boot::Linux {
        kernel: NMI,
        script: Some("kexec"),
        // A kernel that uses LPIs leaves them on, and one that follows takes its own
        // memory for their tables (docs/boot.md): Linux has this against it.
        append: "irqchip.gicv3_nolpi=1",
    };
    let mut test = Test::new(name, boot);
    test.forbidden = FORBIDDEN_BACKTRACES;
    test.has_kernel = true;
    change(&mut test);
    let mut test = using_nmi(test).expect("bl31-test: kernel 0 works");
    for kernel in 1..=10 {
        test = test
            .expect("kexec_core: Starting new kernel")
            .expect(r"sdei: SDEIv1\.1 \(0x0\) detected in firmware")
            .expect(format!("bl31-test: kernel {kernel} works"));
    }
    test.expect("reboot: Power down").power_off()
}

/// One way in which a kernel with a wedged CPU dies.
pub(super) struct Kdump {
    /// What is special about it.
    pub name: &'static str,
    /// For the kernel's command line.
    pub append: &'static str,
    /// What the console says of the panic.
    pub panic: &'static str,
    /// How the other CPUs are stopped.
    pub stopped: &'static str,
    /// How many of 4 CPUs the capture kernel brings up.
    pub up: u32,
    /// A CPU that the dump shows.
    pub cpu: Dumped,
}

const BY_SDEI: &str = Wedge::Masked.stopped(false);

/// Event 0's handler panics itself.
pub(super) const PANIC_IN_THE_HANDLER: Kdump = Kdump {
    name: "panic in the handler",
    append: "nokaslr crashkernel=256M bl31.how=panic",
    panic: "in event 0's handler",
    stopped: "SMP: stopping secondary CPUs",
    up: 4,
    cpu: PANICKED,
};

/// On another CPU, with the four ends of the wedged CPU's handler; by the watchdog;
/// and from inside the handler.
const KDUMPS: [Kdump; 6] = [
    Kdump {
        name: "handler parked",
        append: "nokaslr crashkernel=256M",
        panic: "sysrq triggered crash",
        stopped: BY_SDEI,
        up: 3,
        cpu: WEDGED,
    },
    Kdump {
        name: "CPU_OFF in the handler",
        append: "nokaslr crashkernel=256M bl31.how=off",
        panic: "sysrq triggered crash",
        stopped: BY_SDEI,
        up: 4,
        cpu: WEDGED,
    },
    Kdump {
        name: "handler resumed, then CPU_OFF",
        append: "nokaslr crashkernel=256M bl31.how=resume-off",
        panic: "sysrq triggered crash",
        stopped: BY_SDEI,
        up: 4,
        cpu: WEDGED,
    },
    Kdump {
        name: "handler resumed, then parked",
        append: "nokaslr crashkernel=256M bl31.how=resume-park",
        panic: "sysrq triggered crash",
        stopped: BY_SDEI,
        up: 3,
        cpu: WEDGED,
    },
    Kdump {
        name: "panic by the watchdog",
        append: "nokaslr crashkernel=256M bl31.how=watchdog",
        panic: "Hard LOCKUP",
        stopped: BY_SDEI,
        up: 3,
        cpu: WEDGED,
    },
    PANIC_IN_THE_HANDLER,
];

/// A kernel dies, and another saves its memory: each way to do so.
pub(crate) fn kdump() -> Vec<Test> {
    let test = |kdump: &Kdump| dies(&format!("NMI: kdump, {}", kdump.name), kdump, |_| {});
    KDUMPS.iter().map(test).collect()
}

/// A kernel dies in this way, and another saves its memory. `change` is made to the
/// machine.
pub(super) fn dies(name: &str, kdump: &Kdump, change: impl FnOnce(&mut Test)) -> Test {
    let mut test = scripted(name, NMI, "kdump", 4);
    test.append(kdump.append);
    test.memory = "448M";
    test.forbidden = FORBIDDEN_WEDGED;
    test.has_kernel = true;
    test.has_disk = true;
    change(&mut test);
    let up = kdump.up;
    using_nmi(test)
        .expect("bl31-test: panicking")
        .expect(format!("Kernel panic - not syncing: {}", kdump.panic))
        .expect(kdump.stopped)
        .expect("Starting crashdump kernel")
        .expect(r"sdei: SDEIv1\.1 \(0x0\) detected in firmware")
        .expect("bl31-test: captured")
        .expect(format!("bl31-test: {up} CPUs up, {up} answered"))
        .expect("bl31-test: vmcore saved")
        .expect("reboot: Power down")
        .power_off()
        .vmcore(kdump.cpu)
}

/// The thread that prints on the console can be left behind on a wedged CPU; the
/// kernel's early console has none.
const ONE_BY_ONE: &str = "keep_bootcon";
const AT_ONCE: &str = "keep_bootcon bl31.how=at-once";

/// Wedges all CPUs but one.
fn wide(cpus: u32, append: &'static str, extra: &'static [&'static str]) -> Test {
    let when = if append == AT_ONCE {
        "at once"
    } else {
        "one by one"
    };
    let slow = if extra.is_empty() { "" } else { "slow: " };
    let name = format!("{slow}NMI: {cpus} CPUs wedged {when}");
    let mut test = scripted(&name, NMI, "wide", cpus);
    if let Boot::Linux { append: words, .. } = &mut test.boot {
        *words = append;
    }
    test.forbidden = FORBIDDEN_WEDGED;
    test.extra = extra;
    using_nmi(test).expect(format!("bl31-test: all {} wedged CPUs answered", cpus - 1))
}

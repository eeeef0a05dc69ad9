//! What unmodified software is run on the image: Linux, U-Boot, and what the
//! image must refuse.

pub(crate) mod power;
pub(crate) mod pseudo_nmi;

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::board::Board;
use crate::fvp;
use crate::machine::{Machine, Qemu};
use crate::session::BANNER;
use crate::tree;

/// The newest of Debian's stock kernels that the tests know.
pub const NEWEST: &str = "7.3";

/// The stock kernels of Debian that are booted, by version.
pub const STOCK: [&str; 3] = ["6.1", "6.12", NEWEST];

/// A CPU with FEAT_RME.
pub(crate) const RME: &str = "max,x-rme=on";

/// The name of the kernel with SDEI's cross-CPU NMI.
pub const NMI: &str = "nmi";

/// Lines that no healthy run shows.
const FORBIDDEN: &[&str] = &[
    r"BUG:",
    r"WARNING:",
    r"Oops",
    r"[Cc]all [Tt]race:",
    r"Kernel panic",
    r"soft lockup",
    r"hard LOCKUP",
    r"rcu.*detected stalls",
    r"failed to stop secondary CPUs",
    r"CPU\d+: failed to (come online|boot)",
    r"sdei: .*([Ff]ail|[Nn]ot supported)",
    r"psci: failed",
    r"undefined instruction",
    r"bl31-test: FAILED",
    r"bl31: cannot boot",
    r"bl31: EL3 crash",
];

/// Lines that a run with a wedged CPU must not show.
const FORBIDDEN_WEDGED: &[&str] = &[
    r"BUG:",
    r"failed to stop secondary CPUs",
    r"sdei: .*([Ff]ail|[Nn]ot supported)",
    r"bl31-test: FAILED",
    r"bl31: cannot boot",
    r"bl31: EL3 crash",
];

/// Lines that a machine with nothing to boot must not show.
const FORBIDDEN_REFUSED: &[&str] = &[r"Linux version", r"U-Boot", r"bl31: EL3 crash"];

/// The files that the tests run.
#[derive(Clone, Debug)]
pub struct Files {
    /// The EL3 image, as QEMU's `-bios` takes it.
    pub firmware: PathBuf,
    /// Kernels by name: those of [`STOCK`], and [`NMI`].
    pub kernels: BTreeMap<String, PathBuf>,
    /// The initramfs with the test scripts.
    pub initramfs: PathBuf,
    /// The same with [`NMI`] in it, for kexec; none where no test wants it.
    pub initramfs_with_kernel: Option<PathBuf>,
    /// Debian's U-Boot for QEMU's arm64 machine.
    pub u_boot: PathBuf,
}

/// What a test's machine is given to boot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Boot {
    /// A kernel by name, the script that its initramfs runs (none: a shell), and
    /// further words for its command line.
    Linux {
        /// Key of [`Files::kernels`].
        kernel: &'static str,
        /// Script in the initramfs, without `.sh`.
        script: Option<&'static str>,
        /// Further words for the kernel's command line.
        append: &'static str,
    },
    /// Debian's U-Boot, in RAM from the start.
    UBoot,
    /// A file in the kernel's place that starts with these bytes.
    NoImage(&'static [u8]),
    /// Nothing at all.
    Nothing,
    /// Nothing, and EL3 is told to crash in one of the ways of `opt/bl31/crash`.
    Crash(&'static str),
}

impl Boot {
    /// The name of the kernel that it needs, if any.
    pub fn kernel(&self) -> Option<&'static str> {
        match self {
            Self::Linux { kernel, .. } => Some(kernel),
            _ => None,
        }
    }
}

/// One thing that a test does with its machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// The console shows the pattern, after all that was matched before.
    Expect(String),
    /// A line is typed.
    Type(&'static str),
    /// QEMU ends by itself, with status 0.
    PowerOff,
    /// The disk has the memory of a kernel that crashed on it, with this CPU in it.
    Vmcore(Dumped),
}

/// A CPU in the dump of a kernel that crashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dumped {
    /// The function of [`NMI`] that its PC is in.
    pub function: &'static str,
    /// Whether its PSTATE masks interrupts: it does not where they are masked by
    /// priority, which no dump shows.
    pub masked: bool,
}

/// One run of a machine.
#[derive(Clone, Debug)]
pub struct Test {
    /// Its name, which says what is different about it.
    pub name: String,
    /// The board.
    pub board: Board,
    /// What is booted.
    pub boot: Boot,
    /// CPU model.
    pub cpu: &'static str,
    /// Number of PEs.
    pub cpus: u32,
    /// Whether the PEs have EL2.
    pub el2: bool,
    /// RAM, as QEMU writes it.
    pub memory: &'static str,
    /// Version of the GIC.
    pub gic: u32,
    /// What happens; the machine is ended after the last step.
    pub steps: Vec<Step>,
    /// Patterns of lines that fail the test.
    pub forbidden: &'static [&'static str],
    /// Further arguments of QEMU.
    pub extra: &'static [&'static str],
    /// What is changed in the device tree, if it is given one.
    pub tree: Option<tree::Edit>,
    /// How many PEs less the kernel finds.
    pub missing: u32,
    /// What the initramfs is padded to, in bytes.
    pub initramfs_size: u64,
    /// Whether the initramfs has the kernel in it.
    pub has_kernel: bool,
    /// Whether the machine has an empty disk.
    pub has_disk: bool,
    /// Whether it is also run on the oldest QEMU there is.
    pub old_qemu: bool,
    /// Whether the kernel masks interrupts by priority, not by PSTATE, so that it has
    /// pseudo-NMIs: only [`NMI`] is built so that it can.
    pub pseudo_nmi: bool,
    /// Words for the kernel's command line behind those of [`Boot::Linux`].
    words: Vec<&'static str>,
}

impl Test {
    fn new(name: impl Into<String>, boot: Boot) -> Self {
        Self {
            name: name.into(),
            board: Board::QemuVirt,
            boot,
            cpu: "max",
            cpus: 4,
            el2: true,
            memory: "2G",
            gic: 3,
            steps: Vec::new(),
            forbidden: FORBIDDEN,
            extra: &[],
            tree: None,
            missing: 0,
            initramfs_size: 0,
            has_kernel: false,
            has_disk: false,
            old_qemu: false,
            pseudo_nmi: false,
            words: Vec::new(),
        }
    }

    fn append(&mut self, words: &'static str) {
        if !words.is_empty() {
            self.words.push(words);
        }
    }

    fn expect(mut self, pattern: impl Into<String>) -> Self {
        self.steps.push(Step::Expect(pattern.into()));
        self
    }

    fn types(mut self, line: &'static str) -> Self {
        self.steps.push(Step::Type(line));
        self
    }

    fn power_off(mut self) -> Self {
        self.steps.push(Step::PowerOff);
        self
    }

    fn vmcore(mut self, cpu: Dumped) -> Self {
        self.steps.push(Step::Vmcore(cpu));
        self
    }

    /// The machine of this test.
    ///
    /// # Errors
    ///
    /// Names the kernel or the initramfs that is not among `files`.
    pub fn machine(&self, qemu: &Qemu, files: &Files) -> Result<Machine, String> {
        let mut machine = Machine::new(qemu, &files.firmware);
        machine.cpu = self.cpu.into();
        machine.cpus = self.cpus;
        machine.el2 = self.el2;
        machine.memory = self.memory.into();
        machine.gic = self.gic;
        machine.extra = self.extra.iter().map(ToString::to_string).collect();
        match &self.boot {
            Boot::Linux {
                kernel,
                script,
                append,
            } => {
                let image = files
                    .kernels
                    .get(*kernel)
                    .ok_or_else(|| format!("there is no kernel {kernel}"))?;
                machine.kernel = Some(image.clone());
                let initramfs = if self.has_kernel {
                    files
                        .initramfs_with_kernel
                        .as_ref()
                        .ok_or("there is no initramfs with a kernel in it")?
                } else {
                    &files.initramfs
                };
                machine.initrd = Some(initramfs.clone());
                let mut words = vec![*append];
                words.extend(&self.words);
                if self.pseudo_nmi {
                    words.push("irqchip.gicv3_pseudo_nmi=1");
                }
                machine.append = Some(command_line(kernel, *script, words.join(" ").trim()));
            }
            Boot::UBoot => {
                machine.preload = Some((files.u_boot.clone(), 0x6000_0000));
                machine.options = vec![("bl33".into(), "0x60000000".into())];
            }
            // Its user writes the file.
            Boot::NoImage(_) | Boot::Nothing => {}
            Boot::Crash(way) => machine.options = vec![("crash".into(), (*way).into())],
        }
        Ok(machine)
    }
}

/// The command line for `kernel` when its initramfs runs `script`.
///
/// The NMI kernel's own test of PSCI takes a while at boot: it is left out unless
/// `append` mentions it.
pub fn command_line(kernel: &str, script: Option<&str>, append: &str) -> String {
    let mut words = vec!["console=ttyAMA0".to_owned()];
    if let Some(script) = script {
        words.push("earlycon".into());
        // The scripts write to the kernel's log, as much as they like.
        words.push("printk.devkmsg=on".into());
        words.push(format!("bl31.test={script}"));
    }
    if kernel == NMI && !append.contains("psci_checker") {
        words.push("initcall_blacklist=psci_checker".into());
    }
    if !append.is_empty() {
        words.push(append.into());
    }
    words.join(" ")
}

/// What the console shows when a kernel on `cpus` PEs has found PSCI and SDEI.
fn detected(test: Test) -> Test {
    let cpus = test.cpus - test.missing;
    let mut test = test
        .expect(BANNER)
        .expect(r"psci: PSCIv1\.\d detected in firmware");
    if test.pseudo_nmi {
        test = test.expect(r"GICv3: Pseudo-NMIs enabled using \w+ ICC_PMR_EL1 synchronisation");
    }
    test.expect(format!("smp: Brought up \\d nodes?, {cpus} CPU"))
        .expect(r"sdei: SDEIv1\.1 \(0x0\) detected in firmware")
}

/// The same of the kernel with SDEI's NMI.
fn using_nmi(test: Test) -> Test {
    detected(test).expect("sdei_nmi: using SDEI cross-CPU NMI")
}

pub(crate) fn boots(name: String, kernel: &'static str, change: impl FnOnce(&mut Test)) -> Test {
    let boot = Boot::Linux {
        kernel,
        script: Some("boot"),
        append: "",
    };
    let mut test = Test::new(name, boot);
    change(&mut test);
    let cpus = test.cpus - test.missing;
    detected(test)
        .expect(format!("bl31-test: ran on {cpus} CPUs"))
        .expect("reboot: Power down")
        .power_off()
}

pub(crate) fn scripted(name: &str, kernel: &'static str, script: &'static str, cpus: u32) -> Test {
    let boot = Boot::Linux {
        kernel,
        script: Some(script),
        append: "",
    };
    let mut test = Test::new(name, boot);
    test.cpus = cpus;
    if script == "panic" {
        // Ends the run, through one more call of the firmware.
        test.append("panic=1");
    }
    test
}

/// Device trees that Linux takes: what is different about them, and how many CPUs
/// less there are.
const TREES: [(&str, tree::Edit, u32); 5] = [
    ("another firmware's methods", tree::anothers, 0),
    ("other CPUs", tree::other_cpus, 1),
    ("reserved memory, without /chosen", tree::reserved, 0),
    ("40 levels", tree::deep, 0),
    ("2 MB in it", tree::big, 0),
];

/// The kernel and its initramfs are in two NUMA nodes.
fn across_nodes() -> Test {
    let name = format!("boot {NEWEST}, across NUMA nodes");
    boots(name, NEWEST, |test| {
        test.memory = "384M";
        test.extra = &[
            "-object",
            "memory-backend-ram,id=node0,size=64M",
            "-object",
            "memory-backend-ram,id=node1,size=64M",
            "-object",
            "memory-backend-ram,id=node2,size=64M",
            "-object",
            "memory-backend-ram,id=node3,size=64M",
            "-object",
            "memory-backend-ram,id=node4,size=64M",
            "-object",
            "memory-backend-ram,id=node5,size=64M",
            "-numa",
            "node,memdev=node0",
            "-numa",
            "node,memdev=node1",
            "-numa",
            "node,memdev=node2",
            "-numa",
            "node,memdev=node3",
            "-numa",
            "node,memdev=node4",
            "-numa",
            "node,memdev=node5",
        ];
        test.initramfs_size = 41 << 20;
    })
}

/// All the tests, in the order in which they are run.
pub fn tests() -> Vec<Test> {
    let mut tests = Vec::new();
    for kernel in STOCK {
        for cpus in [1, 4, 8] {
            tests.push(boots(
                format!("boot {kernel}, {cpus} CPUs"),
                kernel,
                |test| {
                    test.cpus = cpus;
                    test.old_qemu = cpus == 4;
                },
            ));
        }
    }
    for cpu in ["neoverse-n1", "cortex-a76"] {
        tests.push(boots(format!("boot {NEWEST}, {cpu}"), NEWEST, |test| {
            test.cpu = cpu;
        }));
    }
    for cpu in ["cortex-a57", "max"] {
        let name = format!("boot {NEWEST}, {cpu} without EL2");
        tests.push(boots(name, NEWEST, |test| {
            test.cpu = cpu;
            test.el2 = false;
        }));
    }
    tests.push(boots(format!("boot {NEWEST}, FEAT_RME"), NEWEST, |test| {
        test.cpu = RME;
    }));
    for (what, edit, missing) in TREES {
        let name = format!("boot {NEWEST}, device tree with {what}");
        tests.push(boots(name, NEWEST, |test| {
            test.tree = Some(edit);
            test.missing = missing;
        }));
    }
    tests.push(across_nodes());
    tests.extend(stock());
    tests.extend(nmi());
    tests.extend(power::tests());
    tests.extend(pseudo_nmi::tests());
    tests.extend(others());
    tests.extend(fvp::linux_tests());
    tests
}

/// Tests that take many minutes each, and are run only when asked for.
pub fn slow_tests() -> Vec<Test> {
    let mut tests = power::slow();
    tests.extend(pseudo_nmi::slow());
    tests.extend(fvp::slow_tests());
    tests
}

/// Takes CPUs down and up again, many times.
pub(crate) fn hotplug(name: &str, cpus: u32) -> Test {
    detected(scripted(name, NEWEST, "hotplug", cpus))
        .expect("bl31-test: round 20$")
        .expect("reboot: Power down")
        .power_off()
}

/// Boots, is reset, boots.
pub(crate) fn reboots(name: &str) -> Test {
    let boot = Boot::Linux {
        kernel: NEWEST,
        script: Some("reboot"),
        append: "",
    };
    let first = detected(Test::new(name, boot)).expect("bl31-test: rebooting");
    detected(first).expect("bl31-test: rebooting")
}

/// Hotplug, reboot and a shell, on a stock kernel.
fn stock() -> Vec<Test> {
    let shell = Test::new(
        "shell",
        Boot::Linux {
            kernel: NEWEST,
            script: None,
            append: "",
        },
    );
    vec![
        hotplug("hotplug, 4 CPUs", 4),
        hotplug("hotplug, 8 CPUs", 8),
        reboots("reboot"),
        detected(shell)
            .expect("^bl31:.*# ")
            .types("echo $((6 * 7)) CPUs")
            .expect("^42 CPUs$")
            .types("exit")
            .expect("reboot: Power down")
            .power_off(),
    ]
}

/// How a CPU is wedged: what it masks interrupts by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wedge {
    /// In the way in which the kernel masks them.
    Masked,
    /// By PSTATE.DAIF in any case, in the handler of a device's interrupt.
    Daif,
}

impl Wedge {
    /// For the kernel's command line.
    fn words(self) -> &'static str {
        match self {
            Self::Masked => "",
            Self::Daif => "bl31.wedge=daif lkdtm.cpoint_count=1",
        }
    }

    /// How a kernel's backtrace shows PSTATE: `daif` in capitals where it is masked.
    fn pstate(self, pseudo_nmi: bool) -> &'static str {
        match self {
            Self::Masked if pseudo_nmi => r"pstate: \w+ \(\w+ daif",
            Self::Masked => r"pstate: \w+ \(.*daIF|pstate: \w+ \(.*DAIF",
            Self::Daif => r"pstate: \w+ \(\w+ DAIF",
        }
    }

    /// Which way of stopping CPU 1 the console names last, the one that works.
    pub(crate) const fn stopped(self, pseudo_nmi: bool) -> &'static str {
        match self {
            Self::Masked if pseudo_nmi => "SMP: retry stop with NMI for CPUs 1$",
            _ => "SMP: retry stop with SDEI NMI for CPUs 1$",
        }
    }
}

/// A wedged CPU shows where it is. `change` is made to the machine.
pub(crate) fn backtrace(
    name: &str,
    cpus: u32,
    wedge: Wedge,
    change: impl FnOnce(&mut Test),
) -> Test {
    let mut test = scripted(name, NMI, "backtrace", cpus);
    test.append(wedge.words());
    // The thread that prints can be left behind on CPU 1, till a watchdog prints for
    // it; the kernel's early console has none.
    test.append("keep_bootcon");
    test.forbidden = FORBIDDEN_WEDGED;
    change(&mut test);
    let pstate = wedge.pstate(test.pseudo_nmi);
    using_nmi(test)
        .expect("bl31-test: wedged")
        .expect("NMI backtrace for cpu 1\\b")
        .expect(pstate)
        .expect(r"pc : lkdtm_HARDLOCKUP\+0x")
        .expect("bl31-test: backtraces done")
}

/// A panic stops a wedged CPU. `change` is made to the machine.
pub(crate) fn panics(name: &str, cpus: u32, wedge: Wedge, change: impl FnOnce(&mut Test)) -> Test {
    let mut test = scripted(name, NMI, "panic", cpus);
    test.append(wedge.words());
    test.forbidden = FORBIDDEN_WEDGED;
    test.extra = &["-no-reboot"];
    change(&mut test);
    let stopped = wedge.stopped(test.pseudo_nmi);
    using_nmi(test)
        .expect("bl31-test: panicking")
        .expect("Kernel panic - not syncing: sysrq triggered crash")
        .expect("SMP: stopping secondary CPUs")
        .expect(stopped)
        .expect("Rebooting in 1 seconds")
        .power_off()
}

/// The kernel's own test of PSCI passes. `change` is made to the machine.
pub(crate) fn psci_checker(name: &str, cpus: u32, change: impl FnOnce(&mut Test)) -> Test {
    let mut test = scripted(name, NMI, "boot", cpus);
    test.append("bl31.psci_checker");
    change(&mut test);
    using_nmi(test)
        .expect("psci_checker: PSCI checker started using")
        .expect("psci_checker: Hotplug tests passed OK")
        .expect("psci_checker: Suspend tests passed OK")
        .expect("bl31-test: ran on")
        .power_off()
}

/// The kernel with SDEI's NMI takes CPUs down and up again. `change` is made to the
/// machine.
pub(crate) fn nmi_hotplug(name: &str, cpus: u32, change: impl FnOnce(&mut Test)) -> Test {
    let mut test = scripted(name, NMI, "hotplug", cpus);
    change(&mut test);
    using_nmi(test).expect("bl31-test: round 20$").power_off()
}

/// The kernel that reaches wedged CPUs through event 0.
fn nmi() -> Vec<Test> {
    let mut tests = Vec::new();
    for (cpus, el2) in [(4, true), (8, true), (4, false)] {
        let where_ = if el2 { "" } else { " without EL2" };
        let name = format!("NMI: backtrace of a wedged CPU, {cpus} CPUs{where_}");
        tests.push(backtrace(&name, cpus, Wedge::Masked, |test| {
            test.el2 = el2;
            test.old_qemu = cpus == 4 && el2;
        }));
    }
    for (cpus, cpu) in [(4, "max"), (8, "neoverse-n1")] {
        let name = format!("NMI: panic stops a wedged CPU, {cpus} CPUs, {cpu}");
        tests.push(panics(&name, cpus, Wedge::Masked, |test| test.cpu = cpu));
    }
    for cpus in [4, 8] {
        let name = format!("PSCI checker, {cpus} CPUs");
        tests.push(psci_checker(&name, cpus, |_| {}));
    }
    tests.push(nmi_hotplug("NMI: hotplug, 4 CPUs", 4, |_| {}));
    tests
}

/// The firmware says why it can't boot. `change` is made to the machine.
pub(crate) fn refused(name: &str, boot: Boot, change: fn(&mut Test)) -> Test {
    let mut test = Test::new(name, boot);
    test.forbidden = FORBIDDEN_REFUSED;
    change(&mut test);
    test.expect("^bl31: cannot boot: .+$")
}

/// EL3 crashes in this way, and reports it.
pub(crate) fn crash(way: &'static str) -> Test {
    let mut test = Test::new(format!("crash report: {way}"), Boot::Crash(way));
    test.forbidden = &[];
    test.expect("^bl31: EL3 crash on PE 0x0: .+$")
        .expect("^  backtrace:$")
}

/// U-Boot, and machines that cannot boot.
fn others() -> Vec<Test> {
    let u_boot = |name: &str, el2| {
        let mut test = Test::new(name, Boot::UBoot);
        test.el2 = el2;
        test.expect(BANNER)
            .expect(r"^U-Boot 20\d\d")
            .expect("Hit any key")
            .types("")
            .expect("^=> ")
            .types("echo $cpu is $arch")
            .expect("^armv8 is arm")
            .types("poweroff")
            .power_off()
    };
    let linux = Boot::Linux {
        kernel: NEWEST,
        script: Some("boot"),
        append: "",
    };
    let mut others = vec![
        u_boot("U-Boot", true),
        u_boot("U-Boot without EL2", false),
        refused("refused: nothing to boot", Boot::Nothing, |_| {}),
        refused("refused: too little RAM", linux.clone(), |test| {
            test.memory = "32M";
        }),
        refused("refused: no GICv3", linux.clone(), |test| test.gic = 2),
        refused("refused: no CPU model", Boot::Nothing, |test| test.cpu = ""),
        refused("refused: fw_cfg without DMA", linux.clone(), |test| {
            test.extra = &["-global", "fw_cfg_mem.dma_enabled=off"];
        }),
        refused("refused: a tree without CPU 0", Boot::Nothing, |test| {
            test.tree = Some(tree::no_cpu_0);
        }),
        refused("refused: a GIC without end", Boot::Nothing, |test| {
            test.tree = Some(tree::endless_gic);
        }),
        refused("refused: too large a tree", Boot::Nothing, |test| {
            test.tree = Some(tree::too_big);
        }),
    ];
    for (what, bytes, why) in [
        ("no arm64 Image", &b"070701"[..], "no arm64 Image header$"),
        ("EFI zboot", b"MZ\0\0zimg", "EFI zboot; .* unpacks it$"),
        ("ELF", b"\x7fELF\x02", "ELF; take arch/arm64/boot/Image$"),
    ] {
        let name = format!("refused: {what}");
        let mut test = Test::new(name, Boot::NoImage(bytes));
        test.forbidden = FORBIDDEN_REFUSED;
        others.push(test.expect(format!(
            "^bl31: cannot boot: what was given as kernel: {why}"
        )));
    }
    others.extend(["panic", "fault", "write", "execute", "stack"].map(crash));
    others
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn names_are_unique() {
        let mut tests = tests();
        tests.extend(slow_tests());
        let names: BTreeSet<_> = tests.iter().map(|test| &test.name).collect();
        assert_eq!(names.len(), tests.len());
    }

    #[test]
    fn patterns_compile() {
        for test in tests().into_iter().chain(slow_tests()) {
            for step in test.steps {
                if let Step::Expect(pattern) = step {
                    regex::bytes::Regex::new(&pattern).unwrap();
                }
            }
            regex::bytes::RegexSet::new(test.forbidden).unwrap();
        }
    }

    #[test]
    fn the_checker_runs_only_where_it_is_asked_for() {
        assert!(command_line(NMI, Some("boot"), "").contains("initcall_blacklist"));
        assert!(!command_line(NMI, Some("boot"), "psci_checker").contains("initcall_blacklist"));
        assert!(!command_line(NEWEST, None, "").contains("initcall_blacklist"));
    }
}

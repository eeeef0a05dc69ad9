//! An FVP Base RevC: QEMU with a machine in its likeness, or Arm's own model.
//!
//! Nothing on it hands a kernel over: the model loads files into memory before the
//! first instruction. What `-append`, `-initrd` and fw_cfg say on QEMU's `virt` is
//! in the device tree, of which each machine gets its own.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use dtoolkit::fdt::Fdt;
use dtoolkit::model::{DeviceTree, DeviceTreeNode, DeviceTreeProperty};

use crate::board::Board;
use crate::linux::{self, Boot, NEWEST, Step, Test, Wedge, power, pseudo_nmi};
use crate::machine::{Consoles, Machine};

/// Where a kernel is loaded: a multiple of 2 MiB.
const KERNEL: u64 = 0x8020_0000;

/// Where an initial RAM disk is loaded: behind all else.
const INITRD: u64 = 0x8900_0000;

/// Where the device tree is loaded. 0x8200_0000 would be inside most kernels.
const TREE: u64 = 0x87e0_0000;

/// Where the firmware looks for another image than a kernel.
pub const IMAGE: u64 = 0x8800_0000;

/// A program that models the board.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Model {
    /// QEMU with a machine `fvp-base-revc`.
    Qemu,
    /// Arm's FVP, and the file of parameters (`-f`) that it is started with.
    Arm(PathBuf),
}

impl fmt::Display for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Qemu => "QEMU's fvp-base-revc",
            Self::Arm(_) => "Arm's FVP Base RevC",
        })
    }
}

/// What a machine of this board is made of, beside what every machine has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fvp {
    /// The program.
    pub model: Model,
    /// The address at which the firmware is loaded and every PE starts.
    pub load: u64,
    /// Linux's device tree of the board, `arm/fvp-base-revc.dtb`.
    pub tree: PathBuf,
}

impl Fvp {
    /// Makes `machine` one of this board, when all else of it is set. Its device
    /// tree is written to `tree`, whose directory is made if need be.
    ///
    /// # Errors
    ///
    /// Says in words which file can't be read or written.
    pub fn take_over(&self, machine: &mut Machine, tree: &Path) -> Result<(), String> {
        let read = |path: &Path| {
            fs::read(path).map_err(|error| format!("cannot read {}: {error}", path.display()))
        };
        let mut properties = Vec::new();
        if let Some(append) = &machine.append {
            properties.push(property("bootargs", format!("{append}\0").as_bytes()));
        }
        for (name, value) in &machine.options {
            properties.push(property(
                &format!("bl31,{name}"),
                format!("{value}\0").as_bytes(),
            ));
        }
        if let Some(kernel) = &machine.kernel
            && KERNEL + memory_of(&read(kernel)?) > TREE
        {
            return Err(format!("{} reaches over the device tree", kernel.display()));
        }
        if let Some(initrd) = &machine.initrd {
            let end = INITRD + read(initrd)?.len() as u64;
            properties.push(property("linux,initrd-start", &INITRD.to_be_bytes()));
            properties.push(property("linux,initrd-end", &end.to_be_bytes()));
        }

        let source = read(&self.tree)?;
        let source = Fdt::new(&source)
            .map_err(|error| format!("{} is no device tree: {error}", self.tree.display()))?;
        let mut edited = DeviceTree::from_fdt(&source);
        if edited.find_node("/chosen").is_none() {
            edited
                .root
                .add_child(DeviceTreeNode::new_unchecked("chosen"));
        }
        if let Some(chosen) = edited.find_node_mut("/chosen") {
            for property in properties {
                chosen.add_property(property);
            }
        }
        set_memory(&mut edited, size_of(&machine.memory)?);
        if let Some(directory) = tree.parent() {
            fs::create_dir_all(directory)
                .map_err(|error| format!("cannot make {}: {error}", directory.display()))?;
        }
        fs::write(tree, edited.to_dtb())
            .map_err(|error| format!("cannot write {}: {error}", tree.display()))?;

        machine.loaded = vec![(machine.firmware.clone(), self.load), (tree.into(), TREE)];
        machine
            .loaded
            .extend(machine.kernel.clone().map(|kernel| (kernel, KERNEL)));
        machine
            .loaded
            .extend(machine.initrd.clone().map(|initrd| (initrd, INITRD)));
        machine.loaded.extend(machine.preload.clone());
        machine.fvp = Some(self.clone());
        Ok(())
    }

    /// The program's arguments for `machine`, which was given to
    /// [`take_over`](Self::take_over).
    pub(crate) fn arguments(&self, machine: &Machine, consoles: Consoles<'_>) -> Vec<String> {
        match &self.model {
            Model::Qemu => self.qemu_arguments(machine, consoles),
            Model::Arm(parameters) => arm_arguments(machine, parameters, consoles),
        }
    }

    fn qemu_arguments(&self, machine: &Machine, consoles: Consoles<'_>) -> Vec<String> {
        let mut arguments: Vec<String> = Vec::new();
        let mut push = |name: &str, value: String| arguments.extend([name.to_owned(), value]);
        push(
            "-machine",
            format!("fvp-base-revc,rvbar={:#x},tsram-size=0x40000", self.load),
        );
        push("-cpu", machine.cpu.clone());
        push("-smp", machine.cpus.to_string());
        push("-display", "none".into());
        for (file, address) in &machine.loaded {
            push(
                "-device",
                format!(
                    "loader,file={},addr={address:#x},force-raw=on",
                    file.display()
                ),
            );
        }
        push("-m", machine.memory.clone());
        if let Some(disk) = &machine.disk {
            let file = disk.display();
            push("-drive", format!("file={file},format=raw,if=none,id=disk"));
            push("-device", "virtio-blk-device,drive=disk".into());
        }
        let secure = match consoles {
            Consoles::Terminal(secure) => {
                push("-serial", "mon:stdio".into());
                // The time of a shell is the user's.
                push("-icount", "shift=3".into());
                secure
            }
            Consoles::Streams(secure) => {
                push("-monitor", "none".into());
                push("-serial", "stdio".into());
                // One thread for all PEs: the same every time, and no timer is late.
                push("-icount", "shift=3,sleep=off".into());
                secure
            }
        };
        push("-serial", format!("file:{}", secure.display()));
        push("-serial", "null".into());
        push("-serial", "null".into());
        arguments.extend(machine.extra.iter().cloned());
        arguments
    }
}

fn arm_arguments(machine: &Machine, parameters: &Path, consoles: Consoles<'_>) -> Vec<String> {
    let mut arguments = vec!["-f".into(), parameters.display().to_string()];
    let mut set = |parameter: String| arguments.extend(["-C".into(), parameter]);
    let secure = match consoles {
        // The model opens a terminal of its own, or a port for telnet.
        Consoles::Terminal(secure) => secure,
        Consoles::Streams(secure) => {
            set("bp.terminal_0.start_telnet=0".into());
            set("bp.pl011_uart0.out_file=-".into());
            set("bp.pl011_uart0.unbuffered_output=1".into());
            secure
        }
    };
    set("bp.terminal_1.start_telnet=0".into());
    set(format!("bp.pl011_uart1.out_file={}", secure.display()));
    if let Some(disk) = &machine.disk {
        set(format!(
            "bp.virtioblockdevice.image_path={}",
            disk.display()
        ));
    }
    for (file, address) in &machine.loaded {
        arguments.push("--data".into());
        arguments.push(format!("cluster0.cpu0={}@{address:#x}", file.display()));
    }
    arguments.extend(machine.extra.iter().cloned());
    arguments
}

/// The bytes that QEMU means by a size such as `512M`.
fn size_of(text: &str) -> Result<u64, String> {
    let (digits, shift) = match text.split_at(text.len().saturating_sub(1)) {
        (digits, "G" | "g") => (digits, 30),
        (digits, "M" | "m") => (digits, 20),
        _ => (text, 20),
    };
    let number: u64 = digits
        .parse()
        .map_err(|_| format!("{text} is no size of memory"))?;
    Ok(number << shift)
}

/// Makes this many bytes the memory of the tree: the board has 2 GiB at one place,
/// and all else at another.
fn set_memory(tree: &mut DeviceTree, size: u64) {
    const LOW: u64 = 0x8000_0000;
    const LOW_SIZE: u64 = 2 << 30;
    const HIGH: u64 = 0x8_8000_0000;
    let low = size.min(LOW_SIZE);
    let mut cells = vec![LOW, low];
    if size > low {
        cells.extend([HIGH, size - low]);
    }
    let reg: Vec<u8> = cells.into_iter().flat_map(u64::to_be_bytes).collect();
    let memory = tree
        .root
        .children_mut()
        .find(|node| dtoolkit::Node::name_without_address(&&**node) == "memory");
    if let Some(memory) = memory {
        memory.add_property(property("reg", &reg));
    }
}

fn property(name: &str, value: &[u8]) -> DeviceTreeProperty {
    DeviceTreeProperty::new_unchecked(name, value)
}

/// The memory in bytes that an arm64 kernel needs from its first byte on, by its
/// header (Documentation/arch/arm64/booting.rst).
fn memory_of(kernel: &[u8]) -> u64 {
    const IMAGE_SIZE: usize = 16;
    let field = kernel.get(IMAGE_SIZE..IMAGE_SIZE + 8);
    let size = field.and_then(|bytes| bytes.try_into().ok());
    size.map_or(0, u64::from_le_bytes).max(kernel.len() as u64)
}

/// The same test on this board.
fn on_fvp(mut test: Test) -> Test {
    test.board = Board::FvpBase;
    // All of it goes into a dump, or is cleared.
    let is_small = test.has_disk || test.name.ends_with("protected");
    test.memory = if is_small { "512M" } else { "4G" };
    test.name.insert_str(0, test.board.prefix());
    test
}

/// What of Linux is run on this board, with the same steps as on QEMU's `virt`.
pub fn linux_tests() -> Vec<Test> {
    let boots = |kernel: &'static str, cpus: u32, what: &str, extra| {
        linux::boots(format!("boot {kernel}, {what}"), kernel, |test| {
            test.cpus = cpus;
            test.extra = extra;
        })
    };
    let mut tests = vec![
        boots("6.12", 8, "8 CPUs", &[]),
        boots(NEWEST, 1, "1 CPU", &[]),
        boots(NEWEST, 8, "8 CPUs", &[]),
        boots(
            NEWEST,
            8,
            "7 CPUs off at reset",
            &["-machine", "secondaries-off=on"],
        ),
        boots(
            NEWEST,
            4,
            "clusters of 2 CPUs",
            &["-machine", "cpus-per-cluster=2"],
        ),
        boots(
            NEWEST,
            8,
            "a cluster of 8 CPUs",
            &["-machine", "cpus-per-cluster=8"],
        ),
        linux::hotplug("hotplug, 8 CPUs", 8),
        linux::reboots("reboot"),
        linux::backtrace(
            "NMI: backtrace of a wedged CPU, 8 CPUs",
            8,
            Wedge::Masked,
            |_| {},
        ),
        linux::panics(
            "NMI: panic stops a wedged CPU, 8 CPUs",
            8,
            Wedge::Masked,
            |_| {},
        ),
        linux::psci_checker("PSCI checker, 8 CPUs", 8, |_| {}),
        power::suspend("NMI: suspend to RAM and to idle, 8 CPUs", 8, |_| {}),
        power::reboot_modes(),
        power::guest(power::GUEST, |_| {}),
        power::kexec(power::KEXEC, |_| {}),
        pseudo_nmi::suspend_on_fvp(),
        linux::refused("refused: nothing to boot", Boot::Nothing, |_| {}),
        damaged_tree(),
    ];
    tests.push(protected());
    // The wedged CPU parked, and powered off from inside its handler.
    tests.extend(power::kdump().into_iter().take(2));
    tests.extend(["panic", "fault", "write", "execute", "stack"].map(linux::crash));
    tests.into_iter().map(on_fvp).collect()
}

/// The tests with Linux on it that take many minutes.
pub(crate) fn slow_tests() -> impl Iterator<Item = Test> {
    let storm = power::storm(power::STORM, |_| {});
    [storm].into_iter().map(on_fvp)
}

/// Where the firmware finds a device tree, it has its magic number and no more: it
/// takes the one at the other place, which has nothing to boot.
fn damaged_tree() -> Test {
    let name = "refused: nothing to boot, and a damaged tree";
    let mut test = linux::refused(name, Boot::Nothing, |test| {
        test.extra = &[
            "-device",
            "loader,addr=0x82000000,data=0xedfe0dd0,data-len=4",
        ];
    });
    test.steps = vec![Step::Expect("^bl31: cannot boot: nothing to boot".into())];
    test
}

/// MEM_PROTECT was asked for before a reset: bit 31 of SYS_NVFLAGS says so. What is
/// to be booted is still there when the rest is cleared.
fn protected() -> Test {
    let mut test = linux::boots("boot 7.3, memory protected".into(), NEWEST, |test| {
        test.cpus = 2;
        test.extra = &[
            "-device",
            "loader,addr=0x1c010038,data=0x80000000,data-len=4",
        ];
    });
    let cleared = "^bl31: clearing the memory that the Normal world had protected$";
    test.steps.insert(1, Step::Expect(cleared.into()));
    test
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::Qemu;

    #[test]
    fn the_tree_says_what_was_loaded_where() {
        let directory = std::env::temp_dir().join(format!("fvp-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let file = |name: &str, bytes: &[u8]| {
            let path = directory.join(name);
            fs::write(&path, bytes).unwrap();
            path
        };
        let mut root = DeviceTree::new();
        root.root.add_child(DeviceTreeNode::new_unchecked("memory"));
        let fvp = Fvp {
            model: Model::Qemu,
            load: 0x0400_1000,
            tree: file("board.dtb", &root.to_dtb()),
        };
        let mut kernel = [0; 64];
        kernel[16..24].copy_from_slice(&0x720_0000u64.to_le_bytes());
        let qemu = Qemu {
            path: "qemu".into(),
            version: (10, 0, 2),
        };
        let mut machine = Machine::new(&qemu, Path::new("bl31.bin"));
        machine.kernel = Some(file("Image", &kernel));
        machine.initrd = Some(file("initrd", b"cpio"));
        machine.append = Some("console=ttyAMA0".into());
        machine.options = vec![("log".into(), "debug".into())];
        let tree = directory.join("edited.dtb");
        machine.memory = "3G".into();
        fvp.take_over(&mut machine, &tree).unwrap();

        let bytes = fs::read(&tree).unwrap();
        let edited = DeviceTree::from_fdt(&Fdt::new(&bytes).unwrap());
        let mut chosen = edited.find_node("/chosen").unwrap().clone();
        let mut value = |name| {
            let property = chosen.remove_property(name).unwrap();
            dtoolkit::Property::value(&&property).to_vec()
        };
        assert_eq!(value("bootargs"), b"console=ttyAMA0\0");
        assert_eq!(value("bl31,log"), b"debug\0");
        assert_eq!(value("linux,initrd-start"), 0x8900_0000u64.to_be_bytes());
        assert_eq!(value("linux,initrd-end"), 0x8900_0004u64.to_be_bytes());
        let mut memory = edited.find_node("/memory").unwrap().clone();
        let reg = memory.remove_property("reg").unwrap();
        let cells = [0x8000_0000, 2 << 30, 0x8_8000_0000, 1u64 << 30];
        assert_eq!(
            dtoolkit::Property::value(&&reg),
            cells.map(u64::to_be_bytes).concat()
        );
        let line = machine.command_line(Consoles::Streams(Path::new("/tmp/s")));
        for words in [
            "rvbar=0x4001000",
            "Image,addr=0x80200000",
            "initrd,addr=0x89000000",
        ] {
            assert!(line.contains(words), "{words} in {line}");
        }
        // One that reaches over the tree.
        kernel[16..24].copy_from_slice(&0x800_0000u64.to_le_bytes());
        machine.kernel = Some(file("Image", &kernel));
        assert!(fvp.take_over(&mut machine, &tree).is_err());
        fs::remove_dir_all(&directory).unwrap();
    }

    #[test]
    fn sizes_of_memory() {
        assert_eq!(size_of("512M"), Ok(512 << 20));
        assert_eq!(size_of("4G"), Ok(4 << 30));
        assert_eq!(size_of("64"), Ok(64 << 20));
        assert!(size_of("much").is_err());
    }
}

//! One QEMU machine: what it is made of, and the command that starts it.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::fvp::Fvp;

/// A QEMU for the `virt` machine, as found on this computer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Qemu {
    /// The program.
    pub path: PathBuf,
    /// Major, minor and micro version.
    pub version: (u32, u32, u32),
}

impl Qemu {
    /// Asks the program at `path` for its version.
    ///
    /// # Errors
    ///
    /// Says so in words when the program does not run, or when what it prints
    /// is not QEMU's version line.
    pub fn probe(path: &Path) -> Result<Self, String> {
        let output = Command::new(path)
            .arg("--version")
            .output()
            .map_err(|error| format!("cannot run {}: {error}", path.display()))?;
        let text = String::from_utf8_lossy(&output.stdout);
        let version = parse_version(&text).ok_or_else(|| {
            format!(
                "{} does not say which version of QEMU it is: {}{}",
                path.display(),
                text.trim(),
                String::from_utf8_lossy(&output.stderr).trim()
            )
        })?;
        Ok(Self {
            path: path.to_owned(),
            version,
        })
    }
}

impl fmt::Display for Qemu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (major, minor, micro) = self.version;
        write!(f, "QEMU {major}.{minor}.{micro}")
    }
}

fn parse_version(text: &str) -> Option<(u32, u32, u32)> {
    let rest = text.strip_prefix("QEMU emulator version ")?;
    let word = rest.split_whitespace().next()?;
    let mut numbers = word.split('.').map(|number| number.parse().ok());
    Some((numbers.next()??, numbers.next()??, numbers.next()??))
}

/// Where the machine's two serial ports go.
#[derive(Clone, Copy, Debug)]
pub enum Consoles<'a> {
    /// Port 0 (the Normal world's) and QEMU's monitor on this terminal; port 1
    /// (the Secure world's) into the file.
    Terminal(&'a Path),
    /// Port 0 on QEMU's standard streams; port 1 into the file.
    Streams(&'a Path),
}

/// A machine with EL3 and what it is given to boot: a QEMU `virt` unless its
/// field [`fvp`](Self::fvp) says otherwise.
#[derive(Clone, Debug)]
pub struct Machine {
    /// The program that emulates it.
    pub qemu: Qemu,
    /// The EL3 image, in secure flash 0.
    pub firmware: PathBuf,
    /// CPU model, e.g. `max` or `cortex-a57`; QEMU's default if empty.
    pub cpu: String,
    /// Number of PEs.
    pub cpus: u32,
    /// RAM, as QEMU writes sizes, e.g. `2G`.
    pub memory: String,
    /// Whether the PEs have EL2.
    pub el2: bool,
    /// Version of the GIC; the firmware wants 3.
    pub gic: u32,
    /// Kernel for fw_cfg.
    pub kernel: Option<PathBuf>,
    /// Initial RAM disk for fw_cfg.
    pub initrd: Option<PathBuf>,
    /// Command line for fw_cfg.
    pub append: Option<String>,
    /// An image that is in RAM from the start, and its address.
    pub preload: Option<(PathBuf, u64)>,
    /// A device tree in place of QEMU's own.
    pub tree: Option<PathBuf>,
    /// A file that is a disk of virtio.
    pub disk: Option<PathBuf>,
    /// Entries of fw_cfg for the firmware: name below `opt/bl31/`, and value.
    pub options: Vec<(String, String)>,
    /// Further arguments of QEMU.
    pub extra: Vec<String>,
    /// The board, if it is no QEMU `virt`: [`Fvp::take_over`] sets it last.
    pub fvp: Option<Fvp>,
    /// Files that are in memory from the start and their addresses, on a board
    /// whose model loads all of them so.
    pub loaded: Vec<(PathBuf, u64)>,
}

impl Machine {
    /// A machine with `-cpu max`, 4 PEs, 2 GiB, EL2 and a GICv3, with nothing to
    /// boot.
    pub fn new(qemu: &Qemu, firmware: &Path) -> Self {
        Self {
            qemu: qemu.clone(),
            firmware: firmware.to_owned(),
            cpu: "max".into(),
            cpus: 4,
            memory: "2G".into(),
            el2: true,
            gic: 3,
            kernel: None,
            initrd: None,
            append: None,
            preload: None,
            tree: None,
            disk: None,
            options: Vec::new(),
            extra: Vec::new(),
            fvp: None,
            loaded: Vec::new(),
        }
    }

    /// QEMU's arguments, without the program itself.
    pub fn arguments(&self, consoles: Consoles<'_>) -> Vec<String> {
        if let Some(fvp) = &self.fvp {
            return fvp.arguments(self, consoles);
        }
        let on_off = |yes| if yes { "on" } else { "off" };
        let path = |path: &Path| path.display().to_string();
        let mut arguments: Vec<String> = Vec::new();
        let mut push = |name: &str, value: String| {
            arguments.push(name.to_owned());
            arguments.extend((!value.is_empty()).then_some(value));
        };

        push(
            "-machine",
            format!(
                "virt,secure=on,virtualization={},gic-version={}",
                on_off(self.el2),
                self.gic
            ),
        );
        if !self.cpu.is_empty() {
            push("-cpu", self.cpu_argument());
        }
        push("-smp", self.cpus.to_string());
        push("-m", self.memory.clone());
        push("-bios", path(&self.firmware));
        if let Some(kernel) = &self.kernel {
            push("-kernel", path(kernel));
        }
        if let Some(initrd) = &self.initrd {
            push("-initrd", path(initrd));
        }
        if let Some(append) = &self.append {
            push("-append", append.clone());
        }
        if let Some((image, address)) = &self.preload {
            push(
                "-device",
                format!(
                    "loader,file={},addr={address:#x},force-raw=on",
                    image.display()
                ),
            );
        }
        if let Some(tree) = &self.tree {
            push("-dtb", path(tree));
        }
        if let Some(disk) = &self.disk {
            let file = disk.display();
            push("-drive", format!("file={file},format=raw,if=none,id=disk"));
            push("-device", "virtio-blk-device,drive=disk".into());
        }
        for (name, value) in &self.options {
            push("-fw_cfg", format!("name=opt/bl31/{name},string={value}"));
        }
        // No network card, whose boot ROM is a package of its own, and no sound.
        push("-nodefaults", String::new());
        push("-display", "none".into());
        let secure = match consoles {
            Consoles::Terminal(secure) => {
                push("-serial", "mon:stdio".into());
                secure
            }
            Consoles::Streams(secure) => {
                push("-monitor", "none".into());
                push("-serial", "stdio".into());
                secure
            }
        };
        push("-serial", format!("file:{}", secure.display()));
        arguments.extend(self.extra.iter().cloned());
        arguments
    }

    /// What it is, for people.
    pub fn title(&self) -> String {
        match &self.fvp {
            Some(fvp) => fvp.model.to_string(),
            None => self.qemu.to_string(),
        }
    }

    /// The command, quoted so that it can be pasted into a shell.
    pub fn command_line(&self, consoles: Consoles<'_>) -> String {
        let mut words = vec![self.qemu.path.display().to_string()];
        words.extend(self.arguments(consoles));
        words
            .iter()
            .map(|word| quote(word))
            .collect::<Vec<_>>()
            .join(" ")
    }

    /// Before QEMU 10, `max` signs pointers with an architected algorithm that
    /// takes most of the emulator's time.
    fn cpu_argument(&self) -> String {
        if self.cpu == "max" && self.qemu.version.0 < 10 {
            "max,pauth-impdef=on".into()
        } else {
            self.cpu.clone()
        }
    }
}

fn quote(word: &str) -> String {
    // A NUL, the one thing no shell can quote, cannot be in an argument either.
    shlex::try_quote(word).map_or_else(|_| word.to_owned(), |quoted| quoted.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(version: (u32, u32, u32)) -> Machine {
        let qemu = Qemu {
            path: "qemu-system-aarch64".into(),
            version,
        };
        Machine::new(&qemu, Path::new("bl31.bin"))
    }

    #[test]
    fn versions() {
        assert_eq!(
            parse_version("QEMU emulator version 7.2.22 (Debian 1:7.2)"),
            Some((7, 2, 22))
        );
        assert_eq!(parse_version("QEMU emulator version 11"), None);
        assert_eq!(parse_version("something else"), None);
    }

    #[test]
    fn the_command_can_be_pasted() {
        let mut machine = machine((10, 0, 2));
        machine.append = Some("console=ttyAMA0 quiet".into());
        let command = machine.command_line(Consoles::Streams(Path::new("/tmp/s")));
        let words = shlex::split(&command).unwrap();
        assert_eq!(words[0], "qemu-system-aarch64");
        let append = words.iter().position(|word| word == "-append").unwrap();
        assert_eq!(words[append + 1], "console=ttyAMA0 quiet");
    }

    #[test]
    fn old_versions_get_the_quick_pointer_authentication() {
        assert_eq!(machine((7, 2, 0)).cpu_argument(), "max,pauth-impdef=on");
        assert_eq!(machine((10, 0, 0)).cpu_argument(), "max");
    }
}

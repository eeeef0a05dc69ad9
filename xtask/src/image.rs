//! The images that run on the machine: BL31 itself and the test payload.

use std::fmt;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, ensure};
use clap::ValueEnum;
use harness::Board;
use object::Endianness;
use object::elf::{PF_X, PT_LOAD};
use object::read::elf::{ElfFile64, ProgramHeader};

use crate::{process, project, rust_target};

/// No image is larger: the size of QEMU's secure flash.
const LARGEST: usize = 64 << 20;

/// A board that the image is built for; each is a cargo feature of `bl31`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum Platform {
    /// QEMU's virt machine with secure=on
    #[default]
    QemuVirt,
    /// Arm's FVP Base RevC
    FvpBase,
}

impl Platform {
    /// The one that tests of this board need.
    pub fn of(board: Board) -> Self {
        match board {
            Board::QemuVirt => Self::QemuVirt,
            Board::FvpBase => Self::FvpBase,
        }
    }

    /// The end of the memory that the image runs in, where that is scarce, and
    /// its name.
    fn scarce_memory(self) -> Option<(u64, &'static str)> {
        match self {
            Self::QemuVirt => None,
            // 256 KiB.
            Self::FvpBase => Some((0x0404_0000, "Trusted SRAM")),
        }
    }
}

/// How much the image logs on its console.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogLevel {
    /// Nothing, not even the banner
    Off,
    /// What keeps it from booting
    Error,
    /// What a user may want to change
    Warn,
    /// The banner
    Info,
    /// Each step of the boot
    Debug,
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(value_name(self).as_str())
    }
}

fn value_name(value: &impl ValueEnum) -> String {
    value
        .to_possible_value()
        .map_or_else(String::new, |value| value.get_name().to_owned())
}

/// The EL3 image, built.
pub struct Image {
    /// What the machine loads.
    pub bin: PathBuf,
    /// The same with symbols and line numbers.
    pub elf: PathBuf,
    /// The address at which it is loaded.
    pub load: u64,
    platform: Platform,
}

impl Image {
    /// Says where it is and how large.
    pub fn report(&self) -> Result<()> {
        let size = fs::metadata(&self.bin)
            .with_context(|| format!("cannot read {}", self.bin.display()))?
            .len();
        println!(
            "{} ({size} bytes, loaded at {:#x})",
            self.bin.display(),
            self.load
        );
        if let Some((end, memory)) = self.platform.scarce_memory() {
            let used = memory_end(&self.elf, end)?;
            println!("{} bytes of {memory} are left", end - used);
        }
        println!("{}", self.elf.display());
        Ok(())
    }
}

/// Builds the EL3 image for `platform`.
///
/// # Errors
///
/// When cargo fails, or the ELF file is no good.
pub fn build(platform: Platform, log: Option<LogLevel>) -> Result<Image> {
    build_with(platform, log, None)
}

/// As [`build`], with one more cargo feature.
///
/// # Errors
///
/// As [`build`].
pub fn build_with(
    platform: Platform,
    log: Option<LogLevel>,
    feature: Option<&str>,
) -> Result<Image> {
    let features: Vec<String> = core::iter::once(platform.to_string())
        .chain(feature.map(str::to_owned))
        .collect();
    let elf = compile("bl31", |cargo| {
        cargo
            .args(["--no-default-features", "--features"])
            .arg(features.join(","));
        if let Some(log) = log {
            cargo.env("BL31_LOG", value_name(&log));
        }
    })?;
    let directory = project::target().join(features.join("-"));
    let (load, bytes) = flatten(&elf)?;
    let image = Image {
        bin: directory.join("bl31.bin"),
        elf: directory.join("bl31.elf"),
        load,
        platform,
    };
    project::make_dir(&directory)?;
    fs::copy(&elf, &image.elf).with_context(|| format!("cannot write {}", image.elf.display()))?;
    write(&image.bin, &bytes)?;
    Ok(image)
}

/// Builds the minimal firmware beside `sdei-aarch64`, for QEMU's `-bios`.
///
/// # Errors
///
/// When cargo fails: also where a call of the dispatcher could panic, since that is
/// an undefined symbol.
pub fn build_minimal() -> Result<PathBuf> {
    let elf = compile("sdei-firmware", |_| {})?;
    let directory = project::target().join("sdei-firmware");
    project::make_dir(&directory)?;
    let bin = directory.join("firmware.bin");
    let (_, bytes) = flatten(&elf)?;
    write(&bin, &bytes)?;
    Ok(bin)
}

/// Links a program in which nothing can panic, if that is so: every entry point of the
/// dispatcher.
///
/// # Errors
///
/// When it does not link.
pub fn link_no_panic() -> Result<()> {
    compile("no-panic", |_| {}).map(drop)
}

/// Builds the test payload: a kernel image for `-kernel`.
///
/// # Errors
///
/// When cargo fails.
pub fn build_payload() -> Result<PathBuf> {
    let (bin, _) = build_payload_with_symbols()?;
    Ok(bin)
}

/// As [`build_payload`]; returns its ELF file, too.
///
/// # Errors
///
/// When cargo fails.
pub fn build_payload_with_symbols() -> Result<(PathBuf, PathBuf)> {
    let elf = compile("payload", |_| {})?;
    let directory = project::target().join("payload");
    project::make_dir(&directory)?;
    let bin = directory.join("payload.bin");
    let (_, bytes) = flatten(&elf)?;
    write(&bin, &bytes)?;
    Ok((bin, elf))
}

/// The programs of the crate `guest`.
pub const GUEST: [&str; 2] = ["kexec", "kvm"];

/// Builds the programs for the initramfs; returns the directory they are in.
///
/// # Errors
///
/// When cargo fails.
pub fn build_guest() -> Result<PathBuf> {
    let any = compile("guest", |_| {})?;
    Ok(any.with_file_name(""))
}

fn compile(package: &str, change: impl FnOnce(&mut std::process::Command)) -> Result<PathBuf> {
    rust_target::ensure()?;
    let mut cargo = rust_target::cargo();
    cargo
        .args(["build", "--release", "--quiet", "--package", package])
        .args(["--target", rust_target::TARGET])
        .current_dir(project::root());
    change(&mut cargo);
    cargo.env("CARGO_TARGET_DIR", project::target());
    process::run(&mut cargo).with_context(|| format!("cannot build {package}"))?;
    Ok(project::target()
        .join(rust_target::TARGET)
        .join("release")
        .join(package))
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    fs::write(path, bytes).with_context(|| format!("cannot write {}", path.display()))
}

/// A loadable segment of an ELF file.
struct Segment {
    /// Where it lies in the file's image.
    load: u64,
    /// Where it runs.
    run: Range<u64>,
    executable: bool,
    bytes: Vec<u8>,
}

fn segments(elf: &Path) -> Result<Vec<Segment>> {
    let data = fs::read(elf).with_context(|| format!("cannot read {}", elf.display()))?;
    let bad = |what: &str| anyhow!("{} is no good ELF file: {what}", elf.display());
    let file =
        ElfFile64::<Endianness>::parse(data.as_slice()).map_err(|error| bad(&error.to_string()))?;
    let endian = file.endian();
    let mut segments = Vec::new();
    for header in file.elf_program_headers() {
        let bytes = header
            .data(endian, data.as_slice())
            .map_err(|()| bad("a segment is outside the file"))?;
        if header.p_type(endian) == PT_LOAD && !bytes.is_empty() {
            let run = header.p_vaddr(endian);
            segments.push(Segment {
                load: header.p_paddr(endian),
                run: run..run.saturating_add(header.p_memsz(endian)),
                executable: header.p_flags(endian).0 & PF_X.0 != 0,
                bytes: bytes.to_owned(),
            });
        }
    }
    segments.sort_by_key(|segment| segment.load);
    Ok(segments)
}

/// The first address that nothing of an ELF file needs, of the memory that ends at
/// `end`.
fn memory_end(elf: &Path, end: u64) -> Result<u64> {
    let data = fs::read(elf).with_context(|| format!("cannot read {}", elf.display()))?;
    let file = ElfFile64::<Endianness>::parse(data.as_slice())
        .with_context(|| format!("{} is no good ELF file", elf.display()))?;
    let endian = file.endian();
    file.elf_program_headers()
        .iter()
        .filter(|header| header.p_type(endian) == PT_LOAD)
        .map(|header| {
            header
                .p_vaddr(endian)
                .saturating_add(header.p_memsz(endian))
        })
        .filter(|used| *used <= end)
        .max()
        .with_context(|| format!("{} has nothing to load", elf.display()))
}

/// Where the code of an ELF file runs.
///
/// # Errors
///
/// When the file cannot be read, or is no ELF file.
pub fn code(elf: &Path) -> Result<Vec<Range<u64>>> {
    Ok(segments(elf)?
        .into_iter()
        .filter(|segment| segment.executable)
        .map(|segment| segment.run)
        .collect())
}

/// What the loadable segments of an ELF file look like in memory, by load
/// address, and the address of the first byte.
fn flatten(elf: &Path) -> Result<(u64, Vec<u8>)> {
    let segments = segments(elf)?;
    let base = segments
        .first()
        .map(|segment| segment.load)
        .with_context(|| format!("{} has nothing to load", elf.display()))?;
    let mut image = Vec::new();
    for segment in segments {
        let offset = usize::try_from(segment.load - base)
            .ok()
            .filter(|offset| *offset < LARGEST)
            .with_context(|| format!("{}: segments lie too far apart", elf.display()))?;
        ensure!(
            image.len() <= offset,
            "{}: two segments load at {:#x}",
            elf.display(),
            segment.load
        );
        image.resize(offset, 0);
        image.extend_from_slice(&segment.bytes);
    }
    Ok((base, image))
}

//! Reads the memory of a kernel that crashed, as its capture kernel saved it: where
//! each CPU was.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use harness::session::file_stem;
use object::Endianness;
use object::elf::NT_PRSTATUS;
use object::read::elf::{ElfFile64, ProgramHeader};

use crate::project;

/// Where the registers are in arm64's `struct elf_prstatus`, in bytes.
const REGISTERS: usize = 112;
/// Where the PC and then PSTATE are among them: after x0 to x30 and SP.
const PC: usize = REGISTERS + 32 * 8;
/// PSTATE's I and F: what Linux masks for a section without interrupts.
const INTERRUPTS: u64 = 0b11 << 6;

/// Makes an empty disk for the run of this name, to save a vmcore on.
///
/// # Errors
///
/// When it cannot be written.
pub fn disk(name: &str) -> Result<PathBuf> {
    /// In bytes, none of which takes space before it is written.
    const SIZE: u64 = 1 << 30;
    let place = project::logs().join(format!("{}.vmcore", file_stem(name)));
    project::make_dir(&project::logs())?;
    File::create(&place)
        .and_then(|file| file.set_len(SIZE))
        .with_context(|| format!("cannot write {}", place.display()))?;
    Ok(place)
}

/// A CPU as it was stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cpu {
    /// The function and the offset in it, e.g. `lkdtm_HARDLOCKUP+0x8`; the bare
    /// address where no function is known.
    pub place: String,
    /// Whether it had interrupts masked.
    pub masked: bool,
}

/// The CPUs in `/proc/vmcore`'s notes, as saved at `vmcore`; `symbols` is the
/// `System.map` of the kernel, which must have run with `nokaslr`.
///
/// # Errors
///
/// When a file cannot be read, is none of these, or has no CPU in it.
pub fn cpus(vmcore: &Path, symbols: &Path) -> Result<Vec<Cpu>> {
    let map = fs::read_to_string(symbols)
        .with_context(|| format!("cannot read {}", symbols.display()))?;
    let map = System::parse(&map);
    let data = fs::read(vmcore).with_context(|| format!("cannot read {}", vmcore.display()))?;
    let what = || format!("{} is no vmcore", vmcore.display());
    let file = ElfFile64::<Endianness>::parse(data.as_slice()).with_context(what)?;
    let endian = file.endian();
    let mut cpus = Vec::new();
    for header in file.elf_program_headers() {
        let Some(mut notes) = header.notes(endian, data.as_slice()).with_context(what)? else {
            continue;
        };
        while let Some(note) = notes.next().with_context(what)? {
            if note.n_type(endian) == NT_PRSTATUS && note.name() == b"CORE" {
                let status = note.desc();
                let pc = word(status, PC).with_context(what)?;
                let pstate = word(status, PC + 8).with_context(what)?;
                cpus.push(Cpu {
                    place: map.name(pc),
                    masked: pstate & INTERRUPTS == INTERRUPTS,
                });
            }
        }
    }
    ensure!(!cpus.is_empty(), "{} names no CPU", vmcore.display());
    Ok(cpus)
}

fn word(bytes: &[u8], at: usize) -> Option<u64> {
    let bytes = bytes.get(at..at + 8)?;
    Some(u64::from_le_bytes(bytes.try_into().ok()?))
}

/// The functions of a kernel.
struct System<'a> {
    /// Addresses and names, by address.
    symbols: Vec<(u64, &'a str)>,
}

impl<'a> System<'a> {
    /// Reads `System.map`: address, type and name on each line.
    fn parse(text: &'a str) -> Self {
        let mut symbols: Vec<(u64, &str)> = text
            .lines()
            .filter_map(|line| {
                let mut words = line.split_whitespace();
                let address = u64::from_str_radix(words.next()?, 16).ok()?;
                let kind = words.next()?;
                // Markers of the assembler's and of the linker's stand between.
                let name = words.next().filter(|name| !name.starts_with('$'))?;
                "tTwW".contains(kind).then_some((address, name))
            })
            .collect();
        symbols.sort_by_key(|(address, _)| *address);
        Self { symbols }
    }

    fn name(&self, pc: u64) -> String {
        let after = self.symbols.partition_point(|(address, _)| *address <= pc);
        match after.checked_sub(1).and_then(|last| self.symbols.get(last)) {
            // Modules and user space are beyond the kernel's text.
            Some((address, name)) if after < self.symbols.len() => {
                format!("{name}+{:#x}", pc - address)
            }
            _ => format!("{pc:#x}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_have_names() {
        let map = System::parse(
            "ffff800080000000 T _text\nffff800080000100 t $x\nffff800080001000 t stuck\n\
             ffff800080002000 D data\nffff800080003000 T _etext\n",
        );
        assert_eq!(map.name(0xffff_8000_8000_1008), "stuck+0x8");
        assert_eq!(map.name(0xffff_8000_8000_0104), "_text+0x104");
        assert_eq!(map.name(0xffff_8000_9000_0000), "0xffff800090000000");
        assert_eq!(map.name(0x1000), "0x1000");
    }
}

//! `bench --functions`: where EL3's instructions go, function by function.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::ops::Range;
use std::path::Path;

use addr2line::Loader;
use anyhow::{Context, Result, anyhow};
use object::{Object, ObjectSymbol};
use regex::Regex;

use crate::image;

/// What QEMU is to do for it: say where each instruction is, in a file.
pub fn options(trace: &Path) -> Vec<String> {
    [
        "-accel",
        "tcg,one-insn-per-tb=on",
        "-d",
        "exec,nochain",
        "-D",
    ]
    .map(Into::into)
    .into_iter()
    .chain([trace.display().to_string()])
    .collect()
}

/// EL3's instructions by their addresses: how often each was executed, by PE.
pub type Executed = BTreeMap<(usize, u64), u64>;

/// Reads the trace of a run of the payload: what was executed in each measurement,
/// in the order of the payload's reports. Removes it: it is large.
///
/// # Errors
///
/// When a file can't be read, or `payload` has no symbols.
pub fn read(trace: &Path, image: &image::Image, payload: &Path) -> Result<Vec<Executed>> {
    let code = image::code(&image.elf)?;
    let (begin, end) = (
        symbol(payload, "bench_begin")?,
        symbol(payload, "bench_end")?,
    );
    let line = Regex::new(r"^Trace (\d+): \S+ \[[0-9a-f]+/([0-9a-f]+)/").context("a constant")?;
    let file = File::open(trace).with_context(|| format!("cannot read {}", trace.display()))?;
    let mut measured = Vec::new();
    let mut executed = Executed::new();
    for text in BufReader::new(file).lines() {
        let text = text.with_context(|| format!("cannot read {}", trace.display()))?;
        let Some(captures) = line.captures(&text) else {
            continue;
        };
        let (Ok(pe), Ok(pc)) = (captures[1].parse(), u64::from_str_radix(&captures[2], 16)) else {
            continue;
        };
        if code.iter().any(|range: &Range<u64>| range.contains(&pc)) {
            *executed.entry((pe, pc)).or_default() += 1;
        } else if pc % PAYLOAD_ALIGNMENT == begin {
            executed.clear();
        } else if pc % PAYLOAD_ALIGNMENT == end {
            measured.push(std::mem::take(&mut executed));
        }
    }
    fs::remove_file(trace).with_context(|| format!("cannot remove {}", trace.display()))?;
    Ok(measured)
}

/// The payload is linked at 0, and loaded at a multiple of this (as any arm64 Image),
/// which is more than it is long.
const PAYLOAD_ALIGNMENT: u64 = 2 << 20;

fn symbol(elf: &Path, name: &str) -> Result<u64> {
    let data = fs::read(elf).with_context(|| format!("cannot read {}", elf.display()))?;
    let file = object::File::parse(data.as_slice())
        .with_context(|| format!("{} is no good ELF file", elf.display()))?;
    file.symbols()
        .find(|symbol| symbol.name() == Ok(name))
        .map(|symbol| symbol.address())
        .with_context(|| format!("{} has no {name}", elf.display()))
}

/// Instructions by function, most first; of one round if there were `rounds`. A
/// function that is inlined counts for itself, unless it is another crate's: then
/// for the one of ours that it is inlined into.
///
/// # Errors
///
/// When `elf` can't be read.
pub fn by_function(
    elf: &Path,
    executed: &Executed,
    pes: Range<usize>,
    rounds: u64,
) -> Result<Vec<(String, u64)>> {
    let loader = Loader::new(elf).map_err(|error| anyhow!("{}: {error}", elf.display()))?;
    let mut functions = BTreeMap::<String, u64>::new();
    for ((pe, pc), count) in executed {
        if pes.contains(pe) {
            *functions.entry(function(&loader, *pc)).or_default() += count;
        }
    }
    let mut functions: Vec<_> = functions
        .into_iter()
        .map(|(name, count)| (name, (count + rounds / 2) / rounds))
        .filter(|(_, count)| *count > 0)
        .collect();
    functions.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    Ok(functions)
}

const OURS: [&str; 4] = ["bl31", "platform", "psci_el3", "sdei"];

fn function(loader: &Loader, pc: u64) -> String {
    let mut names = Vec::new();
    if let Ok(mut frames) = loader.find_frames(pc) {
        while let Ok(Some(frame)) = frames.next() {
            let name = frame
                .function
                .as_ref()
                .and_then(|name| name.demangle().ok());
            names.extend(name.map(|name| plain(&name)));
        }
    }
    let ours = |name: &&String| {
        OURS.iter()
            .any(|krate| name.starts_with(&format!("{krate}::")))
    };
    names
        .iter()
        .find(ours)
        .or(names.last())
        .cloned()
        // Assembly has symbols only.
        .or_else(|| loader.find_symbol(pc).map(ToOwned::to_owned))
        .unwrap_or_else(|| format!("{pc:#x}"))
}

/// A function's path without type parameters and traits:
/// `<a::B<C> as d::E>::f` is `a::B::f`, and `a::<impl b::D<E>>::f` is `a::f`.
fn plain(name: &str) -> String {
    let (start, rest) = match name.strip_prefix('<') {
        Some(rest) => match rest.split_once(" as ") {
            Some((of, by)) => (of, by.split_once(">::").map_or(by, |(_, rest)| rest)),
            None => rest.split_once(">::").unwrap_or((rest, "")),
        },
        None => ("", name),
    };
    let mut depth = 0_u32;
    let mut path = String::new();
    for character in format!("{start}::{rest}").chars() {
        match character {
            '<' => depth += 1,
            '>' => depth = depth.saturating_sub(1),
            _ if depth == 0 => path.push(character),
            _ => {}
        }
    }
    let parts: Vec<_> = path
        .split("::")
        .filter(|part| !part.is_empty() && !part.starts_with("{{"))
        .collect();
    parts.join("::")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_paths() {
        for (name, expected) in [
            ("bl31::smc::smc", "bl31::smc::smc"),
            (
                "<platform::ports::SdeiPort<B> as sdei::port::Port>::pe_index",
                "platform::ports::SdeiPort::pe_index",
            ),
            (
                "sdei::dispatcher::deliver::<impl sdei::dispatcher::Dispatcher<P,_,_>>::dispatch",
                "sdei::dispatcher::deliver::dispatch",
            ),
            (
                "platform::topology::Topology<_,_>::key::{{closure}}",
                "platform::topology::Topology::key",
            ),
        ] {
            assert_eq!(plain(name), expected);
        }
    }
}

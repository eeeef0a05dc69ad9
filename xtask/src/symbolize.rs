//! `symbolize`: names for the addresses in a crash report.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use addr2line::Loader;
use anyhow::{Context, Result, anyhow};
use clap::Args;
use regex::Regex;

use crate::image::{self, Platform};
use crate::project;

/// Options of `symbolize`.
#[derive(Args)]
pub struct Options {
    /// The crash report; standard input without it
    report: Option<PathBuf>,
    /// Board
    #[arg(long, value_enum, default_value_t)]
    platform: Platform,
    /// The image's ELF file; the board's that was built last without it
    #[arg(long)]
    elf: Option<PathBuf>,
}

/// Copies the report, with what each address of the image's code stands for after
/// its line.
pub fn run(options: &Options) -> Result<()> {
    let elf = options.elf.clone().unwrap_or_else(|| {
        project::target()
            .join(options.platform.to_string())
            .join("bl31.elf")
    });
    let report = match &options.report {
        Some(path) => fs::read(path).with_context(|| format!("cannot read {}", path.display()))?,
        None => {
            let mut report = Vec::new();
            io::stdin()
                .read_to_end(&mut report)
                .context("cannot read standard input")?;
            report
        }
    };
    print!("{}", annotate(&elf, &String::from_utf8_lossy(&report))?);
    Ok(())
}

/// `report` with names for the addresses of code in `elf`.
///
/// # Errors
///
/// When the ELF file cannot be read.
pub fn annotate(elf: &Path, report: &str) -> Result<String> {
    let loader = Loader::new(elf).map_err(|error| {
        anyhow!(
            "cannot read {}: {error}. `cargo xtask build` makes it; it must be the very build that crashed",
            elf.display()
        )
    })?;
    let code = image::code(elf)?;
    let root = format!("{}/", project::root().display());
    let number = Regex::new(r"\b0x([0-9a-fA-F]{1,16})\b").context("a constant")?;
    let mut text = String::new();
    let mut backtrace = false;
    let mut elr = None;
    for line in report.lines() {
        let line = line.trim_end_matches('\r');
        text.push_str(line);
        text.push('\n');
        backtrace |= line.contains("backtrace");
        for captures in number.captures_iter(line) {
            let Ok(address) = u64::from_str_radix(&captures[1], 16) else {
                continue;
            };
            let before = &line[..captures.get(0).map_or(0, |whole| whole.start())];
            if before.trim_end().ends_with("ELR") {
                elr = Some(address);
            }
            if !code.iter().any(|range| range.contains(&address)) {
                continue;
            }
            // A return address is that of the instruction after the call, which
            // may belong to another line, or to another function.
            let returns = backtrace && elr != Some(address);
            let looked_up = if returns {
                address.saturating_sub(4)
            } else {
                address
            };
            if let Some(name) = name(&loader, looked_up) {
                let name = name.replace(&root, "");
                text.push_str(&format!("        {} is {name}\n", &captures[0]));
            }
        }
    }
    Ok(text)
}

/// Function, file and line of `address`; none if it is not in the image's code.
fn name(loader: &Loader, address: u64) -> Option<String> {
    let mut frames = loader.find_frames(address).ok()?;
    let mut names = Vec::new();
    while let Ok(Some(frame)) = frames.next() {
        let function = frame
            .function
            .as_ref()
            .and_then(|function| function.demangle().ok())
            .map(std::borrow::Cow::into_owned);
        let place = frame.location.as_ref().and_then(|location| {
            Some(format!("{}:{}", location.file?, location.line.unwrap_or(0)))
        });
        match (function, place) {
            (Some(function), Some(place)) => names.push(format!("{function} at {place}")),
            (Some(only), None) | (None, Some(only)) => names.push(only),
            (None, None) => {}
        }
    }
    if names.is_empty() {
        // Assembly has symbols, and no line numbers.
        names.extend(loader.find_symbol(address).map(ToOwned::to_owned));
    }
    (!names.is_empty()).then(|| names.join(", inlined into "))
}

//! The commands of the project: `cargo xtask --help` is the map of them.

mod apt;
mod bench;
mod check;
mod demo;
mod fetch;
mod floor;
mod functions;
mod fvp;
mod image;
mod initramfs;
mod install;
mod longest;
mod nmi_kernel;
mod process;
mod project;
mod qemu;
mod run;
mod rust_target;
mod setup;
mod symbolize;
mod test;
mod unit;
mod unpack;
mod vmcore;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::image::{LogLevel, Platform};

/// Builds, runs and tests BL31. Each command first gets what it needs and does
/// not find, says what that is, and needs no network once it is there.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Boot a Debian kernel to a shell on BL31, in QEMU on this terminal
    Run(run::Options),
    /// Wedge a CPU with interrupts masked and watch event 0 reach it
    Demo(demo::Options),
    /// Build the image: target/PLATFORM/bl31.bin and bl31.elf
    Build(BuildOptions),
    /// Run the tests: on the host, from a bare-metal payload, with Linux
    Test(test::Options),
    /// Count the instructions that calls cost
    Bench(bench::Options),
    /// Put names to the addresses in a crash report
    Symbolize(symbolize::Options),
    /// Format the code
    Fmt(check::FmtOptions),
    /// Check format, lints and documentation
    Lint,
    /// Get everything that the other commands need
    Setup(setup::Options),
    /// Remove what was built
    Clean(CleanOptions),
}

#[derive(Args)]
struct BuildOptions {
    /// Board
    #[arg(long, value_enum, default_value_t)]
    platform: Platform,
    /// What the image logs on its console, unless the board's own way says
    /// otherwise (fw_cfg's opt/bl31/log on QEMU)
    #[arg(long, value_enum)]
    log: Option<LogLevel>,
    /// Build the minimal firmware beside sdei-aarch64 instead, and the test payload
    /// for it to boot
    #[arg(long, conflicts_with_all = ["platform", "log"])]
    minimal: bool,
}

#[derive(Args)]
struct CleanOptions {
    /// Remove downloads and the built kernel from the cache too
    #[arg(long)]
    cache: bool,
}

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Run(options) => return run::run(&options),
        Command::Demo(options) => demo::run(&options)?,
        Command::Build(options) if options.minimal => {
            println!("{}", image::build_minimal()?.display());
            println!("{}", image::build_payload()?.display());
        }
        Command::Build(options) => {
            let image = image::build(options.platform, options.log)?;
            image.report()?;
        }
        Command::Test(options) => return test::run(&options),
        Command::Bench(options) => bench::run(&options)?,
        Command::Symbolize(options) => symbolize::run(&options)?,
        Command::Fmt(options) => check::fmt(&options)?,
        Command::Lint => check::lint()?,
        Command::Setup(options) => setup::run(&options)?,
        Command::Clean(options) => clean(&options)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn clean(options: &CleanOptions) -> anyhow::Result<()> {
    let mut places: Vec<PathBuf> = vec![project::target()];
    if options.cache {
        places.push(project::cache()?);
    }
    for place in places {
        if place.exists() {
            println!("Removing {}", place.display());
            std::fs::remove_dir_all(&place)
                .map_err(|error| anyhow::anyhow!("cannot remove {}: {error}", place.display()))?;
        }
    }
    Ok(())
}

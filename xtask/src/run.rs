//! `run`: a kernel on BL31, on this terminal.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};
use clap::Args;
use harness::linux::{NEWEST, command_line};
use harness::{Consoles, Machine};

use crate::image::{self, LogLevel, Platform};
use crate::qemu::{self, Choice};
use crate::{fvp, initramfs, project, setup};

/// Options of `run`.
#[derive(Args)]
pub struct Options {
    /// Board
    #[arg(long, value_enum, default_value_t)]
    platform: Platform,
    /// A model of fvp_base: Arm's program FVP_Base_RevC-2xAEMvA, or a QEMU with a
    /// machine fvp-base-revc
    #[arg(long)]
    model: Option<PathBuf>,
    /// The parameters that Arm's model is started with
    #[arg(long, default_value = fvp::PARAMETERS)]
    parameters: PathBuf,
    /// Debian's kernel of this version (6.1, 6.12, 7.3), `nmi` for one with
    /// SDEI's cross-CPU NMI, or a file: an arm64 Image, gzip of it, or an EFI zboot
    /// kernel
    #[arg(long, default_value = NEWEST)]
    kernel: String,
    /// Number of PEs [default: 4, fvp_base 8; Arm's model has it in its parameters]
    #[arg(long)]
    smp: Option<u32>,
    /// CPU model of QEMU
    #[arg(long, default_value = "max")]
    cpu: String,
    /// RAM, as QEMU writes sizes [default: 2G, fvp_base 4G]
    #[arg(long)]
    memory: Option<String>,
    /// Further words for the kernel's command line
    #[arg(long, default_value = "", allow_hyphen_values = true)]
    append: String,
    /// Another initial RAM disk than the one with busybox
    #[arg(long)]
    initrd: Option<PathBuf>,
    /// PEs without EL2
    #[arg(long)]
    no_el2: bool,
    /// Wait for a debugger on port 1234 before the first instruction
    #[arg(long)]
    gdb: bool,
    /// Print QEMU's command instead of running it
    #[arg(long)]
    dry_run: bool,
    /// QEMU to use: newest, oldest, or a program
    #[arg(long, default_value = "newest")]
    qemu: Choice,
    /// What the image logs on its console
    #[arg(long, value_enum)]
    log: Option<LogLevel>,
}

/// Builds, fetches and boots; the exit code is QEMU's.
pub fn run(options: &Options) -> Result<ExitCode> {
    let image = image::build(options.platform, options.log)?;
    let model = match options.platform {
        Platform::QemuVirt => None,
        Platform::FvpBase => Some(
            fvp::require(options.model.as_deref())?.with_parameters(Some(&options.parameters))?,
        ),
    };
    let mut machine = match &model {
        None => Machine::new(&qemu::one(&options.qemu)?, &image.bin),
        Some(model) => model.machine(&image.bin),
    };
    machine.cpu.clone_from(&options.cpu);
    machine.cpus = options.smp.unwrap_or(machine.cpus);
    if let Some(memory) = &options.memory {
        machine.memory.clone_from(memory);
    }
    machine.el2 = !options.no_el2;
    machine.kernel = Some(setup::kernel(&options.kernel)?);
    machine.initrd = Some(match &options.initrd {
        Some(path) => path.clone(),
        None => initramfs::build()?,
    });
    machine.append = Some(command_line(&options.kernel, None, &options.append));
    if options.gdb {
        machine.extra = vec!["-S".into(), "-s".into()];
    }
    if let Some(model) = &model {
        if options.gdb && !model.is_qemu() {
            bail!("Arm's model waits for a debugger by its own options (--iris-server)");
        }
        model.take_over(&mut machine, &image, "run")?;
    }
    let logs = project::logs();
    project::make_dir(&logs)?;
    let secure = logs.join("run.secure.log");
    let consoles = Consoles::Terminal(&secure);
    if options.dry_run {
        println!("{}", machine.command_line(consoles));
        return Ok(ExitCode::SUCCESS);
    }

    println!(
        "Linux {} on {}, {} PEs. {}",
        options.kernel,
        machine.title(),
        machine.cpus,
        if model.as_ref().is_none_or(fvp::Program::is_qemu) {
            "Ctrl-A x ends QEMU."
        } else {
            "The console is where the model says."
        }
    );
    println!("The Secure console goes to {}", secure.display());
    if options.gdb {
        println!(
            "Waiting for a debugger:\n    gdb-multiarch {} -ex 'target remote :1234'",
            image.elf.display()
        );
    }
    let status = Command::new(&machine.qemu.path)
        .args(machine.arguments(consoles))
        .status()
        .with_context(|| format!("cannot run {}", machine.qemu.path.display()))?;
    let report = fs::read(&secure).unwrap_or_default();
    if !report.is_empty() {
        println!(
            "The Secure console says:\n{}",
            String::from_utf8_lossy(&report)
        );
        println!(
            "Names for its addresses: cargo xtask symbolize --platform {} {}",
            options.platform,
            secure.display()
        );
    }
    Ok(if status.success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

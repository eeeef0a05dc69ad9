//! `demo`: a CPU that masks interrupts for ever, and event 0 reaching it; then a
//! panic, and the crash dump that shows where that CPU was.

use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow};
use clap::Args;
use harness::linux::{NMI, command_line};
use harness::{Machine, Session};

use crate::image::{self, Platform};
use crate::qemu::{self, Choice};
use crate::{fvp, initramfs, nmi_kernel, project, vmcore};

/// Options of `demo`.
#[derive(Args)]
pub struct Options {
    /// Board
    #[arg(long, value_enum, default_value_t)]
    platform: Platform,
    /// A model of fvp_base: Arm's program FVP_Base_RevC-2xAEMvA, or a QEMU with a
    /// machine fvp-base-revc
    #[arg(long)]
    model: Option<PathBuf>,
    /// Number of PEs, at least 2 [default: 4, fvp_base 8]
    #[arg(long, value_parser = clap::value_parser!(u32).range(2..))]
    smp: Option<u32>,
    /// CPU model of QEMU. On `max`, which waits with WFIT, the kernel's delays
    /// take several times as long
    #[arg(long, default_value = "neoverse-n1")]
    cpu: String,
    /// QEMU to use: newest, oldest, or a program
    #[arg(long, default_value = "newest")]
    qemu: Choice,
}

/// Boots, wedges, asks for backtraces, panics.
///
/// # Errors
///
/// When what is to be shown does not happen.
pub fn run(options: &Options) -> Result<()> {
    let image = image::build(options.platform, None)?;
    let model = match options.platform {
        Platform::QemuVirt => None,
        Platform::FvpBase => Some(fvp::require(options.model.as_deref())?),
    };
    let mut machine = match &model {
        None => Machine::new(&qemu::one(&options.qemu)?, &image.bin),
        Some(model) => model.machine(&image.bin),
    };
    machine.cpus = options.smp.unwrap_or(machine.cpus);
    machine.cpu.clone_from(&options.cpu);
    machine.kernel = Some(nmi_kernel::image()?);
    machine.initrd = Some(initramfs::with_kernel()?);
    machine.append = Some(command_line(NMI, Some("demo"), "nokaslr crashkernel=256M"));
    // All of it goes into the dump.
    machine.memory = "448M".into();
    let disk = vmcore::disk("demo")?;
    machine.disk = Some(disk.clone());
    if let Some(model) = &model {
        machine.memory = "512M".into();
        model.take_over(&mut machine, &image, "demo")?;
    }
    let program_counter =
        show(&machine).map_err(|failure| anyhow!("the demo went wrong: {failure}"))?;

    heading("Result");
    println!("CPU 1, spinning with interrupts masked, printed where it was: {program_counter}");
    println!(
        "The panic stopped all {} CPUs: it asked CPU 1 by SDEI.",
        machine.cpus
    );
    conclude(&disk)
}

/// Says what is in the dump.
fn conclude(disk: &Path) -> Result<()> {
    println!(
        "The capture kernel found SDEI in order, and saved {}:",
        disk.display()
    );
    for cpu in vmcore::cpus(disk, &nmi_kernel::files()?.join("System.map"))? {
        let masked = if cpu.masked {
            ", interrupts masked"
        } else {
            ""
        };
        println!("    a CPU at {}{masked}", cpu.place);
    }
    Ok(())
}

/// Returns where the wedged CPU said that it was.
fn show(machine: &Machine) -> Result<String, harness::Failure> {
    let cpus = machine.cpus;
    heading(&format!(
        "Linux, with CONFIG_ARM_SDEI_NMI=y, boots on BL31 in {} with {cpus} CPUs",
        machine.title()
    ));
    let mut session = Session::start(
        machine,
        "demo",
        &project::logs(),
        &["failed to stop secondary CPUs", "bl31-test: FAILED"],
    )?;
    session.echo();
    session.expect(r"sdei: SDEIv1\.1 \(0x0\) detected in firmware")?;
    session.expect("sdei_nmi: using SDEI cross-CPU NMI")?;
    session.expect("bl31-demo: booted\n")?;

    heading(
        "CPU 1 masks its interrupts and spins in the kernel for ever: no interrupt reaches it now",
    );
    session.expect("bl31-demo: wedged\n")?;

    heading("CPU 0 asks all CPUs for a backtrace (sysrq-l): event 0 is signalled to each of them");
    session.expect("NMI backtrace for cpu 1\\b")?;
    let stack = session.expect(r"pc : lkdtm_HARDLOCKUP\+0x(?s:.*?)el0t_64_sync\+.*$")?;
    session.expect("bl31-demo: backtraces done")?;

    heading("That was, below 'NMI backtrace for cpu 1', the wedged CPU's own stack. Once more:");
    let lines: Vec<&str> = stack.lines().map(without_time).collect();
    let program_counter = lines.first().copied().unwrap_or_default();
    println!("    {program_counter}");
    for line in lines.iter().skip_while(|line| !line.contains("Call trace")) {
        println!("    {line}");
    }

    heading("Now CPU 0 panics, and has to stop all others, the wedged one too");
    session.expect("Kernel panic - not syncing")?;
    session.expect("SMP: stopping secondary CPUs")?;
    session.expect("SMP: retry stop with SDEI NMI for CPUs 1\\b")?;
    session.expect("Starting crashdump kernel")?;

    heading("The capture kernel starts where CPU 0 was, and saves the memory of the one before");
    session.expect(r"sdei: SDEIv1\.1 \(0x0\) detected in firmware")?;
    session.expect("bl31-test: vmcore saved")?;
    session.power_off()?;
    Ok(program_counter.to_owned())
}

/// A line of the kernel's log without its time.
fn without_time(line: &str) -> &str {
    line.strip_prefix('[')
        .and_then(|rest| rest.split_once("] "))
        .map_or(line, |(_, text)| text)
}

fn heading(text: &str) {
    println!("\n\x1b[1m=== {text}\x1b[0m\n");
}

//! `bench`: how many instructions calls cost, beside Trusted Firmware-A; and the
//! test that they don't become more without anyone's wanting it.

use std::fs;
use std::ops::Range;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, anyhow, bail, ensure};
use clap::Args;
use harness::Qemu;
use harness::payload;
use harness::session::{BANNER, Session};
use serde_json::json;

use crate::image::{self, Image, Platform};
use crate::longest::{self, Longest};
use crate::qemu::{self, Choice};
use crate::{floor, functions, process, project};

/// Options of `bench`.
#[derive(Args)]
pub struct Options {
    /// Print JSON instead of a table
    #[arg(long)]
    json: bool,
    /// Show instead where EL3's instructions go, function by function
    #[arg(long, conflicts_with = "json")]
    functions: bool,
    /// QEMU to use: newest, oldest, or a program
    #[arg(long, default_value = "newest")]
    qemu: Choice,
    /// Show only the longest times in EL3
    #[arg(long, conflicts_with_all = ["functions", "json"])]
    longest: bool,
    /// Record the longest times in EL3 in xtask/src/longest.txt
    #[arg(long, conflicts_with = "functions")]
    record: bool,
}

/// On how many PEs the figures are measured.
const PES: u32 = 4;

/// On how many more a broadcast is, which shall cost each no more: it takes no lock,
/// and no line of the cache that all write.
const WIDER: [u32; 7] = [2, 8, 16, 32, 64, 128, 512];

/// The figure of a broadcast.
const BROADCAST: &str = "broadcast_per_pe";
const BROADCAST_WHAT: &str = "broadcast until all have handled, per PE";

/// One figure: the payload's name for it, what it is, what Trusted Firmware-A
/// v2.15 takes, what to reach, what it was when it was last recorded here, and what
/// the architecture itself takes of it.
struct Figure {
    key: &'static str,
    what: &'static str,
    tf_a: u64,
    aim: u64,
    recorded: u64,
    floor: Option<u64>,
}

impl Figure {
    const fn with_floor(self, floor: u64) -> Self {
        Self {
            floor: Some(floor),
            ..self
        }
    }

    /// The most that the tests accept: 2 % more than recorded, and no more than
    /// what was to be reached.
    fn limit(&self) -> u64 {
        let worse = self.recorded + self.recorded / 50;
        if self.recorded <= self.aim {
            worse.min(self.aim)
        } else {
            worse
        }
    }
}

/// What compiled the image whose figures are recorded: another one's code costs
/// something else.
const RECORDED_WITH: &str = "rustc 1.95.0";

const fn figure(
    key: &'static str,
    what: &'static str,
    tf_a: u64,
    aim: u64,
    recorded: u64,
) -> Figure {
    Figure {
        key,
        what,
        tf_a,
        aim,
        recorded,
        floor: None,
    }
}

/// The name of the figure that the payload does not measure. Trusted Firmware-A's
/// is that of BL1, BL2 and BL31 together.
const FLASH: &str = "flash";

const FIGURES: [Figure; 13] = [
    figure("smccc_version", "SMCCC_VERSION", 184, 60, 46).with_floor(floor::CALL),
    figure("psci_version", "PSCI_VERSION", 210, 70, 49).with_floor(floor::CALL),
    figure("sdei_version", "SDEI_VERSION", 231, 70, 52).with_floor(floor::CLIENT_CALL),
    figure("sdei_status", "SDEI_EVENT_STATUS(0)", 274, 90, 57).with_floor(floor::CLIENT_CALL),
    figure("unknown_fid", "unknown function ID", 202, 70, 66).with_floor(floor::CALL),
    figure(
        "signal_self_entered",
        "SIGNAL to self, handler entered",
        1662,
        350,
        184,
    )
    .with_floor(floor::SIGNAL_SELF_ENTERED),
    figure(
        "signal_self_completed",
        "SIGNAL to self, handled and completed",
        2913,
        600,
        303,
    )
    .with_floor(floor::SIGNAL_SELF_COMPLETED),
    figure(
        "signal_other_call",
        "SIGNAL to a masked PE: the call alone",
        351,
        120,
        102,
    )
    .with_floor(floor::SIGNAL_OTHER),
    figure(
        "signal_other_entered",
        "SIGNAL to a masked PE, until in its handler",
        1672,
        400,
        247,
    )
    .with_floor(floor::SIGNAL_OTHER_ENTERED),
    figure(BROADCAST, BROADCAST_WHAT, 2958, 650, 401).with_floor(floor::BROADCAST),
    figure(
        "cpu_on",
        "CPU_ON until the PE's first instruction",
        2597,
        1500,
        1112,
    ),
    figure(
        RESET,
        "reset to BL33's first instruction",
        9_080_000,
        1_000_000,
        595_653,
    ),
    figure(FLASH, "bytes in flash", 105_564, 64 << 10, 64_128),
];

/// What is measured.
struct Bench<'a> {
    qemu: &'a Qemu,
    image: Image,
    payload: PathBuf,
    payload_elf: PathBuf,
}

/// Runs the payload's measurements and prints them.
///
/// # Errors
///
/// When the payload does not come to an end, or a figure is missing.
pub fn run(options: &Options) -> Result<()> {
    let qemu = qemu::one(&options.qemu)?;
    let bench = Bench::new(&qemu)?;
    if options.functions {
        return bench.print_functions();
    }
    if options.longest {
        let columns = bench.longest_columns()?;
        longest::print(&columns);
        return options.record(&columns);
    }
    let counts = bench.measure(PES, &[])?;
    if !options.json {
        print_table(&counts);
        println!("\n{BROADCAST_WHAT}, by number of PEs:\n");
    }
    let mut wider = Vec::new();
    for pes in WIDER {
        let per_pe = count(&bench.measure(pes, &[])?, BROADCAST);
        if let Some(per_pe) = per_pe.filter(|_| !options.json) {
            println!("{pes:>44} {per_pe:>32}");
        }
        wider.push((pes, per_pe));
    }
    let columns = bench.longest_columns()?;
    if options.json {
        print_json(&counts, &wider, &columns);
    } else {
        longest::print(&columns);
    }
    options.record(&columns)
}

impl Options {
    /// Records the longest times, if that is asked for.
    fn record(&self, columns: &[Longest; 2]) -> Result<()> {
        if self.record {
            let file = project::root().join(longest::FILE);
            fs::write(file, longest::record(columns))?;
        }
        Ok(())
    }
}

/// The name of [`check`] among the tests.
pub const CHECK: &str = "instruction counts";

/// Whether no figure is more than 2 % worse than recorded. `None` where that can't
/// be said: the compiler is another one, or a tick of QEMU's counter is more than
/// an instruction.
///
/// # Errors
///
/// Names the figures that are worse; else as [`run`].
pub fn check(qemu: &Qemu) -> Result<Option<()>> {
    let compiler = process::output(Command::new("rustc").arg("--version"))?;
    if !compiler.starts_with(RECORDED_WITH) || qemu.version.0 < 10 {
        println!("skipped: {CHECK}, which were recorded with {RECORDED_WITH} and QEMU 10");
        return Ok(None);
    }
    let bench = Bench::new(qemu)?;
    let counts = bench.measure(PES, &[])?;
    let mut worse: Vec<String> = FIGURES
        .iter()
        .filter_map(|figure| {
            let ours = count(&counts, figure.key)?;
            let Figure { what, recorded, .. } = figure;
            (ours > figure.limit()).then(|| format!("{what}: {ours}, recorded {recorded}"))
        })
        .collect();
    for (column, pes) in longest::PES.into_iter().enumerate() {
        worse.extend(longest::worse(&bench.longest(pes)?, column)?);
    }
    if worse.is_empty() {
        return Ok(Some(()));
    }
    bail!(
        "more than 2 % worse than recorded in xtask/src/bench.rs and longest.txt:\n{}",
        worse.join("\n")
    )
}

impl<'a> Bench<'a> {
    /// Builds what is measured.
    fn new(qemu: &'a Qemu) -> Result<Self> {
        let (payload, payload_elf) = image::build_payload_with_symbols()?;
        Ok(Self {
            qemu,
            image: image::build(Platform::QemuVirt, None)?,
            payload,
            payload_elf,
        })
    }

    /// All the figures, by key, on so many PEs.
    fn measure(&self, pes: u32, extra: &[String]) -> Result<Vec<(String, u64)>> {
        self.counts(&self.text(pes, "bench", extra)?)
    }

    /// The longest times in EL3, by number of PEs as in [`longest::PES`].
    fn longest_columns(&self) -> Result<[Longest; 2]> {
        let [few, many] = longest::PES;
        Ok([self.longest(few)?, self.longest(many)?])
    }

    /// The longest times in EL3, on so many PEs.
    fn longest(&self, pes: u32) -> Result<Longest> {
        let text = self.text(pes, "bench longest", &[])?;
        if let Some(failure) = text
            .lines()
            .find(|line| line.starts_with("payload: the benchmark failed"))
        {
            bail!("{failure}");
        }
        longest::read(&text)
    }

    /// What the payload prints.
    fn text(&self, pes: u32, append: &'static str, extra: &[String]) -> Result<String> {
        let run = payload::Run {
            board: harness::Board::QemuVirt,
            name: "bench".into(),
            cpu: "max",
            cpus: pes,
            el2: true,
            in_turn: true,
            old_qemu: false,
            on_minimal: false,
            append: append.into(),
            memory: None,
            fixed_events: false,
            nodes: (0, 0),
        };
        let mut machine = run.machine(self.qemu, &self.image.bin, &self.payload, "");
        // One tick of the counter is one instruction.
        machine.extra = vec!["-icount".into(), "shift=0,sleep=off".into()];
        machine.extra.extend_from_slice(extra);
        (|| {
            let mut session =
                Session::start(&machine, "bench", &project::logs(), &["bl31: cannot boot"])?;
            session.expect(BANNER)?;
            session.power_off()?;
            Ok(session.text())
        })()
        .map_err(|failure: harness::Failure| anyhow!("{failure}"))
    }

    /// The figures in what it printed.
    fn counts(&self, text: &str) -> Result<Vec<(String, u64)>> {
        let mut counts = payload::bench(text);
        counts.push((FLASH.to_owned(), std::fs::metadata(&self.image.bin)?.len()));
        let missing: Vec<&str> = FIGURES
            .iter()
            .map(|figure| figure.key)
            .filter(|key| count(&counts, key).is_none())
            .collect();
        if missing.is_empty() {
            Ok(counts)
        } else {
            Err(anyhow!(
                "the payload did not measure {}",
                missing.join(", ")
            ))
        }
    }

    /// Where the instructions of the paths that matter go.
    fn print_functions(&self) -> Result<()> {
        ensure!(
            self.qemu.version >= (8, 1, 0),
            "--functions needs QEMU 8.1 or later: older ones don't follow single instructions"
        );
        let trace = project::logs().join("bench.trace");
        println!("Following every instruction: half a minute");
        let counts = self.measure(PES, &functions::options(&trace))?;
        let measured = functions::read(&trace, &self.image, &self.payload_elf)?;
        let rounds = count(&counts, ROUNDS).unwrap_or(1).max(1);
        let reports = counts.iter().filter(|(key, _)| key != ROUNDS);
        let of = |wanted: &str| {
            let mut pairs = reports.clone().zip(&measured);
            let found = pairs.find(|((key, _), _)| key == wanted);
            found
                .map(|(_, executed)| executed)
                .with_context(|| format!("the payload did not measure {wanted}"))
        };
        for (key, pes, what) in PATHS {
            let rounds = if key == RESET { 1 } else { rounds };
            let by = functions::by_function(&self.image.elf, of(key)?, pes, rounds)?;
            let sum: u64 = by.iter().map(|(_, count)| count).sum();
            println!("\n{what:<60} {sum:>6}");
            for (function, count) in by {
                println!("    {function:<56} {count:>6}");
            }
        }
        Ok(())
    }
}

/// The figure that is measured once.
const RESET: &str = "reset_to_bl33";

/// The payload's name for how often it does what it measures.
const ROUNDS: &str = "rounds";

/// The paths whose instructions are shown: the measurement, the PEs on which it
/// looks, and what they do.
const PATHS: [(&str, Range<usize>, &str); 12] = [
    (RESET, 0..1, "reset to BL33, the PE that boots"),
    (RESET, 1..PES as usize, "reset to BL33, the others"),
    ("smccc_version", 0..1, "SMCCC_VERSION"),
    ("psci_version", 0..1, "PSCI_VERSION"),
    ("sdei_version", 0..1, "SDEI_VERSION"),
    ("sdei_status", 0..1, "SDEI_EVENT_STATUS(0)"),
    ("unknown_fid", 0..1, "unknown function ID"),
    (
        "signal_self_completed",
        0..1,
        "SIGNAL to self, dispatch, and COMPLETE",
    ),
    ("signal_other_call", 0..1, "SIGNAL to another PE"),
    (
        "signal_other_call",
        1..2,
        "that PE: FIQ, dispatch, and COMPLETE",
    ),
    ("cpu_on", 0..1, "CPU_ON"),
    (
        "cpu_on",
        1..2,
        "that PE: out of CPU_OFF's wait, and off again",
    ),
];

fn count(counts: &[(String, u64)], key: &str) -> Option<u64> {
    counts
        .iter()
        .find(|(name, _)| name == key)
        .map(|&(_, count)| count)
}

fn print_table(counts: &[(String, u64)]) {
    println!("Instructions, counted exactly by QEMU's -icount; TF-A is v2.15, release, SDEI on.\n");
    println!(
        "{:<44} {:>10} {:>10} {:>8} {:>8} {:>8} {:>8}",
        "what", "TF-A", "to reach", "ours", "ratio", "floor", "above it"
    );
    for figure in &FIGURES {
        if let Some(ours) = count(counts, figure.key) {
            print_row(figure, ours);
        }
    }
}

fn print_row(figure: &Figure, ours: u64) {
    let floor = figure.floor.map(|floor| floor.to_string());
    let above = figure.floor.map(|floor| ratio(ours, floor));
    println!(
        "{:<44} {:>10} {:>10} {ours:>8} {:>8} {:>8} {:>8}{}",
        figure.what,
        figure.tf_a,
        figure.aim,
        ratio(figure.tf_a, ours),
        floor.unwrap_or_default(),
        above.unwrap_or_default(),
        if ours > figure.aim {
            "  not reached"
        } else {
            ""
        }
    );
}

/// How many times the one goes into the other, to the nearest hundredth.
fn ratio(larger: u64, smaller: u64) -> String {
    match (larger * 100 + smaller / 2).checked_div(smaller) {
        Some(hundredths) => format!("{}.{:02}", hundredths / 100, hundredths % 100),
        None => String::new(),
    }
}

fn print_json(counts: &[(String, u64)], wider: &[(u32, Option<u64>)], columns: &[Longest; 2]) {
    let rows: Vec<_> = FIGURES
        .iter()
        .map(|figure| {
            json!({
                "key": figure.key,
                "what": figure.what,
                "tf_a": figure.tf_a,
                "aim": figure.aim,
                "recorded": figure.recorded,
                "floor": figure.floor,
                "ours": count(counts, figure.key),
            })
        })
        .chain(wider.iter().map(
            |(pes, ours)| json!({ "key": BROADCAST, "what": BROADCAST_WHAT, "pes": pes, "ours": ours }),
        ))
        .chain(longest::json(columns))
        .collect();
    println!("{:#}", json!(rows));
}

//! `bench`: how many instructions calls cost, beside Trusted Firmware-A.

use anyhow::{Result, anyhow};
use clap::Args;
use harness::payload;
use harness::session::{BANNER, Session};
use serde_json::json;

use crate::image::{self, Platform};
use crate::project;
use crate::qemu::{self, Choice};

/// Options of `bench`.
#[derive(Args)]
pub struct Options {
    /// Print JSON instead of a table
    #[arg(long)]
    json: bool,
    /// QEMU to use: newest, oldest, or a program
    #[arg(long, default_value = "newest")]
    qemu: Choice,
}

/// One figure: the payload's name for it, what it is, what Trusted Firmware-A
/// v2.15 takes, and what to reach.
struct Figure {
    key: &'static str,
    what: &'static str,
    tf_a: u64,
    aim: u64,
}

const fn figure(key: &'static str, what: &'static str, tf_a: u64, aim: u64) -> Figure {
    Figure {
        key,
        what,
        tf_a,
        aim,
    }
}

const FIGURES: [Figure; 12] = [
    figure("smccc_version", "SMCCC_VERSION", 184, 60),
    figure("psci_version", "PSCI_VERSION", 210, 70),
    figure("sdei_version", "SDEI_VERSION", 231, 70),
    figure("sdei_status", "SDEI_EVENT_STATUS(0)", 274, 90),
    figure("unknown_fid", "unknown function ID", 225, 70),
    figure(
        "signal_self_entered",
        "SIGNAL to self, handler entered",
        1695,
        350,
    ),
    figure(
        "signal_self_completed",
        "SIGNAL to self, handled and completed",
        2966,
        600,
    ),
    figure(
        "signal_other_call",
        "SIGNAL to a masked PE: the call alone",
        390,
        120,
    ),
    figure(
        "signal_other_entered",
        "SIGNAL to a masked PE, until in its handler",
        1717,
        400,
    ),
    figure(
        "broadcast_per_pe",
        "broadcast until all have handled, per PE",
        3026,
        650,
    ),
    figure("cpu_on", "CPU_ON until the PE runs and says so", 3826, 1500),
    figure(
        "reset_to_bl33",
        "reset to BL33's first instruction",
        9_080_000,
        1_000_000,
    ),
];

/// Bytes in flash of Trusted Firmware-A's BL1, BL2 and BL31 together.
const FLASH_TF_A: u64 = 105_564;
/// The size to stay below.
const FLASH_AIM: u64 = 64 << 10;

/// Runs the payload's measurements and prints them.
///
/// # Errors
///
/// When the payload does not come to its end, or a figure is missing.
pub fn run(options: &Options) -> Result<()> {
    let image = image::build(Platform::QemuVirt, None)?;
    let program = image::build_payload()?;
    let run = payload::Run {
        board: harness::Board::QemuVirt,
        name: "bench".into(),
        cpu: "max",
        cpus: 4,
        el2: true,
        in_turn: true,
        old_qemu: false,
    };
    let mut machine = run.machine(&qemu::one(&options.qemu)?, &image.bin, &program, "bench");
    // One tick of the counter is one instruction.
    machine.extra = vec!["-icount".into(), "shift=0,sleep=off".into()];
    let text = (|| {
        let mut session =
            Session::start(&machine, "bench", &project::logs(), &["bl31: cannot boot"])?;
        session.expect(BANNER)?;
        session.power_off()?;
        Ok(session.text())
    })()
    .map_err(|failure: harness::Failure| anyhow!("{failure}"))?;
    let counts = payload::bench(&text);
    let flash = std::fs::metadata(&image.bin)?.len();
    if options.json {
        print_json(&counts, flash);
    } else {
        print_table(&counts, flash);
    }
    let missing: Vec<&str> = FIGURES
        .iter()
        .map(|figure| figure.key)
        .filter(|key| !counts.iter().any(|(name, _)| name == key))
        .collect();
    if missing.is_empty() {
        Ok(())
    } else {
        Err(anyhow!(
            "the payload did not measure {}",
            missing.join(", ")
        ))
    }
}

fn print_table(counts: &[(String, u64)], flash: u64) {
    println!("Instructions, counted exactly by QEMU's -icount; TF-A is v2.15, release, SDEI on.\n");
    println!(
        "{:<44} {:>10} {:>10} {:>10} {:>8}",
        "what", "TF-A", "to reach", "ours", "ratio"
    );
    for figure in &FIGURES {
        let ours = counts.iter().find(|(key, _)| key == figure.key);
        print_row(figure, ours.map(|&(_, count)| count));
    }
    print_row(
        &figure("flash", "bytes in flash", FLASH_TF_A, FLASH_AIM),
        Some(flash),
    );
    for (key, count) in counts {
        if !FIGURES.iter().any(|figure| figure.key == key) {
            println!("{key:<44} {:>10} {:>10} {count:>10}", "", "");
        }
    }
}

fn print_row(figure: &Figure, ours: Option<u64>) {
    let (count, ratio) = match ours {
        Some(count) => (count.to_string(), ratio(figure.tf_a, count)),
        None => ("missing".into(), String::new()),
    };
    println!(
        "{:<44} {:>10} {:>10} {count:>10} {ratio:>8}{}",
        figure.what,
        figure.tf_a,
        figure.aim,
        match ours {
            Some(count) if count > figure.aim => "  not reached",
            _ => "",
        }
    );
}

/// How many times ours goes into theirs.
fn ratio(theirs: u64, ours: u64) -> String {
    // Tenths in integers: no figure is exact to more than that anyway.
    match (theirs * 10).checked_div(ours) {
        Some(tenths) => format!("{}.{}", tenths / 10, tenths % 10),
        None => String::new(),
    }
}

fn print_json(counts: &[(String, u64)], flash: u64) {
    let mut rows: Vec<_> = counts
        .iter()
        .map(|(key, count)| {
            let figure = FIGURES.iter().find(|figure| figure.key == key);
            json!({
                "key": key,
                "what": figure.map(|figure| figure.what),
                "tf_a": figure.map(|figure| figure.tf_a),
                "aim": figure.map(|figure| figure.aim),
                "ours": count,
            })
        })
        .collect();
    rows.push(json!({
        "key": "flash", "what": "bytes in flash", "tf_a": FLASH_TF_A, "aim": FLASH_AIM,
        "ours": flash,
    }));
    println!("{:#}", json!(rows));
}

//! `test`: on the host, from the bare-metal payload, and with Linux.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use harness::linux::{self, Boot, Dumped, Files, Step};
use harness::{Board, Failure, Machine, Qemu, Session, Tally, attack, payload};

use crate::image::{self, Image, Platform};
use crate::qemu::{self, Choice};
use crate::{bench, fetch, fvp, initramfs, nmi_kernel, project, setup, symbolize, unit, vmcore};

/// Options of `test`.
#[derive(Args)]
pub struct Options {
    /// Which tests; all of them without it
    group: Option<Group>,
    /// Only tests whose name contains this
    filter: Option<String>,
    /// List the tests instead of running them
    #[arg(long)]
    list: bool,
    /// QEMU: newest, oldest, all (a part of the tests runs on the oldest too),
    /// or a program
    #[arg(long, default_value = "all")]
    qemu: Choice,
    /// The model of fvp_base to test on: Arm's program FVP_Base_RevC-2xAEMvA, or
    /// a QEMU with a machine fvp-base-revc
    #[arg(long)]
    model: Option<PathBuf>,
    /// How many machines run at the same time
    #[arg(long, default_value_t = default_jobs())]
    jobs: usize,
    /// The tests with Linux on many PEs too, and 100 million random calls: many
    /// minutes each
    #[arg(long)]
    slow: bool,
    /// Seed of the first random attack; the next ones' follow
    #[arg(long, default_value_t = attack::SEED)]
    seed: u64,
    /// Command line of the payload, e.g. filter=psci
    #[arg(long, default_value = "")]
    payload_append: String,
}

/// A kind of test.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Group {
    /// The libraries, on the host
    Unit,
    /// A bare-metal program in the kernel's place
    Payload,
    /// The same program as an attacker of the image
    Attack,
    /// Unmodified Linux and U-Boot
    Linux,
}

/// Several PEs share the host's: more machines at once only slow each other down.
fn default_jobs() -> usize {
    thread::available_parallelism()
        .map_or(1, usize::from)
        .min(2)
}

/// One machine to run.
struct Job<'a> {
    name: String,
    run: Box<dyn Fn(&str) -> Outcome + Send + Sync + 'a>,
}

/// What a job came to.
struct Outcome {
    tally: Tally,
    report: String,
}

impl From<Failure> for Outcome {
    fn from(failure: Failure) -> Self {
        Self {
            tally: Tally::FAILED,
            report: failure.to_string(),
        }
    }
}

/// Runs the tests; ends with the line that counts them.
pub fn run(options: &Options) -> Result<ExitCode> {
    let wanted = |group| options.group.is_none_or(|only| only == group);
    if options.list {
        list(options, wanted);
        return Ok(ExitCode::SUCCESS);
    }
    let mut tally = Tally::default();
    if wanted(Group::Unit) {
        tally += unit::run(options.filter.as_deref())?;
    }
    if wanted(Group::Payload) {
        tally += run_payload(options)?;
        tally += instruction_counts(options)?;
    }
    if wanted(Group::Attack) {
        tally += run_attack(options)?;
    }
    if wanted(Group::Linux) {
        tally += run_linux(options)?;
    }
    if tally == Tally::default() {
        bail!("no test is called so; `cargo xtask test --list` shows them");
    }
    if tally.skipped > 0 {
        println!("{} skipped", tally.skipped);
        tally.skipped = 0;
    }
    println!("{tally}");
    Ok(if tally.failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn list(options: &Options, wanted: impl Fn(Group) -> bool) {
    if wanted(Group::Payload) {
        for run in payload::runs() {
            if matches(options, &run.name) {
                println!("payload: {}", run.name);
            }
        }
    }
    if wanted(Group::Payload) && matches(options, bench::CHECK) {
        println!("payload: {}", bench::CHECK);
    }
    if wanted(Group::Attack) {
        for run in attacks(options) {
            println!("attack: {}", run.0.name);
        }
    }
    if wanted(Group::Linux) {
        for test in linux_tests(options) {
            println!("linux: {}", test.name);
        }
    }
}

fn matches(options: &Options, name: &str) -> bool {
    options
        .filter
        .as_ref()
        .is_none_or(|filter| name.contains(filter.as_str()))
}

/// The QEMUs to run on: the first for all, the second for the tests meant for it.
fn qemus(options: &Options) -> Result<Vec<Qemu>> {
    match &options.qemu {
        Choice::All => qemu::all(),
        one => Ok(vec![qemu::one(one)?]),
    }
}

/// A machine for each QEMU that a test is for, and the name of that run.
fn for_each_qemu(
    qemus: &[Qemu],
    name: &str,
    old: bool,
) -> impl Iterator<Item = (Qemu, String)> + use<> {
    let mut runs = Vec::new();
    for (index, qemu) in qemus.iter().enumerate() {
        if index == 0 {
            runs.push((qemu.clone(), name.to_owned()));
        } else if old {
            runs.push((qemu.clone(), format!("{name} ({qemu})")));
        }
    }
    runs.into_iter()
}

/// A board that tests run on: its image, and the programs that emulate it.
struct Bench {
    image: Image,
    /// The first for all tests, the second for those meant for it.
    qemus: Vec<Qemu>,
    /// The model, of a board that is no QEMU `virt`.
    model: Option<fvp::Program>,
}

impl Bench {
    /// `None` if nothing here emulates the board.
    fn of(board: Board, options: &Options) -> Result<Option<Self>> {
        let (qemus, model) = match board {
            Board::QemuVirt => (qemus(options)?, None),
            Board::FvpBase => match fvp::find(options.model.as_deref())? {
                Some(model) => (vec![model.qemu().clone()], Some(model)),
                None => return Ok(None),
            },
        };
        Ok(Some(Self {
            image: image::build(Platform::of(board), None)?,
            qemus,
            model,
        }))
    }

    /// The same with the image whose table has events of fixed interrupts.
    fn with_fixed_events(self, board: Board) -> Result<Self> {
        let feature = Some(payload::FIXED_EVENTS);
        Ok(Self {
            image: image::build_with(Platform::of(board), None, feature)?,
            ..self
        })
    }

    /// The machine of a test, ready to run.
    fn complete(&self, mut machine: Machine, name: &str) -> Result<Machine> {
        if let Some(model) = &self.model {
            model.take_over(&mut machine, &self.image, name)?;
        }
        Ok(machine)
    }
}

/// What was skipped since nothing emulates a board.
fn skipped(tests: usize) -> Tally {
    println!("FVP tests skipped: no model");
    Tally {
        skipped: u32::try_from(tests).unwrap_or(u32::MAX),
        ..Tally::default()
    }
}

fn run_payload(options: &Options) -> Result<Tally> {
    let runs: Vec<payload::Run> = payload::runs()
        .into_iter()
        .filter(|run| matches(options, &run.name))
        .collect();
    if runs.is_empty() {
        return Ok(Tally::default());
    }
    println!("== payload: the image's calls, one by one");
    let program = image::build_payload()?;
    let mut tally = Tally::default();
    for board in Board::ALL {
        let runs: Vec<&payload::Run> = runs.iter().filter(|run| run.board == board).collect();
        if runs.is_empty() {
            continue;
        }
        let Some(bench) = Bench::of(board, options)? else {
            tally += skipped(runs.len());
            continue;
        };
        let (fixed, runs): (Vec<_>, Vec<_>) = runs.iter().partition(|run| run.fixed_events);
        tally += run_payload_on(&bench, &runs, &program, options)?;
        if !fixed.is_empty() {
            let bench = bench.with_fixed_events(board)?;
            tally += run_payload_on(&bench, &fixed, &program, options)?;
        }
    }
    Ok(tally)
}

/// Whether calls cost what they are known to cost.
fn instruction_counts(options: &Options) -> Result<Tally> {
    if !matches(options, bench::CHECK) {
        return Ok(Tally::default());
    }
    let qemus = qemus(options)?;
    let newest = qemus.first().context("there is no QEMU")?;
    println!("start {}", bench::CHECK);
    Ok(match bench::check(newest) {
        Ok(Some(())) => {
            println!("ok    {}", bench::CHECK);
            Tally::PASSED
        }
        Ok(None) => Tally::SKIPPED,
        Err(error) => {
            println!("FAIL  {}: {error:#}", bench::CHECK);
            Tally::FAILED
        }
    })
}

/// What a run of the payload came to.
fn verdict_of(result: Result<(payload::Verdict, Session), Failure>) -> Outcome {
    match result {
        Ok((verdict, _)) if verdict.tally.failed == 0 => Outcome {
            tally: verdict.tally,
            report: String::new(),
        },
        Ok((verdict, session)) => Outcome {
            tally: verdict.tally,
            report: session.failure(verdict.failures.join("\n")).to_string(),
        },
        Err(failure) => failure.into(),
    }
}

fn run_payload_on(
    bench: &Bench,
    runs: &[&payload::Run],
    program: &Path,
    options: &Options,
) -> Result<Tally> {
    let append = options.payload_append.as_str();
    let minimal = runs
        .iter()
        .any(|run| run.on_minimal)
        .then(image::build_minimal)
        .transpose()?;
    let mut in_turn = Vec::new();
    let mut at_once = Vec::new();
    for run in runs {
        let jobs = if run.in_turn {
            &mut in_turn
        } else {
            &mut at_once
        };
        let firmware = match &minimal {
            Some(minimal) if run.on_minimal => minimal,
            _ => &bench.image.bin,
        };
        for (qemu, name) in for_each_qemu(&bench.qemus, &run.name, run.old_qemu) {
            let machine = run.machine(&qemu, firmware, program, append);
            let machine = bench.complete(machine, &name)?;
            jobs.push(Job {
                name,
                run: Box::new(move |name| {
                    verdict_of(payload::run(&machine, name, &project::logs()))
                }),
            });
        }
    }
    let mut tally = run_jobs(&in_turn, options.jobs);
    // PEs that wait for each other need all of the host's cores.
    tally += run_jobs(&at_once, 1);
    Ok(tally)
}

/// The runs of the attacker, and whether each is a random one.
fn attacks(options: &Options) -> Vec<(payload::Run, bool)> {
    let known = attack::known().into_iter().map(|run| (run, false));
    let random = attack::random(options.seed, options.slow);
    known
        .chain(random.into_iter().map(|run| (run, true)))
        .filter(|(run, _)| matches(options, &run.name))
        .collect()
}

fn run_attack(options: &Options) -> Result<Tally> {
    let runs = attacks(options);
    if runs.is_empty() {
        return Ok(Tally::default());
    }
    println!(
        "== attack: random calls and known attacks; the first seed is {}",
        options.seed
    );
    let program = image::build_payload()?;
    let Some(bench) = Bench::of(Board::QemuVirt, options)? else {
        return Ok(skipped(runs.len()));
    };
    let (mut in_turn, mut at_once) = (Vec::new(), Vec::new());
    for (run, is_random) in &runs {
        for (qemu, name) in for_each_qemu(&bench.qemus, &run.name, run.old_qemu) {
            let append = options.payload_append.as_str();
            let mut machine = run.machine(&qemu, &bench.image.bin, &program, append);
            if *is_random {
                attack::prepare(&mut machine);
            }
            let with = if *is_random {
                attack::run
            } else {
                payload::run
            };
            let jobs = if run.in_turn {
                &mut in_turn
            } else {
                &mut at_once
            };
            jobs.push(Job {
                name,
                run: Box::new(move |name| verdict_of(with(&machine, name, &project::logs()))),
            });
        }
    }
    let mut tally = run_jobs(&in_turn, options.jobs);
    tally += run_jobs(&at_once, 1);
    Ok(tally)
}

fn linux_tests(options: &Options) -> Vec<linux::Test> {
    let mut tests = linux::tests();
    if options.slow {
        tests.extend(linux::slow_tests());
    }
    tests.retain(|test| matches(options, &test.name));
    tests
}

fn run_linux(options: &Options) -> Result<Tally> {
    let tests = linux_tests(options);
    if tests.is_empty() {
        return Ok(Tally::default());
    }
    println!("== linux: unmodified Linux and U-Boot on the image");
    let mut tally = Tally::default();
    for board in Board::ALL {
        let tests: Vec<&linux::Test> = tests.iter().filter(|test| test.board == board).collect();
        if !tests.is_empty() {
            tally += match Bench::of(board, options)? {
                Some(bench) => run_linux_on(&bench, &tests, options)?,
                None => skipped(tests.len()),
            };
        }
    }
    Ok(tally)
}

fn run_linux_on(bench: &Bench, tests: &[&linux::Test], options: &Options) -> Result<Tally> {
    let elf = bench.image.elf.as_path();
    let files = Files {
        firmware: bench.image.bin.clone(),
        kernels: tests
            .iter()
            .filter_map(|test| test.boot.kernel())
            .collect::<BTreeSet<_>>()
            .into_iter()
            .map(|name| Ok((name.to_owned(), setup::kernel(name)?)))
            .collect::<Result<_>>()?,
        initramfs: initramfs::build()?,
        initramfs_with_kernel: tests
            .iter()
            .any(|test| test.has_kernel)
            .then(initramfs::with_kernel)
            .transpose()?,
        u_boot: fetch::u_boot()?,
    };
    let mut jobs = Vec::new();
    for test in tests {
        for (qemu, name) in for_each_qemu(&bench.qemus, &test.name, test.old_qemu) {
            let mut machine = test.machine(&qemu, &files).map_err(anyhow::Error::msg)?;
            let disk = test.has_disk.then(|| vmcore::disk(&name)).transpose()?;
            machine.disk.clone_from(&disk);
            if let Boot::NoImage(bytes) = test.boot {
                machine.kernel = Some(no_kernel(&name, bytes)?);
            }
            if test.initramfs_size > 0 {
                let padded = initramfs::padded(&files.initramfs, test.initramfs_size)?;
                machine.initrd = Some(padded);
            }
            if let Some(edit) = test.tree {
                let file = format!("{}.dtb", harness::session::file_stem(&name));
                harness::tree::give(&mut machine, edit, &project::logs().join(file))
                    .map_err(anyhow::Error::msg)?;
            }
            let machine = bench.complete(machine, &name)?;
            jobs.push(Job {
                name,
                run: Box::new(move |name| {
                    let result = Session::start(&machine, name, &project::logs(), test.forbidden)
                        .and_then(|session| steps(session, test, elf, disk.as_deref()));
                    match result {
                        Ok(()) => Outcome {
                            tally: Tally::PASSED,
                            report: String::new(),
                        },
                        Err(failure) => failure.into(),
                    }
                }),
            });
        }
    }
    Ok(run_jobs(&jobs, options.jobs))
}

/// A file that starts with these bytes, for a test to boot.
fn no_kernel(name: &str, start: &[u8]) -> Result<PathBuf> {
    let mut bytes = start.to_vec();
    bytes.resize(1 << 20, 0);
    project::make_dir(&project::logs())?;
    let file = project::logs().join(format!("{}.kernel", harness::session::file_stem(name)));
    fs::write(&file, bytes).with_context(|| format!("cannot write {}", file.display()))?;
    Ok(file)
}

/// Whether a CPU of the kernel that crashed was in `function`, by the memory that
/// is on `disk`.
fn check_vmcore(disk: &Path, wanted: Dumped) -> Result<()> {
    let cpus = vmcore::cpus(disk, &nmi_kernel::files()?.join("System.map"))?;
    let is_it = |cpu: &vmcore::Cpu| {
        cpu.place.split('+').next() == Some(wanted.function) && cpu.masked == wanted.masked
    };
    if !cpus.iter().any(is_it) {
        bail!("the vmcore has no CPU that is {wanted:?}: {cpus:?}");
    }
    // It is large, and was good.
    fs::remove_file(disk).with_context(|| format!("cannot remove {}", disk.display()))
}

/// What a test does with its machine; `elf` is the image that runs on it.
fn steps(
    mut session: Session,
    test: &linux::Test,
    elf: &Path,
    disk: Option<&Path>,
) -> Result<(), Failure> {
    let crash = matches!(test.boot, Boot::Crash(_));
    if crash {
        session.expect_crash();
    }
    for step in &test.steps {
        match step {
            Step::Expect(pattern) => drop(session.expect(pattern)?),
            Step::Type(line) => session.type_line(line)?,
            Step::PowerOff => session.power_off()?,
            Step::Vmcore(cpu) => disk
                .context("the test has no disk")
                .and_then(|disk| check_vmcore(disk, *cpu))
                .map_err(|error| session.failure(format!("{error:#}")))?,
        }
    }
    if crash {
        let report = session.secure_text();
        let named = symbolize::annotate(elf, &report)
            .map_err(|error| session.failure(format!("{error:#}")))?;
        // Whichever way EL3 crashed, it was this function's doing.
        if !named.contains("bl31::crash::provoke") {
            return Err(session.failure(format!(
                "the Secure console's report does not lead to what crashed:\n{named}"
            )));
        }
    }
    session.stop()
}

/// Runs the jobs in order, so many at once, and prints what each came to.
fn run_jobs(jobs: &[Job<'_>], at_once: usize) -> Tally {
    let next = AtomicUsize::new(0);
    let total = Mutex::new(Tally::default());
    thread::scope(|scope| {
        for _ in 0..at_once.clamp(1, jobs.len().max(1)) {
            scope.spawn(|| {
                while let Some(job) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    println!("start {}", job.name);
                    let started = Instant::now();
                    let outcome = (job.run)(&job.name);
                    let seconds = started.elapsed().as_secs_f32();
                    // One print, so that two jobs' lines do not mix.
                    if outcome.tally.failed == 0 {
                        println!("ok    {} ({}, {seconds:.1} s)", job.name, outcome.tally);
                    } else {
                        println!(
                            "FAIL  {} ({}, {seconds:.1} s): {}",
                            job.name, outcome.tally, outcome.report
                        );
                    }
                    match total.lock() {
                        Ok(mut total) => *total += outcome.tally,
                        Err(poisoned) => *poisoned.into_inner() += outcome.tally,
                    }
                }
            });
        }
    });
    total
        .into_inner()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

//! `test unit`: what can be tested of the libraries without the machine.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use harness::Tally;

use crate::{image, install, process, project, rust_target};

/// How far the searches go: cases of sdei's comparison with its oracle, 200
/// calls each at the most, and states of each of its models. A developer's
/// `cargo test` does with fewer.
const SEARCHES: [(&str, &str); 2] = [("PROPTEST_CASES", "5000"), ("SDEI_MODEL_STATES", "8000000")];

/// The crates whose atomics are tested under `loom`.
const LOOM: [&str; 2] = ["sdei", "psci-el3"];

/// How long the fuzzer looks for calls that break the dispatcher, in seconds.
const FUZZ_SECONDS: u32 = 30;

/// Runs all of it; `filter` is a part of the names of tests of cargo's runner.
pub fn run(filter: Option<&str>) -> Result<Tally> {
    println!("== unit: the libraries, on the host");
    let mut tests = rust_target::cargo();
    tests
        .args(["test", "--no-fail-fast"])
        .args(filter)
        // Of the tests that passed, too: how many states the models have.
        .args(["--", "--show-output"])
        .envs(SEARCHES);
    let mut tally = cargo_test(&mut tests)?;
    for package in LOOM {
        println!("== unit: {package}, every order of what its atomics do");
        let mut tests = rust_target::cargo();
        tests
            .args(["test", "--package", package])
            .arg("--lib")
            .args(filter)
            .env("RUSTFLAGS", "--cfg loom")
            // Its own: every dependency is built anew with that flag.
            .env("CARGO_TARGET_DIR", project::target().join("loom"));
        tally += cargo_test(&mut tests)?;
    }
    if filter.is_none_or(|filter| "no-panic".contains(filter)) {
        tally += no_panic();
    }
    if filter.is_none_or(|filter| "fuzz".contains(filter)) {
        tally += fuzz()?;
    }
    Ok(tally)
}

/// Runs cargo's test runner, shows what it prints, and counts.
fn cargo_test(command: &mut Command) -> Result<Tally> {
    let mut child = command
        .current_dir(project::root())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot run cargo test")?;
    let output = child.stdout.take().context("cargo test has no output")?;
    let mut text = String::new();
    for line in BufReader::new(output).lines() {
        let line = line.context("cannot read cargo test's output")?;
        println!("{line}");
        text.push_str(&line);
        text.push('\n');
    }
    let status = child.wait().context("cannot wait for cargo test")?;
    let mut tally = Tally::of_cargo_test(&text);
    if !status.success() && tally.failed == 0 {
        println!("cargo test itself failed ({status})");
        tally += Tally::FAILED;
    }
    Ok(tally)
}

/// Whether no call of the dispatcher can panic: a program that could does not link.
fn no_panic() -> Tally {
    println!("== unit: sdei, no way from any call to a panic");
    match image::link_no_panic() {
        Ok(()) => Tally::PASSED,
        Err(error) => {
            println!("FAIL  {error:#}");
            Tally::FAILED
        }
    }
}

/// Fuzzes the dispatcher with raw SMC arguments, where there is a nightly
/// toolchain, which the fuzzer's instrumentation needs.
fn fuzz() -> Result<Tally> {
    println!("== unit: sdei, {FUZZ_SECONDS} seconds of random SMC arguments");
    let nightly = || {
        let mut command = Command::new("rustup");
        command.args(["run", "nightly", "cargo"]);
        command.env_remove("RUSTUP_TOOLCHAIN").env_remove("CARGO");
        command
    };
    if !process::succeeds(nightly().arg("--version")) {
        println!("skipped: no nightly toolchain (rustup toolchain install nightly)");
        return Ok(Tally::SKIPPED);
    }
    install::ensure(&["g++"], "build the fuzzer")?;
    let tools = fuzzer()?;
    let path = std::env::var("PATH").unwrap_or_default();
    let passed = nightly()
        .args(["fuzz", "run", "smc", "--target-dir"])
        .arg(project::target().join("fuzz"))
        .args(["--", "-print_final_stats=1"])
        .arg(format!("-max_total_time={FUZZ_SECONDS}"))
        .env("PATH", format!("{}:{path}", tools.join("bin").display()))
        .current_dir(project::root().join("sdei"))
        .status()
        .context("cannot run the fuzzer")?
        .success();
    Ok(if passed { Tally::PASSED } else { Tally::FAILED })
}

/// `cargo-fuzz` in the cache.
fn fuzzer() -> Result<PathBuf> {
    project::cached("cargo-fuzz", |place| {
        println!("Building cargo-fuzz");
        process::run(
            rust_target::cargo()
                .args(["install", "--quiet", "--locked", "cargo-fuzz", "--root"])
                .arg(place),
        )
    })
}

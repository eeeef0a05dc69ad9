//! `fmt` and `lint`.

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};

use crate::image::Platform;
use crate::rust_target::{TARGET, cargo};
use crate::{process, project, rust_target, setup};

/// The crates that are built for the bare-metal target only.
const BARE_METAL: [&str; 10] = [
    "--package",
    "bl31",
    "--package",
    "guest",
    "--package",
    "payload",
    "--package",
    "sdei-firmware",
    "--package",
    "no-panic",
];

/// Options of `fmt`.
#[derive(Args)]
pub struct FmtOptions {
    /// Say what would change instead of changing it
    #[arg(long)]
    check: bool,
}

/// Formats all of the workspace.
pub fn fmt(options: &FmtOptions) -> Result<()> {
    setup::components()?;
    let mut arguments = vec!["fmt", "--all"];
    if options.check {
        arguments.push("--check");
    }
    step(
        &arguments,
        &[],
        "the code is not formatted; `cargo xtask fmt` does it",
    )
}

/// Checks format, lints and documentation, on the host and for the target.
pub fn lint() -> Result<()> {
    fmt(&FmtOptions { check: true })?;
    rust_target::ensure()?;
    let warnings = ["--", "--deny", "warnings"];
    let what = "clippy has something to say";
    step(&["clippy", "--all-targets"], &warnings, what)?;
    let target = ["--release", "--target", TARGET];
    let bare_metal = [&["clippy"], &BARE_METAL[..], &target].concat();
    step(&bare_metal, &warnings, what)?;
    for board in other_boards() {
        let image = [&["clippy"], &target[..], &image_of(&board)].concat();
        step(&image, &warnings, what)?;
    }
    let what = "the documentation has errors";
    step(&["doc", "--no-deps", "--document-private-items"], &[], what)?;
    let bare_metal = [
        &["doc", "--no-deps", "--document-private-items"],
        &BARE_METAL[..],
        &target,
    ]
    .concat();
    step(&bare_metal, &[], what)?;
    for board in other_boards() {
        let doc = ["doc", "--no-deps", "--document-private-items"];
        let image = [&doc, &target[..], &image_of(&board)].concat();
        step(&image, &[], what)?;
    }
    println!("Nothing to complain about.");
    Ok(())
}

/// The boards that the image isn't built for by default.
fn other_boards() -> impl Iterator<Item = String> {
    Platform::value_variants()
        .iter()
        .filter(|platform| **platform != Platform::default())
        .map(ToString::to_string)
}

/// What chooses the image for a board, and the crate that has the board.
fn image_of(board: &str) -> [&str; 7] {
    [
        "--package",
        "bl31",
        "--package",
        "platform",
        "--no-default-features",
        "--features",
        board,
    ]
}

fn step(arguments: &[&str], more: &[&str], what: &str) -> Result<()> {
    println!("== cargo {}", arguments.join(" "));
    process::run(
        cargo()
            .args(arguments)
            .args(more)
            .env("RUSTDOCFLAGS", "--deny warnings")
            .current_dir(project::root()),
    )
    .with_context(|| what.to_owned())
}

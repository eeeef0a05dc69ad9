//! `fmt` and `lint`.

use anyhow::{Context, Result};
use clap::Args;

use crate::rust_target::{TARGET, cargo};
use crate::{process, project, rust_target, setup};

/// The crates that are built for the bare-metal target only.
const BARE_METAL: [&str; 6] = [
    "--package",
    "bl31",
    "--package",
    "guest",
    "--package",
    "payload",
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
    let what = "the documentation has errors";
    step(&["doc", "--no-deps", "--document-private-items"], &[], what)?;
    let bare_metal = [
        &["doc", "--no-deps", "--document-private-items"],
        &BARE_METAL[..],
        &target,
    ]
    .concat();
    step(&bare_metal, &[], what)?;
    println!("Nothing to complain about.");
    Ok(())
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

//! Debian packages that must be installed on this machine itself.

use std::process::Command;

use anyhow::{Context, Result};

use crate::process;

/// Installs those of `packages` that are not installed yet. `why` completes
/// "to …".
///
/// # Errors
///
/// Says what to run by hand.
pub fn ensure(packages: &[&str], why: &str) -> Result<()> {
    let missing: Vec<&str> = packages
        .iter()
        .copied()
        .filter(|package| !is_installed(package))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    println!("Installing {} to {why}", missing.join(" "));
    install(&missing).with_context(|| {
        format!(
            "cannot install {} to {why}. As root, this should do it:\n    \
             apt-get update && apt-get install --no-install-recommends {}",
            missing.join(" "),
            missing.join(" ")
        )
    })
}

fn is_installed(package: &str) -> bool {
    process::output(Command::new("dpkg-query").args([
        "--show",
        "--showformat=${db:Status-Status}",
        package,
    ]))
    .is_ok_and(|status| status == "installed")
}

fn install(packages: &[&str]) -> Result<()> {
    let mut arguments = vec!["install", "--yes", "--quiet", "--no-install-recommends"];
    arguments.extend(packages);
    // The lists may be missing or too old for what the mirror still has.
    if process::run(&mut as_root("apt-get", &arguments)).is_ok() {
        return Ok(());
    }
    println!("That failed; trying again with new package lists");
    process::run(&mut as_root("apt-get", &["update", "--quiet"]))?;
    process::run(&mut as_root("apt-get", &arguments))
}

fn as_root(program: &str, arguments: &[&str]) -> Command {
    let mut command = if is_root() {
        let mut command = Command::new(program);
        command.env("DEBIAN_FRONTEND", "noninteractive");
        command
    } else {
        let mut command = Command::new("sudo");
        command.args(["DEBIAN_FRONTEND=noninteractive", program]);
        command
    };
    command.args(arguments);
    command
}

fn is_root() -> bool {
    process::output(Command::new("id").arg("-u")).is_ok_and(|id| id.trim() == "0")
}

/// Makes sure that apt has Debian's package lists, from which the address of the
/// machine's mirror is read.
///
/// # Errors
///
/// As `apt-get update`.
pub fn update_lists() -> Result<()> {
    println!("Updating apt's package lists");
    process::run(&mut as_root("apt-get", &["update", "--quiet"]))
        .context("cannot update apt's package lists. Check /etc/apt and the network")
}

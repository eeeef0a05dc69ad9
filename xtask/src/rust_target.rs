//! The standard library for the bare-metal target.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::apt::Apt;
use crate::{fetch, process, project};

/// The bare-metal target: without floating point, whose registers are the Normal
/// world's.
pub const TARGET: &str = "aarch64-unknown-none-softfloat";

/// The crates that a `no_std` program links.
const CRATES: [&str; 3] = ["libcore-", "liballoc-", "libcompiler_builtins-"];

/// The cargo that runs this program.
pub fn cargo() -> Command {
    Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// Makes sure that the target can be built for.
///
/// # Errors
///
/// Says what was tried: `rustup`, then Debian's source of the standard library.
pub fn ensure() -> Result<()> {
    let libraries = libraries()?;
    if present(&libraries) {
        return Ok(());
    }
    println!("Adding the target {TARGET} to the Rust toolchain");
    let rustup = process::run(Command::new("rustup").args(["target", "add", TARGET]));
    if rustup.is_ok() && present(&libraries) {
        return Ok(());
    }
    println!("rustup could not; building it from Debian's source of the standard library instead");
    from_source(&libraries).with_context(|| {
        format!(
            "cannot get the target {TARGET}. `rustup target add {TARGET}` is all it takes where \
             rustup's server is in reach"
        )
    })
}

fn libraries() -> Result<PathBuf> {
    let sysroot = process::output(Command::new("rustc").args(["--print", "sysroot"]))?;
    Ok(Path::new(sysroot.trim())
        .join("lib/rustlib")
        .join(TARGET)
        .join("lib"))
}

fn present(libraries: &Path) -> bool {
    CRATES.iter().all(|name| rlib(libraries, name).is_some())
}

fn rlib(directory: &Path, name: &str) -> Option<PathBuf> {
    let mut entries = fs::read_dir(directory).ok()?.flatten();
    let found = entries.find(|entry| {
        let file = entry.file_name();
        let file = file.to_string_lossy();
        file.starts_with(name) && file.ends_with(".rlib")
    })?;
    Some(found.path())
}

fn from_source(libraries: &Path) -> Result<()> {
    let version = process::output(Command::new("rustc").arg("--version"))?;
    let version = version
        .split_whitespace()
        .nth(1)
        .context("rustc does not say its version")?
        .to_owned();
    let place = project::cached(&format!("rust-{TARGET}-{version}"), |place| {
        let apt = Apt::open()?;
        let exactly = format!("{version}+");
        let package = apt.find("rust-src", "arm64", |candidate, _| {
            candidate.starts_with(&exactly)
        })?;
        apt.unpack(&package, place)?;
        build(place, &version)?;
        // The source has served its purpose.
        fs::remove_dir_all(place.join("usr")).context("cannot remove the source")?;
        fs::remove_dir_all(place.join("build")).context("cannot remove the build")
    })?;
    project::make_dir(libraries)?;
    for name in CRATES {
        let file = rlib(&place, name).with_context(|| format!("the build made no {name}*.rlib"))?;
        let file_name = file.file_name().context("a library without a name")?;
        fs::copy(&file, libraries.join(file_name))
            .with_context(|| format!("cannot write to {}", libraries.display()))?;
    }
    ensure!(present(libraries), "the toolchain does not show the target");
    Ok(())
}

/// Builds the libraries in a crate that has nothing in it, with what cargo's own
/// tests use to name the source's place.
fn build(place: &Path, version: &str) -> Result<()> {
    let source = place.join(format!("usr/src/rustc-{version}/library"));
    if !source.exists() {
        bail!("Debian's rust-src has no {}", source.display());
    }
    let krate = place.join("build");
    project::make_dir(&krate.join("src"))?;
    let manifest = "[package]\nname = \"empty\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\
                    [workspace]\n";
    fs::write(krate.join("Cargo.toml"), manifest).context("cannot write a crate")?;
    fs::write(krate.join("src/lib.rs"), "#![no_std]\n").context("cannot write a crate")?;
    process::run(
        cargo()
            .args(["build", "--release", "-Zbuild-std=core,alloc", "--target"])
            .arg(TARGET)
            .env("RUSTC_BOOTSTRAP", "1")
            // As in the toolchain's own libraries, or the image's link-time
            // optimisation could not see into them.
            .env("RUSTFLAGS", "-Cembed-bitcode=yes")
            .env("__CARGO_TESTS_ONLY_SRC_ROOT", &source)
            .env("CARGO_TARGET_DIR", krate.join("target"))
            .current_dir(&krate),
    )?;
    let deps = krate.join("target").join(TARGET).join("release/deps");
    for name in CRATES {
        let file = match rlib(&deps, name) {
            Some(file) => file,
            // Newer cargos keep what they build elsewhere below the target.
            None => fetch::find(&krate.join("target").join(TARGET), name)?
                .with_context(|| format!("the build made no {name}*.rlib"))?,
        };
        let file_name = file.file_name().context("a library without a name")?;
        fs::copy(&file, place.join(file_name)).context("cannot keep what was built")?;
    }
    Ok(())
}

//! Everything that the commands need, in one go.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::Args;
use harness::linux::{NMI, STOCK};

use crate::{fetch, fvp, initramfs, nmi_kernel, process, project, qemu, rust_target, unpack};

/// Options of `setup`.
#[derive(Args)]
pub struct Options {
    /// Get the newest versions, also of what is in the cache already
    #[arg(long)]
    update: bool,
}

/// Gets everything, and says what there is.
pub fn run(options: &Options) -> Result<()> {
    if options.update {
        forget()?;
    }
    rust_target::ensure()?;
    components()?;
    for qemu in qemu::all()? {
        println!("{qemu}: {}", qemu.path.display());
    }
    for (name, image) in kernels()? {
        println!("kernel {name}: {}", image.display());
    }
    println!("U-Boot: {}", fetch::u_boot()?.display());
    match fvp::find(None)? {
        Some(model) => {
            println!("model of the FVP: {}", model.path().display());
            println!("its device tree: {}", fetch::fvp_tree()?.display());
        }
        None => println!("model of the FVP: none, so its tests will be skipped"),
    }
    println!("initramfs: {}", initramfs::build()?.display());
    println!("All there; from here on no network is needed.");
    Ok(())
}

/// All the kernels that the tests boot, by name.
pub fn kernels() -> Result<BTreeMap<String, PathBuf>> {
    let mut kernels = BTreeMap::new();
    for version in STOCK {
        kernels.insert(version.to_owned(), fetch::kernel(version)?);
    }
    kernels.insert(NMI.to_owned(), nmi_kernel::image()?);
    Ok(kernels)
}

/// The kernel that a user names: one of Debian's by version, the one with SDEI's
/// NMI, or a file, which is unpacked if it is compressed.
pub fn kernel(name: &str) -> Result<PathBuf> {
    if name == NMI {
        return nmi_kernel::image();
    }
    let is_version = name.starts_with(|first: char| first.is_ascii_digit())
        && name.chars().all(|c| c.is_ascii_digit() || c == '.');
    if is_version {
        return fetch::kernel(name);
    }
    let path = std::path::absolute(name).context("cannot find the kernel")?;
    if !path.exists() {
        bail!(
            "there is no {}: a kernel is {}, {NMI} or a file",
            path.display(),
            STOCK.join(", ")
        );
    }
    unpack::kernel(path)
}

/// Makes sure that rustfmt and clippy are there.
///
/// # Errors
///
/// As rustup.
pub fn components() -> Result<()> {
    for (component, command) in [("rustfmt", "fmt"), ("clippy", "clippy")] {
        if !process::succeeds(rust_target::cargo().args([command, "--version"])) {
            println!("Adding {component} to the Rust toolchain");
            process::run(std::process::Command::new("rustup").args([
                "component",
                "add",
                component,
            ]))?;
        }
    }
    Ok(())
}

/// Removes what was fetched, except for built kernels: they are found again when
/// the source has not changed.
fn forget() -> Result<()> {
    let cache = project::cache()?;
    let mut names = vec![
        "apt".to_owned(),
        "qemu".into(),
        "busybox".into(),
        "u-boot".into(),
        "fvp-base-revc".into(),
    ];
    names.extend(STOCK.iter().map(|version| format!("kernel-{version}")));
    for name in names {
        let place = cache.join(name);
        if place.exists() {
            std::fs::remove_dir_all(&place)
                .with_context(|| format!("cannot remove {}", place.display()))?;
        }
    }
    Ok(())
}

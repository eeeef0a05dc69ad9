//! What comes out of Debian's packages: stock kernels, busybox, U-Boot.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::apt::{Apt, Package};
use crate::project;

/// Debian's stock arm64 kernel of a version such as `6.12`: an `Image`.
pub fn kernel(version: &str) -> Result<PathBuf> {
    let place = project::cached(&format!("kernel-{version}"), |place| {
        println!("Linux {version} as Debian ships it is not there yet");
        let apt = Apt::open()?;
        let package = kernel_package(&apt, version)?;
        apt.unpack(&package, place)?;
        let image = find(place, "vmlinuz")?
            .with_context(|| format!("{} has no vmlinuz in it", package.name))?;
        fs::rename(&image, place.join("Image")).context("cannot move the kernel")?;
        // The modules are ten times as large, and nothing here loads one.
        for directory in ["boot", "lib", "usr"] {
            let directory = place.join(directory);
            if directory.exists() {
                fs::remove_dir_all(&directory).context("cannot remove the kernel's modules")?;
            }
        }
        fs::write(place.join("version"), package.version).context("cannot note the version")
    })?;
    Ok(place.join("Image"))
}

/// The package that has the image: `linux-image-arm64` depends on the image of
/// its version, which from 7.x on depends in turn on a package with the binary.
fn kernel_package(apt: &Apt, version: &str) -> Result<Package> {
    let prefix = format!("{version}.");
    let meta = apt.find("linux-image-arm64", "arm64", |candidate, _| {
        candidate.starts_with(&prefix)
    })?;
    let same = |version: &str, _: &str| version == meta.version;
    let name = apt
        .dependencies(&meta)?
        .into_iter()
        .find(|name| name.starts_with("linux-image-"))
        .with_context(|| format!("{} {} depends on no image", meta.name, meta.version))?;
    let image = apt.find(&name, "arm64", same)?;
    match apt
        .dependencies(&image)?
        .into_iter()
        .find(|name| name.starts_with("linux-binary-"))
    {
        Some(name) => apt.find(&name, "arm64", same),
        None => Ok(image),
    }
}

/// Linux's device tree of the FVP Base RevC, as Debian ships it.
pub fn fvp_tree() -> Result<PathBuf> {
    const FILE: &str = "fvp-base-revc.dtb";
    let place = project::cached("fvp-base-revc", |place| {
        let apt = Apt::open()?;
        // Since 7.x the package that the kernel's modules and its image share.
        let meta = apt.find("linux-base-arm64", "arm64", |_, _| true)?;
        let same = |version: &str, _: &str| version == meta.version;
        let name = apt
            .dependencies(&meta)?
            .into_iter()
            .find(|name| name.starts_with("linux-base-"))
            .with_context(|| format!("{} {} depends on no linux-base", meta.name, meta.version))?;
        let package = apt.find(&name, "arm64", same)?;
        apt.unpack(&package, place)?;
        let tree =
            find(place, FILE)?.with_context(|| format!("{} has no {FILE} in it", package.name))?;
        fs::rename(&tree, place.join(FILE)).context("cannot move the device tree")?;
        fs::remove_dir_all(place.join("usr")).context("cannot remove the other device trees")
    })?;
    Ok(place.join(FILE))
}

/// busybox for arm64, static.
pub fn busybox() -> Result<PathBuf> {
    unpacked("busybox", "busybox-static", "bin/busybox")
}

/// U-Boot for QEMU's arm64 machine.
pub fn u_boot() -> Result<PathBuf> {
    unpacked(
        "u-boot",
        "u-boot-qemu",
        "usr/lib/u-boot/qemu_arm64/u-boot.bin",
    )
}

fn unpacked(name: &str, package: &str, file: &str) -> Result<PathBuf> {
    let place = project::cached(name, |place| {
        let apt = Apt::open()?;
        let package = apt.find(package, "arm64", |_, _| true)?;
        apt.unpack(&package, place)
    })?;
    // Depending on the release, programs are in /bin or in /usr/bin.
    for candidate in [place.join(file), place.join("usr").join(file)] {
        if candidate.exists() {
            return Ok(candidate);
        }
    }
    bail!("there is no {file} in {}", place.display())
}

/// The first file below `directory` whose name begins with `prefix`.
pub fn find(directory: &Path, prefix: &str) -> Result<Option<PathBuf>> {
    let entries =
        fs::read_dir(directory).with_context(|| format!("cannot read {}", directory.display()))?;
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            if let Some(found) = find(&entry.path(), prefix)? {
                return Ok(Some(found));
            }
        } else if entry.file_name().to_string_lossy().starts_with(prefix) {
            return Ok(Some(entry.path()));
        }
    }
    Ok(None)
}

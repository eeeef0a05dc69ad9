//! Linux with SDEI's cross-CPU NMI, built from Debian's source package.

use std::env::consts::ARCH;
use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;

use anyhow::{Context, Result, bail};
use harness::linux::NEWEST;

use crate::apt::Apt;
use crate::{fetch, install, process, project};

/// The program that compiles the kernel, and what goes before its name.
const CROSS: &str = if cfg!(target_arch = "aarch64") {
    ""
} else {
    "aarch64-linux-gnu-"
};

/// The module of `tests/linux/module`, built for this kernel.
pub const MODULE: &str = "handler_end.ko";

/// After how many lines of make's output progress is shown.
const STRIDE: usize = 250;

/// The kernel's `Image`; builds it if this configuration was not built yet.
///
/// # Errors
///
/// As [`files`].
pub fn image() -> Result<PathBuf> {
    Ok(files()?.join("Image"))
}

/// The directory with the kernel's `Image`, its `System.map` and `config`, and
/// [`MODULE`]; builds them if they were not built yet.
///
/// # Errors
///
/// Says what is missing, or where the log of the build is.
pub fn files() -> Result<PathBuf> {
    let sources = project::root().join("tests/linux");
    let config = sources.join("nmi.config");
    let read = |path: &Path| {
        fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
    };
    let text = read(&config)?;
    // A newer Rust may hash otherwise: then the kernel is built once more.
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    for name in ["Kbuild", "handler_end.c"] {
        read(&sources.join("module").join(name))?.hash(&mut hasher);
    }
    let hash = format!("{:016x}", hasher.finish());

    if let Some(built) = built(&hash)? {
        return Ok(built);
    }
    let mut packages = vec![
        "bc",
        "bison",
        "flex",
        "gcc",
        "libc6-dev",
        "make",
        "perl",
        "xz-utils",
    ];
    if ARCH != "aarch64" {
        packages.push("gcc-aarch64-linux-gnu");
    }
    install::ensure(&packages, "build the kernel with SDEI's cross-CPU NMI")?;
    let compiler = compiler().context("there is no compiler for arm64 after all")?;
    let apt = Apt::open()?;
    let source = apt.find(&format!("linux-source-{NEWEST}"), "arm64", |_, _| true)?;
    let name = format!("kernel-nmi-{}-{compiler}-{hash}", source.version);
    project::cached(&name, |place| {
        println!(
            "Building Linux {} with CONFIG_ARM_SDEI_NMI=y. This is done once, and takes 5 to 15 minutes",
            source.version
        );
        apt.unpack(&source, place)?;
        build(place, &config, &text)
    })
}

/// The directory of a kernel built before: of this configuration, by the compiler
/// that is installed, if one is.
fn built(hash: &str) -> Result<Option<PathBuf>> {
    let compiler = compiler().map(|compiler| format!("-{compiler}-"));
    let mut found: Vec<PathBuf> = fs::read_dir(project::cache()?)
        .context("cannot read the cache")?
        .flatten()
        .filter(|entry| {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            name.starts_with("kernel-nmi-")
                && name.ends_with(hash)
                && compiler
                    .as_ref()
                    .is_none_or(|compiler| name.contains(compiler))
        })
        .map(|entry| entry.path())
        .collect();
    found.sort();
    Ok(found.pop())
}

/// The compiler by version, e.g. `gcc12.2.0`.
fn compiler() -> Option<String> {
    let version =
        process::output(Command::new(format!("{CROSS}gcc")).arg("-dumpfullversion")).ok()?;
    Some(format!("gcc{}", version.trim()))
}

fn build(place: &Path, config: &Path, wanted: &str) -> Result<()> {
    println!("Unpacking the source");
    let archive = fetch::find(place, "linux-source-")?
        .filter(|path| path.to_string_lossy().contains(".tar."))
        .context("the source package has no archive in it")?;
    let source = place.join("source");
    let objects = place.join("objects");
    project::make_dir(&source)?;
    project::make_dir(&objects)?;
    process::run(
        Command::new("tar")
            .args(["--extract", "--strip-components=1", "--file"])
            .arg(&archive)
            .arg("--directory")
            .arg(&source),
    )?;

    let log = project::cache()?.join("kernel-nmi.log");
    let make = || {
        let mut make = Command::new("make");
        make.arg("-C")
            .arg(&source)
            .arg(format!("O={}", objects.display()))
            .args(["ARCH=arm64", &format!("CROSS_COMPILE={CROSS}")])
            // Nothing of this machine shall get into the build.
            .env("KBUILD_BUILD_USER", "bl31")
            .env("KBUILD_BUILD_HOST", "bl31");
        make
    };
    println!("Configuring");
    let mut configure = make();
    configure
        .arg(format!("KCONFIG_ALLCONFIG={}", config.display()))
        .arg("allnoconfig");
    process::output(&mut configure)?;
    let got = fs::read_to_string(objects.join(".config")).context("cannot read .config")?;
    let lost = lost_options(wanted, &got);
    if !lost.is_empty() {
        bail!(
            "this kernel source does not take what tests/linux/nmi.config asks for: {}",
            lost.join(", ")
        );
    }
    println!("Compiling; the log is {}", log.display());
    let jobs = thread::available_parallelism().map_or(1, usize::from);
    let mut image = make();
    // The modules, of which there are none, for the symbols that one may use.
    image.arg(format!("-j{jobs}")).args(["Image", "modules"]);
    with_progress(&mut image, &log)?;
    let module = place.join("module");
    project::make_dir(&module)?;
    process::output(
        make()
            .arg(format!(
                "M={}",
                project::root().join("tests/linux/module").display()
            ))
            .arg(format!("MO={}", module.display()))
            .arg("modules"),
    )?;

    let keep = [
        (objects.join("arch/arm64/boot/Image"), "Image"),
        (objects.join("System.map"), "System.map"),
        (objects.join(".config"), "config"),
        (module.join(MODULE), MODULE),
    ];
    for (from, to) in keep {
        fs::rename(&from, place.join(to))
            .with_context(|| format!("the kernel's build made no {}", from.display()))?;
    }
    for directory in ["source", "objects", "module", "usr"] {
        fs::remove_dir_all(place.join(directory)).context("cannot remove the kernel's source")?;
    }
    Ok(())
}

/// The options of `wanted` that `got`, a kernel's `.config`, does not have.
fn lost_options(wanted: &str, got: &str) -> Vec<String> {
    wanted
        .lines()
        .filter(|line| line.starts_with("CONFIG_"))
        .filter(|line| !got.lines().any(|other| other == *line))
        .map(ToOwned::to_owned)
        .collect()
}

/// Runs `command` with its output in the file `log`.
fn with_progress(command: &mut Command, log: &Path) -> Result<()> {
    let mut file = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
    let errors = file.try_clone().context("cannot write the log")?;
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(errors)
        .spawn()
        .context("cannot run make")?;
    let output = child.stdout.take().context("make has no output")?;
    for (count, line) in BufReader::new(output).split(b'\n').enumerate() {
        let line = line.context("cannot read make's output")?;
        file.write_all(&line)
            .and_then(|()| file.write_all(b"\n"))
            .with_context(|| format!("cannot write {}", log.display()))?;
        if count > 0 && count % STRIDE == 0 {
            println!("  {count} steps done");
        }
    }
    let status = child.wait().context("cannot wait for make")?;
    if !status.success() {
        let text = fs::read(log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        bail!(
            "the kernel does not build; the last lines of {}:\n{}",
            log.display(),
            lines[lines.len().saturating_sub(15)..].join("\n")
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_option_that_did_not_stick_is_named() {
        let wanted = "# why\nCONFIG_A=y\nCONFIG_B=512\n";
        let got = "CONFIG_A=y\nCONFIG_B=64\n# CONFIG_C is not set\n";
        assert_eq!(lost_options(wanted, got), ["CONFIG_B=512"]);
        assert!(lost_options(wanted, "CONFIG_B=512\nCONFIG_A=y\n").is_empty());
    }
}

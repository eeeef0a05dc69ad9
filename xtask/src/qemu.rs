//! The QEMUs that the machines run on.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, anyhow};
use harness::Qemu;

use crate::apt::{self, Apt};
use crate::{install, process, project};

const PROGRAM: &str = "qemu-system-aarch64";

/// Where the release's own QEMU is older than this major version, the newest of
/// its backports is fetched too.
const OLD: u32 = 8;

/// Which QEMU to use.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Choice {
    /// The newest there is.
    #[default]
    Newest,
    /// The release's own, where that is an older one.
    Oldest,
    /// Both.
    All,
    /// This program.
    At(PathBuf),
}

impl From<&str> for Choice {
    fn from(text: &str) -> Self {
        match text {
            "newest" => Self::Newest,
            "oldest" => Self::Oldest,
            "all" => Self::All,
            path => Self::At(path.into()),
        }
    }
}

/// The QEMUs on this machine, newest first; what is missing is installed.
pub fn all() -> Result<Vec<Qemu>> {
    if let Some(path) = env::var_os("BL31_QEMU") {
        return Ok(vec![probe(Path::new(&path))?]);
    }
    if !process::succeeds(Command::new(PROGRAM).arg("--version")) {
        // The ROM is for the network card of a QEMU command without -nodefaults.
        install::ensure(&["qemu-system-arm", "ipxe-qemu"], "emulate the machine")?;
    }
    let own = probe(Path::new(PROGRAM))?;
    if own.version.0 >= OLD {
        return Ok(vec![own]);
    }
    match backport() {
        Ok(newer) => Ok(vec![newer, own]),
        Err(error) => {
            println!("warning: going on with {own} alone: {error:#}");
            Ok(vec![own])
        }
    }
}

/// The one that `choice` names; the newest if it names all.
pub fn one(choice: &Choice) -> Result<Qemu> {
    if let Choice::At(path) = choice {
        return probe(path);
    }
    let all = all()?;
    let one = match choice {
        Choice::Oldest => all.last(),
        _ => all.first(),
    };
    one.cloned().context("there is no QEMU")
}

/// The newest QEMU of the release's backports, unpacked into the cache.
fn backport() -> Result<Qemu> {
    let place = project::cached("qemu", |place| {
        println!("This release's QEMU is an old one; getting that of its backports beside it");
        let apt = Apt::open()?;
        let suite = format!("{}-backports", apt::codename()?);
        let package = apt.find("qemu-system-arm", apt::host_architecture(), |_, from| {
            from == suite
        })?;
        let libraries: Vec<String> = apt
            .dependencies(&package)?
            .into_iter()
            .filter(|name| name.starts_with("lib"))
            .collect();
        let libraries: Vec<&str> = libraries.iter().map(String::as_str).collect();
        install::ensure(&libraries, "run the newer QEMU")?;
        apt.unpack(&package, place)
    })?;
    probe(&place.join("usr/bin").join(PROGRAM))
}

fn probe(path: &Path) -> Result<Qemu> {
    Qemu::probe(path).map_err(|error| anyhow!(error))
}

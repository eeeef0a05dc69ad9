//! The models of Arm's FVP Base RevC: Arm's own, where the user has it, or a QEMU
//! with a machine in its likeness.

use std::env;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use anyhow::{Context, Result, anyhow, bail};
use harness::{Fvp, Machine, Model, Qemu};

use crate::image::Image;
use crate::{fetch, process, project};

/// QEMU's machine.
const MACHINE: &str = "fvp-base-revc";

/// The parameters that Arm's model is started with, unless the user names others.
pub const PARAMETERS: &str = "fvp-configs/8-pes.txt";

/// What the directory with QEMU's patch holds.
const SOURCE_FILES: [&str; 2] = ["build-qemu-fvp.sh", "qemu-fvp-base-revc.patch"];

/// What a built QEMU is called in the cache, up to the hash of its source.
const CACHED: &str = "qemu-fvp-";

/// A model that can be started.
pub struct Program {
    qemu: Qemu,
    model: Model,
}

/// The model that the user names; else the one of `BL31_FVP_MODEL`, else a QEMU
/// built from the patch beside the checkout or in `BL31_FVP_MODEL_SOURCE`, else one
/// that was built before. `None` if there is none of them.
///
/// # Errors
///
/// When what was named is no model, or QEMU can't be built.
pub fn find(named: Option<&Path>) -> Result<Option<Program>> {
    let named = named
        .map(Path::to_owned)
        .or_else(|| env::var_os("BL31_FVP_MODEL").map(PathBuf::from));
    if let Some(path) = named {
        return probe(&path).map(Some);
    }
    match source()? {
        Some(source) => probe(&built(&source)?).map(Some),
        None => newest_built()?.map(|path| probe(&path)).transpose(),
    }
}

/// As [`find`], for a command that can't do without.
pub fn require(named: Option<&Path>) -> Result<Program> {
    find(named)?.context(
        "there is no model of the FVP Base RevC here. Arm's own is a free download: \
         https://developer.arm.com/Tools%20and%20Software/Fixed%20Virtual%20Platforms \
         (\"Armv-A Base RevC AEM FVP\"); then give the path of its program \
         FVP_Base_RevC-2xAEMvA with --model, or in BL31_FVP_MODEL. A QEMU with a \
         machine fvp-base-revc will do, too",
    )
}

impl Program {
    /// A machine of this model with `image`, and nothing to boot yet.
    pub fn machine(&self, image: &Path) -> Machine {
        let mut machine = Machine::new(&self.qemu, image);
        // As many as its device tree describes.
        machine.cpus = 8;
        machine.memory = "4G".into();
        machine
    }

    /// Makes a machine, otherwise complete, one of this model that starts `image`;
    /// its device tree goes to `NAME.dtb` among the logs.
    pub fn take_over(&self, machine: &mut Machine, image: &Image, name: &str) -> Result<()> {
        let fvp = Fvp {
            model: self.model.clone(),
            load: image.load,
            tree: fetch::fvp_tree()?,
        };
        machine.qemu = self.qemu.clone();
        let stem = harness::session::file_stem(name);
        let tree = project::logs().join(format!("{stem}.dtb"));
        fvp.take_over(machine, &tree)
            .map_err(|error| anyhow!(error))
    }

    /// The program.
    pub fn qemu(&self) -> &Qemu {
        &self.qemu
    }

    /// Whether it is a QEMU, with QEMU's arguments.
    pub fn is_qemu(&self) -> bool {
        self.model == Model::Qemu
    }

    /// Where the program is.
    pub fn path(&self) -> &Path {
        &self.qemu.path
    }

    /// Starts Arm's model with these parameters; a QEMU has none.
    pub fn with_parameters(mut self, file: Option<&Path>) -> Result<Self> {
        if let (Model::Arm(parameters), Some(file)) = (&mut self.model, file) {
            *parameters = std::path::absolute(file).context("cannot find the parameters")?;
        }
        Ok(self)
    }
}

/// Finds out what a program is.
fn probe(path: &Path) -> Result<Program> {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.into());
    if let Ok(qemu) = Qemu::probe(&path) {
        let machines = process::output(Command::new(&path).args(["-machine", "help"]))?;
        if !machines.contains(MACHINE) {
            bail!("{qemu} ({}) has no machine {MACHINE}", path.display());
        }
        return Ok(Program {
            qemu,
            model: Model::Qemu,
        });
    }
    let version = process::output(Command::new(&path).arg("--version"))
        .with_context(|| format!("{} is no model", path.display()))?;
    if !version.contains("Fast Models") {
        bail!(
            "{} is neither a QEMU nor one of Arm's models: it says '{}'",
            path.display(),
            version.lines().next().unwrap_or_default()
        );
    }
    Ok(Program {
        qemu: Qemu {
            path,
            version: (0, 0, 0),
        },
        model: Model::Arm(project::root().join(PARAMETERS)),
    })
}

/// The directory with QEMU's patch, if there is one.
fn source() -> Result<Option<PathBuf>> {
    if let Some(named) = env::var_os("BL31_FVP_MODEL_SOURCE").map(PathBuf::from) {
        if !is_source(&named) {
            bail!(
                "BL31_FVP_MODEL_SOURCE: {} lacks {}",
                named.display(),
                SOURCE_FILES.join(" or ")
            );
        }
        return Ok(Some(named));
    }
    let beside = project::root().join("../shared/fvp-model");
    Ok(is_source(&beside).then_some(beside))
}

fn is_source(directory: &Path) -> bool {
    SOURCE_FILES
        .iter()
        .all(|file| directory.join(file).exists())
}

/// The QEMU of this source, built if it is not in the cache yet.
fn built(source: &Path) -> Result<PathBuf> {
    // A newer Rust may hash otherwise: then it is built once more.
    let mut hasher = DefaultHasher::new();
    for file in SOURCE_FILES {
        let path = source.join(file);
        fs::read(&path)
            .with_context(|| format!("cannot read {}", path.display()))?
            .hash(&mut hasher);
    }
    let name = format!("{CACHED}{:016x}", hasher.finish());
    let place = project::cached(&name, |place| {
        println!("Building QEMU with a machine {MACHINE}, once; this takes about ten minutes");
        let work = project::cache()?.join(format!("{name}.build"));
        process::run(
            Command::new("bash")
                .arg(source.join(SOURCE_FILES[0]))
                .arg(place)
                .arg(&work),
        )?;
        fs::remove_dir_all(&work).with_context(|| format!("cannot remove {}", work.display()))
    })?;
    Ok(program_in(&place))
}

fn newest_built() -> Result<Option<PathBuf>> {
    let mut found: Vec<(SystemTime, PathBuf)> = Vec::new();
    for entry in fs::read_dir(project::cache()?).context("cannot read the cache")? {
        let entry = entry?;
        let program = program_in(&entry.path());
        if entry.file_name().to_string_lossy().starts_with(CACHED) && program.exists() {
            found.push((entry.metadata()?.modified()?, program));
        }
    }
    Ok(found.into_iter().max().map(|(_, program)| program))
}

fn program_in(place: &Path) -> PathBuf {
    place.join("bin/qemu-system-aarch64")
}

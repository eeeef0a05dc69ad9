//! Debian packages of another suite or architecture, unpacked without touching
//! this machine's own packages.
//!
//! A private apt root in the cache has the lists of more suites than the machine
//! itself uses, from the mirror that the machine itself uses.

use std::env::consts::ARCH;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::{install, process, project};

/// Suites that have what is wanted, beside those of the machine's own release.
const SUITES: [&str; 4] = [
    "bookworm",
    "bookworm-backports",
    "trixie",
    "trixie-backports",
];

/// Lists that are younger are not fetched again.
const FRESH: Duration = Duration::from_secs(24 * 60 * 60);

/// apt with its private root.
pub struct Apt {
    config: PathBuf,
}

/// One version of a package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Package {
    /// Its name, with the architecture after a colon.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The suite that has it.
    pub suite: String,
}

/// The machine's architecture as Debian names it.
pub fn host_architecture() -> &'static str {
    match ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// The name of the machine's own release, e.g. `bookworm`.
///
/// # Errors
///
/// When this is not a Debian machine.
pub fn codename() -> Result<String> {
    let release = fs::read_to_string("/etc/os-release").context("cannot read /etc/os-release")?;
    release
        .lines()
        .find_map(|line| line.strip_prefix("VERSION_CODENAME="))
        .map(|name| name.trim_matches('"').to_owned())
        .context("/etc/os-release names no VERSION_CODENAME: this needs a Debian machine")
}

impl Apt {
    /// Sets the private root up, and gets lists that are missing or a day old.
    ///
    /// # Errors
    ///
    /// When the machine has no Debian mirror, or the mirror is out of reach.
    pub fn open() -> Result<Self> {
        let _lock = project::lock("apt")?;
        let root = project::cache()?.join("apt");
        for directory in ["state/lists/partial", "cache/archives/partial", "etc"] {
            project::make_dir(&root.join(directory))?;
        }
        let apt = Self {
            config: root.join("apt.conf"),
        };
        let at = root.display();
        let host = host_architecture();
        // The device trees, translations and icons of every suite are not wanted.
        let config = format!(
            "Dir::State \"{at}/state\";\nDir::State::status \"{at}/state/status\";\n\
             Dir::Cache \"{at}/cache\";\nDir::Etc::SourceList \"{at}/etc/sources.list\";\n\
             Dir::Etc::SourceParts \"/dev/null\";\nAPT::Architecture \"arm64\";\n\
             APT::Architectures {{\"arm64\";\"{host}\";}};\nAPT::Sandbox::User \"\";\n\
             Acquire::Languages \"none\";\n\
             Acquire::IndexTargets::deb::DEP-11::DefaultEnabled \"false\";\n\
             Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled \"false\";\n"
        );
        write(&apt.config, &config)?;
        let status = root.join("state/status");
        if !status.exists() {
            write(&status, "")?;
        }
        let stamp = root.join("updated");
        let fresh = fs::metadata(&stamp)
            .and_then(|metadata| metadata.modified())
            .is_ok_and(|time| time.elapsed().is_ok_and(|age| age < FRESH));
        if !fresh {
            apt.update(&root)?;
            write(&stamp, "")?;
        }
        Ok(apt)
    }

    fn update(&self, root: &Path) -> Result<()> {
        let mirror = mirror()?;
        let codename = codename()?;
        let mut suites: Vec<String> = SUITES.iter().map(ToString::to_string).collect();
        for own in [codename.clone(), format!("{codename}-backports")] {
            if !suites.contains(&own) {
                suites.push(own);
            }
        }
        let host = host_architecture();
        let keyring = Path::new("/usr/share/keyrings/debian-archive-keyring.gpg");
        let signed = if keyring.exists() {
            format!(" signed-by={}", keyring.display())
        } else {
            String::new()
        };
        let sources: String = suites
            .iter()
            .map(|suite| format!("deb [arch=arm64,{host}{signed}] {mirror} {suite} main\n"))
            .collect();
        write(&root.join("etc/sources.list"), &sources)?;
        println!(
            "Getting the package lists of Debian's {}",
            suites.join(", ")
        );
        let mut update = self.command("apt-get");
        update.args(["update", "--quiet"]);
        // A suite that the mirror no longer has is not always needed: what is
        // missing then says so itself.
        if let Err(error) = process::run(&mut update) {
            println!("warning: {error:#}. Going on with the lists that are there");
        }
        Ok(())
    }

    /// The newest version of a package that `wanted` accepts, given version and
    /// suite.
    ///
    /// # Errors
    ///
    /// Lists the versions there are, when none is wanted.
    pub fn find(
        &self,
        name: &str,
        architecture: &str,
        wanted: impl Fn(&str, &str) -> bool,
    ) -> Result<Package> {
        let name = format!("{name}:{architecture}");
        let table = process::output(self.command("apt-cache").args(["madison", &name]))?;
        let versions = parse_madison(&table);
        // Newest first, as apt-cache lists them.
        match versions
            .iter()
            .find(|(version, suite)| wanted(version, suite))
        {
            Some((version, suite)) => Ok(Package {
                name,
                version: version.clone(),
                suite: suite.clone(),
            }),
            None if versions.is_empty() => bail!(
                "the Debian mirror has no package {name}. Is the mirror in /etc/apt complete, and in reach?"
            ),
            None => bail!(
                "the Debian mirror has no wanted version of {name}, only {}",
                versions
                    .iter()
                    .map(|(version, suite)| format!("{version} ({suite})"))
                    .collect::<Vec<_>>()
                    .join(", ")
            ),
        }
    }

    /// The packages that `package` depends on, by name alone.
    ///
    /// # Errors
    ///
    /// As `apt-cache show`.
    pub fn dependencies(&self, package: &Package) -> Result<Vec<String>> {
        let which = format!("{}={}", package.name, package.version);
        let fields = process::output(self.command("apt-cache").args(["show", &which]))?;
        Ok(parse_dependencies(&fields))
    }

    /// Downloads `package` and unpacks it below `into`.
    ///
    /// # Errors
    ///
    /// As `apt-get download` and `dpkg-deb`.
    pub fn unpack(&self, package: &Package, into: &Path) -> Result<()> {
        println!("Getting {} {}", package.name, package.version);
        let debs = into.join("debs");
        project::make_dir(&debs)?;
        process::run(
            self.command("apt-get")
                .args(["download", "--quiet"])
                .arg(format!("{}={}", package.name, package.version))
                .current_dir(&debs),
        )
        .with_context(|| format!("cannot download {}. Is the network there?", package.name))?;
        for entry in fs::read_dir(&debs).context("cannot read the download")? {
            let deb = entry.context("cannot read the download")?.path();
            process::run(Command::new("dpkg-deb").arg("-x").arg(&deb).arg(into))?;
        }
        fs::remove_dir_all(&debs).context("cannot remove the download")
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env("APT_CONFIG", &self.config);
        command.env("LC_ALL", "C");
        command
    }
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

/// The address that the machine's own apt gets Debian from.
fn mirror() -> Result<String> {
    for attempt in 0..2 {
        let targets = process::output(Command::new("apt-get").args([
            "indextargets",
            "--format",
            "$(CREATED_BY) $(LABEL) $(REPO_URI)",
        ]))?;
        let found = targets
            .lines()
            .find_map(|line| line.strip_prefix("Packages Debian "));
        if let Some(mirror) = found {
            return Ok(mirror.to_owned());
        }
        if attempt == 0 {
            install::update_lists()?;
        }
    }
    bail!("apt knows no Debian mirror on this machine; add one to /etc/apt/sources.list")
}

fn parse_madison(table: &str) -> Vec<(String, String)> {
    table
        .lines()
        .filter_map(|line| {
            let mut columns = line.split('|').map(str::trim);
            let (_, version, source) = (columns.next()?, columns.next()?, columns.next()?);
            let suite = source.split_whitespace().nth(1)?.split('/').next()?;
            Some((version.to_owned(), suite.to_owned()))
        })
        .collect()
}

fn parse_dependencies(fields: &str) -> Vec<String> {
    fields
        .lines()
        .filter_map(|line| {
            line.strip_prefix("Depends:")
                .or_else(|| line.strip_prefix("Pre-Depends:"))
        })
        .flat_map(|list| list.split(','))
        .filter_map(|dependency| dependency.split_whitespace().next())
        .map(|name| name.split(':').next().unwrap_or(name).to_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_and_suites() {
        let table = "linux-image-arm64 | 6.12.107-1 | http://mirror/debian trixie/main arm64 Packages\n\
                     linux-image-arm64 |  6.1.176-1 | http://mirror/debian bookworm/main arm64 Packages\n";
        assert_eq!(
            parse_madison(table),
            [
                ("6.12.107-1".into(), "trixie".into()),
                ("6.1.176-1".into(), "bookworm".into())
            ]
        );
    }

    #[test]
    fn dependencies_by_name() {
        let fields = "Package: x\nDepends: libc6 (>= 2.34), python3:any, y (= 1) | z\n";
        assert_eq!(parse_dependencies(fields), ["libc6", "python3", "y"]);
    }
}

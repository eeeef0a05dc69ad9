//! The initramfs: busybox, the scripts of `tests/linux`, the programs of
//! `tests/guest`.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use cpio::newc::{Builder, trailer};

use crate::{fetch, image, nmi_kernel, project};

const DIRECTORY: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;
const TEXT: u32 = 0o100_644;
const CONSOLE: u32 = 0o020_600;

/// Packs the initramfs and returns where it is.
///
/// # Errors
///
/// When busybox cannot be had, or a file cannot be read or written.
pub fn build() -> Result<PathBuf> {
    pack("initramfs", &[])
}

/// Packs an initramfs that has the NMI kernel itself in it, to be started by
/// kexec, and its module.
///
/// # Errors
///
/// As [`build`], and when the kernel cannot be built.
pub fn with_kernel() -> Result<PathBuf> {
    let kernel = nmi_kernel::files()?;
    let kernel_files = ["Image", nmi_kernel::MODULE].map(|name| (name, kernel.join(name)));
    pack("initramfs-kernel", &kernel_files)
}

/// The initramfs with zeroes behind it, which Linux skips, up to `size` bytes.
///
/// # Errors
///
/// When it cannot be read or written.
pub fn padded(initramfs: &Path, size: u64) -> Result<PathBuf> {
    let place = project::target().join(format!("initramfs-{size}.cpio"));
    let padded = fs::copy(initramfs, &place).and_then(|_| {
        let file = File::options().write(true).open(&place)?;
        file.set_len(size)
    });
    padded.with_context(|| format!("cannot write {}", place.display()))?;
    Ok(place)
}

fn pack(name: &str, kernel_files: &[(&str, PathBuf)]) -> Result<PathBuf> {
    let busybox = fetch::busybox()?;
    let guest = image::build_guest()?;
    let sources = project::root().join("tests/linux");
    project::make_dir(&project::target())?;
    let place = project::target().join(format!("{name}.cpio"));
    // Another command may be reading the one that is there.
    let partial = project::target().join(format!("{name}.{}", std::process::id()));
    let file =
        File::create(&partial).with_context(|| format!("cannot write {}", partial.display()))?;
    let mut archive = Archive {
        out: BufWriter::new(file),
        inode: 0,
    };

    for directory in ["bin", "boot", "dev", "etc"] {
        archive.add(directory, DIRECTORY, &[])?;
    }
    archive.add("dev/console", CONSOLE, &[])?;
    archive.add("bin/busybox", PROGRAM, &read(&busybox)?)?;
    for program in image::GUEST {
        archive.add(
            &format!("bin/{program}"),
            PROGRAM,
            &read(&guest.join(program))?,
        )?;
    }
    archive.add("init", PROGRAM, &read(&sources.join("init"))?)?;
    archive.add("etc/profile", TEXT, &read(&sources.join("profile"))?)?;
    for entry in
        fs::read_dir(&sources).with_context(|| format!("cannot read {}", sources.display()))?
    {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "sh") {
            let name = path.file_name().context("a file without a name")?;
            archive.add(&name.to_string_lossy(), TEXT, &read(&path)?)?;
        }
    }
    for (name, path) in kernel_files {
        archive.add(&format!("boot/{name}"), TEXT, &read(path)?)?;
    }
    let mut out = trailer(archive.out).context("cannot write the initramfs")?;
    out.flush().context("cannot write the initramfs")?;
    fs::rename(&partial, &place).with_context(|| format!("cannot write {}", place.display()))?;
    Ok(place)
}

struct Archive {
    out: BufWriter<File>,
    inode: u32,
}

impl Archive {
    fn add(&mut self, name: &str, mode: u32, content: &[u8]) -> Result<()> {
        self.inode += 1;
        let mut builder = Builder::new(name).ino(self.inode).mode(mode).nlink(1);
        if mode == CONSOLE {
            builder = builder.rdev_major(5).rdev_minor(1);
        }
        let size = u32::try_from(content.len()).context("a file is too large for an initramfs")?;
        let mut entry = builder.write(&mut self.out, size);
        entry
            .write_all(content)
            .and_then(|()| entry.finish().map(drop))
            .with_context(|| format!("cannot write {name} into the initramfs"))
    }
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

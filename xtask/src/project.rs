//! Where things are: the checkout, what is built, and the user's cache.

use std::env;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// The top of the checkout.
pub fn root() -> PathBuf {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().unwrap_or(xtask).to_owned()
}

/// Cargo's target directory.
pub fn target() -> PathBuf {
    // Relative to where cargo was called, as cargo itself takes it.
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), absolute)
}

fn absolute(path: std::ffi::OsString) -> PathBuf {
    std::path::absolute(&path).unwrap_or_else(|_| path.into())
}

/// Where each run's consoles are kept.
pub fn logs() -> PathBuf {
    target().join("logs")
}

/// The directory for downloads and for what takes long to build:
/// `$XDG_CACHE_HOME/bl31` or `~/.cache/bl31`. It is made if need be.
pub fn cache() -> Result<PathBuf> {
    let base = env::var_os("XDG_CACHE_HOME")
        .filter(|value| Path::new(value).is_absolute())
        .map(PathBuf::from)
        .or_else(|| env::home_dir().map(|home| home.join(".cache")))
        .context("neither XDG_CACHE_HOME nor HOME is set, so there is no place for downloads")?;
    let cache = base.join("bl31");
    make_dir(&cache)?;
    Ok(cache)
}

/// Makes a directory and those above it.
pub fn make_dir(path: &Path) -> Result<()> {
    fs::create_dir_all(path).with_context(|| format!("cannot make {}", path.display()))
}

/// Fills the directory `NAME` of the cache with `fill`, unless it is there
/// already, and returns it.
///
/// It shows up under its name only when it is complete, whatever interrupts this,
/// and two of these commands at once do not fill it twice.
pub fn cached(name: &str, fill: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
    let place = cache()?.join(name);
    if place.exists() {
        return Ok(place);
    }
    let _lock = lock(name)?;
    if place.exists() {
        return Ok(place);
    }
    let partial = cache()?.join(format!("{name}.partial"));
    if partial.exists() {
        fs::remove_dir_all(&partial)
            .with_context(|| format!("cannot remove {}", partial.display()))?;
    }
    make_dir(&partial)?;
    fill(&partial)?;
    fs::rename(&partial, &place).with_context(|| format!("cannot make {}", place.display()))?;
    Ok(place)
}

/// Keeps other runs of these commands from what `name` stands for in the cache,
/// until it is dropped.
///
/// # Errors
///
/// When the cache cannot be written.
pub fn lock(name: &str) -> Result<File> {
    let path = cache()?.join(format!("{name}.lock"));
    let lock = File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
    if lock.try_lock().is_err() {
        println!("Waiting for another cargo xtask that is getting the same");
        lock.lock().context("cannot lock the cache")?;
    }
    Ok(lock)
}

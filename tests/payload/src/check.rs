//! How a test says that something is not as it should be.

use crate::arch;
use core::fmt;
use core::panic::Location;

/// What was wrong, with the values where there are any, and where in the payload.
#[derive(Clone, Copy, Debug)]
pub struct Failure {
    what: &'static str,
    /// Got and wanted. Not an `Option`, so that `Ok` is all zeros and the PEs' results lie in .bss.
    values: [u64; 2],
    /// 1 if `values` counts, else 0.
    compared: u8,
    at: &'static Location<'static>,
}

/// A test's result.
pub type Outcome<T = ()> = Result<T, Failure>;

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(self.what)?;
        if self.compared == 1 {
            let [got, want] = self.values;
            write!(f, ": {got:#x} instead of {want:#x}")?;
        }
        write!(f, " ({}:{})", self.at.file(), self.at.line())
    }
}

/// The failure called `what`.
#[track_caller]
pub fn fail<T>(what: &'static str) -> Outcome<T> {
    Err(Failure {
        what,
        values: [0; 2],
        compared: 0,
        at: Location::caller(),
    })
}

/// Fails unless `condition` holds.
#[track_caller]
pub fn check(what: &'static str, condition: bool) -> Outcome {
    if condition { Ok(()) } else { fail(what) }
}

/// Fails unless `got` is `want`.
#[track_caller]
pub fn equal<T: Into<Bits>>(what: &'static str, got: T, want: T) -> Outcome {
    let (got, want) = (got.into().0, want.into().0);
    if got == want {
        Ok(())
    } else {
        Err(Failure {
            what,
            values: [got, want],
            compared: 1,
            at: Location::caller(),
        })
    }
}

/// A value as `equal` prints it.
pub struct Bits(u64);

impl From<u64> for Bits {
    fn from(value: u64) -> Self {
        Self(value)
    }
}

impl From<i64> for Bits {
    fn from(value: i64) -> Self {
        Self(value.cast_unsigned())
    }
}

impl From<usize> for Bits {
    fn from(value: usize) -> Self {
        Self(value as u64)
    }
}

impl From<u32> for Bits {
    fn from(value: u32) -> Self {
        Self(value.into())
    }
}

/// How long anything may take, in seconds: far beyond what a loaded machine needs.
const PATIENCE: u64 = 60;

/// Waits until `condition` holds; fails after [`PATIENCE`] with what was awaited.
///
/// The `yield` in the loop is what lets a single-threaded QEMU (`-icount`) go on with another PE.
#[track_caller]
pub fn wait(what: &'static str, mut condition: impl FnMut() -> bool) -> Outcome {
    let end = arch::counter() + PATIENCE * arch::counter_frequency();
    while !condition() {
        if arch::counter() > end {
            return fail(what);
        }
        arch::relax();
    }
    Ok(())
}

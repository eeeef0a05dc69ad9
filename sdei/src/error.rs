// SPDX-License-Identifier: MIT OR Apache-2.0

use core::fmt;

/// Why a call was refused (DEN0054 5.1, "Return codes").
///
/// A refused call changes nothing, except [`Error::Pending`], which says that the call takes
/// effect later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(i64)]
pub enum Error {
    /// Not a call of this interface, or not made by the client EL.
    NotSupported = -1,
    /// An argument is out of range, or names an event or PE that does not exist.
    InvalidParameters = -2,
    /// The state of the event or of the PE does not allow the call.
    Denied = -3,
    /// The event is unregistered once its running handler completes.
    Pending = -5,
    /// Every slot that could be bound is in use.
    OutOfResource = -10,
}

impl Error {
    /// The value for x0: the code as a 64-bit signed number, since a client tests for exactly
    /// that one.
    #[must_use]
    pub const fn code(self) -> u64 {
        self as i64 as u64
    }
}

impl From<Error> for u64 {
    fn from(error: Error) -> Self {
        error.code()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotSupported => "not supported",
            Self::InvalidParameters => "invalid parameters",
            Self::Denied => "denied",
            Self::Pending => "pending until the handler completes",
            Self::OutOfResource => "out of resource",
        })
    }
}

impl core::error::Error for Error {}

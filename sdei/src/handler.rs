// SPDX-License-Identifier: MIT OR Apache-2.0

//! The states of an event's handler (DEN0054 4.1, "Event handler states").

use crate::{Error, call::status};

/// State of an event's handler: for a private event one per PE, for a shared event one for the
/// system.
///
/// The properties Registered, Enabled and Running make eight combinations, of which only these
/// six can be reached.
///
/// A state is the value that `SDEI_EVENT_STATUS` answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub(crate) enum Handler {
    /// No handler.
    #[default]
    Unregistered = 0,
    /// A handler that is not to be called.
    Registered = status::REGISTERED,
    /// The only state from which an event is dispatched.
    Enabled = status::REGISTERED | status::ENABLED,
    /// Disabled while its handler runs.
    RegisteredRunning = status::REGISTERED | status::RUNNING,
    /// Its handler runs, and the next occurrence waits for it.
    EnabledRunning = status::REGISTERED | status::ENABLED | status::RUNNING,
    /// Unregistered while its handler runs; gone once that completes.
    UnregisterPending = status::RUNNING,
}

/// What `SDEI_EVENT_UNREGISTER` led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Unregistered {
    /// The handler is gone.
    Now,
    /// The handler is running and goes when it completes: the call answers [`Error::Pending`].
    AtCompletion,
}

impl Handler {
    /// What `SDEI_EVENT_STATUS` answers.
    #[must_use]
    #[inline]
    pub(crate) const fn status(self) -> u64 {
        self as u64
    }

    /// Whether calls may still name this handler: `UnregisterPending` is not registered any more.
    #[must_use]
    pub(crate) const fn is_registered(self) -> bool {
        self as u8 & status::REGISTERED != 0
    }

    /// Whether there is no handler, not even one that still runs.
    #[must_use]
    pub(crate) const fn is_unregistered(self) -> bool {
        matches!(self, Self::Unregistered)
    }

    /// Whether the handler is running.
    #[must_use]
    pub(crate) const fn is_running(self) -> bool {
        self as u8 & status::RUNNING != 0
    }

    /// `SDEI_EVENT_REGISTER`.
    ///
    /// # Errors
    ///
    /// [`Error::Denied`] where a handler is registered, or is still running after its
    /// registration went.
    pub(crate) const fn register(self) -> Result<Self, Error> {
        match self {
            Self::Unregistered => Ok(Self::Registered),
            _ => Err(Error::Denied),
        }
    }

    /// `SDEI_EVENT_ENABLE`.
    ///
    /// # Errors
    ///
    /// [`Error::Denied`] where nothing is registered.
    pub(crate) const fn enable(self) -> Result<Self, Error> {
        match self {
            Self::Registered | Self::Enabled => Ok(Self::Enabled),
            Self::RegisteredRunning | Self::EnabledRunning => Ok(Self::EnabledRunning),
            Self::Unregistered | Self::UnregisterPending => Err(Error::Denied),
        }
    }

    /// `SDEI_EVENT_DISABLE`.
    ///
    /// # Errors
    ///
    /// [`Error::Denied`] where nothing is registered.
    pub(crate) const fn disable(self) -> Result<Self, Error> {
        match self {
            Self::Registered | Self::Enabled => Ok(Self::Registered),
            Self::RegisteredRunning | Self::EnabledRunning => Ok(Self::RegisteredRunning),
            Self::Unregistered | Self::UnregisterPending => Err(Error::Denied),
        }
    }

    /// `SDEI_EVENT_UNREGISTER`.
    ///
    /// Of a running handler it is PENDING, also where it has been called before. The table of the
    /// handler states (DEN0054 6.1.2) has no transition for that, and of the return codes (5.1.8)
    /// two fit: not registered, and running. Arm's own dispatcher and test suite take PENDING, and
    /// a client that repeats the call while it is PENDING, as Linux documents it, goes on when the
    /// handler has ended.
    ///
    /// # Errors
    ///
    /// [`Error::Denied`] where nothing is registered or running.
    pub(crate) const fn unregister(self) -> Result<(Self, Unregistered), Error> {
        match self {
            Self::Registered | Self::Enabled => Ok((Self::Unregistered, Unregistered::Now)),
            Self::RegisteredRunning | Self::EnabledRunning | Self::UnregisterPending => {
                Ok((Self::UnregisterPending, Unregistered::AtCompletion))
            }
            Self::Unregistered => Err(Error::Denied),
        }
    }

    /// The handler is entered; `None` where it may not be.
    #[must_use]
    #[inline]
    pub(crate) const fn dispatch(self) -> Option<Self> {
        match self {
            Self::Enabled => Some(Self::EnabledRunning),
            _ => None,
        }
    }

    /// Whether it is in the one state from which it is dispatched.
    #[must_use]
    #[inline]
    pub(crate) const fn is_ready(self) -> bool {
        self.dispatch().is_some()
    }

    /// The running handler completes, or its PE goes off.
    #[must_use]
    #[inline]
    pub(crate) const fn complete(self) -> Self {
        match self {
            Self::EnabledRunning => Self::Enabled,
            Self::RegisteredRunning => Self::Registered,
            Self::UnregisterPending => Self::Unregistered,
            other => other,
        }
    }
}

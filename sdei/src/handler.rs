//! The states of an event's handler (DEN0054 4.1, "Event handler states").

use crate::{Error, call::status};

/// State of an event's handler: for a private event one per PE, for a shared event one for the
/// system.
///
/// The properties Registered, Enabled and Running make eight combinations, of which only these
/// six can be reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Handler {
    /// No handler.
    #[default]
    Unregistered,
    /// A handler that is not to be called.
    Registered,
    /// The only state from which an event is dispatched.
    Enabled,
    /// Disabled while its handler runs.
    RegisteredRunning,
    /// Its handler runs, and the next occurrence waits for it.
    EnabledRunning,
    /// Unregistered while its handler runs; gone once that completes.
    UnregisterPending,
}

/// What `SDEI_EVENT_UNREGISTER` led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Unregistered {
    /// The handler is gone.
    Now,
    /// The handler is running and goes when it completes: the call answers [`Error::Pending`].
    AtCompletion,
}

impl Handler {
    /// What `SDEI_EVENT_STATUS` answers.
    #[must_use]
    #[inline]
    pub const fn status(self) -> u64 {
        use status::{ENABLED, REGISTERED, RUNNING};
        match self {
            Self::Unregistered => 0,
            Self::Registered => REGISTERED,
            Self::Enabled => REGISTERED | ENABLED,
            Self::RegisteredRunning => REGISTERED | RUNNING,
            Self::EnabledRunning => REGISTERED | ENABLED | RUNNING,
            Self::UnregisterPending => RUNNING,
        }
    }

    /// Whether calls may still name this handler: `UnregisterPending` is not registered any more.
    #[must_use]
    pub const fn is_registered(self) -> bool {
        self.status() & status::REGISTERED != 0
    }

    /// Whether the handler is running.
    #[must_use]
    pub const fn is_running(self) -> bool {
        self.status() & status::RUNNING != 0
    }

    /// `SDEI_EVENT_REGISTER`.
    ///
    /// # Errors
    ///
    /// [`Error::Denied`] where a handler is registered, or is still running after its
    /// registration went.
    pub const fn register(self) -> Result<Self, Error> {
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
    pub const fn enable(self) -> Result<Self, Error> {
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
    pub const fn disable(self) -> Result<Self, Error> {
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
    pub const fn unregister(self) -> Result<(Self, Unregistered), Error> {
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
    pub const fn dispatch(self) -> Option<Self> {
        match self {
            Self::Enabled => Some(Self::EnabledRunning),
            _ => None,
        }
    }

    /// The running handler completes, or its PE goes off.
    #[must_use]
    #[inline]
    pub const fn complete(self) -> Self {
        match self {
            Self::EnabledRunning => Self::Enabled,
            Self::RegisteredRunning => Self::Registered,
            Self::UnregisterPending => Self::Unregistered,
            other => other,
        }
    }
}

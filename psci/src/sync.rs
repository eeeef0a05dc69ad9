//! Atomics and the lock; under `cfg(loom)` those of the model checker.

#[cfg(not(loom))]
pub(crate) use core::sync::atomic::{AtomicU8, AtomicU64};
#[cfg(loom)]
pub(crate) use loom::sync::atomic::{AtomicU8, AtomicU64};

use core::sync::atomic::Ordering::Relaxed;

/// `const` where atomics have a `const` constructor, which those of the model checker have not.
macro_rules! const_unless_loom {
    ($(#[$doc:meta])* pub fn $name:ident($($arg:ident: $type:ty),*) -> Self $body:block) => {
        $(#[$doc])*
        #[cfg(not(loom))]
        pub const fn $name($($arg: $type),*) -> Self $body
        $(#[$doc])*
        #[cfg(loom)]
        pub fn $name($($arg: $type),*) -> Self $body
    };
}
pub(crate) use const_unless_loom;

/// A lock for a few loads and stores at a time. PEs get it in the order in which they ask for it,
/// so PEs that make one call after another can't keep it from another PE.
#[derive(Debug)]
pub(crate) struct Lock<T> {
    #[cfg(not(loom))]
    inner: spin::mutex::TicketMutex<T>,
    #[cfg(loom)]
    inner: loom::sync::Mutex<T>,
}

impl<T> Lock<T> {
    const_unless_loom! {
        /// An open lock.
        pub fn new(value: T) -> Self {
            Self {
                #[cfg(not(loom))]
                inner: spin::mutex::TicketMutex::new(value),
                #[cfg(loom)]
                inner: loom::sync::Mutex::new(value),
            }
        }
    }

    // One copy for all that take it.
    #[cfg(not(loom))]
    #[inline(never)]
    fn lock(&self) -> spin::mutex::TicketMutexGuard<'_, T> {
        self.inner.lock()
    }

    /// Calls `f` with the lock held.
    pub(crate) fn with<R>(&self, f: impl FnOnce(&mut T) -> R) -> R {
        #[cfg(not(loom))]
        let mut guard = self.lock();
        #[cfg(loom)]
        let mut guard = self.inner.lock().unwrap();
        f(&mut guard)
    }
}

/// A number of a PE or a power domain that is only touched with the tree's lock held: atomic only
/// so that it can be in a shared slice.
#[derive(Debug)]
pub(crate) struct Locked(AtomicU64);

impl Locked {
    const_unless_loom! {
        /// 0.
        pub fn zero() -> Self {
            Self(AtomicU64::new(0))
        }
    }

    // Relaxed, and a load and a store instead of one operation: the lock orders and excludes.
    pub(crate) fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }

    pub(crate) fn set(&self, value: u64) {
        self.0.store(value, Relaxed);
    }

    /// Counts one more if `now` is true but `before` wasn't, and one less the other way round.
    #[inline]
    pub(crate) fn recount(&self, before: bool, now: bool) {
        if before != now {
            self.set(self.get() + u64::from(now) - u64::from(before));
        }
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0

//! Atomics and the lock; in a test under `cfg(loom)` those of the model checker.

#[cfg(not(all(test, loom)))]
pub(crate) use core::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64};
#[cfg(all(test, loom))]
pub(crate) use loom::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64};

/// `const` where atomics have a `const` constructor, which those of the model checker have not.
macro_rules! const_unless_loom {
    ($(#[$doc:meta])* pub fn $name:ident($($arg:ident: $type:ty),*) -> Self $body:block) => {
        $(#[$doc])*
        #[cfg(not(all(test, loom)))]
        pub const fn $name($($arg: $type),*) -> Self $body
        $(#[$doc])*
        #[cfg(all(test, loom))]
        pub fn $name($($arg: $type),*) -> Self $body
    };
}
pub(crate) use const_unless_loom;

/// A lock for a few loads and stores at a time, around what it guards. PEs get it in the order in
/// which they ask for it, so PEs that make one call after another can't keep it from another PE.
#[derive(Debug)]
pub(crate) struct Lock<T> {
    #[cfg(not(all(test, loom)))]
    inner: spin::mutex::TicketMutex<T>,
    #[cfg(all(test, loom))]
    inner: loom::sync::Mutex<T>,
}

impl<T> Lock<T> {
    const_unless_loom! {
        /// An open lock.
        pub fn new(value: T) -> Self {
            Self {
                #[cfg(not(all(test, loom)))]
                inner: spin::mutex::TicketMutex::new(value),
                #[cfg(all(test, loom))]
                inner: loom::sync::Mutex::new(value),
            }
        }
    }

    // One copy for all that take it.
    #[cfg(not(all(test, loom)))]
    #[inline(never)]
    fn lock(&self) -> spin::mutex::TicketMutexGuard<'_, T> {
        self.inner.lock()
    }

    /// Calls `f` with the lock held.
    pub(crate) fn with<R>(&self, f: impl FnOnce(&mut T) -> R) -> R {
        #[cfg(not(all(test, loom)))]
        let mut guard = self.lock();
        #[cfg(all(test, loom))]
        let mut guard = self.inner.lock().unwrap();
        f(&mut guard)
    }
}

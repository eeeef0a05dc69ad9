// SPDX-License-Identifier: MIT OR Apache-2.0

//! Atomics and the lock; in a test under `cfg(loom)` those of the model checker.

#[cfg(not(all(test, loom)))]
pub(crate) use core::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64};
#[cfg(all(test, loom))]
pub(crate) use ordered::{AtomicBool, AtomicU8, AtomicU32, AtomicU64};

/// Atomics of which the model checker tries every order of accesses.
///
/// It remembers the latest access of each alone: where a PE looks at a word and then changes it, the
/// look hides what another PE did before, and the checker takes the two PEs' steps for independent.
/// So each access also writes something that orders nothing.
#[cfg(all(test, loom))]
mod ordered {
    use loom::sync::atomic::{self, Ordering};

    macro_rules! ordered {
        ($($name:ident($value:ty) { $($change:ident),* })*) => {
            $(
                #[derive(Debug)]
                pub(crate) struct $name {
                    value: atomic::$name,
                    accesses: atomic::AtomicU8,
                }

                #[allow(dead_code, reason = "not all of them need all of it")]
                impl $name {
                    pub(crate) fn new(value: $value) -> Self {
                        Self {
                            value: atomic::$name::new(value),
                            accesses: atomic::AtomicU8::new(0),
                        }
                    }

                    fn access(&self) -> &atomic::$name {
                        self.accesses.fetch_add(0, Ordering::Relaxed);
                        &self.value
                    }

                    pub(crate) fn load(&self, order: Ordering) -> $value {
                        self.access().load(order)
                    }

                    pub(crate) fn store(&self, value: $value, order: Ordering) {
                        self.access().store(value, order);
                    }

                    $(
                        pub(crate) fn $change(&self, value: $value, order: Ordering) -> $value {
                            self.access().$change(value, order)
                        }
                    )*
                }
            )*
        };
    }

    ordered! {
        AtomicBool(bool) {}
        AtomicU8(u8) {}
        AtomicU32(u32) { fetch_add, fetch_or, fetch_and }
        AtomicU64(u64) { fetch_or, fetch_and }
    }
}

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

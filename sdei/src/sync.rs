// SPDX-License-Identifier: MIT OR Apache-2.0

//! Atomics and the lock: those of `core` and `spin`, or those of `loom` when its model checker
//! runs the crate.

#[cfg(not(all(test, loom)))]
mod real {
    pub(crate) use core::sync::atomic::AtomicU32 as Event0Word;
    pub(crate) use core::sync::atomic::{
        AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence,
    };
    pub(crate) use spin::mutex::SpinMutexGuard as MutexGuard;

    /// `spin`'s lock, of which there is one copy: it is taken in twenty places, none of which is
    /// on event 0's path.
    #[derive(Debug)]
    pub(crate) struct Mutex<T>(spin::mutex::SpinMutex<T>);

    impl<T> Mutex<T> {
        pub(crate) const fn new(value: T) -> Self {
            Self(spin::mutex::SpinMutex::new(value))
        }

        #[inline(never)]
        pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
            self.0.lock()
        }
    }
}

#[cfg(all(test, loom))]
mod real {
    pub(crate) use loom::sync::{
        MutexGuard,
        atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence},
    };

    /// The word of event 0, of which every order of accesses is tried.
    ///
    /// `loom` remembers the latest access alone: where a PE looks at the word and then changes it, the
    /// look hides what another PE did before. So each access also writes something that orders
    /// nothing. For all atomics that takes too long.
    #[derive(Debug)]
    pub(crate) struct Event0Word {
        value: AtomicU32,
        accesses: AtomicU32,
    }

    impl Event0Word {
        pub(crate) fn new(value: u32) -> Self {
            Self {
                value: AtomicU32::new(value),
                accesses: AtomicU32::new(0),
            }
        }

        fn access(&self) -> &AtomicU32 {
            self.accesses.fetch_add(0, Ordering::Relaxed);
            &self.value
        }

        pub(crate) fn load(&self, order: Ordering) -> u32 {
            self.access().load(order)
        }

        pub(crate) fn store(&self, value: u32, order: Ordering) {
            self.access().store(value, order);
        }

        pub(crate) fn swap(&self, value: u32, order: Ordering) -> u32 {
            self.access().swap(value, order)
        }

        pub(crate) fn compare_exchange_weak(
            &self,
            current: u32,
            new: u32,
            success: Ordering,
            failure: Ordering,
        ) -> Result<u32, u32> {
            self.access()
                .compare_exchange_weak(current, new, success, failure)
        }
    }

    /// `loom`'s lock with the interface of `spin`'s: nothing panics while it is held.
    #[derive(Debug)]
    pub(crate) struct Mutex<T>(loom::sync::Mutex<T>);

    impl<T> Mutex<T> {
        pub(crate) fn new(value: T) -> Self {
            Self(loom::sync::Mutex::new(value))
        }

        pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
            self.0.lock().expect("a lock was left by a panic")
        }
    }
}

pub(crate) use real::*;

/// Declares constructors `const`, which those of `loom`'s types are not.
macro_rules! maybe_const_fn {
    ($(#[$meta:meta])* pub fn $name:ident($($args:tt)*) -> $ret:ty $body:block) => {
        $(#[$meta])*
        #[cfg(not(all(test, loom)))]
        pub const fn $name($($args)*) -> $ret $body
        $(#[$meta])*
        #[cfg(all(test, loom))]
        pub fn $name($($args)*) -> $ret $body
    };
}
pub(crate) use maybe_const_fn;

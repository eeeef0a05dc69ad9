// SPDX-License-Identifier: MIT OR Apache-2.0

//! Atomics and the lock: those of `core` and `spin`, or those of `loom` when its model checker
//! runs the crate.

#[cfg(not(all(test, loom)))]
mod real {
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

//! Atomics and the lock: those of `core` and `spin`, or those of `loom` when its model checker
//! runs the crate.

#[cfg(not(loom))]
mod real {
    pub(crate) use core::sync::atomic::{AtomicBool, AtomicU32, Ordering, fence};
    pub(crate) use spin::mutex::SpinMutex as Mutex;
}

#[cfg(loom)]
mod real {
    pub(crate) use loom::sync::atomic::{AtomicBool, AtomicU32, Ordering, fence};

    /// `loom`'s lock with the interface of `spin`'s: nothing panics while it is held.
    #[derive(Debug)]
    pub(crate) struct Mutex<T>(loom::sync::Mutex<T>);

    impl<T> Mutex<T> {
        pub(crate) fn new(value: T) -> Self {
            Self(loom::sync::Mutex::new(value))
        }

        pub(crate) fn lock(&self) -> loom::sync::MutexGuard<'_, T> {
            self.0.lock().expect("a lock was left by a panic")
        }
    }
}

pub(crate) use real::*;

/// Declares constructors `const`, which those of `loom`'s types are not.
macro_rules! maybe_const_fn {
    ($(#[$meta:meta])* pub fn $name:ident($($args:tt)*) -> $ret:ty $body:block) => {
        $(#[$meta])*
        #[cfg(not(loom))]
        pub const fn $name($($args)*) -> $ret $body
        $(#[$meta])*
        #[cfg(loom)]
        pub fn $name($($args)*) -> $ret $body
    };
}
pub(crate) use maybe_const_fn;

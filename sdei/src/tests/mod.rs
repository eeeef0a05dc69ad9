// SPDX-License-Identifier: MIT OR Apache-2.0

//! Tests of the dispatcher on a machine made for them; under `loom`, on one of `loom`'s.

// What the files find the crate by that are also used outside of it.
use crate as api;

#[cfg(loom)]
mod loom;
#[cfg(not(loom))]
mod on_machine;
mod registers;

// SPDX-License-Identifier: MIT OR Apache-2.0

//! The library from outside, on a machine that only counts what it is told.

mod boards;
mod common;
mod domains;
mod failed;
mod features;
mod model;
mod on_off;
mod os_initiated;
mod races;
mod standby;
mod statistics;
mod suspend;

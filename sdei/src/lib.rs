// SPDX-License-Identifier: MIT OR Apache-2.0

#![doc = include_str!("../README.md")]
#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(not(test), warn(unreachable_pub))]

#[cfg(test)]
extern crate std;

pub mod call;
mod context;
mod dispatcher;
mod error;
mod event;
mod handler;
mod pe;
mod port;
mod pstate;
mod registration;
mod shared;
mod sync;
#[cfg(test)]
mod tests;

pub use context::{Frame, REGISTERS};
pub use dispatcher::Dispatcher;
pub use error::Error;
pub use event::{Event, Events, Priority, Source, is_ppi, is_spi};
pub use pe::{Pe, SharedPe};
pub use port::{AFFINITY, Interrupts, NoInterrupts, Owner, Port};
pub use pstate::{Client, ClientEl, Control, PstateFeatures};

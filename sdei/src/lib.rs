#![doc = include_str!("../README.md")]
#![no_std]
#![forbid(unsafe_code)]

#[cfg(any(test, loom))]
extern crate std;

pub mod call;
mod context;
mod dispatcher;
mod error;
mod event;
mod handler;
mod pe;
mod port;
pub mod pstate;
mod shared;
mod sync;
#[cfg(all(test, not(loom)))]
mod tests;

pub use call::Call;
pub use context::{Frame, REGISTERS};
pub use dispatcher::Dispatcher;
pub use error::Error;
pub use event::{Event, Events, Kind, Priority, Source, is_ppi, is_spi};
pub use handler::{Handler, Unregistered};
pub use pe::{Pe, SharedPe};
pub use port::{Owner, Port};
pub use pstate::{Client, ClientEl, Control, Features};

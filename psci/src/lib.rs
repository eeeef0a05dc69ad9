// SPDX-License-Identifier: MIT OR Apache-2.0

#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]
#![warn(clippy::incompatible_msrv)]
#![doc = include_str!("../README.md")]
//!
//! # Specification
//!
//! Sections are those of Arm DEN0022, version 1.3, issue F.b. The 32 or 64 bits of a result follow
//! the SMC Calling Convention, Arm DEN0028.

mod activity;
mod call;
mod entry;
mod features;
#[cfg(all(test, loom))]
mod loom;
mod machine;
mod pe;
mod port;
mod power_state;
mod stat;
mod states;
mod sync;
mod tree;

pub use arm_psci::FunctionId;
pub use call::VERSION;
pub use entry::{Entry, ExecutionState};
pub use machine::{Caller, Outcome, Psci};
pub use pe::Pe;
pub use port::{Features, Port, PowerOnFailed};
pub use power_state::{Format, PowerLevel, PowerStates, Suspend, recommended};
pub use tree::Domain;

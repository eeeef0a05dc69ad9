// SPDX-License-Identifier: MIT OR Apache-2.0

//! Tests on a machine of PEs and an interrupt controller.

use super::api;

mod bound;
mod calls;
mod clients;
mod deliver;
mod entry;
mod event0;
mod handler;
mod machine;
mod model;
mod oracle;
mod power;
mod sequences;
mod shared;
mod support;
mod with_psci;

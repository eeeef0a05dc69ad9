//! Tests of the dispatcher on a machine made for them.

mod bound;
mod calls;
mod clients;
mod deliver;
mod entry;
mod event0;
mod handler;
mod hardware;
mod machine;
mod model;
mod oracle;
mod power;
mod sequences;
mod shared;
mod with_psci;

//! Runs the real image in QEMU, reads its consoles, and holds the lists of
//! what is run.
//!
//! A [`Machine`] is one QEMU command. A [`Session`] is that command running:
//! what it prints is searched, in order, for what a test expects. [`linux`]
//! and [`payload`] are the tables of tests; [`tally`] counts them. [`tree`] edits the
//! device trees that some machines are given.

pub mod attack;
pub mod board;
pub mod fvp;
pub mod linux;
pub mod machine;
pub mod payload;
pub mod session;
pub mod tally;
pub mod tree;

pub use board::Board;
pub use fvp::{Fvp, Model};
pub use machine::{Consoles, Machine, Qemu};
pub use session::{Failure, Session};
pub use tally::Tally;

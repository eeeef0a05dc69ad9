//! Runs QEMU and reads its consoles.

//! Hands the board's linker scripts to the linker.

use std::path::Path;

fn main() {
    let linker = Path::new(env!("CARGO_MANIFEST_DIR")).join("../linker");
    println!("cargo:rerun-if-env-changed=BL31_LOG");
    for board in ["qemu_virt", "fvp_base"] {
        if std::env::var_os(format!("CARGO_FEATURE_{}", board.to_uppercase())).is_some() {
            for script in [format!("{board}.ld"), "image.ld".to_string()] {
                let script = linker.join(script);
                println!("cargo:rerun-if-changed={}", script.display());
                println!("cargo:rustc-link-arg-bins=-T{}", script.display());
            }
        }
    }
}

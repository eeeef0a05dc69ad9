//! Links the payload as one position-independent flat image.

fn main() {
    println!("cargo:rerun-if-changed=image.ld");
    println!("cargo:rerun-if-changed=src/entry.s");
    let script =
        std::path::Path::new(&std::env::var("CARGO_MANIFEST_DIR").unwrap()).join("image.ld");
    // Code is PC-relative in the target's small code model; what is left are addresses in data,
    // read-only data included (hence notext), which the entry code relocates.
    for argument in [
        "-pie",
        "--no-dynamic-linker",
        "-znotext",
        "-zmax-page-size=4096",
    ] {
        println!("cargo:rustc-link-arg-bins={argument}");
    }
    println!("cargo:rustc-link-arg-bins=-T{}", script.display());
}

//! What the libraries promise to a firmware that takes them: how little it needs, and that the
//! example of it and its description agree.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap()
}

/// The lines of the minimal firmware that are neither blank nor a comment.
fn lines_of_code(source: &str) -> usize {
    source
        .lines()
        .map(str::trim_start)
        .filter(|line| !line.is_empty() && !line.starts_with("//"))
        .count()
}

/// What comes before the first full stop or colon, in lower case.
fn title(text: &str) -> String {
    let end = text.find(['.', ':']).unwrap_or(text.len());
    text[..end].to_lowercase()
}

#[test]
fn the_minimal_firmware_is_as_short_as_its_readme_says() {
    let lines = lines_of_code(&read("sdei/aarch64/firmware/src/main.rs"));
    assert!(lines < 200, "{lines} lines of code");
    let said = format!("{lines} lines of code in one file");
    assert!(read("sdei/aarch64/README.md").contains(&said), "{said}");
}

#[test]
fn the_minimal_firmware_has_the_steps_of_its_readme() {
    let source = read("sdei/aarch64/firmware/src/main.rs");
    let steps: Vec<String> = source
        .lines()
        .filter_map(|line| line.strip_prefix("// Step ")?.split_once(": "))
        .map(|(number, text)| format!("{number}. {}", title(text)))
        .collect();
    let readme = read("sdei/aarch64/README.md");
    let said: Vec<String> = readme
        .lines()
        .filter_map(|line| line.split_once(". **"))
        .map(|(number, text)| format!("{number}. {}", title(&text.replace("**", ""))))
        .collect();
    assert!(!steps.is_empty());
    assert_eq!(steps, said);
}

/// A dependency on the package in `path`.
fn path_to(path: &str) -> String {
    let path = root().join(path).canonicalize().unwrap();
    format!("{{ path = {path:?} }}")
}

/// The packages in the lock file of a package that has this dependency alone.
fn locked(name: &str, dependency: &str) -> BTreeSet<String> {
    let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&place);
    fs::create_dir_all(place.join("src")).unwrap();
    fs::write(place.join("src/lib.rs"), "").unwrap();
    let manifest = format!(
        "[package]\nname = \"integrator\"\nedition = \"2024\"\n[workspace]\n[dependencies]\n\
         {name} = {dependency}\n"
    );
    fs::write(place.join("Cargo.toml"), manifest).unwrap();
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["generate-lockfile", "--offline"])
        .current_dir(&place)
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    fs::read_to_string(place.join("Cargo.lock"))
        .unwrap()
        .lines()
        .filter_map(|line| line.strip_prefix("name = "))
        .map(|name| name.trim_matches('"').to_owned())
        .filter(|name| name != "integrator")
        .collect()
}

#[test]
fn sdei_needs_spin_and_nothing_else() {
    let packages = ["sdei", "spin"].map(str::to_owned);
    assert_eq!(locked("sdei", &path_to("sdei")), BTreeSet::from(packages));
}

#[test]
fn psci_needs_spin_and_what_arm_psci_needs() {
    let arm_psci = locked("arm-psci", "\"0.2\"");
    let packages: BTreeSet<String> = locked("psci-el3", &path_to("psci"));
    let own = ["psci-el3", "spin"].map(str::to_owned);
    assert_eq!(
        packages,
        arm_psci.union(&BTreeSet::from(own)).cloned().collect()
    );
}

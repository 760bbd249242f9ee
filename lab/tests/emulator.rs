//! The emulator's rules in Python, checked with the machine's own python3.

use std::path::Path;
use std::process::Command;

#[test]
fn route53_rules() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("emulator");
    let done = Command::new("python3")
        .current_dir(dir)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .args(["-m", "unittest", "-q"])
        .output()
        .expect("python3 runs");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    assert!(String::from_utf8_lossy(&done.stderr).contains("Ran 7 tests"), "{}", String::from_utf8_lossy(&done.stderr));
}

#[test]
fn every_file_of_the_emulator_is_in_the_binary() {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    let launcher = std::fs::read_to_string(manifest.join("src/emulator.rs")).unwrap();
    for entry in std::fs::read_dir(manifest.join("emulator")).unwrap().flatten() {
        let name = entry.file_name().into_string().unwrap();
        if name.ends_with(".py") && !name.starts_with("test_") {
            assert!(launcher.contains(&format!("../emulator/{name}\"")), "{name} is not written for moto");
        }
    }
}

//! The real kubeadm of the oldest minor that builds, of the newest, and of the one that the lab runs, reads what kubewright writes
//! for that minor: the golden files of `tests/bootstrap`, every example and every setting.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Versions that the lab can build a kubeadm of.
const VERSIONS: [&str; 3] = ["1.29.6", "1.34.2", "1.37.0"];

/// The lab fetches or builds it, or has it from before.
fn kubeadm(version: &str) -> PathBuf {
    let of = |name| std::env::var_os(name).expect("there is no lab (KUBEWRIGHT_LAB_BIN, KUBEWRIGHT_LAB_DIR); run ./test");
    let done = Command::new(of("KUBEWRIGHT_LAB_BIN"))
        .arg("--dir")
        .arg(of("KUBEWRIGHT_LAB_DIR"))
        .args(["components", "--kubernetes", version, "--only", "kubeadm"])
        .output()
        .expect("the lab's program");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let printed = String::from_utf8(done.stdout).expect("a path");
    printed.lines().last().expect("a path").into()
}

/// The configuration files of a golden file: the lines after `# SLOT: init.yaml` or `join.yaml`.
fn configurations(golden: &str) -> Vec<(String, String)> {
    let mut found: Vec<(String, String)> = Vec::new();
    for line in golden.lines() {
        match line.strip_prefix("# ") {
            Some(name) => found.push((name.to_owned(), String::new())),
            None => {
                if let Some((_, text)) = found.last_mut() {
                    text.push_str(line);
                    text.push('\n');
                }
            }
        }
    }
    found.retain(|(name, _)| name.ends_with(": init.yaml") || name.ends_with(": join.yaml"));
    found
}

/// What kubeadm says of a file; an empty text: nothing at all.
fn validate(kubeadm: &Path, folder: &Path, text: &str) -> Result<String, String> {
    let file = folder.join("config.yaml");
    std::fs::write(&file, text).expect("a file");
    let done = Command::new(kubeadm).args(["config", "validate", "--config"]).arg(&file).output().expect("kubeadm");
    let said = [done.stdout, done.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    if done.status.success() { Ok(said) } else { Err(said) }
}

#[test]
fn the_real_kubeadm_takes_every_golden_file_of_its_minor_without_a_warning() {
    let folder = tempfile::tempdir().unwrap();
    let goldens = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bootstrap/golden");
    for version in VERSIONS {
        let kubeadm = kubeadm(version);
        let minor = version.rsplit_once('.').unwrap().0;
        let mut seen = 0;
        for entry in std::fs::read_dir(goldens.join(minor)).unwrap().flatten() {
            let golden = std::fs::read_to_string(entry.path()).unwrap();
            for (name, text) in configurations(&golden) {
                // Join files are for a version that they do not name; Init's have to be of this patch.
                let text = text.replace(&format!("\"v{minor}.2\""), &format!("\"v{version}\""));
                let said = validate(&kubeadm, folder.path(), &text)
                    .unwrap_or_else(|said| panic!("{version}: {}: {name}:\n{said}", entry.path().display()));
                assert!(!said.contains("WARNING") && !said.contains("deprecated"), "{version}: {name}:\n{said}");
                seen += 1;
            }
        }
        assert!(seen >= 10, "{version}: only {seen} files");
    }
}

/// The step before `init` is worth something only if kubeadm notices.
#[test]
fn the_real_kubeadm_refuses_what_it_does_not_know() {
    let folder = tempfile::tempdir().unwrap();
    let golden = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bootstrap/golden/1.34/settings.yaml"));
    let (_, init) = configurations(&golden.unwrap()).remove(0);
    let kubeadm = kubeadm("1.34.2");
    for (right, wrong, told) in [
        ("clusterName:", "clustrName:", "clustrName"),
        ("podSubnet: \"192.168.0.0/16\"", "podSubnet: \"192.168.0.0\"", "podSubnet"),
        ("maxPods: 60", "maxPods: \"many\"", "maxPods"),
        ("maxPods: 60", "maxPodz: 60", "maxPodz"),
        ("maxPerCore: 0", "maxPerKernel: 0", "maxPerKernel"),
    ] {
        assert!(init.contains(right), "{right}");
        let said = validate(&kubeadm, folder.path(), &init.replacen(right, wrong, 1));
        assert!(said.as_ref().is_err_and(|said| said.contains(told)), "{wrong}: {said:?}");
    }
}

//! The OpenPGP key of the lab's apt repository, made once, and its signatures.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::run;
use crate::state::Lab;

/// gpg starts an agent, whose socket has a path of at most 107 bytes: both are in namespaces that end with the script.
const SCRIPT: &str = r#"
set -eu
export LC_ALL=C
mount --bind "$1" /mnt
mount -t tmpfs tmpfs /run
cd "$2"
gpg() { command gpg --homedir /mnt --batch --yes --quiet --no-tty "$@"; }
listed() { gpg --with-colons --list-secret-keys | awk -F: '$1 == "fpr" { print $10; exit }'; }
[ -n "$(listed)" ] || gpg --passphrase '' --quick-generate-key 'kubewright lab packages <lab@lab.internal>' ed25519 sign never >&2
gpg --armor --export >Release.key
gpg --armor --detach-sign --output Release.gpg Release
gpg --clearsign --output InRelease Release
listed
"#;

/// Signs the `Release` of a repository; gives the key's fingerprint.
pub fn repository(lab: &Lab, folder: &Path) -> Result<String> {
    let home = home(lab)?;
    let words = |path: &Path| path.to_string_lossy().into_owned();
    let namespaces = ["--mount", "--propagation", "private", "--pid", "--fork", "--kill-child", "--"];
    let script = ["sh", "-c", SCRIPT, "sh", &words(&home), &words(folder)];
    let said = run::output("unshare", &[&namespaces[..], &script[..]].concat()).context("signing the apt repository")?;
    let fingerprint = said.trim();
    let is_one = fingerprint.len() == 40 && fingerprint.bytes().all(|byte| byte.is_ascii_hexdigit());
    ensure!(is_one, "gpg names no fingerprint but {fingerprint:?}");
    Ok(fingerprint.to_owned())
}

fn home(lab: &Lab) -> Result<PathBuf> {
    let home = lab.cache().join("packages-key");
    fs::create_dir_all(&home)?;
    fs::set_permissions(&home, std::os::unix::fs::PermissionsExt::from_mode(0o700))?;
    Ok(home)
}

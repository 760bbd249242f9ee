//! Specs from a real disk.

use kubewright::cli::spec_files::load_file;
use kubewright::spec::Code;

use crate::world::{ED25519, HA};

#[test]
fn a_spec_and_what_it_points_to_are_found_from_its_own_folder() {
    let folder = tempfile::tempdir().unwrap();
    let clusters = folder.path().join("clusters");
    std::fs::create_dir_all(folder.path().join(".lab/bundle")).unwrap();
    std::fs::create_dir_all(&clusters).unwrap();
    std::fs::write(folder.path().join(".lab/bundle/VERSION"), "1").unwrap();
    std::fs::write(clusters.join("key.pub"), ED25519).unwrap();
    let file = clusters.join("ha.toml");
    std::fs::write(&file, HA.replace("~/.ssh/id_ed25519.pub", "key.pub").replace("~/.ssh/id_ed25519", "key")).unwrap();
    let loaded = load_file(&file).unwrap_or_else(|problems| panic!("{}", problems.render(120, false)));
    assert_eq!(loaded.cluster.ssh.public_key, ED25519);
}

#[test]
fn what_cannot_be_read_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let big = folder.path().join("big.toml");
    std::fs::File::create(&big).unwrap().set_len(10_000_000).unwrap();
    for (path, code, says) in [
        (folder.path().join("none.toml"), Code::Unreadable, "there is no such file"),
        (folder.path().to_owned(), Code::Unreadable, "it is a folder"),
        (big, Code::TooLarge, "is 10.0 MB; a spec is at most 1 MiB"),
    ] {
        let problems = load_file(&path).unwrap_err();
        assert_eq!(problems.list[0].code, code);
        assert!(problems.list[0].message.contains(says), "{}", problems.list[0].message);
        assert!(problems.list[0].message.contains(&path.display().to_string()));
    }
}

//! Public keys that EC2 takes, and those that it does not.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use kubewright::spec::Code;

use crate::world::*;

fn line(kind: &str, fields: &[Vec<u8>]) -> String {
    let mut blob = Vec::new();
    for field in std::iter::once(kind.as_bytes()).chain(fields.iter().map(Vec::as_slice)) {
        blob.extend(u32::try_from(field.len()).unwrap().to_be_bytes());
        blob.extend(field);
    }
    format!("{kind} {} me@example", STANDARD.encode(blob))
}

fn rsa(bits: usize) -> String {
    let mut modulus = vec![0; bits / 8 + 1];
    modulus[1] = 0x80;
    line("ssh-rsa", &[vec![1, 0, 1], modulus])
}

#[test]
fn keys_that_ec2_takes_are_read_from_a_file_or_from_the_spec() {
    for key in [ED25519.to_owned(), rsa(2048), rsa(4096)] {
        let files = Files::default().with("/home/demo/.ssh/id_ed25519.pub", &format!("# mine\n{key}\r\n\n"));
        assert_eq!(load_with(HA.as_bytes(), &files).unwrap().cluster.ssh.public_key, key);
        let inline = edit(HA, "public_key = \"~/.ssh/id_ed25519.pub\"", &format!("public_key = \"{key}\""));
        assert_eq!(load(&inline).unwrap().cluster.ssh.public_key, key);
    }
}

#[test]
fn other_contents_are_refused_and_say_what_to_give() {
    let cut = ED25519.split(' ').nth(1).unwrap();
    let cases = [
        (
            "-----BEGIN OPENSSH PRIVATE KEY-----\nb3Bl\n-----END OPENSSH PRIVATE KEY-----\n".to_owned(),
            "is a private key",
            "ssh-keygen -y",
        ),
        ("PuTTY-User-Key-File-3: ssh-ed25519\n".to_owned(), "is a private key", ".pub"),
        ("---- BEGIN SSH2 PUBLIC KEY ----\nAAAA\n".to_owned(), "another format", "ssh-keygen -i"),
        ("-----BEGIN CERTIFICATE-----\nMIIB\n".to_owned(), "is not an OpenSSH public key", "ssh-ed25519 AAAA"),
        (String::new(), "is not an OpenSSH public key", "one line"),
        (format!("{ED25519}\n{ED25519}\n"), "more than one key", ""),
        (rsa(1024), "1024 bits is too weak", "ed25519"),
        (line("ssh-dss", &[vec![1; 128]]), "DSA", "ed25519"),
        (line("ecdsa-sha2-nistp256", &[b"nistp256".to_vec(), vec![4; 65]]), "EC2 imports ed25519 and RSA", "ed25519"),
        (line("ssh-ed25519", &[vec![7; 16]]), "cut off", ""),
        (format!("ssh-rsa {cut}"), "is not an OpenSSH public key", ""),
        ("ssh-ed25519 !!!".to_owned(), "is not an OpenSSH public key", ""),
    ];
    for (contents, says, help) in cases {
        let files = Files::default().with("/home/demo/.ssh/id_ed25519.pub", &contents);
        let problems = load_with(HA.as_bytes(), &files).expect_err(&contents);
        let [problem] = problems.list.as_slice() else { panic!("{}", problems.render(100, false)) };
        assert_eq!(problem.code, Code::PublicKey);
        assert!(problem.message.contains(says), "{} lacks {says}", problem.message);
        assert!(problem.help.clone().unwrap_or_default().contains(help), "{:?} lacks {help}", problem.help);
        assert!(HA.lines().nth(problem.place.as_ref().unwrap().line - 1).unwrap().starts_with("public_key"));
    }
}

#[test]
fn a_private_key_in_the_spec_is_refused_and_not_shown() {
    for key in ["public_key", "private_key"] {
        let text: String = HA
            .lines()
            .map(|line| {
                if line.starts_with(key) {
                    format!("{key} = \"-----BEGIN OPENSSH PRIVATE KEY-----\\nU0VDUkVU\\n-----END\"\n")
                } else {
                    format!("{line}\n")
                }
            })
            .collect();
        let problems = load(&text).unwrap_err();
        let shown = problems.render(200, true) + &problems.to_json().to_string();
        assert!(shown.contains("a spec holds no secrets"), "{shown}");
        assert!(!shown.contains("U0VDUkVU"), "{shown}");
    }
}

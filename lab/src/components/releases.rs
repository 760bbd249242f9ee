//! How projects lay out their releases: a file for each program or an archive of all, and where its checksum is.

/// A project that publishes programs with checksums.
pub struct Project {
    /// In messages, and as its folder in the cache.
    pub name: &'static str,
    pub server: &'static str,
    /// Below the server, with VERSION; with PROGRAM where every program is a file of its own.
    file: &'static str,
    sums: &'static str,
    /// Where a program lies in the file, when that is an archive.
    inside: Option<&'static str>,
    pub programs: &'static [&'static str],
}

/// One file of a release.
pub struct File {
    /// Below the server.
    pub path: String,
    pub sums: String,
    pub programs: Vec<Member>,
}

/// A program in a file, and where it lies there when the file is an archive.
pub struct Member {
    pub program: &'static str,
    pub inside: Option<String>,
}

pub const KUBERNETES: Project = Project {
    name: "Kubernetes",
    server: "https://dl.k8s.io",
    file: "release/vVERSION/bin/linux/amd64/PROGRAM",
    sums: "release/vVERSION/bin/linux/amd64/PROGRAM.sha256",
    inside: None,
    programs: &["kubeadm", "kubectl", "kubelet", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy"],
};

const GITHUB: &str = "https://github.com";

pub const ETCD: Project = Project {
    name: "etcd",
    server: GITHUB,
    file: "etcd-io/etcd/releases/download/vVERSION/etcd-vVERSION-linux-amd64.tar.gz",
    sums: "etcd-io/etcd/releases/download/vVERSION/SHA256SUMS",
    inside: Some("etcd-vVERSION-linux-amd64/PROGRAM"),
    programs: &["etcd", "etcdctl", "etcdutl"],
};

pub const COREDNS: Project = Project {
    name: "CoreDNS",
    server: GITHUB,
    file: "coredns/coredns/releases/download/vVERSION/coredns_VERSION_linux_amd64.tgz",
    sums: "coredns/coredns/releases/download/vVERSION/coredns_VERSION_linux_amd64.tgz.sha256",
    inside: Some("PROGRAM"),
    programs: &["coredns"],
};

pub const CRICTL: Project = Project {
    name: "crictl",
    server: GITHUB,
    file: "kubernetes-sigs/cri-tools/releases/download/vVERSION/crictl-vVERSION-linux-amd64.tar.gz",
    sums: "kubernetes-sigs/cri-tools/releases/download/vVERSION/crictl-vVERSION-linux-amd64.tar.gz.sha256",
    inside: Some("PROGRAM"),
    programs: &["crictl"],
};

impl Project {
    /// The files that have the wanted programs. An archive brings its others too.
    pub fn files(&self, version: &str, wanted: &[&str]) -> Vec<File> {
        let fill = |text: &str, program: &str| text.replace("VERSION", version).replace("PROGRAM", program);
        let member = |program: &'static str| Member { program, inside: self.inside.map(|path| fill(path, program)) };
        if self.inside.is_some() {
            let programs = self.programs.iter().map(|program| member(program)).collect();
            return vec![File { path: fill(self.file, ""), sums: fill(self.sums, ""), programs }];
        }
        let wanted = self.programs.iter().filter(|program| wanted.contains(program));
        let file = |program: &&'static str| File {
            path: fill(self.file, program),
            sums: fill(self.sums, program),
            programs: vec![member(program)],
        };
        wanted.map(file).collect()
    }
}

impl File {
    pub fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or(&self.path)
    }

    /// The digits that a list of checksums has for this file; a list of one may leave the name out.
    pub fn sum_in(&self, list: &str) -> Option<String> {
        let mut lines = list.lines().map(|line| line.split_whitespace().collect::<Vec<_>>()).filter(|words| !words.is_empty());
        let sum = lines.find_map(|words| match words[..] {
            [sum] => Some(sum),
            [sum, name] if name.trim_start_matches('*').rsplit('/').next() == Some(self.name()) => Some(sum),
            _ => None,
        })?;
        (sum.len() == 64 && sum.bytes().all(|byte| byte.is_ascii_hexdigit())).then(|| sum.to_ascii_lowercase())
    }
}

/// The arguments that make a program tell its version.
pub fn asked(program: &str) -> &'static [&'static str] {
    match program {
        "kubeadm" => &["version", "-o", "short"],
        "kubectl" => &["version", "--client"],
        "etcdctl" | "etcdutl" => &["version"],
        "coredns" => &["-version"],
        _ => &["--version"],
    }
}

/// Whether what a program says of itself names this version and no other: `v1.34.2`, `CoreDNS-1.12.1`.
pub fn names(said: &str, version: &str) -> bool {
    said.split_whitespace().any(|word| word.rsplit_once('-').map_or(word, |(_, end)| end).trim_start_matches('v') == version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_are_where_the_projects_put_them() {
        let paths = |project: &Project, version: &str, wanted: &[&str]| {
            let files = project.files(version, wanted);
            files.iter().map(|file| format!("{}/{} {}", project.server, file.path, file.sums)).collect::<Vec<_>>()
        };
        let base = "release/v1.34.2/bin/linux/amd64";
        assert_eq!(
            paths(&KUBERNETES, "1.34.2", &["kubelet", "kubeadm"]),
            ["kubeadm", "kubelet"].map(|name| format!("https://dl.k8s.io/{base}/{name} {base}/{name}.sha256"))
        );
        let base = "etcd-io/etcd/releases/download/v3.6.5";
        assert_eq!(
            paths(&ETCD, "3.6.5", &["etcdctl"]),
            [format!("https://github.com/{base}/etcd-v3.6.5-linux-amd64.tar.gz {base}/SHA256SUMS")]
        );
        let base = "coredns/coredns/releases/download/v1.12.1/coredns_1.12.1_linux_amd64.tgz";
        assert_eq!(paths(&COREDNS, "1.12.1", &["coredns"]), [format!("https://github.com/{base} {base}.sha256")]);
        let base = "kubernetes-sigs/cri-tools/releases/download/v1.34.0/crictl-v1.34.0-linux-amd64.tar.gz";
        assert_eq!(paths(&CRICTL, "1.34.0", &["crictl"]), [format!("https://github.com/{base} {base}.sha256")]);
    }

    #[test]
    fn a_list_of_checksums_is_read_for_one_file() {
        let file = &ETCD.files("3.6.5", &[])[0];
        let (own, other) = ("A".repeat(64), "b".repeat(64));
        let name = file.name();
        for list in [
            own.clone(),
            format!("{own}\n"),
            format!("{own}  {name}\n"),
            format!("{other}  another\n{own} *release/{name}\n{other}  x{name}\n"),
        ] {
            assert_eq!(file.sum_in(&list), Some("a".repeat(64)), "{list}");
        }
        let short = &own[1..];
        for list in ["", "<html>", "not found", short, &format!("{other}  another\n"), &format!("{short}g  {name}")] {
            assert_eq!(file.sum_in(list), None, "{list}");
        }
    }

    #[test]
    fn a_version_is_told_from_its_neighbours() {
        for said in [
            "v1.34.2",
            "Kubernetes v1.34.2\n",
            "Client Version: v1.34.2\nKustomize",
            "CoreDNS-1.34.2\nlinux",
            "crictl version 1.34.2",
        ] {
            assert!(names(said, "1.34.2"), "{said}");
        }
        for said in ["v1.34.20", "v1.34", "v11.34.2", "v1.34.2-rc.1", "go1.34.2", ""] {
            assert!(!names(said, "1.34.2"), "{said}");
        }
    }
}

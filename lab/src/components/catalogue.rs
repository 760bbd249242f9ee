//! The Go modules under `lab/components`: which programs each has, and how its version gets into them.

use super::releases::{self, Project};

/// One Go module of the lab's own. It has no source of its own where a program's main package can be built as it is.
pub struct Module {
    /// Its folder under `lab/components`.
    pub name: &'static str,
    pub version: &'static str,
    pub files: &'static [(&'static str, &'static str)],
    /// Packages and the programs that they become.
    pub programs: &'static [(&'static str, &'static str)],
    /// Text that is set when linking, with VERSION, MAJOR and MINOR for the module's.
    pub stamp: &'static str,
    /// Has C in it. It is linked statically all the same, so that it runs in an image of its own.
    pub c: bool,
    /// Of a Kubernetes version: etcd and CoreDNS as its kubeadm asks for them.
    pub with: &'static [&'static Module],
    /// Where its programs come from on a machine that reaches the release servers.
    pub release: Option<&'static Project>,
}

macro_rules! files {
    ($module:literal: $($file:literal)+) => {
        &[$(($file, include_str!(concat!("../../components/", $module, "/", $file)))),+]
    };
}

const KUBERNETES_STAMP: &str = "-X k8s.io/component-base/version.gitVersion=vVERSION \
    -X k8s.io/component-base/version.gitMajor=MAJOR -X k8s.io/component-base/version.gitMinor=MINOR \
    -X k8s.io/component-base/version.gitTreeState=clean -X k8s.io/component-base/version.gitCommit=lab";

const KUBEADM: &[(&str, &str)] = &[("k8s.io/kubernetes/cmd/kubeadm", "kubeadm")];

/// kubeadm first: it says which images it wants, and the largest part of what the others share is compiled for it.
const ALL: &[(&str, &str)] = &[
    KUBEADM[0],
    ("k8s.io/kubernetes/cmd/kubectl", "kubectl"),
    ("k8s.io/kubernetes/cmd/kubelet", "kubelet"),
    ("k8s.io/kubernetes/cmd/kube-apiserver", "kube-apiserver"),
    ("k8s.io/kubernetes/cmd/kube-controller-manager", "kube-controller-manager"),
    ("k8s.io/kubernetes/cmd/kube-scheduler", "kube-scheduler"),
    ("k8s.io/kubernetes/cmd/kube-proxy", "kube-proxy"),
];

/// One module for each Kubernetes version. Those with kubeadm alone show that it reads what kubewright writes for it.
pub const KUBERNETES: &[Module] = &[
    Module {
        name: "kubernetes-1.34",
        version: "1.34.2",
        files: files!("kubernetes-1.34": "go.mod" "go.sum"),
        programs: ALL,
        stamp: KUBERNETES_STAMP,
        c: false,
        with: &[&ETCD[0], &COREDNS[0]],
        release: Some(&releases::KUBERNETES),
    },
    Module {
        name: "kubernetes-1.35",
        version: "1.35.4",
        files: files!("kubernetes-1.35": "go.mod" "go.sum"),
        programs: ALL,
        stamp: KUBERNETES_STAMP,
        c: false,
        with: &[&ETCD[1], &COREDNS[1]],
        release: Some(&releases::KUBERNETES),
    },
    Module {
        name: "kubeadm-1.29",
        version: "1.29.6",
        files: files!("kubeadm-1.29": "go.mod" "go.sum"),
        programs: KUBEADM,
        stamp: KUBERNETES_STAMP,
        c: false,
        with: &[],
        release: Some(&releases::KUBERNETES),
    },
    Module {
        name: "kubeadm-1.37",
        version: "1.37.0",
        files: files!("kubeadm-1.37": "go.mod" "go.sum"),
        programs: KUBEADM,
        stamp: KUBERNETES_STAMP,
        c: false,
        with: &[],
        release: Some(&releases::KUBERNETES),
    },
];

const ETCD_PROGRAMS: &[(&str, &str)] = &[
    ("go.etcd.io/etcd/server/v3", "etcd"),
    ("go.etcd.io/etcd/etcdctl/v3", "etcdctl"),
    ("go.etcd.io/etcd/etcdutl/v3", "etcdutl"),
];

pub const ETCD: &[Module] = &[
    Module {
        name: "etcd",
        version: "3.6.5",
        files: files!("etcd": "go.mod" "go.sum"),
        programs: ETCD_PROGRAMS,
        stamp: "-X go.etcd.io/etcd/api/v3/version.GitSHA=lab",
        c: false,
        with: &[],
        release: Some(&releases::ETCD),
    },
    Module {
        name: "etcd-3.6.6",
        version: "3.6.6",
        files: files!("etcd-3.6.6": "go.mod" "go.sum"),
        programs: ETCD_PROGRAMS,
        stamp: "-X go.etcd.io/etcd/api/v3/version.GitSHA=lab",
        c: false,
        with: &[],
        release: Some(&releases::ETCD),
    },
];

pub const COREDNS: &[Module] = &[
    Module {
        name: "coredns",
        version: "1.12.1",
        files: files!("coredns": "go.mod" "go.sum" "main.go"),
        programs: &[(".", "coredns")],
        stamp: "-X github.com/coredns/coredns/coremain.GitCommit=lab",
        c: false,
        with: &[],
        release: Some(&releases::COREDNS),
    },
    Module {
        name: "coredns-1.13.1",
        version: "1.13.1",
        files: files!("coredns-1.13.1": "go.mod" "go.sum" "main.go"),
        programs: &[(".", "coredns")],
        stamp: "-X github.com/coredns/coredns/coremain.GitCommit=lab",
        c: false,
        with: &[],
        release: Some(&releases::COREDNS),
    },
];

pub const FLANNEL: Module = Module {
    name: "flannel",
    version: "0.28.4",
    files: files!("flannel": "go.mod" "go.sum"),
    programs: &[("github.com/flannel-io/flannel", "flanneld")],
    stamp: "-X github.com/flannel-io/flannel/pkg/version.Version=vVERSION",
    c: true,
    with: &[],
    release: None,
};

pub const FLANNEL_CNI: Module = Module {
    name: "flannel-cni",
    version: "0.9.1",
    files: files!("flannel-cni": "go.mod" "go.sum"),
    programs: &[("github.com/containernetworking/plugins/plugins/meta/flannel", "flannel")],
    stamp: "",
    c: false,
    with: &[],
    release: None,
};

pub const CRICTL: Module = Module {
    name: "crictl",
    version: "1.34.0",
    files: files!("crictl": "go.mod" "go.sum"),
    programs: &[("sigs.k8s.io/cri-tools/cmd/crictl", "crictl")],
    stamp: "-X sigs.k8s.io/cri-tools/pkg/version.Version=VERSION",
    c: false,
    with: &[],
    release: Some(&releases::CRICTL),
};

/// What test workloads run.
pub const TOOLBOX: Module = Module {
    name: "toolbox",
    version: "1",
    files: files!("toolbox": "go.mod" "main.go"),
    programs: &[(".", "toolbox")],
    stamp: "",
    c: false,
    with: &[],
    release: None,
};

/// What every Kubernetes version of the lab shares.
pub const SHARED: &[&Module] = &[&FLANNEL, &FLANNEL_CNI, &CRICTL, &TOOLBOX];

impl Module {
    pub fn has(&self, program: &str) -> bool {
        self.programs.iter().any(|(_, name)| *name == program)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn modules() -> impl Iterator<Item = &'static Module> {
        let own = KUBERNETES.iter().flat_map(|module| module.with.iter().copied());
        KUBERNETES.iter().chain(own).chain(SHARED.iter().copied())
    }

    fn manifest(module: &Module) -> &'static str {
        module.files.iter().find(|(name, _)| *name == "go.mod").expect("go.mod").1
    }

    #[test]
    fn every_program_is_a_tool_or_has_its_source_here() {
        for module in modules() {
            for (package, program) in module.programs {
                let here = *package == "." && module.files.iter().any(|(name, _)| *name == "main.go");
                let tool = manifest(module).lines().any(|line| line.trim().trim_start_matches("tool ") == *package);
                assert!(here || tool, "{}: {program}: go mod tidy would drop what it needs", module.name);
            }
        }
    }

    #[test]
    fn the_versions_are_those_of_the_manifests() {
        for module in modules().filter(|module| module.name != "toolbox") {
            let version = format!("v{}", module.version);
            let (package, _) = module.programs[0];
            let required = manifest(module).lines().any(|line| {
                let words: Vec<&str> = line.trim().trim_start_matches("require ").split(' ').collect();
                words.len() > 1 && words[1] == version && (package == "." || package.starts_with(words[0]))
            });
            assert!(required, "{} is {} here; its go.mod requires another", module.name, module.version);
        }
        for module in KUBERNETES {
            let staging = format!(" v0.{}", &module.version[2..]);
            let replaced = manifest(module).lines().filter(|line| line.contains(" => "));
            let other: Vec<&str> = replaced.filter(|line| !line.ends_with(&staging)).collect();
            assert!(other.is_empty(), "{}: {other:?}", module.name);
        }
    }

    #[test]
    fn nothing_is_replaced_by_a_copy_and_no_machine_is_named() {
        for module in modules() {
            for line in manifest(module).lines().filter(|line| line.contains(" => ")) {
                let target = line.split(" => ").nth(1).unwrap_or_default();
                assert!(!target.starts_with(['.', '/']), "{}: {line}", module.name);
            }
        }
    }
}

//! Which way programs come, without building any.

use std::fs;
use std::net::TcpListener;

use super::catalogue::CRICTL;
use super::*;

/// A folder of its own and a server that nobody can reach.
fn with_lab(name: &str, test: impl Fn(&Lab, &Servers)) {
    let dir = std::env::temp_dir().join(format!("kubewright-components-{name}-{}", std::process::id()));
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let servers = Servers::new(Some(mirror(&format!("http://{closed}")).unwrap()));
    test(&Lab { dir: dir.clone() }, &servers);
    fs::remove_dir_all(dir).ok();
}

/// Everything that has a release and a module.
fn parts() -> Vec<Part> {
    let kubernetes = KUBERNETES.iter().filter(|module| module.has("kubelet"));
    kubernetes.chain(ETCD).chain(COREDNS).chain([&CRICTL]).map(Part::from).collect()
}

fn put(path: &Path) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, "").unwrap();
}

#[test]
fn without_a_server_everything_is_built() {
    with_lab("built", |lab, servers| {
        for part in parts() {
            assert_eq!(way(lab, servers, &part, &part.programs()).unwrap(), Way::Module, "{}", part.version);
            assert!(!targets(&part, &part.programs()).is_empty());
        }
    });
}

#[test]
fn what_is_in_the_cache_is_taken_from_there() {
    for part in parts() {
        let (project, programs) = (part.release.unwrap(), part.programs());
        with_lab("cached", |lab, servers| {
            for target in targets(&part, &programs) {
                put(&target.path(lab));
            }
            assert_eq!(way(lab, servers, &part, &programs).unwrap(), Way::Module);
            assert!(!servers.was_asked(), "{} {} is built already", project.name, part.version);
            for program in &programs {
                put(&official::path(lab, project, &part.version, program));
            }
            assert_eq!(way(lab, servers, &part, &programs).unwrap(), Way::Release);
            assert!(!servers.was_asked(), "{} {} is fetched already", project.name, part.version);
        });
    }
}

#[test]
fn a_version_without_a_module_needs_a_server() {
    with_lab("no-module", |lab, servers| {
        // of 1.29.6 there is kubeadm alone
        for version in ["1.34.3", "1.29.6"] {
            let part = Part::kubernetes(version);
            let error = way(lab, servers, &part, &part.programs()).unwrap_err().to_string();
            for word in [&format!("Kubernetes {version}"), "1.34.2, 1.35.4", "http://127.0.0.1:"] {
                assert!(error.contains(word), "{word} is not in: {error}");
            }
        }
        assert_eq!(way(lab, servers, &Part::kubernetes("1.29.6"), &["kubeadm"]).unwrap(), Way::Module);
    });
}

#[test]
fn a_release_has_the_programs_of_the_module() {
    for part in parts() {
        let mut built: Vec<&str> = part.module.unwrap().programs.iter().map(|(_, name)| *name).collect();
        let mut released = part.programs();
        built.sort_unstable();
        released.sort_unstable();
        assert_eq!(built, released, "{}", part.version);
    }
}

#[test]
fn kubeadm_says_what_a_version_stands_on() {
    let images = "registry.k8s.io/kube-proxy:v1.33.1\nregistry.k8s.io/coredns/coredns:v1.12.0\nregistry.k8s.io/etcd:3.5.21-0\n";
    let [etcd, coredns] = below_of(images).unwrap();
    assert_eq!((etcd.version.as_str(), coredns.version.as_str()), ("3.5.21", "1.12.0"));
    assert!(etcd.module.is_none() && etcd.release.is_some());
    let [etcd, coredns] = below_of("a/etcd:3.6.5-0\na/coredns:v1.12.1\n").unwrap();
    assert!(etcd.module.is_some() && coredns.module.is_some(), "the lab has modules of these");
    for bad in ["", "a/etcd:3.6.5-0\n", "a/etcd:../..\na/coredns:v1.12.1\n"] {
        assert!(below_of(bad).is_err(), "{bad}");
    }
}

#[test]
fn versions_are_three_numbers() {
    for good in ["1.34.2", "1.29.16", "0.0.0"] {
        assert!(check_version(good).is_ok(), "{good}");
    }
    for bad in ["", "1.34", "v1.34.2", "1.34.2-rc.1", "1.34.+2", "1.34.", "../1.2", "1.34.2/..", "1.2.3.4"] {
        assert!(check_version(bad).is_err(), "{bad}");
    }
}

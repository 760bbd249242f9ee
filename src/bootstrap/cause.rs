//! From what a failing command said to what is probably wrong.

/// Known symptoms, the most telling first: all words of one entry must appear (case ignored) in the output or the logs.
const SYMPTOMS: &[(&[&str], &str)] = &[
    (&["another run of kubewright has taken this node over"], "two runs worked on this node; the later one goes on"),
    (&["no space left on device"], "the node's disk is full"),
    (&["has only", "kib left"], "the node's disk is full"),
    (&["cgroup driver", "is different from"], "containerd on this node does not use the systemd cgroup driver"),
    (
        &["does not use the systemd cgroup driver"],
        "containerd on this node does not use the systemd cgroup driver: it has to read /etc/containerd/config.toml",
    ),
    (&["unknown service runtime.v1"], "the CRI plugin of containerd is switched off in its configuration"),
    (
        &["cri plugin of containerd does not run"],
        "the CRI plugin of containerd does not run: it has to read /etc/containerd/config.toml",
    ),
    (
        &["kubelet is v", ", not v"],
        "kubeadm and kubelet are of different versions: a kubelet must not be newer than its API server",
    ),
    (
        &["is neither in the bundle nor on this machine"],
        "the bundle lacks an image that the node needs: add its archive to the bundle",
    ),
    (&["the name of this machine is taken"], "another machine has joined under this machine's name"),
    (
        &["a node with name", "already exists in the cluster"],
        "a Node of this name is Ready already: of an earlier try, or of another machine",
    ),
    (&["too many learner members"], "etcd has a member that another join left unfinished"),
    (&["cgroup v1"], "the node boots with cgroup v1, which this Kubernetes refuses"),
    (&["could not get lock"], "another program holds apt's lock (cloud-init or unattended-upgrades)"),
    (&["dpkg was interrupted"], "an earlier package installation was cut off; `dpkg --configure -a` on the node finishes it"),
    (&["expkeysig"], "the key that signs the package repository has expired"),
    (&["the key that signs", "has expired"], "the key that signs the package repository has expired"),
    (
        &["the package repository", "gives no release.key"],
        "there is no package repository of this Kubernetes minor at that address",
    ),
    (&["has no kube", "; it has"], "the package repository does not have this version of Kubernetes"),
    (&["fingerprint", "pinned is"], "the package repository is signed by another key than the pinned one"),
    (&["differs from the bundle's checksums"], "the upload was damaged or cut off"),
    (&["cannot be downloaded; machines without a way out"], "the machine has no way to the address of a release"),
    (&["imagepull"], "an image that the node needs is neither there nor can it be pulled"),
    (&["failed to pull image"], "an image that the node needs is neither there nor can it be pulled"),
    (&["failed to pull"], "an image that the node needs is neither there nor can it be pulled"),
    (&["port", "is in use"], "another program, or an earlier cluster, uses a port that Kubernetes needs"),
    (&["address already in use"], "another program, or an earlier cluster, uses a port that Kubernetes needs"),
    (&["certificate has expired or is not yet valid"], "the clocks of the nodes differ"),
    (&["not yet valid"], "the clocks of the nodes differ"),
    (&["invalid bearer token"], "the bootstrap token has expired or was revoked"),
    (&["token", "expired"], "the bootstrap token has expired or was revoked"),
    (&["could not find a jws signature"], "the bootstrap token has expired or was revoked"),
    (&["can only promote a learner member"], "the new etcd member did not catch up with its leader in time"),
    (&["etcdserver", "unhealthy cluster"], "etcd has no healthy quorum"),
    (&["a password is required"], "the login user may not use sudo without a password"),
    (&["is not in the sudoers file"], "the login user may not use sudo"),
    (&["cannot evict pod", "disruption budget"], "a PodDisruptionBudget does not allow these pods to be evicted"),
    (&["swap", "not supported"], "swap is on"),
    (&["out of memory"], "the node ran out of memory"),
    (&["connection refused", "/run/containerd/containerd.sock"], "containerd does not run"),
    (&["containerd.sock", "no such file"], "containerd does not run"),
];

/// What keeps a machine from joining, and can be taken away at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Obstacle {
    /// The next try has another one.
    Token,
    /// A Node of the machine's name is there.
    Node,
    /// etcd has a member for the machine.
    Member,
}

pub(super) fn obstacle(lines: &[String]) -> Option<Obstacle> {
    const SIGNS: [(&[&str], Obstacle); 6] = [
        (&["could not find a jws signature"], Obstacle::Token),
        (&["invalid bearer token"], Obstacle::Token),
        (&["a node with name", "already exists in the cluster"], Obstacle::Node),
        (&["too many learner members"], Obstacle::Member),
        (&["member has already been bootstrapped"], Obstacle::Member),
        (&["etcdserver: peer urls already exists"], Obstacle::Member),
    ];
    let text = lines.join("\n").to_lowercase();
    SIGNS.iter().find(|(words, _)| words.iter().all(|word| text.contains(word))).map(|(_, obstacle)| *obstacle)
}

/// A guess in words; `None` if nothing known is seen.
pub(super) fn guess(lines: &[String]) -> Option<String> {
    let text = lines.join("\n").to_lowercase();
    if let Some((_, cause)) = SYMPTOMS.iter().find(|(words, _)| words.iter().all(|word| text.contains(word))) {
        return Some((*cause).to_string());
    }
    unreachable_endpoint(&text)
}

/// Which address and port could not be reached, and how that looks.
fn unreachable_endpoint(text: &str) -> Option<String> {
    for line in text.lines() {
        let how = [
            ("connection refused", "nothing listens there"),
            ("i/o timeout", "a security group or route drops the packets"),
            ("context deadline exceeded", "it did not answer in time"),
            ("no route to host", "there is no route to it"),
            ("no such host", "the name is not in DNS (yet)"),
        ];
        let Some((_, why)) = how.iter().find(|(words, _)| line.contains(words)) else { continue };
        let address = ["dial tcp ", "https://", "lookup "].iter().find_map(|before| {
            let rest = line.split_once(before)?.1;
            let end = rest
                .find(|character: char| !(character.is_ascii_alphanumeric() || ".:-[]".contains(character)))
                .unwrap_or(rest.len());
            rest.get(..end).map(|address| address.trim_end_matches(':').to_string()).filter(|address| !address.is_empty())
        });
        return Some(match address {
            Some(address) => format!("{address} cannot be reached: {why}"),
            None => format!("an address cannot be reached: {why}"),
        });
    }
    None
}

#[cfg(test)]
mod tests {
    use super::{Obstacle, guess, obstacle};

    #[test]
    fn every_known_symptom_is_recognised() {
        let own = "[ERROR] a Node with name \"i-0a\" and status \"Ready\" already exists in the cluster. You must delete the existing Node";
        let cases = [
            (
                "misconfiguration: kubelet cgroup driver: \"systemd\" is different from docker cgroup driver: \"cgroupfs\"",
                "systemd cgroup driver",
            ),
            ("unknown service runtime.v1.RuntimeService", "CRI plugin"),
            ("[ERROR ImagePull]: failed to pull image registry.k8s.io/etcd", "image"),
            ("kubelet is v1.35.2, not v1.34.2", "must not be newer"),
            ("the image registry.k8s.io/pause:3.9 is neither in the bundle nor on this machine", "the bundle lacks an image"),
            ("the name of this machine is taken: Node i-0a is Ready and belongs to 10.0.0.9", "another machine has joined"),
            (own, "Ready already"),
            ("too many learner members in cluster", "another join"),
            ("[ERROR Port-10250]: Port 10250 is in use", "port"),
            ("x509: certificate has expired or is not yet valid: current time 2026", "clocks"),
            ("could not find a JWS signature in the cluster-info ConfigMap for token ID", "token"),
            ("E: Could not get lock /var/lib/dpkg/lock-frontend. It is held by process 812 (unattended-upgr)", "apt's lock"),
            ("write /var/lib/etcd: no space left on device", "disk is full"),
            (
                "Get \"https://api.internal.demo:6443/api\": dial tcp 10.20.0.4:6443: connect: connection refused",
                "10.20.0.4:6443 cannot be reached: nothing",
            ),
            ("dial tcp 10.20.0.4:6443: i/o timeout", "10.20.0.4:6443 cannot be reached: a security group"),
            (
                "dial tcp: lookup api.internal.demo.example.com: no such host",
                "api.internal.demo.example.com cannot be reached: the name",
            ),
            ("Cannot evict pod as it would violate the pod's disruption budget.", "PodDisruptionBudget"),
            ("sudo: a password is required", "sudo"),
            (
                "curl: (7) Failed to connect: Connection refused\nhttps://x cannot be downloaded; machines without a way out need a bundle",
                "no way to the address",
            ),
        ];
        let obstacles = [
            (
                "error: could not find a JWS signature in the cluster-info ConfigMap for token ID \"abcdef\"",
                Some(Obstacle::Token),
            ),
            (own, Some(Obstacle::Node)),
            ("rpc error: etcdserver: too many learner members in cluster", Some(Obstacle::Member)),
            ("x509: certificate has expired", None),
        ];
        for (said, wanted) in obstacles {
            assert_eq!(obstacle(&[said.to_owned()]), wanted, "{said}");
        }
        for (said, cause) in cases {
            let guess = guess(&[said.to_string()]).unwrap_or_default();
            assert!(guess.contains(cause), "{said}: {guess}");
        }
        assert_eq!(guess(&["all is well".into()]), None);
    }
}

//! Hardening, read back from what runs: processes, etcd, files, answers. Never from what was rendered.

use serde_json::Value;

use crate::cluster::Cluster;
use crate::machine::{Machine, machine, machines};

const ETCDCTL: [&str; 6] = [
    "etcdctl",
    "--cacert=/etc/kubernetes/pki/etcd/ca.crt",
    "--cert=/etc/kubernetes/pki/etcd/peer.crt",
    "--key=/etc/kubernetes/pki/etcd/peer.key",
    "get",
    "--print-value-only",
];

pub fn shows(cluster: &Cluster<'_>) {
    let plane = machine(cluster.lab, "control-plane-us-east-1a-1");
    secrets_in_etcd(cluster, &plane);
    audit(cluster);
    pod_security(cluster);
    flags(cluster);
    strangers(cluster, &plane);
    for machine in machines(cluster.lab) {
        kubelet(cluster, &machine);
        files(&machine);
    }
}

/// CIS 1.2.27, 1.2.28
fn secrets_in_etcd(cluster: &Cluster<'_>, plane: &Machine) {
    cluster.kubectl(&["create", "secret", "generic", "token", "--from-literal=word=open-sesame"]);
    let pod = format!("etcd-{}", plane.instance);
    let words = [&["-n", "kube-system", "exec", &pod, "--"], &ETCDCTL[..], &["/registry/secrets/default/token"]].concat();
    let done = cluster.lab.exec(&[&[&*program(cluster), "--kubeconfig", &cluster.path("kubeconfig")], &words[..]].concat());
    let stored = String::from_utf8_lossy(&done.stdout).into_owned();
    assert!(stored.starts_with("k8s:enc:secretbox:v1:key1:"), "{}", String::from_utf8_lossy(&done.stderr));
    assert!(!stored.contains("open-sesame"));
    // Every control plane can read it: they have the same key.
    for machine in machines(cluster.lab).iter().filter(|machine| machine.slot.starts_with("control-plane")) {
        let script = "kubectl --kubeconfig=/etc/kubernetes/admin.conf get secret token -o jsonpath='{.data.word}' | base64 -d";
        assert_eq!(machine.sh(script), "open-sesame", "{}", machine.slot);
    }
}

fn program(cluster: &Cluster<'_>) -> String {
    cluster.bundle().join("operator/kubectl").display().to_string()
}

/// CIS 1.2.16 to 1.2.19, 3.2: who did what is written down, what a Secret holds is not.
fn audit(cluster: &Cluster<'_>) {
    let planes = machines(cluster.lab).into_iter().filter(|machine| machine.slot.starts_with("control-plane"));
    let logs: String = planes.map(|plane| plane.sh("cat /var/log/kubernetes/audit/audit.log")).collect();
    assert!(!logs.contains("open-sesame") && !logs.contains("b3Blbi1zZXNhbWU"), "the log holds a Secret's contents");
    let of_secret = |event: &Value| {
        event["objectRef"]["resource"] == "secrets" && event["objectRef"]["name"] == "token" && event["verb"] == "create"
    };
    let events = logs.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let event = events.into_iter().find(of_secret).expect("the creation of a Secret");
    assert_eq!((&event["level"], &event["user"]["username"]), (&"Metadata".into(), &"kubernetes-admin".into()));
}

/// CIS 5.2
fn pod_security(cluster: &Cluster<'_>) {
    let privileged = r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"root"},"spec":{"containers":[
        {"name":"root","image":"lab.local/toolbox:1","securityContext":{"privileged":true}}]}}"#;
    std::fs::write(cluster.path("root.json"), privileged).expect("a manifest");
    let path = cluster.path("root.json");
    let refused = cluster.try_kubectl(&["apply", "-f", &path]).expect(1);
    assert!(refused.err.contains("violates PodSecurity \"baseline:latest\""), "{}", refused.err);
    // What the namespace says of itself counts.
    cluster.kubectl(&["create", "namespace", "trusted"]);
    cluster.kubectl(&["label", "namespace", "trusted", "pod-security.kubernetes.io/enforce=privileged"]);
    cluster.kubectl(&["-n", "trusted", "apply", "--dry-run=server", "-f", &path]);
}

/// CIS 1.2, 1.3, 1.4, 2: of the processes themselves, on every control plane.
fn flags(cluster: &Cluster<'_>) {
    let wanted: [(&str, &[&str]); 4] = [
        (
            "kube-apiserver",
            &[
                "--profiling=false",
                "--tls-min-version=VersionTLS12",
                "--authorization-mode=Node,RBAC",
                "--enable-admission-plugins=DenyServiceExternalIPs,EventRateLimit,NodeRestriction",
                "--service-account-extend-token-expiration=false",
                "--audit-log-maxage=30",
                "--encryption-provider-config=",
                "--admission-control-config-file=",
                "--etcd-cafile=",
                "--kubelet-client-certificate=",
            ],
        ),
        (
            "kube-controller-manager",
            &["--profiling=false", "--bind-address=127.0.0.1", "--use-service-account-credentials=true", "--root-ca-file="],
        ),
        ("kube-scheduler", &["--profiling=false", "--bind-address=127.0.0.1"]),
        ("etcd", &["--client-cert-auth=true", "--peer-client-cert-auth=true", "--trusted-ca-file=", "--peer-trusted-ca-file="]),
    ];
    for machine in machines(cluster.lab).iter().filter(|machine| machine.slot.starts_with("control-plane")) {
        for (program, flags) in wanted {
            let line = machine.sh(&format!("tr '\\0' '\\n' </proc/$(pgrep -xo '{}')/cmdline", &program[..program.len().min(15)]));
            for flag in flags {
                assert!(line.lines().any(|word| word.starts_with(flag)), "{}: {program} lacks {flag}\n{line}", machine.slot);
            }
            assert!(!line.contains("--token-auth-file"), "{line}");
        }
    }
}

/// Who has no credentials sees health and what joining needs, nothing else. CIS 1.2.1, 4.2.1, 4.2.4
fn strangers(cluster: &Cluster<'_>, plane: &Machine) {
    let code = |url: &str| {
        let done = cluster.lab.exec(&["curl", "-sk", "-m", "10", "-o", "/dev/null", "-w", "%{http_code}", url]);
        String::from_utf8_lossy(&done.stdout).into_owned()
    };
    for (path, wanted) in [("/readyz", "200"), ("/api/v1/secrets", "403"), ("/api/v1/nodes", "403"), ("/metrics", "403")] {
        assert_eq!(code(&format!("https://{}:6443{path}", plane.public)), wanted, "{path}");
    }
    for machine in machines(cluster.lab) {
        let kubelet = "curl -sk -m 10 -o /dev/null -w '%{http_code}' https://127.0.0.1:10250/pods";
        assert_eq!(machine.sh(kubelet), "401", "{}: a kubelet answers strangers", machine.slot);
        assert_eq!(machine.sh("ss -Hltn 'sport = :10255'"), "", "{}: the read-only port is open", machine.slot);
    }
}

/// CIS 4.2, from the kubelet itself.
fn kubelet(cluster: &Cluster<'_>, machine: &Machine) {
    let answer = cluster.kubectl(&["get", "--raw", &format!("/api/v1/nodes/{}/proxy/configz", machine.instance)]);
    let config: Value = serde_json::from_str(&answer).expect("JSON");
    let config = &config["kubeletconfig"];
    for (path, wanted) in [
        ("/authentication/anonymous/enabled", Value::Bool(false)),
        ("/authentication/webhook/enabled", Value::Bool(true)),
        ("/authorization/mode", "Webhook".into()),
        ("/rotateCertificates", Value::Bool(true)),
        ("/seccompDefault", Value::Bool(true)),
        ("/podPidsLimit", 4096.into()),
        ("/tlsMinVersion", "VersionTLS12".into()),
        ("/streamingConnectionIdleTimeout", "5m0s".into()),
        ("/makeIPTablesUtilChains", Value::Bool(true)),
        // What the spec says.
        ("/imageGCHighThresholdPercent", 100.into()),
    ] {
        assert_eq!(config.pointer(path), Some(&wanted), "{}: {path}", machine.slot);
    }
}

/// CIS 1.1, 4.1: nothing secret is for others to read.
fn files(machine: &Machine) {
    let loose = machine.sh(
        "find /etc/kubernetes /var/lib/kubelet/config.yaml /var/lib/kubelet/pki /etc/systemd/system/kubelet.service.d -type f \
         ! -name '*.crt' ! -name '*.pub' ! -path '*/kubelet.crt' -perm /077 2>/dev/null",
    );
    assert_eq!(loose, "", "{}", machine.slot);
    let owner = machine.sh("stat -c %a:%U:%G /var/lib/etcd 2>/dev/null || echo none");
    assert!(["none", "700:root:root"].contains(&owner.trim()), "{}: {owner}", machine.slot);
}

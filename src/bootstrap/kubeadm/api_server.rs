//! Files of the API server: what is logged, what is encrypted, what is admitted. Hardening as in the CIS benchmark for Kubernetes 1.32 to 1.34.

use serde_json::{Value, json};

use super::check::document;
use super::model::HostPathMount;
use super::{FOLDER, File};
use crate::secret::Secret;

/// A folder of its own, since the pod sees all of it; kubeadm's own configuration, with its token, lies beside it.
fn folder() -> String {
    format!("{FOLDER}/api-server")
}

const LOGS: &str = "/var/log/kubernetes/audit";

/// TLS 1.2 suites with forward secrecy and authenticated encryption; those of TLS 1.3 cannot be chosen.
pub(super) const CIPHERS: [&str; 6] = [
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
];

/// Flags of the API server, with the item of the CIS benchmark.
///
/// Exceptions: `anonymous-auth` stays on (1.2.1), because the kubelet's probes and kubeadm's discovery by token come without
/// credentials; RBAC lets them see `/livez`, `/readyz`, `/healthz`, `/version` and `cluster-info` only.
/// `kubelet-certificate-authority` is not set (1.2.5): it needs serving certificates of kubelets signed by the cluster, and
/// nothing in the cluster would approve their renewal.
pub(super) fn flags() -> Vec<(&'static str, String)> {
    let file = |name: &str| format!("{}/{name}", folder());
    vec![
        // 1.2.11, 1.2.12, 1.2.14; the last is kubeadm's own default.
        ("enable-admission-plugins", "DenyServiceExternalIPs,EventRateLimit,NodeRestriction".into()),
        ("admission-control-config-file", file("admission.yaml")),
        // 1.2.16 to 1.2.19, 3.2.1
        ("audit-policy-file", file("audit-policy.yaml")),
        ("audit-log-path", format!("{LOGS}/audit.log")),
        ("audit-log-maxage", "30".into()),
        ("audit-log-maxbackup", "10".into()),
        ("audit-log-maxsize", "100".into()),
        // 1.2.27, 1.2.28
        ("encryption-provider-config", file("encryption.yaml")),
        // 1.2.15
        ("profiling", "false".into()),
        // 1.2.30
        ("service-account-extend-token-expiration", "false".into()),
        // 1.2.29
        ("tls-cipher-suites", CIPHERS.join(",")),
        ("tls-min-version", "VersionTLS12".into()),
    ]
}

/// What the API server's pod needs to see of the machine for [`flags`].
pub(super) fn volumes() -> Vec<HostPathMount> {
    let mount = |name: &str, path: &str, read_only| HostPathMount {
        name: format!("kubewright-{name}"),
        host_path: path.to_owned(),
        mount_path: path.to_owned(),
        read_only,
        path_type: "DirectoryOrCreate".into(),
    };
    vec![mount("files", &folder(), true), mount("audit", LOGS, false)]
}

/// The files that [`flags`] names. `key`: 32 random bytes in base64, the same on every control plane.
pub fn api_server_files(key: &Secret) -> Result<Vec<File>, String> {
    let file = |name: &str, value: Value| -> Result<File, String> {
        let text = Secret::new(document("kubeadm/fields.yaml.j2", &value)?);
        Ok(File { path: format!("{}/{name}", folder()), mode: "0600", text })
    };
    Ok(vec![
        file("admission.yaml", admission())?,
        file("audit-policy.yaml", audit_policy())?,
        file("encryption.yaml", encryption(key))?,
    ])
}

/// Pod Security admission (CIS 5.2): `baseline` for every namespace that does not say otherwise by its labels, `restricted` as a
/// warning. Events are limited, so that one broken client cannot fill etcd (CIS 1.2.9).
fn admission() -> Value {
    json!({
        "apiVersion": "apiserver.config.k8s.io/v1",
        "kind": "AdmissionConfiguration",
        "plugins": [
            {"name": "EventRateLimit", "configuration": {
                "apiVersion": "eventratelimit.admission.k8s.io/v1alpha1",
                "kind": "Configuration",
                "limits": [
                    {"type": "Server", "qps": 5000, "burst": 20000},
                    {"type": "SourceAndObject", "qps": 10, "burst": 50, "cacheSize": 4096},
                ],
            }},
            {"name": "PodSecurity", "configuration": {
                "apiVersion": "pod-security.admission.config.k8s.io/v1",
                "kind": "PodSecurityConfiguration",
                "defaults": {
                    "enforce": "baseline", "enforce-version": "latest",
                    "audit": "restricted", "audit-version": "latest",
                    "warn": "restricted", "warn-version": "latest",
                },
                "exemptions": {"usernames": [], "runtimeClasses": [], "namespaces": ["kube-system"]},
            }},
        ],
    })
}

/// CIS 3.2.1 and 3.2.2: who did what, without the contents of Secrets, ConfigMaps and tokens. Reads of the system's own
/// components, which are most of all requests, are left out.
fn audit_policy() -> Value {
    let core = |resources: &[&str]| json!([{"group": "", "resources": resources}]);
    json!({
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "omitStages": ["RequestReceived"],
        "rules": [
            {"level": "None", "nonResourceURLs": ["/healthz*", "/livez*", "/readyz*", "/version", "/openapi*"]},
            {"level": "None", "resources": core(&["events"])},
            {"level": "None", "resources": [{"group": "coordination.k8s.io", "resources": ["leases"]}]},
            {"level": "Metadata", "resources": [
                {"group": "", "resources": ["secrets", "configmaps", "serviceaccounts/token"]},
                {"group": "authentication.k8s.io", "resources": ["tokenreviews"]},
            ]},
            {"level": "None", "verbs": ["get", "list", "watch"], "userGroups": ["system:nodes"]},
            {"level": "None", "verbs": ["get", "list", "watch"], "users": [
                "system:apiserver", "system:kube-controller-manager", "system:kube-scheduler", "system:kube-proxy",
            ]},
            {"level": "None", "verbs": ["get", "list", "watch"], "userGroups": ["system:serviceaccounts:kube-system"]},
            {"level": "Request", "resources": core(&["pods/exec", "pods/attach", "pods/portforward", "pods/proxy", "services/proxy"])},
            {"level": "RequestResponse", "resources": [{"group": "rbac.authorization.k8s.io"}]},
            {"level": "Metadata"},
        ],
    })
}

/// XSalsa20-Poly1305 with a key that etcd never sees; `identity` reads what was written before there was encryption.
fn encryption(key: &Secret) -> Value {
    json!({
        "apiVersion": "apiserver.config.k8s.io/v1",
        "kind": "EncryptionConfiguration",
        "resources": [{
            "resources": ["secrets"],
            "providers": [
                {"secretbox": {"keys": [{"name": "key1", "secret": key.expose()}]}},
                {"identity": {}},
            ],
        }],
    })
}

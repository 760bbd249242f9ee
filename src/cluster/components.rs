//! What the spec says to Kubernetes' own components beyond what kubewright decides: kept as written, in the components' own words.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Fields of a component's configuration file, by the names of its API.
pub type Fields = serde_json::Map<String, serde_json::Value>;

/// Settings of the whole cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Components {
    pub api_server: Component,
    pub controller_manager: Component,
    pub scheduler: Component,
    /// etcd takes no volumes.
    pub etcd: Component,
    /// Of `KubeletConfiguration` (kubelet.config.k8s.io/v1beta1), for every machine.
    pub kubelet: Fields,
    /// Of `KubeProxyConfiguration` (kubeproxy.config.k8s.io/v1alpha1).
    pub kube_proxy: Fields,
    pub patches: Vec<Patch>,
    /// Names of kubeadm's preflight checks, in lower case, sorted; never `all`.
    pub ignore_preflight_errors: Vec<String>,
}

/// A static pod's settings, as kubeadm's `ClusterConfiguration` has them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Component {
    /// Flags without their dashes; they win over kubewright's own.
    pub extra_args: BTreeMap<String, String>,
    /// Needs `v1beta4`, so Kubernetes 1.31.
    pub extra_envs: BTreeMap<String, String>,
    pub extra_volumes: Vec<HostPath>,
}

/// `HostPathMount` of kubeadm.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostPath {
    pub name: String,
    pub host_path: String,
    pub mount_path: String,
    pub read_only: bool,
    /// `type` of Kubernetes' `hostPath`: `DirectoryOrCreate`, `File` and so on; empty: not checked.
    pub path_type: String,
}

/// One file of kubeadm's patches folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Patch {
    pub target: PatchTarget,
    pub kind: PatchKind,
    /// YAML or JSON, as it stands in the user's file.
    pub text: String,
}

macro_rules! words {
    ($(#[doc = $about:literal])* $name:ident { $($variant:ident = $word:literal),+ $(,)? }) => {
        $(#[doc = $about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
        pub enum $name { $(#[serde(rename = $word)] $variant),+ }

        impl $name {
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];
            pub const WORDS: &'static [&'static str] = &[$($word),+];

            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }
        }
    };
}

words! {
    /// What kubeadm can patch (`cmd/kubeadm/app/util/patches`).
    PatchTarget {
        Etcd = "etcd",
        ApiServer = "kube-apiserver",
        ControllerManager = "kube-controller-manager",
        Scheduler = "kube-scheduler",
        Kubelet = "kubeletconfiguration",
    }
}

words! {
    /// How a patch is to be read.
    PatchKind { Strategic = "strategic", Merge = "merge", Json = "json" }
}

/// What one group has for its own machines.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NodeSettings {
    /// Laid over the cluster's [`Components::kubelet`], field by field.
    pub kubelet: Fields,
    /// Flags of the kubelet, without their dashes.
    pub kubelet_args: BTreeMap<String, String>,
    pub patches: Vec<Patch>,
    pub ignore_preflight_errors: Vec<String>,
}

/// Lays `over` on `base`: objects are merged, anything else is replaced.
pub fn lay_over(base: &mut Fields, over: &Fields) {
    for (key, value) in over {
        match (base.get_mut(key), value) {
            (Some(serde_json::Value::Object(below)), serde_json::Value::Object(above)) => lay_over(below, above),
            _ => drop(base.insert(key.clone(), value.clone())),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_lies_above_wins_field_by_field() {
        let fields = |value: serde_json::Value| value.as_object().cloned().unwrap_or_default();
        let mut base = fields(json!({"a": {"b": 1, "c": [1, 2]}, "d": true}));
        lay_over(&mut base, &fields(json!({"a": {"c": [3], "e": null}, "d": {"f": 1}, "g": "x"})));
        assert_eq!(base, fields(json!({"a": {"b": 1, "c": [3], "e": null}, "d": {"f": 1}, "g": "x"})));
    }
}

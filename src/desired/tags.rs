//! Reserved tags: how a resource says whose it is. A spec that sets one of them is refused.

/// Keys that begin with this are kubewright's own.
pub const RESERVED_PREFIX: &str = "kubewright.io/";
/// The cluster's name.
pub const CLUSTER: &str = "kubewright.io/cluster";
/// The cluster's uid: identity, where the name is only a label.
pub const CLUSTER_UID: &str = "kubewright.io/cluster-uid";
/// A [`super::ResourceId`] in text form.
pub const RESOURCE: &str = "kubewright.io/resource";
/// Id of the create attempt that made the object.
pub const ATTEMPT: &str = "kubewright.io/attempt";
/// Digest of what an instance was made from (image, type, user-data, volume): differs from the desired one when it is behind.
pub const MADE_FROM: &str = "kubewright.io/made-from";

/// Name of an instance's group.
pub const GROUP: &str = "kubewright.io/instance-group";

/// Prefixes and keys that a spec's `tags` may not use: ours, AWS's, and those that Kubernetes reads.
pub fn is_reserved(key: &str) -> bool {
    key.starts_with(RESERVED_PREFIX)
        || key.to_ascii_lowercase().starts_with("aws:")
        || key == "Name"
        || key.starts_with("kubernetes.io/cluster/")
        || key.starts_with("kubernetes.io/role/")
}

//! Stub.
use crate::cluster::{Cluster, InstanceGroup};
pub fn user_data(_c: &Cluster, _g: &InstanceGroup) -> Result<String, String> { Ok("#cloud-config\n".into()) }

//! The user-data of an instance group's machines. Pure: the planner compares it with what instances have.

use crate::bootstrap::template;
use crate::cluster::{Cluster, InstanceGroup};

/// The text that cloud-init reads, `#cloud-config`. Holds nothing secret, and is the same for every machine of a group.
pub fn user_data(cluster: &Cluster, group: &InstanceGroup) -> Result<String, String> {
    let values = serde_json::json!({"cluster": cluster.name, "group": group.name});
    template::render("user-data.yaml.j2", &values)
}

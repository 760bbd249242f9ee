//! Changes of a spec that a live cluster cannot follow.

use crate::cluster::Components;
use crate::plan::planner::Planner;
use crate::recorded::NodePhase;

/// Refuses them one by one, with the old and the new value. Every field of the model is named here, so that a new one is decided on.
pub fn refuse_changes(planner: &mut Planner<'_>) {
    // Of a creation that did not finish, what exists already cannot be changed either.
    let recorded = planner.input.recorded;
    let begun = (!recorded.resources.is_empty()).then_some(&recorded.model);
    let Some(previous) = planner.input.previous.or(begun) else { return };
    let has_nodes = planner.input.previous.is_some() || recorded.nodes.values().any(|node| node.phase >= NodePhase::Serving);
    let cluster = planner.input.cluster;
    let crate::cluster::Cluster {
        name,
        kubernetes,
        region,
        zones: _,
        network,
        api,
        ssh: _,
        node_ports: _,
        groups,
        tags: _,
        packages: _,
        components,
        prevent_destroy: _,
        snapshots_kept: _,
    } = previous;
    let crate::cluster::Network { cidr, pods, services, cni, ports: _, topology } = network;
    let kind = |topology: &crate::cluster::Topology| match topology {
        crate::cluster::Topology::Public => "public",
        crate::cluster::Topology::Private { .. } => "private",
    };
    let text = ToString::to_string;
    let fixed: [(&str, String, String); 9] = [
        ("name", name.clone(), cluster.name.clone()),
        ("aws.region", region.clone(), cluster.region.clone()),
        ("network.cidr", text(cidr), text(&cluster.network.cidr)),
        ("network.pods", text(pods), text(&cluster.network.pods)),
        ("network.services", text(services), text(&cluster.network.services)),
        ("network.cni", cni.as_str().into(), cluster.network.cni.as_str().into()),
        ("network.topology", kind(topology).into(), kind(&cluster.network.topology).into()),
        ("api.dns_zone", api.dns_zone.clone(), cluster.api.dns_zone.clone()),
        ("api.sans", api.sans.join(", "), cluster.api.sans.join(", ")),
    ];
    for (field, was, is) in fixed {
        let in_nodes = ["network.pods", "network.services", "network.cni", "api.sans"].contains(&field);
        if was != is && (has_nodes || !in_nodes) {
            planner.error(
                format!("{field} cannot be changed in a live cluster: {was} -> {is}"),
                "set it back, or create another cluster",
            );
        }
    }
    let tables = changed(components, &cluster.components);
    if has_nodes && !tables.is_empty() {
        planner.error(
            format!("settings of components cannot be changed in a live cluster: {tables}"),
            "set them back; [kubelet] and [[patches]] can be set for an instance group instead",
        );
    }
    // The registered version is ahead of the applied one while an upgrade is under way.
    let under_way = planner.input.previous.map(|_| recorded.model.kubernetes).filter(|registered| registered != kubernetes);
    match under_way {
        Some(to) if has_nodes => planner.error(
            format!("an upgrade of Kubernetes {kubernetes} -> {to} is under way, which has to be finished first"),
            format!("kubewright upgrade {} --to {to} --yes", cluster.name),
        ),
        _ if has_nodes && *kubernetes != cluster.kubernetes => planner.error(
            format!("kubernetes {kubernetes} -> {} is an upgrade, which `update` does not do", cluster.kubernetes),
            format!("set it back to {kubernetes}; afterwards:  kubewright upgrade {} --to {}", cluster.name, cluster.kubernetes),
        ),
        _ => {}
    }
    for group in groups {
        if let Some(now) = cluster.group(&group.name)
            && now.role != group.role
        {
            planner.error(
                format!(
                    "instance group {}: the role cannot be changed: {} -> {}",
                    group.name,
                    group.role.as_str(),
                    now.role.as_str()
                ),
                "give the new group another name",
            );
        }
    }
}

/// Which tables of the spec differ.
fn changed(was: &Components, is: &Components) -> String {
    let Components {
        api_server,
        controller_manager,
        scheduler,
        etcd,
        kubelet,
        kube_proxy,
        patches,
        // It is about the machines to come.
        ignore_preflight_errors: _,
    } = was;
    let tables = [
        ("api_server", *api_server != is.api_server),
        ("controller_manager", *controller_manager != is.controller_manager),
        ("scheduler", *scheduler != is.scheduler),
        ("etcd", *etcd != is.etcd),
        ("kubelet", *kubelet != is.kubelet),
        ("kube_proxy", *kube_proxy != is.kube_proxy),
        ("patches", *patches != is.patches),
    ];
    tables.into_iter().filter(|(_, differs)| *differs).map(|(name, _)| name).collect::<Vec<_>>().join(", ")
}

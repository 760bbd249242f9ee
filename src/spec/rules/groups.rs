//! Instance groups: names, counts, what each role may have.

use std::collections::BTreeSet;

use crate::cluster::{Amount, Role, UpgradeBy};
use crate::spec::file::{GroupKeys, SpecFile};
use crate::spec::place::At;
use crate::spec::problem::{Code, Fault, Findings};
use crate::spec::read::List;

/// Machines of one cluster (kubernetes.io/docs/setup/best-practices/cluster-large).
const MOST_MACHINES: u64 = 5000;
/// AWS allows 50 tags on a resource; ten are for kubewright, Kubernetes and what else writes tags.
const MOST_TAGS: usize = 40;

pub(super) fn check(spec: &SpecFile, findings: &mut Findings) {
    let Some(groups) = &spec.instance_group else { return };
    names(&groups.value, findings);
    quorum(groups, findings);
    total(&groups.value, findings);
    for group in &groups.value.items {
        bastion(&group.value, findings);
        taints(&group.value, findings);
        rolling_update(&group.value, findings);
        tags(spec, &group.value, findings);
    }
}

fn names(groups: &List<GroupKeys>, findings: &mut Findings) {
    let mut seen = BTreeSet::new();
    for name in groups.values().filter_map(|keys| keys.name.as_ref()) {
        if !seen.insert(&name.value.0) {
            let fault = Fault::new(Code::DuplicateGroup, format!("a second instance group is called `{}`", name.value.0));
            findings.error(&name.span, fault.help("each group needs a name of its own"));
        }
    }
}

/// etcd needs a majority of its members, which are the control planes.
fn quorum(groups: &At<List<GroupKeys>>, findings: &mut Findings) {
    let all_read = groups.value.items.len() == groups.value.written && groups.value.values().all(|keys| keys.role.is_some());
    let planes: Vec<&GroupKeys> = groups.value.values().filter(|keys| is(keys, Role::ControlPlane)).collect();
    if !all_read || planes.iter().any(|keys| keys.count.is_none()) {
        return;
    }
    let count: u64 = planes.iter().filter_map(|keys| keys.count.as_ref()).map(|count| u64::from(count.value.0)).sum();
    let span = planes.last().and_then(|keys| keys.count.as_ref()).map_or(&groups.span, |count| &count.span);
    let fault = |message: String| Fault::new(Code::Quorum, message);
    match count {
        0 if planes.is_empty() => {
            let fault = fault("there is no control plane".into());
            findings.error(span, fault.help("add an [[instance_group]] with role = \"control-plane\" and count = 1, 3 or 5"));
        }
        0 => findings.error(span, fault("there is no control plane; use 1, 3 or 5".into())),
        8.. => findings.error(
            span,
            fault(format!("{count} control planes are too many: etcd gets slower with each; use 1, 3 or 5, at most 7")),
        ),
        even if even % 2 == 0 => {
            findings.error(
                span,
                fault(format!(
                    "{count} control planes {}; use 1, 3 or 5",
                    match even {
                        2 => "cannot keep quorum when one is lost",
                        _ => "survive no more losses than one fewer would",
                    }
                )),
            );
        }
        _ => {}
    }
}

fn total(groups: &List<GroupKeys>, findings: &mut Findings) {
    let mut sum = 0;
    for count in groups.values().filter_map(|keys| keys.count.as_ref()) {
        let before = sum;
        sum += u64::from(count.value.0);
        if before <= MOST_MACHINES && sum > MOST_MACHINES {
            let message =
                format!("with this group the cluster has more than {MOST_MACHINES} machines, the most that Kubernetes supports");
            findings.error(&count.span, Fault::new(Code::OutOfRange, message));
        }
    }
}

/// A bastion is no Kubernetes node.
fn bastion(keys: &GroupKeys, findings: &mut Findings) {
    if !is(keys, Role::Bastion) {
        return;
    }
    let fault = |message: &str, help: &str| Fault::new(Code::Bastion, message).help(help);
    if let Some(count) = keys.count.as_ref().filter(|count| count.value.0 == 0) {
        findings.error(
            &count.span,
            fault("a bastion group without machines would cut off SSH", "set count = 1, or remove the group"),
        );
    }
    if let Some(labels) = keys.labels.as_ref().filter(|labels| !labels.value.0.is_empty()) {
        findings.error(&labels.span, fault("a bastion is no Kubernetes node and has no labels", "leave `labels` out"));
    }
    if let Some(taints) = keys.taints.as_ref().filter(|taints| taints.value.written > 0) {
        findings.error(&taints.span, fault("a bastion is no Kubernetes node and has no taints", "leave `taints` out"));
    }
}

fn taints(keys: &GroupKeys, findings: &mut Findings) {
    let mut seen = BTreeSet::new();
    for taint in keys.taints.iter().flat_map(|taints| &taints.value.items) {
        if !seen.insert((&taint.value.key, taint.value.effect)) {
            let message = format!("a second taint has the key `{}` and this effect", taint.value.key);
            findings
                .error(&taint.span, Fault::new(Code::Taint, message).help("Kubernetes keeps one value for each key and effect"));
        }
    }
}

fn rolling_update(keys: &GroupKeys, findings: &mut Findings) {
    let Some(rolling) = keys.rolling_update.as_ref() else { return };
    let replaced = rolling.value.upgrade.as_ref().filter(|upgrade| upgrade.value == UpgradeBy::Replace);
    if let Some(upgrade) = replaced.filter(|_| is(keys, Role::ControlPlane)) {
        let message = "control planes are upgraded in place: one that joins takes the version of the cluster's kubeadm configuration, \
                       which only `kubeadm upgrade apply` on a control plane moves";
        let fault = Fault::new(Code::RollingUpdate, message);
        findings.error(&upgrade.span, fault.help("leave `upgrade` out, or write \"in-place\""));
    }
    let (Some(surge), Some(unavailable)) = (&rolling.value.max_surge, &rolling.value.max_unavailable) else { return };
    let none = |amount: Amount| matches!(amount, Amount::Count(0) | Amount::Percent(0));
    if none(surge.value) && none(unavailable.value) {
        let fault =
            Fault::new(Code::RollingUpdate, "with neither `max_surge` nor `max_unavailable` no machine could ever be replaced");
        findings.error(&surge.span, fault.help("set one of them to 1"));
    }
    let one_at_most = |amount: Amount| matches!(amount, Amount::Count(0 | 1));
    for amount in [surge, unavailable].into_iter().filter(|amount| is(keys, Role::ControlPlane) && !one_at_most(amount.value)) {
        let fault = Fault::new(Code::RollingUpdate, "control planes are replaced one at a time, or etcd could lose its quorum");
        findings.error(&amount.span, fault.help("write 0 or 1"));
    }
}

/// Machines carry the tags of the cluster and of their group.
fn tags(spec: &SpecFile, group: &GroupKeys, findings: &mut Findings) {
    let own = group.tags.as_ref();
    let maps = [spec.tags.as_ref(), own];
    let keys: BTreeSet<&str> =
        maps.into_iter().flatten().flat_map(|map| &map.value.0).map(|(key, _)| key.value.0.as_str()).collect();
    let place = own.filter(|own| !own.value.0.is_empty()).or(spec.tags.as_ref());
    if let Some(place) = place.filter(|_| keys.len() > MOST_TAGS) {
        let message = format!("{} tags are too many; {MOST_TAGS} are the most, those of cluster and group together", keys.len());
        findings.error(&place.span, Fault::new(Code::Tag, message));
    }
}

fn is(keys: &GroupKeys, role: Role) -> bool {
    keys.role.as_ref().is_some_and(|at| at.value == role)
}

//! Which disruption budgets keep which pods where they are.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::clean;

/// Pods of one node that one budget does not let go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Instance id: the name of the Node.
    pub node: String,
    /// `default/web`
    pub budget: String,
    pub pods: Vec<String>,
    /// `ReplicaSet web-7d4b9`
    pub owner: String,
    /// RFC 3339: since when it has allowed no disruption.
    pub since: Option<String>,
    /// All its pods are healthy, and still it allows none.
    pub never: bool,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct List<T> {
    items: Vec<T>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Meta {
    name: String,
    namespace: String,
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
    owner_references: Vec<Owner>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Owner {
    kind: String,
    name: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Budget {
    metadata: Meta,
    spec: BudgetSpec,
    status: BudgetStatus,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct BudgetSpec {
    selector: Option<Selector>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Selector {
    match_labels: BTreeMap<String, String>,
    match_expressions: Vec<Expression>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Expression {
    key: String,
    operator: String,
    values: Vec<String>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct BudgetStatus {
    disruptions_allowed: i64,
    current_healthy: i64,
    expected_pods: i64,
    conditions: Vec<Condition>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Condition {
    #[serde(rename = "type")]
    kind: String,
    last_transition_time: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Pod {
    metadata: Meta,
    spec: PodSpec,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct PodSpec {
    node_name: String,
}

impl Selector {
    /// Labels as Kubernetes selects by them; an operator that is not known matches, so that nothing is promised wrongly.
    fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.match_labels.iter().all(|(key, value)| labels.get(key) == Some(value))
            && self.match_expressions.iter().all(|expression| {
                let value = labels.get(&expression.key);
                match expression.operator.as_str() {
                    "In" => value.is_some_and(|value| expression.values.contains(value)),
                    "NotIn" => value.is_none_or(|value| !expression.values.contains(value)),
                    "Exists" => value.is_some(),
                    "DoesNotExist" => value.is_none(),
                    _ => true,
                }
            })
    }
}

/// Reads two lines: `kubectl get poddisruptionbudgets -A -o json` and `kubectl get pods -A -o json`. Pods of DaemonSets and static
/// pods are not evicted, so no budget keeps them (kubectl drain).
pub fn kept(text: &str) -> Result<Vec<Kept>, String> {
    let (budgets, pods) = text.split_once('\n').ok_or("budgets and pods were not told")?;
    let budgets: List<Budget> =
        serde_json::from_str(budgets).map_err(|error| format!("kubectl get poddisruptionbudgets: {error}"))?;
    let pods: List<Pod> = serde_json::from_str(pods).map_err(|error| format!("kubectl get pods: {error}"))?;
    let mut kept: BTreeMap<(String, String), Kept> = BTreeMap::new();
    for budget in budgets.items.iter().filter(|budget| budget.status.disruptions_allowed <= 0) {
        let Budget { metadata, spec, status } = budget;
        let Some(selector) = &spec.selector else { continue };
        let name = clean(&format!("{}/{}", metadata.namespace, metadata.name));
        let never = status.expected_pods > 0 && status.current_healthy >= status.expected_pods;
        let since = status.conditions.iter().find(|condition| condition.kind == "DisruptionAllowed");
        let since = since.and_then(|condition| condition.last_transition_time.clone());
        for pod in pods.items.iter().filter(|pod| pod.metadata.namespace == metadata.namespace) {
            let owner = pod.metadata.owner_references.first();
            let stays = owner.is_some_and(|owner| owner.kind == "DaemonSet")
                || pod.metadata.annotations.contains_key("kubernetes.io/config.mirror");
            if stays || pod.spec.node_name.is_empty() || !selector.matches(&pod.metadata.labels) {
                continue;
            }
            let owner = owner.map_or_else(|| "no owner".to_owned(), |owner| clean(&format!("{} {}", owner.kind, owner.name)));
            let node = clean(&pod.spec.node_name);
            let entry = kept.entry((node.clone(), name.clone())).or_insert_with(|| Kept {
                node,
                budget: name.clone(),
                pods: vec![],
                owner,
                since: since.clone(),
                never,
            });
            entry.pods.push(clean(&pod.metadata.name));
        }
    }
    Ok(kept.into_values().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_that_allows_nothing_is_named_with_its_pods_their_owner_and_since_when() {
        let budgets = r#"{"items":[
          {"metadata":{"name":"web","namespace":"default"},"spec":{"selector":{"matchLabels":{"app":"web"}}},
           "status":{"disruptionsAllowed":0,"currentHealthy":2,"expectedPods":2,"conditions":[{"type":"DisruptionAllowed","lastTransitionTime":"2026-01-01T00:00:00Z"}]}},
          {"metadata":{"name":"db","namespace":"default"},"spec":{"selector":{"matchExpressions":[{"key":"app","operator":"In","values":["db"]}]}},
           "status":{"disruptionsAllowed":1,"currentHealthy":3,"expectedPods":3}}]}"#;
        let pods = r#"{"items":[
          {"metadata":{"name":"web-1","namespace":"default","labels":{"app":"web"},"ownerReferences":[{"kind":"ReplicaSet","name":"web-7d4b9"}]},"spec":{"nodeName":"i-1"}},
          {"metadata":{"name":"web-2","namespace":"default","labels":{"app":"web"},"ownerReferences":[{"kind":"DaemonSet","name":"web"}]},"spec":{"nodeName":"i-1"}},
          {"metadata":{"name":"web-3","namespace":"other","labels":{"app":"web"}},"spec":{"nodeName":"i-1"}},
          {"metadata":{"name":"db-0","namespace":"default","labels":{"app":"db"}},"spec":{"nodeName":"i-1"}}]}"#;
        let kept = kept(&format!("{}\n{}", budgets.replace('\n', ""), pods.replace('\n', ""))).unwrap();
        let want = Kept {
            node: "i-1".into(),
            budget: "default/web".into(),
            pods: vec!["web-1".into()],
            owner: "ReplicaSet web-7d4b9".into(),
            since: Some("2026-01-01T00:00:00Z".into()),
            never: true,
        };
        assert_eq!(kept, [want]);
        assert!(super::kept("").is_err() && super::kept("{}\n[").is_err());
    }
}

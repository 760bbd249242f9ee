//! A plan as a file: what a dry run prints as JSON, what `--plan-out` writes and `--plan` reads.
//!
//! The checksum is the SHA-256 of the document's own text with 64 zeros where the checksum stands. It guards against damage and
//! careless edits; that the plan is applied exactly is made sure of by making it again and comparing.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::cluster::Cluster;
use crate::desired::tags;
use crate::digest::sha256;
use crate::observed::{Observed, RecordSet, SecurityGroup};
use crate::plan::deletion::owned_names;
use crate::plan::found::Tagged;
use crate::plan::{Plan, Totals};

/// The format that this build reads and writes. It is raised when a field is renamed, removed, or means something else.
pub const FORMAT: u32 = 1;

const CHECKSUM: &str = "\"checksum\": \"";
const NO_CHECKSUM: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// A plan with all that it was made from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Document {
    /// Version of this layout.
    pub format: u32,
    /// SHA-256 of this document with zeros in its place.
    pub checksum: String,
    /// Version of the kubewright that made the plan; only the same version applies it.
    pub kubewright: String,
    pub command: Command,
    pub basis: Basis,
    pub plan: Plan,
    pub totals: Totals,
    /// Where the state is.
    pub state: String,
}

/// The command that made the plan, and applies it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Command {
    Create,
    Update,
}

/// What must be as it was for the plan to be applied.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Basis {
    /// The spec file; null: the registered spec.
    pub spec: Option<SpecBasis>,
    /// SHA-256 of the cluster that the spec means: with the keys, patches and bundle that it points to.
    pub cluster: String,
    /// Account id.
    pub account: String,
    /// Of the state; null: there was none.
    pub lineage: Option<String>,
    /// Of the state; 0: there was none.
    pub serial: u64,
    /// Digest of each object of the cluster in the account, by kind and AWS id.
    pub objects: BTreeMap<String, String>,
}

/// A spec file as it was read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SpecBasis {
    /// As it was typed.
    pub file: String,
    /// SHA-256 of its bytes.
    pub sha256: String,
}

/// Why bytes are no plan that this build can apply.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoPlan {
    #[error("it is cut short or not JSON ({0})")]
    NotJson(String),
    #[error("it was written by a newer kubewright: format {0}, this one reads {FORMAT}")]
    Newer(u64),
    #[error("it is no plan of kubewright ({0})")]
    Shape(String),
    #[error("its checksum is not that of its content: it was edited or damaged")]
    Checksum,
}

#[derive(Deserialize)]
struct Format {
    format: u64,
}

impl Document {
    /// The document as it is written: pretty-printed JSON with its checksum, a newline at the end.
    pub fn render(&self) -> Result<String, serde_json::Error> {
        let blank = Self { checksum: NO_CHECKSUM.into(), ..self.clone() };
        let mut text = serde_json::to_string_pretty(&blank)?;
        text.push('\n');
        let checksum = sha256(&text);
        Ok(text.replacen(&format!("{CHECKSUM}{NO_CHECKSUM}"), &format!("{CHECKSUM}{checksum}"), 1))
    }

    /// With the checksum of its content.
    pub fn sealed(self) -> Result<Self, serde_json::Error> {
        let text = self.render()?;
        let checksum = text.split_once(CHECKSUM).and_then(|(_, rest)| rest.get(..NO_CHECKSUM.len())).unwrap_or_default();
        Ok(Self { checksum: checksum.to_owned(), ..self })
    }

    /// Reads what [`Document::render`] wrote, and nothing else.
    pub fn read(bytes: &[u8]) -> Result<Self, NoPlan> {
        // The format first: a newer one may have another checksum and other fields.
        let Format { format } = match serde_json::from_slice(bytes) {
            Ok(format) => format,
            Err(error) if error.is_data() => return Err(NoPlan::Shape(error.to_string())),
            Err(error) => return Err(NoPlan::NotJson(error.to_string())),
        };
        if format > u64::from(FORMAT) {
            return Err(NoPlan::Newer(format));
        }
        let text = std::str::from_utf8(bytes).map_err(|error| NoPlan::NotJson(error.to_string()))?;
        let (head, rest) = text.split_once(CHECKSUM).ok_or(NoPlan::Checksum)?;
        let (checksum, tail) = rest.split_at_checked(NO_CHECKSUM.len()).ok_or(NoPlan::Checksum)?;
        if checksum != sha256([head, CHECKSUM, NO_CHECKSUM, tail].concat()) {
            return Err(NoPlan::Checksum);
        }
        let document: Self = serde_json::from_str(text).map_err(|error| NoPlan::Shape(error.to_string()))?;
        if document.format != FORMAT {
            return Err(NoPlan::Shape(format!("format {format}")));
        }
        Ok(document)
    }

    /// What differs in `now`, a plan made anew, in the words of a reader; nothing: it is the same plan, byte for byte but for
    /// warnings, which depend on the world outside of the account.
    pub fn moved(&self, now: &Self) -> Vec<String> {
        let mut moved = vec![];
        if self.kubewright != now.kubewright {
            moved.push(format!("kubewright: {} made the plan, this is {}", self.kubewright, now.kubewright));
        }
        moved.extend(self.basis.spec_moved(&now.basis));
        moved.extend(self.basis.state_moved(&now.basis));
        if now.basis.lineage.is_none() && self.state != now.state {
            moved.push(format!("state: it was to be in {}, now in {}", self.state, now.state));
        }
        if self.basis.account != now.basis.account {
            moved.push(format!("account: it was {}, now it is {}", self.basis.account, now.basis.account));
        }
        moved.extend(self.basis.objects_moved(&now.basis));
        if moved.is_empty() {
            moved.extend(actions_moved(&self.plan, &now.plan));
        }
        moved
    }
}

impl Basis {
    fn spec_moved(&self, now: &Self) -> Option<String> {
        let moved = match (&self.spec, &now.spec) {
            (Some(was), Some(is)) if was.sha256 != is.sha256 => format!("{} is not as it was", is.file),
            (Some(_), Some(_)) | (None, None) if self.cluster != now.cluster => {
                "what it points to (keys, patches, packages) or means is not as it was".to_owned()
            }
            (Some(was), None) => format!("the plan is of {}, not of the registered spec", was.file),
            (None, Some(is)) => format!("the plan is of the registered spec, not of {}", is.file),
            (Some(_), Some(_)) | (None, None) => return None,
        };
        Some(format!("spec: {moved}"))
    }

    /// What can be said before the account is read.
    pub fn state_moved(&self, now: &Self) -> Option<String> {
        let moved = match (&self.lineage, &now.lineage) {
            (None, Some(_)) => "the cluster was registered meanwhile".to_owned(),
            (Some(_), None) => "there is none any more".to_owned(),
            (Some(was), Some(is)) if was != is => "it is that of another cluster of this name".to_owned(),
            _ if self.serial != now.serial => {
                format!("it was written meanwhile: serial {}, now {}", self.serial, now.serial)
            }
            _ => return None,
        };
        Some(format!("state: {moved}"))
    }

    fn objects_moved(&self, now: &Self) -> Vec<String> {
        let mut moved = vec![];
        for (object, was) in &self.objects {
            match now.objects.get(object) {
                None => moved.push(format!("account: {object} is gone")),
                Some(is) if is != was => moved.push(format!("account: {object} was changed")),
                Some(_) => {}
            }
        }
        let new = now.objects.keys().filter(|object| !self.objects.contains_key(*object));
        moved.extend(new.map(|object| format!("account: {object} is new")));
        moved
    }
}

fn actions_moved(was: &Plan, is: &Plan) -> Vec<String> {
    let blank = |plan: &Plan| Plan { warnings: vec![], ..plan.clone() };
    let text = |plan: &Plan| serde_json::to_string(plan).unwrap_or_default();
    if text(&blank(was)) == text(&blank(is)) {
        return vec![];
    }
    let mut moved = vec![];
    for (key, image) in &was.images {
        if let Some(now) = is.images.get(key).filter(|now| *now != image) {
            moved.push(format!("images: {key} was {} and is {} now", image.id, now.id));
        }
    }
    let of = |plan: &'_ Plan| plan.actions.iter().map(|action| (action.id.clone(), action.clone())).collect::<BTreeMap<_, _>>();
    let (before, now) = (of(was), of(is));
    for (id, action) in &before {
        match now.get(id) {
            None => moved.push(format!("plan: `{id}` is not called for any more")),
            Some(other) if other != action => moved.push(format!("plan: `{id}` is another one now")),
            Some(_) => {}
        }
    }
    moved.extend(now.keys().filter(|id| !before.contains_key(*id)).map(|id| format!("plan: `{id}` is called for as well")));
    if moved.is_empty() {
        moved.push("plan: it comes out differently now".to_owned());
    }
    moved
}

/// The JSON Schema of a document, made from the types.
pub fn schema() -> Value {
    let mut schema = schemars::schema_for!(Document).to_value();
    if let Some(root) = schema.as_object_mut() {
        root.insert("$id".into(), format!("urn:kubewright:plan:{FORMAT}").into());
        root.insert("title".into(), "kubewright plan".into());
    }
    schema
}

/// A name for what a spec means.
pub fn of_cluster(cluster: &Cluster) -> String {
    sha256(serde_json::to_string(cluster).unwrap_or_default())
}

/// What the account holds of the cluster, object by object. Objects on their way out, and those of others, do not count.
pub fn of_objects(observed: &Observed, cluster: &str) -> BTreeMap<String, String> {
    let Observed {
        vpcs,
        subnets,
        internet_gateways,
        nat_gateways,
        addresses,
        route_tables,
        security_groups,
        key_pairs,
        instances,
        hosted_zones,
        records,
    } = observed;
    let mut all = BTreeMap::new();
    each(&mut all, "VPC", vpcs);
    each(&mut all, "subnet", subnets);
    each(&mut all, "internet gateway", internet_gateways);
    each(&mut all, "NAT gateway", nat_gateways);
    each(&mut all, "address", addresses);
    each(&mut all, "route table", route_tables);
    // Groups of others are listed with those of the VPC.
    let ours = |group: &&SecurityGroup| group.tags.contains_key(tags::CLUSTER_UID) || group.name == "default";
    each(&mut all, "security group", security_groups.iter().filter(ours));
    each(&mut all, "key pair", key_pairs);
    each(&mut all, "instance", instances);
    all.extend(hosted_zones.iter().map(|zone| (format!("hosted zone {}", zone.id), short(zone))));
    let names = owned_names(cluster);
    let ours = |record: &&RecordSet| names.contains(&record.name);
    all.extend(records.iter().filter(ours).map(|record| (format!("record {} {}", record.name, record.kind), short(record))));
    all
}

fn each<'a, T: Tagged + Serialize + 'a>(
    all: &mut BTreeMap<String, String>,
    kind: &str,
    objects: impl IntoIterator<Item = &'a T>,
) {
    let live = objects.into_iter().filter(|object| object.live());
    all.extend(live.map(|object| (format!("{kind} {}", object.id()), short(object))));
}

fn short(object: &impl Serialize) -> String {
    let value = sorted(serde_json::to_value(object).unwrap_or_default());
    sha256(value.to_string()).get(..16).unwrap_or_default().to_owned()
}

/// Listings promise no order of what is inside of an object.
fn sorted(value: Value) -> Value {
    match value {
        Value::Array(values) => {
            let mut values: Vec<Value> = values.into_iter().map(sorted).collect();
            values.sort_by_cached_key(ToString::to_string);
            Value::Array(values)
        }
        Value::Object(fields) => Value::Object(fields.into_iter().map(|(key, value)| (key, sorted(value))).collect()),
        other => other,
    }
}

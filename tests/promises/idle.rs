//! After an apply there is nothing to do, for random specs and random edits of them; and the same plan has the same bytes (P7).

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use kubewright::cli::outside::Outside as _;
use kubewright::cli::spec_files::DiskFiles;
use kubewright::cloud::fake::draw;
use kubewright::operation::{Env, SpecFile, UpdateRequest, apply_update, prepare_update};
use kubewright::spec;
use tokio_util::sync::CancellationToken;

use crate::gate::{Gate, Script};
use crate::rig::{Rig, Start};
use crate::tally::{Tally, wanted};

/// Draws of one spec.
struct Dice {
    seed: u64,
    throws: u64,
}

impl Dice {
    fn upto(&mut self, sides: usize) -> usize {
        self.throws += 1;
        let drawn = draw(self.seed, &[&self.throws.to_string()]) * sides as f64;
        (drawn as usize).min(sides - 1)
    }

    fn one<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.upto(of.len())]
    }
}

/// What stays for the life of a cluster, and what an edit may change.
fn text(fixed: &mut Dice, free: &mut Dice) -> String {
    let zones = fixed.upto(3) + 1;
    let zones: Vec<String> = ["a", "b", "c"].iter().take(zones).map(|zone| format!("\"us-east-1{zone}\"")).collect();
    let private = fixed.upto(3) == 0;
    let planes = [1, 1, 3][fixed.upto(3)];
    let cni = fixed.one(&["calico", "none", "flannel"]);
    let access = ["203.0.113.0/24", "198.51.100.0/24", "192.0.2.7/32"];
    let some = |dice: &mut Dice| {
        let first = dice.upto(3);
        let many = dice.upto(3 - first) + 1;
        access[first..first + many].iter().map(|cidr| format!("\"{cidr}\"")).collect::<Vec<_>>().join(", ")
    };
    // What some pod networks open anyway, and ranges that overlap, among them.
    let ports = ["4789/udp", "8472/udp", "10250/tcp", "9000-9100/tcp", "9050-9200/tcp", "icmp", "ipip", "all"];
    let ports: Vec<String> = ports.iter().filter(|_| free.upto(4) == 0).map(|entry| format!("\"{entry}\"")).collect();
    let network = format!("cni = \"{cni}\", ports = [{}]", ports.join(", "));
    let mut out = String::from("schema = 1\nname = \"demo.k8s.example.com\"\nkubernetes = \"1.34.2\"\n");
    let _ = writeln!(out, "tags = {{ team = \"{}\" }}", free.one(&["blue", "red", "a b", "x=y"]));
    let _ = writeln!(out, "aws = {{ region = \"us-east-1\", zones = [{}] }}", zones.join(", "));
    let _ = match private {
        true => {
            writeln!(out, "network = {{ {network}, topology = \"private\", nat = \"{}\" }}", free.one(&["one", "per-zone"]))
        }
        false => writeln!(out, "network = {{ {network} }}"),
    };
    let _ = writeln!(out, "api = {{ dns_zone = \"k8s.example.com\", access = [{}] }}", some(free));
    let _ = writeln!(out, "[ssh]\npublic_key = \"{}\"\naccess = [{}]", crate::world::KEY, some(free));
    if free.upto(2) == 0 {
        let _ = writeln!(out, "[node_ports]\naccess = [{}]", some(free));
    }
    if private {
        out += "[[instance_group]]\nname = \"bastion\"\nrole = \"bastion\"\ncount = 1\nzones = [\"us-east-1a\"]\nmachine_type = \"t3.micro\"\nimage = \"debian-12\"\n";
    }
    let _ = writeln!(
        out,
        "[[instance_group]]\nname = \"control-plane\"\nrole = \"control-plane\"\ncount = {planes}\nmachine_type = \"t3.medium\"\nimage = \"debian-12\""
    );
    for group in 0..=free.upto(2) {
        let _ = writeln!(
            out,
            "[[instance_group]]\nname = \"nodes-{group}\"\nrole = \"node\"\ncount = {}\nmachine_type = \"t3.large\"\nimage = \"debian-13\"",
            free.upto(4)
        );
        let _ = writeln!(out, "labels = {{ tier = \"{}\" }}", free.one(&["general", "batch"]));
        if free.upto(3) == 0 {
            let _ = writeln!(out, "taints = [\"dedicated={}:NoSchedule\"]", free.one(&["web", "db"]));
        }
        let _ = writeln!(out, "tags = {{ owner = \"{}\" }}", free.one(&["ops", "dev"]));
    }
    out
}

fn request(text: &str, create: bool) -> Result<UpdateRequest, String> {
    let loaded = spec::load(Path::new("random.toml"), text.as_bytes(), Path::new("/"), &DiskFiles);
    let loaded = loaded.map_err(|problems| format!("{}\n{text}", problems.render(100, false)))?;
    Ok(UpdateRequest {
        name: None,
        spec: Some(SpecFile { file: "random.toml".into(), bytes: text.as_bytes().to_vec(), cluster: loaded.cluster }),
        create,
        saved: None,
    })
}

async fn applied(env: &Env, text: &str, create: bool) -> Result<(), String> {
    let request = request(text, create)?;
    let stop = CancellationToken::new();
    let report =
        apply_update(env, &request, Arc::new(|_| {}), stop, &|_| {}).await.map_err(|error| format!("{error:?}\n{text}"))?;
    if !report.outcome.is_complete() {
        return Err(format!("{:?}\n{text}", report.outcome.failed));
    }
    let look = UpdateRequest { create: false, ..request };
    let mut bytes = vec![];
    for _ in 0..2 {
        let prepared = prepare_update(env, &look).await.map_err(|error| format!("{error:?}\n{text}"))?;
        if !prepared.plan.is_empty() || !prepared.plan.errors.is_empty() {
            let ids: Vec<_> = prepared.plan.actions.iter().map(|action| &action.id).collect();
            return Err(format!("there is more to do: {ids:?} {:?}\n{text}", prepared.plan.errors));
        }
        bytes.push(serde_json::to_vec(&prepared.plan).map_err(|error| error.to_string())?);
    }
    if bytes[0] != bytes[1] { Err(format!("two plans of one cluster differ\n{text}")) } else { Ok(()) }
}

/// Random specs, each applied and then edited so often: a test each.
pub const PARTS: u64 = 4;
const EDITS: u64 = 10;
/// Of one part; `KUBEWRIGHT_SPECS` gives another number of all applies.
const CLUSTERS: u64 = 50;

pub async fn p7(part: u64) -> Tally {
    let asked = std::env::var("KUBEWRIGHT_SPECS").ok().and_then(|number| number.parse::<u64>().ok());
    let clusters = asked.map_or(CLUSTERS, |number| number.div_ceil(PARTS * EDITS));
    let mut tally = Tally::default();
    for seed in (0..clusters).map(|n| n * PARTS + part) {
        if !wanted(&format!("p7 {seed}")) {
            continue;
        }
        let rig = Rig::at(&Start::empty(seed)).await;
        rig.world.cloud.set_options(|options| {
            *options = kubewright::cloud::fake::Options { vpc_quota: 50, address_quota: 50, ..Default::default() }
        });
        let process = rig.process(Gate::new(Script::default()));
        let location = "memory://".parse().unwrap_or_else(|_| "file://state".parse().expect("a location"));
        let env = process.env(&location, "update --yes").await.expect("an environment");
        for edit in 0..EDITS {
            let point = format!("p7 {seed} {edit}");
            // The same for every edit of a cluster.
            let mut fixed = Dice { seed, throws: 0 };
            let mut free = Dice { seed, throws: 1000 * (edit + 1) };
            let text = text(&mut fixed, &mut free);
            let broken = applied(&env, &text, edit == 0).await.err();
            let ended = broken.is_some();
            tally.point(&point, broken);
            if ended {
                break;
            }
        }
    }
    tally
}

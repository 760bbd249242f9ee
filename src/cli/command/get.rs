//! `get clusters`, `get instance-groups`, `get instances`.

use serde::Serialize;

use crate::cli::args::{GetArgs, Kind, Output};
use crate::cli::render::table::Table;
use crate::cli::render::words;
use crate::cli::session::{Refusal, Session};
use crate::cluster::Image;
use crate::desired::ResourceId;
use crate::operation::{ClusterSummary, Env, InstanceRow, clusters, instances};
use crate::report::exit;

pub async fn run(session: &Session<'_>, args: GetArgs) -> Result<u8, Refusal> {
    let env = session.env().await?;
    let name = session.cluster(args.cluster.as_deref());
    match args.kind {
        Kind::Clusters => list_clusters(session, &env, args.cluster.as_deref()).await?,
        Kind::InstanceGroups => list_groups(session, &env, name.as_deref()).await?,
        Kind::Instances => {
            let rows = instances(&env, name.as_deref()).await?;
            let wide = session.global.output == Output::Wide;
            session.show(&rows, || instance_table(&rows, wide).page())?;
        }
    }
    Ok(exit::DONE)
}

async fn list_clusters(session: &Session<'_>, env: &Env, only: Option<&str>) -> Result<(), Refusal> {
    let mut rows = clusters(env).await?;
    if let Some(name) = only {
        rows.retain(|row| row.name == name);
        if rows.is_empty() {
            return Err(env.unknown(name).await?.into());
        }
    }
    if rows.is_empty() && session.is_for_people() {
        session.say(&format!("There is no cluster in {}.", env.objects.location()));
        session.next("Next:", "kubewright create cluster -f FILE", None);
        return Ok(());
    }
    session.show(&rows, || cluster_table(&rows, session.global.output == Output::Wide).page())
}

fn cluster_table(rows: &[ClusterSummary], wide: bool) -> Table {
    let mut headings = vec!["NAME", "REGION", "KUBERNETES", "MACHINES", "STATE"];
    if wide {
        headings.extend(["REVISION", "LOCKED BY"]);
    }
    let mut table = Table::new(&headings);
    for row in rows {
        let ClusterSummary { name, region, kubernetes, control_planes, nodes, revision, state, locked_by } = row;
        let state = if locked_by.is_some() { format!("{state}, locked") } else { state.clone() };
        let machines = format!("{control_planes} + {nodes}");
        let mut cells = vec![name.clone(), region.clone(), kubernetes.clone(), machines, state];
        if wide {
            cells.extend([revision.to_string(), locked_by.clone().unwrap_or_default()]);
        }
        table.row(cells);
    }
    table
}

#[derive(Serialize)]
struct GroupRow {
    name: String,
    role: String,
    /// Machines that the state knows.
    have: usize,
    want: u32,
    machine_type: String,
    image: String,
    volume_gib: u32,
    zones: Vec<String>,
}

async fn list_groups(session: &Session<'_>, env: &Env, name: Option<&str>) -> Result<(), Refusal> {
    let name = env.name(name).await?;
    let (_, held) = env.held(&name).await?;
    let (state, model) = (&held.state, &held.state.model);
    let names: Vec<&str> = model.groups.iter().map(|group| group.name.as_str()).collect();
    let of_slot = |resource: &ResourceId| match resource {
        ResourceId::Instance(slot) => words::group_of(slot, &model.region, names.iter().copied()),
        _ => None,
    };
    let rows: Vec<GroupRow> = model
        .groups
        .iter()
        .map(|group| GroupRow {
            name: group.name.clone(),
            role: group.role.as_str().into(),
            have: state.resources.keys().filter(|resource| of_slot(resource) == Some(&group.name)).count(),
            want: group.count,
            machine_type: group.machine_type.clone(),
            image: match &group.image {
                Image::Alias(alias) => alias.as_str().into(),
                Image::Ami(id) => id.clone(),
            },
            volume_gib: group.volume.size_gib,
            zones: group.zones.clone(),
        })
        .collect();
    session.show(&rows, || group_table(&rows, session.global.output == Output::Wide).page())
}

fn group_table(rows: &[GroupRow], wide: bool) -> Table {
    let mut headings = vec!["NAME", "ROLE", "MACHINES", "MACHINE-TYPE", "IMAGE"];
    if wide {
        headings.extend(["VOLUME", "ZONES"]);
    }
    let mut table = Table::new(&headings);
    for row in rows {
        let GroupRow { name, role, have, want, machine_type, image, volume_gib, zones } = row;
        let mut cells = vec![name.clone(), role.clone(), format!("{have} of {want}"), machine_type.clone(), image.clone()];
        if wide {
            cells.extend([format!("{volume_gib} GiB"), zones.join(",")]);
        }
        table.row(cells);
    }
    table
}

/// Without wide it fits 80 columns: the name tells group, role and zone.
fn instance_table(rows: &[InstanceRow], wide: bool) -> Table {
    let mut headings = vec!["NAME", "ID", "STATE", "NODE", "PRIVATE-IP"];
    if wide {
        headings.extend(["PUBLIC-IP", "GROUP", "ROLE", "ZONE", "MACHINE-TYPE", "IMAGE", "LAUNCHED"]);
    }
    let mut table = Table::new(&headings);
    for row in rows {
        let InstanceRow {
            slot,
            group,
            role,
            id,
            state,
            node,
            zone,
            machine_type,
            image,
            private_address,
            public_address,
            launched,
        } = row;
        let mut cells: Vec<String> = [slot, id, state, node, private_address].map(Clone::clone).to_vec();
        if wide {
            cells.extend([public_address, group, role, zone, machine_type, image, launched].map(Clone::clone));
        }
        table.row(cells);
    }
    table
}

//! `recover`.

use std::path::Path;

use serde_json::json;

use crate::cli::args::{RecoverArgs, cluster_in};
use crate::cli::session::{Refusal, Session};
use crate::cli::spec_files::DiskFiles;
use crate::cli::text::{Page, count};
use crate::operation::{Env, Recovery, SpecFile, apply_recover, prepare_recover, registered_spec};
use crate::report::{Trouble, exit};
use crate::spec;

pub async fn run(session: &Session<'_>, args: RecoverArgs) -> Result<u8, Refusal> {
    let given = cluster_in(&args.words).map_err(Refusal::Usage)?;
    let env = session.env().await?;
    let spec = spec(session, &env, given, args.file.as_deref()).await?;
    let file = args.file.as_ref().map(|file| format!(" -f {}", file.display())).unwrap_or_default();
    let name = spec.cluster.name.clone();
    let recovery = if args.yes { apply_recover(&env, &spec).await? } else { prepare_recover(&env, &spec).await? };
    session.show(&value(&recovery, args.yes), || page(session, &recovery, args.yes))?;
    match args.yes {
        true => session.next("Next:", &format!("kubewright update {name}"), Some("shows what is missing or differs")),
        false => {
            session.next("Nothing was changed. To record this:", &format!("kubewright recover {name}{file} --yes"), None);
        }
    }
    Ok(exit::DONE)
}

/// Of the file, or the one that the store has registered.
async fn spec(session: &Session<'_>, env: &Env, given: Option<&str>, file: Option<&Path>) -> Result<SpecFile, Refusal> {
    if let Some(file) = file {
        let spec = session.spec(file)?;
        return match given {
            Some(name) if name != spec.cluster.name => {
                Err(Refusal::Usage(format!("{} is the spec of {}", file.display(), spec.cluster.name)))
            }
            _ => Ok(spec),
        };
    }
    let name = env.name(session.cluster(given).as_deref()).await?;
    let Some(bytes) = registered_spec(env, &name).await? else {
        let next = format!("kubewright recover {name} -f FILE");
        return Err(Trouble::new(format!("the store has no spec of {name}")).row("next", next).into());
    };
    // What the spec points to is looked up from here: where it was written, the store does not know.
    let here = std::env::current_dir().unwrap_or_default();
    let label = format!("{}/{name}/spec.toml", env.objects.location());
    let loaded = spec::load(Path::new(&label), &bytes, &here, &DiskFiles).map_err(Refusal::Spec)?;
    Ok(SpecFile { bytes, cluster: loaded.cluster, file: label })
}

fn value(recovery: &Recovery, done: bool) -> serde_json::Value {
    let resources = &recovery.state.resources;
    json!({
        "cluster": recovery.cluster,
        "uid": recovery.uid,
        "account": recovery.account.id,
        "state": recovery.location,
        "revision": recovery.state.revision,
        "resources": resources.iter().map(|(resource, record)| (resource.to_string(), record.id.clone())).collect::<std::collections::BTreeMap<_, _>>(),
        "damaged": recovery.damaged,
        "set_aside": recovery.set_aside,
        "unknown_machines": recovery.unknown,
        "recorded": done,
    })
}

fn page(session: &Session<'_>, recovery: &Recovery, done: bool) -> Page {
    let mut page = session.ui.page();
    let kinds = recovery.kinds();
    let found = kinds.iter().map(|(kind, number)| count(*number, kind)).collect::<Vec<_>>().join(", ");
    let title = if done { "The state was made anew" } else { "The state can be made anew" };
    page.flow(0, 2, vec![format!("{title}: {}  account {}", recovery.cluster, recovery.account.id).into()]);
    page.labelled(2, 10, "state", vec![recovery.location.clone().into()]);
    page.labelled(2, 10, "uid", vec![recovery.uid.clone().into()]);
    page.labelled(2, 10, "spec", vec![format!("revision {}", recovery.state.revision).into()]);
    page.labelled(2, 10, "found", vec![found.into()]);
    if let Some(why) = &recovery.damaged {
        page.labelled(2, 10, "damaged", vec![format!("the state that is there: {why}").into()]);
    }
    if let Some(place) = &recovery.set_aside {
        page.labelled(2, 10, "kept", vec![place.clone().into()]);
    }
    if !recovery.unknown.is_empty() {
        let text = format!("no control plane answers; update will look at {} itself", count(recovery.unknown.len(), "machine"));
        page.labelled(2, 10, "unknown", vec![text.into()]);
    }
    page
}

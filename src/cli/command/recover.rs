//! `recover`.

use std::path::Path;

use serde_json::json;

use crate::cli::args::{RecoverArgs, cluster_in};
use crate::cli::session::{Refusal, Session};
use crate::cli::spec_files::DiskFiles;
use crate::cli::text::{Page, count};
use crate::operation::{
    Env, Recovery, Sources, SpecFile, apply_recover, earlier_states, prepare_recover, registered_specs, restore_previous,
};
use crate::report::{Trouble, exit};
use crate::spec::{self, Problems};

pub async fn run(session: &Session<'_>, args: RecoverArgs) -> Result<u8, Refusal> {
    let given = cluster_in(&args.words).map_err(Refusal::Usage)?;
    let env = session.env().await?;
    if args.previous {
        return previous(session, &env, given, args.yes).await;
    }
    let sources = sources(session, &env, given, args.file.as_deref()).await?;
    let file = args.file.as_ref().map(|file| format!(" -f {}", file.display())).unwrap_or_default();
    let name = sources.spec.cluster.name.clone();
    let recovery = if args.yes { apply_recover(&env, &sources).await? } else { prepare_recover(&env, &sources).await? };
    session.show(&value(&recovery, args.yes), || page(session, &recovery, args.yes))?;
    match args.yes {
        true => session.next("Next:", &format!("kubewright update {name}"), Some("shows what is missing or differs")),
        false => {
            session.next("Nothing was changed. To record this:", &format!("kubewright recover {name}{file} --yes"), None);
        }
    }
    Ok(exit::DONE)
}

async fn previous(session: &Session<'_>, env: &Env, given: Option<&str>, yes: bool) -> Result<u8, Refusal> {
    let name = env.name(session.cluster(given).as_deref()).await?;
    let earlier = match yes {
        true => restore_previous(env, &name).await?,
        false => match earlier_states(env, &name).await?.into_iter().next() {
            Some(earlier) => earlier,
            None => {
                let next = format!("kubewright recover {name}");
                return Err(Trouble::new(format!("no earlier state of {name} is kept")).row("next", next).into());
            }
        },
    };
    let value = json!({ "cluster": name, "serial": earlier.serial, "written": earlier.written.to_string(), "by": earlier.writer, "restored": yes });
    session.show(&value, || {
        let mut page = session.ui.page();
        let verb = if yes { "was put back" } else { "can be put back" };
        page.flow(0, 2, vec![format!("The state of {name} {verb}: serial {}", earlier.serial).into()]);
        page.labelled(2, 10, "written", vec![earlier.written.strftime("%F %TZ").to_string().into()]);
        page.labelled(2, 10, "by", vec![earlier.writer.clone().into()]);
        page
    })?;
    match yes {
        true => session.next("Next:", &format!("kubewright update {name}"), Some("finds by their tags what was made since")),
        false => {
            session.next("Nothing was changed. To put it back:", &format!("kubewright recover {name} --previous --yes"), None)
        }
    }
    Ok(exit::DONE)
}

/// The spec is that of the file, or the one that the store has registered last.
async fn sources(session: &Session<'_>, env: &Env, given: Option<&str>, file: Option<&Path>) -> Result<Sources, Refusal> {
    let given_file = file.map(|file| session.spec(file)).transpose()?;
    let name = match (&given_file, given) {
        (Some(spec), Some(name)) if name != spec.cluster.name => {
            return Err(Refusal::Usage(format!("{} is the spec of {}", spec.file, spec.cluster.name)));
        }
        (Some(spec), _) => spec.cluster.name.clone(),
        (None, given) => env.name(session.cluster(given).as_deref()).await?,
    };
    let registered = registered_specs(env, &name).await?;
    let spec = match (given_file, registered.first()) {
        (Some(spec), _) => spec,
        (None, Some((_, bytes))) => of_store(env, &name, bytes).map_err(Refusal::Spec)?,
        (None, None) => {
            let next = format!("kubewright recover {name} -f FILE");
            return Err(Trouble::new(format!("the store has no spec of {name}")).row("next", next).into());
        }
    };
    // One that cannot be read here any more is only not used.
    let before = registered.iter().find(|(_, bytes)| *bytes != spec.bytes);
    let before = before.and_then(|(number, bytes)| Some((*number, of_store(env, &name, bytes).ok()?.cluster)));
    Ok(Sources { spec, before })
}

/// What the spec points to is looked up from here: where it was written, the store does not know.
fn of_store(env: &Env, name: &str, bytes: &[u8]) -> Result<SpecFile, Problems> {
    let here = std::env::current_dir().unwrap_or_default();
    let file = format!("{}/{name}/spec.toml", env.objects.location());
    let loaded = spec::load(Path::new(&file), bytes, &here, &DiskFiles)?;
    Ok(SpecFile { bytes: bytes.to_vec(), cluster: loaded.cluster, file })
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

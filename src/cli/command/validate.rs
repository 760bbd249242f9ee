//! `validate`.

use crate::apply::Event;
use crate::cli::args::{ValidateArgs, cluster_in};
use crate::cli::progress::Progress;
use crate::cli::render::table::Table;
use crate::cli::session::{Refusal, Session};
use crate::cli::text::{Ink, Page, count, ink};
use crate::operation::{Validation, validate};
use crate::report::{Trouble, exit};

pub async fn run(session: &Session<'_>, args: ValidateArgs) -> Result<u8, Refusal> {
    let name = session.cluster(cluster_in(&args.words).map_err(Refusal::Usage)?);
    let env = session.env().await?;
    let progress = Progress::begin(&session.ui, session.outside.clock());
    let sink = progress.sink();
    let looked = |validation: &Validation| {
        if let (Some(first), true) = (validation.problems.first(), args.wait.is_some()) {
            sink(Event::Waiting { action: validation.cluster.clone(), what: first.what.clone() });
        }
    };
    let result = validate(&env, name.as_deref(), args.wait, &looked).await;
    progress.end();
    let validation = result?;
    session.show(&validation, || page(&validation))?;
    let Some((first, others)) = validation.problems.split_first() else {
        session.next("Next:", "kubectl get nodes", Some("after kubewright export kubeconfig"));
        return Ok(exit::DONE);
    };
    let mut trouble = Trouble::new(format!("{} does not work: {}", validation.cluster, first.what));
    trouble.rows = others.iter().map(|problem| ("also".to_owned(), problem.what.clone())).collect();
    let again = || args.wait.is_none().then(|| format!("kubewright validate {} --wait 10m", validation.cluster));
    trouble.next = first.next.clone().or_else(again);
    session.complain(&Refusal::Trouble(trouble));
    Ok(exit::ERROR)
}

fn page(validation: &Validation) -> Page {
    let mut table = Table::new(&["NODE", "INSTANCE", "ROLE", "READY", "VERSION"]);
    for row in &validation.nodes {
        let ready = if row.ready { "yes" } else { "no" };
        table.row(vec![row.slot.clone(), row.instance.clone(), row.role.clone(), ready.into(), row.version.clone()]);
    }
    let mut page = if validation.nodes.is_empty() { Page::new(usize::MAX) } else { table.page() };
    if validation.is_valid() {
        page.flow(0, 2, vec![ink(Ink::Add, works(validation))]);
    }
    page
}

/// What was seen to work, and nothing that could not be asked.
fn works(validation: &Validation) -> String {
    let (name, nodes) = (&validation.cluster, count(validation.nodes.len(), "node"));
    if validation.waits_for_network {
        return format!("{name}: {nodes} registered, NotReady until you install a pod network (cni = \"none\").");
    }
    let etcd = validation.vitals.etcd.as_ref().map(|members| format!(", etcd has {}", count(members.len(), "member")));
    let dns = validation.vitals.dns.as_ref().map(|_| ", DNS answers");
    format!("{name} works: {nodes} Ready{}{}.", etcd.unwrap_or_default(), dns.unwrap_or_default())
}

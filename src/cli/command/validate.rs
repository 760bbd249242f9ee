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
            sink(Event::Waiting { action: validation.cluster.clone(), what: first.clone() });
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
    let mut trouble = Trouble::new(format!("{} does not work: {first}", validation.cluster));
    trouble.rows = others.iter().map(|problem| ("also".to_owned(), problem.clone())).collect();
    if args.wait.is_none() {
        trouble.next = Some(format!("kubewright validate {} --wait 10m", validation.cluster));
    }
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
        page.line(vec![ink(Ink::Add, format!("{} works: {} Ready.", validation.cluster, count(validation.nodes.len(), "node")))]);
    }
    page
}

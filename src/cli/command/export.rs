//! `export kubeconfig`.

use crate::cli::args::{ExportCommand, KubeconfigArgs};
use crate::cli::kubeconfig::{merge_into, target};
use crate::cli::session::{Refusal, Session};
use crate::operation::kubeconfig;
use crate::report::{Trouble, exit};

pub async fn run(session: &Session<'_>, command: ExportCommand) -> Result<u8, Refusal> {
    match command {
        ExportCommand::Kubeconfig(args) => export(session, args).await,
    }
}

async fn export(session: &Session<'_>, args: KubeconfigArgs) -> Result<u8, Refusal> {
    let failed = |error: crate::cli::kubeconfig::KubeconfigError| Refusal::Trouble(Trouble::new(error.to_string()));
    let variable = session.outside.variable("KUBECONFIG");
    let path = target(args.kubeconfig.as_deref(), variable.as_deref(), session.outside.home().as_deref()).map_err(failed)?;
    let env = session.env().await?;
    let (cluster, text) = kubeconfig(&env, session.cluster(args.cluster.as_deref()).as_deref()).await?;
    // The file of mode 0600 is the one place where the client's key may go.
    let written = merge_into(&path, text.expose()).map_err(failed)?;
    session.say(&format!("{}: context {cluster} is there and current; mode 0600.", written.display()));
    let command = match args.kubeconfig {
        Some(file) => format!("kubectl --kubeconfig {} get nodes", file.display()),
        None => "kubectl get nodes".to_owned(),
    };
    session.next("Next:", &command, None);
    Ok(exit::DONE)
}

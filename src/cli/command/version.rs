//! `version`, `schema`, `completion`: what needs no world.

use clap::CommandFactory;
use serde_json::json;

use crate::cli::args::{Cli, SchemaOf};
use crate::cli::session::{Refusal, Session};
use crate::report::exit;
use crate::{plan, spec};

pub fn version(session: &Session<'_>) -> Result<u8, Refusal> {
    let version = env!("CARGO_PKG_VERSION");
    session.show(&json!({ "version": version }), || {
        let mut page = session.ui.page();
        page.line(vec![format!("kubewright {version}").into()]);
        page
    })?;
    Ok(exit::DONE)
}

/// Always JSON: it is JSON that editors read.
pub fn schema(session: &Session<'_>, of: SchemaOf) -> Result<u8, Refusal> {
    let schema = match of {
        SchemaOf::Spec => spec::schema(),
        SchemaOf::Plan => plan::document::schema(),
    };
    session.ui.data(&format!("{schema:#}\n"));
    Ok(exit::DONE)
}

pub fn completion(session: &Session<'_>, shell: clap_complete::Shell) -> Result<u8, Refusal> {
    let mut script = vec![];
    clap_complete::generate(shell, &mut Cli::command(), "kubewright", &mut script);
    session.ui.data(&String::from_utf8_lossy(&script));
    Ok(exit::DONE)
}

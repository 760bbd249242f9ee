//! Plans that were saved: what they stand on, and whether that is still so.

use crate::operation::UpdateRequest;
use crate::operation::opened::Opened;
use crate::operation::{OperationError, Prepared};
use crate::plan::document::{self, Basis, Command, Document, FORMAT, SpecBasis};

/// A plan from a file.
#[derive(Clone, Debug)]
pub struct SavedPlan {
    /// As it was typed.
    pub file: String,
    pub document: Document,
}

impl SavedPlan {
    /// Reads what a dry run wrote.
    pub fn read(file: &str, bytes: &[u8]) -> Result<Self, OperationError> {
        let document = Document::read(bytes).map_err(|why| OperationError::NoPlan { file: file.to_owned(), why })?;
        Ok(Self { file: file.to_owned(), document })
    }

    /// The refusal that says what moved.
    pub fn moved(&self, moved: Vec<String>) -> OperationError {
        let Document { command, basis, plan, .. } = &self.document;
        let verb = match command {
            Command::Create => "create cluster".to_owned(),
            Command::Update => format!("update {}", plan.cluster),
        };
        let spec = basis.spec.as_ref().map(|spec| format!(" -f {}", spec.file)).unwrap_or_default();
        let again = format!("kubewright {verb}{spec} --plan-out {}", self.file);
        OperationError::PlanMoved { file: self.file.clone(), moved, again }
    }

    fn refuse(&self, moved: Vec<String>) -> Result<(), OperationError> {
        if moved.is_empty() { Ok(()) } else { Err(self.moved(moved)) }
    }

    /// The plan was made again; it must be the same.
    pub(super) fn refuse_moved(&self, now: &Prepared) -> Result<(), OperationError> {
        self.refuse(self.document.moved(&now.document()?))
    }
}

/// What a plan of this request stands on, but for the account's objects.
pub(super) fn basis(opened: &Opened, request: &UpdateRequest) -> Basis {
    let spec =
        |spec: &crate::operation::SpecFile| SpecBasis { file: spec.file.clone(), sha256: crate::digest::sha256(&spec.bytes) };
    Basis {
        spec: request.spec.as_ref().map(spec),
        cluster: document::of_cluster(&opened.cluster),
        account: opened.account.id.clone(),
        lineage: opened.held.as_ref().map(|held| held.lineage().to_owned()),
        serial: opened.held.as_ref().map_or(0, crate::store::Held::serial),
        objects: Default::default(),
    }
}

/// Refuses a saved plan for what is known before the account is read, so that not even a lock is left behind.
pub(super) fn refuse_early(opened: &Opened, request: &UpdateRequest) -> Result<(), OperationError> {
    let Some(saved) = &request.saved else { return Ok(()) };
    settled(&saved.document)?;
    saved.refuse(saved.document.basis.state_moved(&basis(opened, request)).into_iter().collect())
}

/// Refuses a plan that calls without an answer may still change.
pub fn settled(document: &Document) -> Result<(), OperationError> {
    match document.plan.unanswered {
        0 => Ok(()),
        n => Err(OperationError::NotSettled {
            cluster: document.plan.cluster.clone(),
            calls: if n == 1 { "1 call".to_owned() } else { format!("{n} calls") },
        }),
    }
}

impl Prepared {
    /// The plan as a document: what is printed as JSON, saved, and compared.
    pub fn document(&self) -> Result<Document, OperationError> {
        let plan = self.without_uid.as_ref().unwrap_or(&self.plan);
        let document = Document {
            format: FORMAT,
            checksum: String::new(),
            kubewright: env!("CARGO_PKG_VERSION").to_owned(),
            command: self.command,
            basis: Basis { objects: document::of_objects(&self.observed, &self.cluster.name), ..self.basis.clone() },
            totals: plan.totals(),
            plan: plan.clone(),
            state: self.location.clone(),
        };
        document.sealed().map_err(|error| OperationError::Failed(format!("the plan cannot be written as JSON: {error}")))
    }

    /// The same as text, for a file that `--plan` takes: of a plan that can be applied.
    pub fn to_save(&self) -> Result<String, OperationError> {
        let document = self.document()?;
        settled(&document)?;
        document.render().map_err(|error| OperationError::Failed(format!("the plan cannot be written as JSON: {error}")))
    }
}

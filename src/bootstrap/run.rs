//! Runs the steps of one task: facts and journal first, then what is not done yet, each step to its end or to an explained failure.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use super::bundle::{Bundle, needed_images};
use super::facts::{Facts, Problem, judge, suits};
use super::failure::Failure;
use super::kubeadm::Place;
use super::line::{Line, PROBE, ROOT, UNPACK};
use super::ssh::{Output, SshError, Stdin};
use super::steps::{self, Step, Work};
use super::template::render;
use super::{Events, Machine, NodeEvent, NodeTask, Pki, cause, clean, packages};
use crate::clock::{Clock, Ids};
use crate::cluster::{Cluster, Packages, UpgradeBy};
use crate::secret::Secret;

/// Time that a script of a few lines may take, a slow machine included.
pub(super) const SHORT: Duration = Duration::from_secs(60);
/// How often an upload that was cut off is begun again.
const UPLOADS: u32 = 3;
const LINES_SHOWN: usize = 12;

/// One task on one machine.
pub(super) struct Run<'a> {
    pub clock: &'a dyn Clock,
    pub ids: &'a dyn Ids,
    /// Owner of the node's fence.
    pub run: &'a str,
    pub pki: &'a Pki,
    pub place: Place<'a>,
    /// `None` where the machine itself is not spoken to (drain: it may be dead).
    pub line: Option<&'a Line>,
    /// A ready control plane; the machine itself for the first one.
    pub control: Option<(&'a Machine, &'a Line)>,
    pub bundle: Option<&'a Bundle>,
    /// Private addresses of the control planes that serve, and of this machine: whose members of etcd may be there.
    pub members: Vec<&'a str>,
    pub events: &'a Events,
    /// Whether the next script takes the fence; after that it has to be ours.
    pub take: bool,
}

impl<'a> Run<'a> {
    pub async fn task(&mut self, task: NodeTask) -> Result<(), Failure> {
        let steps = steps::steps(task, self.place, self.pki, self.bundle).map_err(Failure::plain)?;
        let mut facts = match self.line {
            Some(line) => self.gather(line).await?,
            None => Facts::default(),
        };
        let spoilt = |facts: &Facts| match task {
            NodeTask::Prepare => spoilt(facts, &steps, self.place.cluster, self.bundle).map_err(Failure::plain),
            _ => Ok(BTreeSet::new()),
        };
        let mut again = spoilt(&facts)?;
        let is_done = |facts: &Facts, again: &BTreeSet<&str>, step: &Step| {
            facts.journal.get(step.name) == Some(&step.hash) && !again.contains(step.name)
        };
        // What can change under a machine that was prepared before is looked at again until it has joined.
        let judged = facts.kubernetes.is_empty() || !steps.iter().all(|step| is_done(&facts, &again, step));
        if task == NodeTask::Prepare && judged && !steps.is_empty() {
            facts = self.settle(facts).await?;
            self.same_machine(&facts)?;
            self.all_images(&facts)?;
            again = spoilt(&facts)?;
        }
        if task == NodeTask::Fetch {
            // One that is replaced never runs that version.
            if self.place.group.rolling_update.upgrade == UpgradeBy::InPlace {
                refused(&suits(&facts, self.place.cluster, self.place.group))?;
            }
            if !steps.iter().all(|step| is_done(&facts, &again, step)) {
                self.same_machine(&facts)?;
                self.all_images(&facts)?;
            }
        }
        let total = steps.len();
        for (index, step) in steps.iter().enumerate() {
            let skipped = is_done(&facts, &again, step);
            if !skipped {
                (self.events)(NodeEvent::StepStarted { step: step.name.into(), index, total });
                self.step(step, &facts).await.map_err(|failure| Failure { step: step.name, ..failure })?;
            }
            (self.events)(NodeEvent::StepDone { step: step.name.into(), skipped });
        }
        Ok(())
    }

    /// Facts, journal and what the node has of a bundle, in one round trip; changes nothing.
    async fn gather(&self, line: &Line) -> Result<Facts, Failure> {
        let (host, port, bundle) = match &self.place.cluster.packages {
            Packages::Apt { mirror, .. } => {
                let (host, port) = source_of(&packages::repository(self.place.cluster, mirror.as_deref()));
                (host, port, "no")
            }
            Packages::Bundle(_) => (String::new(), String::new(), "yes"),
        };
        let values = json!({"source_host": host, "source_port": port, "bundle": bundle});
        let script = render("steps/facts.sh.j2", values).map_err(Failure::plain)?;
        line.host_key(&self.waiting()).await?;
        let output = line.script(PROBE, &script, SHORT, &self.waiting()).await?;
        // The script reads the machine's clock last.
        let now = self.clock.now().as_duration().as_secs_f64();
        if output.status != Some(0) {
            return Err(self.explain("facts", None, &output, Vec::new()));
        }
        Ok(Facts::parse(&String::from_utf8_lossy(&output.stdout), now))
    }

    /// Refuses a machine with problems, all of them named; while cloud-init works, some of them may still go away.
    async fn settle(&self, mut facts: Facts) -> Result<Facts, Failure> {
        let identity = steps::identity(self.place.cluster, self.pki).map_err(Failure::plain)?;
        let deadline = self.after(Duration::from_secs(600));
        let problems = loop {
            let problems = judge(&facts, self.place.cluster, self.place.group, &identity);
            let settling = ["running", "not started", "not run"].contains(&facts.cloud_init.as_str());
            match self.line {
                Some(line) if settling && !problems.is_empty() && self.clock.now() < deadline => {
                    (self.events)(NodeEvent::Waiting("cloud-init".into()));
                    self.clock.wait(Duration::from_secs(2)).await;
                    facts = self.gather(line).await?;
                }
                _ => break problems,
            }
        };
        if problems.is_empty() {
            if !facts.package_lock.is_empty() {
                (self.events)(NodeEvent::Warning(format!("{} holds the package lock; waiting where needed", facts.package_lock)));
            }
            return Ok(facts);
        }
        refused(&problems).map(|()| facts)
    }

    /// Refuses programs that cannot run on this machine, before anything of them is sent.
    fn same_machine(&self, facts: &Facts) -> Result<(), Failure> {
        let Some(bundle) = self.bundle else { return Ok(()) };
        match bundle.foreign(&facts.arch).map_err(|error| Failure::at("facts", format!("the bundle: {error}")))? {
            None => Ok(()),
            Some((program, other)) => {
                let cause = format!(
                    "the bundle's {program} is for {other}, the machine is {}: use a bundle for it, or another machine type",
                    facts.arch
                );
                Err(Failure::at("facts", cause))
            }
        }
    }

    /// Refuses a bundle that lacks an image, before anything of it is sent; an AMI may bring what it lacks.
    fn all_images(&self, facts: &Facts) -> Result<(), Failure> {
        let Some(bundle) = self.bundle.filter(|_| facts.images_listed) else { return Ok(()) };
        let (version, role) = (self.place.cluster.kubernetes, self.place.group.role);
        match bundle.lacking(&bundle.wanted(role), &needed_images(version, role), &facts.images) {
            None => Ok(()),
            Some(image) => {
                let image = match image.strip_suffix(':') {
                    Some(name) => format!("{name} of any version"),
                    None => image,
                };
                let cause =
                    format!("the image {image} is neither in the bundle nor on the machine: add its archive to the bundle");
                Err(Failure::at("facts", cause))
            }
        }
    }

    async fn step(&mut self, step: &Step, facts: &Facts) -> Result<(), Failure> {
        match &step.work {
            Work::Now(body) => self.here(step, body).await,
            Work::Unit(body) => {
                let line = self.own_line()?;
                let none = Secret::new(self.part("no-files", json!({}))?);
                self.unit(line, step, &none, body, true).await
            }
            Work::Upload { wanted, body } => {
                self.upload(step, wanted, facts).await?;
                self.here(step, body).await
            }
            Work::Init(body) => self.init(step, body).await,
            Work::Join(body) => self.join(step, body).await,
            Work::Elsewhere(body) => {
                self.on_control_plane(step, body).await?;
                // Of a machine that is gone there is no journal to write.
                if self.line.is_some() { self.mark(step).await } else { Ok(()) }
            }
            Work::Registered { ready, version } => {
                self.registered(step, *ready, *version).await?;
                self.mark(step).await
            }
            Work::Drain(body) => {
                let (_, line) = self.control_line()?;
                let none = Secret::new(self.part("no-files", json!({}))?);
                self.unit(line, step, &none, body, false).await
            }
        }
    }

    /// A script on the machine, within one call; done again if the connection was lost.
    async fn here(&mut self, step: &Step, body: &str) -> Result<(), Failure> {
        let line = self.own_line()?;
        let script = self.prelude(step)? + body + &self.part("now", json!({}))?;
        let output = line.script(ROOT, &script, step.limit, &self.waiting()).await?;
        self.judge_output(line, step, &output).await?;
        self.take = false;
        Ok(())
    }

    /// Records a step that was done from elsewhere.
    async fn mark(&mut self, step: &Step) -> Result<(), Failure> {
        self.here(step, "main() { :; }\n").await
    }

    /// A script on a ready control plane; gives its stdout. The fence of that machine is not touched: it only asks the API.
    pub(super) async fn on_control_plane(&self, step: &Step, body: &str) -> Result<Vec<u8>, Failure> {
        let (_, line) = self.control_line()?;
        let script = self.prelude(step)? + body + "\nmain </dev/null\n";
        let output = line.script(ROOT, &script, step.limit.min(2 * SHORT), &self.waiting()).await?;
        match output.status {
            Some(0) => Ok(output.stdout),
            _ => Err(self.explain(step.name, step.command, &output, Vec::new())),
        }
    }

    async fn upload(&self, step: &Step, wanted: &[String], facts: &Facts) -> Result<(), Failure> {
        let (Some(bundle), line) = (self.bundle, self.own_line()?) else {
            return Err(Failure::plain("the bundle is not loaded".into()));
        };
        let mut have = bundle.present(wanted, &facts.images);
        let lost = lost_images(facts, bundle, wanted);
        have.extend(facts.have.iter().filter(|line| !lost.contains(*line)).cloned());
        for attempt in 1.. {
            let Some(stream) = bundle.stream(wanted, &have) else { return Ok(()) };
            (self.events)(NodeEvent::Waiting("upload of the bundle".into()));
            let stream = stream.map_err(Failure::plain)?;
            match line.call(UNPACK, Stdin::Stream(stream), step.limit, &self.waiting()).await {
                Ok(output) if output.status == Some(0) => return Ok(()),
                Ok(output) => return Err(self.explain(step.name, None, &output, Vec::new())),
                Err(SshError::Lost { .. }) if attempt < UPLOADS => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    async fn init(&mut self, step: &Step, body: &str) -> Result<(), Failure> {
        let line = self.own_line()?;
        let fresh = self.ids.fresh();
        let (id, rest) = fresh.split_at_checked(6).unwrap_or_default();
        let token = Secret::new(format!("{id}.{}", rest.get(..16).unwrap_or_default()));
        let files = steps::init_files(self.place, &token).map_err(Failure::plain)?;
        self.unit(line, step, &files, body, true).await?;
        // Nobody joins by this token: each join has its own.
        let script = self.prelude(step)? + &self.part("token", json!({"id": id}))? + "\nmain </dev/null\n";
        if let Ok(output) = line.script(ROOT, &script, 2 * SHORT, &self.waiting()).await
            && output.status != Some(0)
        {
            (self.events)(NodeEvent::Warning(
                "the token of `kubeadm init` could not be revoked; it expires after 20 minutes".into(),
            ));
        }
        Ok(())
    }

    pub(super) async fn judge_output(&self, line: &Line, step: &Step, output: &Output) -> Result<(), Failure> {
        if output.status == Some(0) {
            return Ok(());
        }
        let log = self.logs(line).await;
        Err(self.explain(step.name, step.command, output, log))
    }

    /// Telling lines of the node's logs; nothing if they cannot be had.
    pub(super) async fn logs(&self, line: &Line) -> Vec<String> {
        let Ok(script) = render("steps/diagnose.sh.j2", json!({})) else { return Vec::new() };
        match line.script(ROOT, &script, SHORT, &self.waiting()).await {
            Ok(output) => clean::last_lines(&output.stdout, 6, &self.secrets()),
            Err(_) => Vec::new(),
        }
    }

    pub(super) fn explain(
        &self,
        step: &'static str,
        command: Option<&'static str>,
        output: &Output,
        log: Vec<String>,
    ) -> Failure {
        let secrets = self.secrets();
        let mut stderr = clean::last_lines(&output.stderr, LINES_SHOWN, &secrets);
        if stderr.is_empty() {
            stderr = clean::last_lines(&output.stdout, LINES_SHOWN, &secrets);
        }
        let seen: Vec<String> = stderr.iter().chain(&log).cloned().collect();
        let killed = output.status.filter(|status| (129..=192).contains(status));
        let killed = killed.map(|status| format!("it was ended by signal {}", status - 128));
        // Before any guess: what an earlier part of it said is no reason.
        let cause =
            killed.or_else(|| cause::guess(&seen)).or_else(|| stderr.last().cloned()).unwrap_or_else(|| match output.status {
                Some(status) => format!("it ended with {status} and said nothing"),
                None => "it was killed".into(),
            });
        Failure { step, command, exit: output.status, stderr, log, cause, retryable: false }
    }

    fn secrets(&self) -> Vec<Secret> {
        let Pki { ca_key, etcd_ca_key, front_proxy_ca_key, sa_key, encryption_key, .. } = self.pki;
        [ca_key, etcd_ca_key, front_proxy_ca_key, sa_key, encryption_key].map(Clone::clone).to_vec()
    }

    pub(super) fn waiting(&self) -> impl Fn(String) + Send + Sync + use<> {
        let events = self.events.clone();
        move |text| events(NodeEvent::Waiting(text))
    }

    pub(super) fn own_line(&self) -> Result<&'a Line, Failure> {
        self.line.ok_or_else(|| Failure::plain("this task does not speak to the machine".into()))
    }

    /// Who answers for the API: a ready control plane, or the machine itself while it is the first.
    pub(super) fn control_line(&self) -> Result<(&'a Machine, &'a Line), Failure> {
        match self.control {
            Some(control) => Ok(control),
            None => Ok((self.place.machine, self.own_line()?)),
        }
    }

    pub(super) fn after(&self, duration: Duration) -> Timestamp {
        let duration = SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX);
        self.clock.now().checked_add(duration).unwrap_or(Timestamp::MAX)
    }

    pub(super) fn part(&self, name: &str, values: serde_json::Value) -> Result<String, Failure> {
        render(&format!("steps/{name}.sh.j2"), values).map_err(Failure::plain)
    }

    /// What every script begins with.
    pub(super) fn prelude(&self, step: &Step) -> Result<String, Failure> {
        self.prelude_with(step, self.take)
    }

    /// A unit never takes the fence: the script that launches it did.
    pub(super) fn prelude_for_unit(&self, step: &Step) -> Result<String, Failure> {
        self.prelude_with(step, false)
    }

    fn prelude_with(&self, step: &Step, take: bool) -> Result<String, Failure> {
        let take = if take { "yes" } else { "no" };
        self.part("prelude", json!({"step": step.name, "hash": step.hash, "run": self.run, "take": take}))
    }
}

fn refused(problems: &[Problem]) -> Result<(), Failure> {
    let list: Vec<String> = problems.iter().map(|problem| format!("{}: {}", problem.what, problem.fix)).collect();
    if list.is_empty() { Ok(()) } else { Err(Failure::at("facts", list.join("; "))) }
}

/// Steps that the journal calls done, but whose work somebody undid since: containerd's configuration, images.
fn spoilt(facts: &Facts, steps: &[Step], cluster: &Cluster, bundle: Option<&Bundle>) -> Result<BTreeSet<&'static str>, String> {
    let mut again = BTreeSet::new();
    if !facts.containerd_config.is_empty() && !steps::containerd_sums(cluster)?.contains(&facts.containerd_config) {
        again.extend(["container-runtime", "cri"]);
    }
    let uploads = steps.iter().filter_map(|step| if let Work::Upload { wanted, .. } = &step.work { Some(wanted) } else { None });
    if let Some(bundle) = bundle
        && uploads.into_iter().any(|wanted| !lost_images(facts, bundle, wanted).is_empty())
    {
        again.extend(["packages", "images"]);
    }
    Ok(again)
}

/// Lines of archives whose images were imported once and are gone.
fn lost_images(facts: &Facts, bundle: &Bundle, wanted: &[String]) -> BTreeSet<String> {
    match facts.images_listed && facts.journal.contains_key("images") {
        true => bundle.lost(wanted, &facts.images),
        false => BTreeSet::new(),
    }
}

/// Host and port of a URL, for the question whether it can be reached.
fn source_of(url: &str) -> (String, String) {
    let (scheme, rest) = url.split_once("://").unwrap_or(("https", url));
    let authority = rest.split('/').next().unwrap_or_default();
    match authority.rsplit_once(':').filter(|(_, port)| port.bytes().all(|byte| byte.is_ascii_digit())) {
        Some((host, port)) => (host.into(), port.into()),
        None => (authority.into(), if scheme == "http" { "80" } else { "443" }.into()),
    }
}

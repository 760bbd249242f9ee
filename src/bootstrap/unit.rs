//! Long commands: a transient systemd unit on the node, which outlives the connection and is followed over as many as it takes.

use serde_json::json;

use super::failure::Failure;
use super::line::{Line, ROOT};
use super::run::{Run, SHORT};
use super::ssh::Output;
use super::steps::Step;
use super::{NodeEvent, cause, clean};
use crate::secret::Secret;

/// How often a unit that vanished (a reboot, a kill) is started again.
const RESTARTS: u32 = 2;

impl Run<'_> {
    /// Starts a unit, or finds it running, and follows it to its end over as many connections as it takes.
    pub(super) async fn unit(
        &mut self,
        line: &Line,
        step: &Step,
        before: &Secret,
        body: &str,
        fence: bool,
    ) -> Result<(), Failure> {
        let unit = format!("kubewright-{}-{}", step.name, step.hash);
        let fence = if fence { "yes" } else { "no" };
        let deadline = self.after(step.limit);
        let program = self.prelude_for_unit(step)? + body + &self.part("unit", json!({"unit": unit, "fence": fence}))?;
        let poll = self.part("poll", json!({"unit": unit}))?;
        for _ in 0..=RESTARTS {
            let values = json!({"unit": unit, "attempt": self.ids.fresh(), "fence": fence, "script": program});
            let launch = self.prelude(step)? + before.expose() + &self.part("launch", values)?;
            let output = line.script(ROOT, &launch, 6 * SHORT, &self.waiting()).await?;
            self.judge_output(line, step, &output).await?;
            self.take &= fence == "no";
            loop {
                let output = line.script(ROOT, &poll, SHORT, &self.waiting()).await?;
                let said = String::from_utf8_lossy(&output.stdout).into_owned();
                let (first, rest) = said.split_once('\n').unwrap_or((&said, ""));
                match first.split_once(' ').unwrap_or((first, "")) {
                    ("done", status) => {
                        let output = Output { status: status.parse().ok(), stdout: rest.into(), stderr: output.stderr };
                        return self.judge_output(line, step, &output).await;
                    }
                    ("running", _) => self.tell_progress(rest),
                    ("gone", _) => break,
                    _ => return Err(self.explain(step.name, step.command, &output, Vec::new())),
                }
                if self.clock.now() > deadline {
                    let minutes = step.limit.as_secs() / 60;
                    let log = self.logs(line).await;
                    let cause = cause::guess(&log).map(|cause| format!(": {cause}")).unwrap_or_default();
                    let cause = format!("not done after {minutes} minutes{cause}; it still runs on the node as unit {unit}");
                    return Err(Failure { log, command: step.command, ..Failure::at(step.name, cause) });
                }
            }
            (self.events)(NodeEvent::Warning(format!(
                "step {} vanished from the node (a reboot?); starting it again",
                step.name
            )));
        }
        Err(Failure::at(
            step.name,
            format!("unit {unit} vanished from the node {} times: does the machine reboot?", RESTARTS + 1),
        ))
    }

    fn tell_progress(&self, said: &str) {
        if let Some(line) = clean::last_lines(said.as_bytes(), 1, &[]).pop() {
            (self.events)(NodeEvent::Waiting(line));
        }
    }
}

//! Joining: what an earlier try left behind is taken away, and what failed for a reason that passes is tried once more.

use serde_json::json;

use super::cause::{self, Obstacle};
use super::failure::Failure;
use super::kubeadm::Discovery;
use super::run::Run;
use super::steps::{self, Step};
use super::{NodeEvent, clean, pki};
use crate::cluster::Role;
use crate::secret::Secret;

/// How often a join is tried within one run, where the obstacle before it was taken away.
const TRIES: u32 = 3;

impl Run<'_> {
    pub(super) async fn join(&mut self, step: &Step, body: &str) -> Result<(), Failure> {
        if self.place.group.role == Role::ControlPlane {
            self.remove_strays(step).await?;
        }
        for _ in 1..TRIES {
            let Err(failure) = self.try_join(step, body).await else { return Ok(()) };
            let Some(obstacle) = cause::obstacle(&failure.stderr) else { return Err(failure) };
            self.take_away(step, obstacle).await?;
            (self.events)(NodeEvent::Warning(format!("{}; joining again", failure.cause)));
        }
        self.try_join(step, body).await
    }

    /// One try, with a token of its own.
    async fn try_join(&mut self, step: &Step, body: &str) -> Result<(), Failure> {
        let line = self.own_line()?;
        let (through, _) = self.control_line()?;
        let mint = self.part("token", json!({}))?;
        let printed = self.on_control_plane(step, &mint).await?;
        let token = String::from_utf8_lossy(&printed).split_whitespace().last().unwrap_or_default().to_string();
        let Some((id, _)) = token.split_once('.').filter(|_| clean::is_token(&token)) else {
            return Err(Failure::plain("`kubeadm token create` on the control plane printed no token".into()));
        };
        let ca_cert_hash = pki::ca_cert_hash(&self.pki.ca_cert).map_err(Failure::plain)?;
        let discovery = Discovery { token: Secret::new(token.clone()), ca_cert_hash };
        let files = steps::join_files(self.place, &discovery, through).map_err(Failure::plain)?;
        let joined = self.unit(line, step, &files, body, true).await;
        let revoke = self.part("token", json!({"id": id}))?;
        if self.on_control_plane(step, &revoke).await.is_err() {
            (self.events)(NodeEvent::Warning("the join token could not be revoked; it expires after 20 minutes".into()));
        }
        joined
    }

    /// Nothing joins while this runs: the unit of the join has ended.
    async fn take_away(&self, step: &Step, obstacle: Obstacle) -> Result<(), Failure> {
        let machine = self.place.machine;
        let body = match obstacle {
            Obstacle::Token => return Ok(()),
            Obstacle::Node => self.part("taken", json!({"node": machine.instance, "address": machine.private_address}))?,
            Obstacle::Member => {
                let values = json!({"instance": machine.instance, "address": machine.private_address});
                steps::etcd("member", values).map_err(Failure::plain)?
            }
        };
        self.on_control_plane(step, &body).await.map(drop)
    }

    /// etcd takes one new member at a time: one of a machine that is gone, or whose own join comes later, would keep every other out.
    /// Control planes join one after the other, so none of these is about to start.
    async fn remove_strays(&self, step: &Step) -> Result<(), Failure> {
        let addresses = self.members.join(" ");
        let body = steps::etcd("strays", json!({"addresses": addresses})).map_err(Failure::plain)?;
        let removed = self.on_control_plane(step, &body).await?;
        for url in String::from_utf8_lossy(&removed).lines().filter(|line| line.starts_with("http")) {
            (self.events)(NodeEvent::Warning(format!(
                "removed the etcd member at {}, which another join left unfinished",
                clean::line(url)
            )));
        }
        Ok(())
    }
}

//! An etcd in memory for [`super::FakeNodes`]: what it holds, what is saved of it, and what becomes of it when it is restored.

use std::collections::{BTreeMap, BTreeSet};

use super::etcd::EtcdWork;
use crate::digest::sha256;

/// What control planes have on their disks.
#[derive(Clone, Default)]
pub(super) struct FakeEtcd {
    /// What a member holds; all that are not named hold `common`.
    own: BTreeMap<String, Vec<u8>>,
    common: Vec<u8>,
    pub revision: u64,
    files: BTreeMap<(String, String), Vec<u8>>,
    incoming: BTreeMap<(String, String), BTreeMap<u32, Vec<u8>>>,
    /// By slot: which restore, who the members are, and the data.
    staged: BTreeMap<String, (String, Vec<String>, Vec<u8>)>,
    swapped: BTreeMap<String, (String, Vec<String>)>,
    pub stopped: BTreeSet<String>,
    /// What a real etcd would not have survived.
    pub violations: Vec<String>,
}

impl FakeEtcd {
    pub fn write(&mut self, data: &[u8]) {
        (self.common, self.own) = (data.to_vec(), BTreeMap::new());
        self.revision += 1;
    }

    pub fn data(&self, slot: &str) -> &[u8] {
        let data = self.own.get(slot).unwrap_or(&self.common);
        // A real one is never empty.
        if data.is_empty() { b"a new etcd" } else { data }
    }

    /// `planes`: slot and instance of every control plane of the fleet.
    pub fn work(&mut self, work: &EtcdWork, slot: &str, planes: &[(String, String)]) -> Result<Vec<u8>, String> {
        let at = |name: &str| (slot.to_owned(), name.to_owned());
        match work {
            EtcdWork::Save { name } => {
                if self.stopped.contains(slot) {
                    return Err("etcd does not run on this control plane".into());
                }
                let data = self.data(slot).to_vec();
                let sum = sha256(&data);
                let said = format!(
                    "status {{\"hash\":1,\"revision\":{},\"totalKey\":7,\"totalSize\":4096}}\n\
                     local [{{\"Endpoint\":\"x\",\"Status\":{{\"version\":\"3.6.5\"}}}}]\nsize {}\nsha256 {sum}\n",
                    self.revision,
                    data.len()
                );
                self.files.insert(at(name), data);
                return Ok(said.into_bytes());
            }
            EtcdWork::Read { name, part, size } => {
                let file = self.files.get(&at(name)).ok_or("no such file")?;
                let from = (part.saturating_sub(1) as usize).saturating_mul(*size).min(file.len());
                return Ok(file.iter().skip(from).take(*size).copied().collect());
            }
            EtcdWork::Drop { name } => drop(self.files.remove(&at(name))),
            EtcdWork::Write { name, part, bytes } => {
                self.incoming.entry(at(name)).or_default().insert(*part, bytes.to_vec());
            }
            EtcdWork::Stage(stage) => {
                if self.staged.get(slot).is_some_and(|(restore, ..)| *restore == stage.restore) {
                    return Ok(vec![]);
                }
                let parts = self.incoming.remove(&at(&stage.name)).unwrap_or_default();
                let data: Vec<u8> = parts.into_values().flatten().collect();
                if sha256(&data) != stage.sha256 {
                    return Err("the snapshot did not arrive as it was sent".into());
                }
                let members = stage.members.iter().map(|(name, _)| name.clone()).collect();
                self.staged.insert(slot.to_owned(), (stage.restore.clone(), members, data));
            }
            EtcdWork::Stop => drop(self.stopped.insert(slot.to_owned())),
            EtcdWork::Swap { restore } => {
                let running = planes.iter().find(|(plane, _)| !self.stopped.contains(plane));
                self.violations.extend(running.map(|(plane, _)| format!("{slot} gets other data while {plane} runs")));
                let staged = self.staged.get(slot).filter(|(of, ..)| of == restore);
                let (of, members, data) = staged.cloned().ok_or("the new data is not there")?;
                if self.swapped.get(slot).is_none_or(|(done, _)| *done != of) {
                    self.own.insert(slot.to_owned(), data);
                    self.swapped.insert(slot.to_owned(), (of, members));
                }
            }
            EtcdWork::Start => {
                if let Some((of, members)) = self.swapped.get(slot) {
                    let mine: BTreeSet<&String> = planes.iter().map(|(_, instance)| instance).collect();
                    let strangers = members.iter().collect::<BTreeSet<_>>() != mine;
                    let late = planes.iter().find(|(plane, _)| self.swapped.get(plane).is_none_or(|(other, _)| other != of));
                    let told = late.map(|(plane, _)| format!("{slot} starts before {plane} has the new data"));
                    self.violations.extend(told.or(strangers.then(|| format!("{slot} starts with other members: {members:?}"))));
                }
                self.stopped.remove(slot);
            }
            EtcdWork::Tidy { .. } | EtcdWork::Register | EtcdWork::Node { .. } | EtcdWork::Labels { .. } => {}
        }
        Ok(vec![])
    }
}

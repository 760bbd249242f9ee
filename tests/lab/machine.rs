//! The machines behind the instances: who they are, and what is done to them past SSH.

use std::fs;
use std::process::Command;

use crate::lab::{Lab, finish};

#[derive(Clone, Debug)]
pub struct Machine {
    pub instance: String,
    pub slot: String,
    pub private: String,
    pub public: String,
}

/// The running machines, by slot.
pub fn machines(lab: &Lab) -> Vec<Machine> {
    let status = lab.json(&["status", "-o", "json"]);
    let nodes = status["nodes"].as_array().expect("nodes").iter();
    let mut found: Vec<Machine> = nodes
        .filter(|node| node["phase"] == "running")
        .map(|node| {
            let text = |key: &str| node[key].as_str().unwrap_or_default().to_owned();
            Machine { instance: text("id"), slot: text("name"), private: text("private_ip"), public: text("public_ip") }
        })
        .collect();
    found.sort_by(|one, other| one.slot.cmp(&other.slot));
    found
}

pub fn machine(lab: &Lab, slot: &str) -> Machine {
    machines(lab).into_iter().find(|machine| machine.slot == slot).unwrap_or_else(|| panic!("no machine {slot} runs"))
}

impl Machine {
    /// The machine's first process, as the host sees it; another one after a reboot.
    pub fn first_process(&self) -> String {
        for entry in fs::read_dir("/proc").expect("/proc").flatten() {
            let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            let words: Vec<&[u8]> = line.split(|byte| *byte == 0).collect();
            let nspawn = words.first().is_some_and(|word| word.ends_with(b"systemd-nspawn"));
            if !nspawn || !words.windows(2).any(|pair| pair[0] == b"-M" && pair[1] == self.instance.as_bytes()) {
                continue;
            }
            let pid = entry.file_name().to_string_lossy().into_owned();
            let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
            if let Some(first) = children.split_whitespace().next() {
                return first.to_owned();
            }
        }
        panic!("{} does not run", self.slot);
    }

    /// A shell script as root on the machine, as from its own console; gives stdout.
    pub fn sh(&self, script: &str) -> String {
        let pid = self.first_process();
        let done = finish(Command::new("nsenter").args(["-t", &pid, "-m", "-u", "-i", "-n", "-p", "--", "sh", "-c", script]));
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        assert!(done.status.success(), "{}: {script}: {said}", self.slot);
        String::from_utf8_lossy(&done.stdout).into_owned()
    }

    /// Finished steps, in the order in which they were done: `STEP HASH TIME`.
    pub fn journal(&self) -> Vec<String> {
        self.sh("cat /var/lib/kubewright/journal").lines().map(str::to_owned).collect()
    }

    /// What sshd said of logins, one line each.
    pub fn logins(&self) -> Vec<String> {
        let lines = self.sh("journalctl --no-pager --quiet -o cat -t sshd -t sshd-session");
        lines.lines().filter(|line| line.starts_with("Accepted") || line.starts_with("Failed")).map(str::to_owned).collect()
    }

    /// Something that would answer if the firewall let anybody through.
    pub fn listen(&self, port: u16) {
        self.sh(&format!(
            "[ -n \"$(ss -Hltn 'sport = :{port}')\" ] || systemd-run --quiet --unit=lab-port-{port} python3 -m http.server {port}; \
             timeout 30 bash -c 'until [ -n \"$(ss -Hltn sport = :{port})\" ]; do sleep 0.1; done'"
        ));
    }

    pub fn reaches(&self, other: &Self, port: u16) -> bool {
        let script = format!("timeout 2 bash -c 'exec 3<>/dev/tcp/{}/{port}' 2>/dev/null && echo yes || echo no", other.private);
        self.sh(&script).trim() == "yes"
    }

    /// All that a run could have done to a machine: boots, steps, logins.
    pub fn trace(&self) -> (String, Vec<String>, Vec<String>) {
        (self.first_process(), self.journal(), self.logins())
    }
}

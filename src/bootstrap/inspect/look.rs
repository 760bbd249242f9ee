//! What a machine says when it is asked why its node does not work, and the one cause that this comes to.

use std::collections::BTreeMap;

use serde::Serialize;

use super::super::{cause, clean as neutral};

/// Restarts of the kubelet that are no accident any more: systemd waits ten seconds between two.
pub const CRASHES: u64 = 3;
/// Seconds. Clocks that differ more break certificates and leases sooner or later; kubeadm dates its own back by five minutes only.
pub const CLOCK_LIMIT: f64 = 60.0;

/// What the machine said. Texts are empty and numbers `None` where it did not say.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Look {
    /// systemd's ActiveState.
    pub kubelet: String,
    /// systemd's SubState: `auto-restart` between two attempts.
    pub kubelet_sub: String,
    pub kubelet_restarts: u64,
    /// `kubelet.conf` is there: a join got as far as that.
    pub joined: bool,
    pub containerd: String,
    /// Files in `/etc/cni/net.d`.
    pub cni: Option<u64>,
    pub disk_free_kib: Option<u64>,
    pub inodes_free: Option<u64>,
    /// Of the kubelet's client certificate: `valid`, `expired`.
    pub certificate: String,
    /// Static pods of the API that do not run, and what they said last.
    pub ended: BTreeMap<String, String>,
    /// Seconds that the machine's clock is ahead of ours.
    pub clock_ahead: Option<f64>,
    /// Telling lines of the kubelet's log, the last one last.
    pub kubelet_log: Vec<String>,
    pub containerd_log: Vec<String>,
}

/// Why a node does not work, and what to run on it; no command where none would mend it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Cause {
    pub what: String,
    pub mend: Option<String>,
}

impl Look {
    /// `now` is our clock when the answer came, in seconds since 1970; the script reads the machine's last.
    pub fn parse(text: &str, now: f64) -> Self {
        let mut values = BTreeMap::new();
        let mut look = Self::default();
        for line in text.lines() {
            match line.split_once(' ') {
                Some(("fact", rest)) => {
                    let (name, value) = rest.split_once(' ').unwrap_or((rest, ""));
                    values.insert(name, neutral::line(value.trim()));
                }
                Some(("kubelet", rest)) => look.kubelet_log.push(neutral::line(rest)),
                Some(("containerd", rest)) => look.containerd_log.push(neutral::line(rest)),
                _ => {}
            }
        }
        let text = |name: &str| values.get(name).cloned().unwrap_or_default();
        let number = |name: &str| values.get(name).and_then(|value| value.parse::<u64>().ok());
        let ended = |name: &str| {
            let said = values.get(&*format!("ended_{name}")).filter(|said| !said.is_empty())?;
            Some((name.to_owned(), said.clone()))
        };
        Self {
            kubelet: text("kubelet"),
            kubelet_sub: text("kubelet_sub"),
            kubelet_restarts: number("kubelet_restarts").unwrap_or_default(),
            joined: text("kubelet_config") == "yes",
            containerd: text("containerd"),
            cni: number("cni"),
            disk_free_kib: number("disk_free_kib"),
            inodes_free: number("inodes_free"),
            certificate: text("certificate"),
            ended: ["etcd", "kube-apiserver"].into_iter().filter_map(ended).collect(),
            clock_ahead: values.get("clock").and_then(|clock| clock.parse::<f64>().ok()).map(|clock| clock - now),
            ..look
        }
    }

    /// The kubelet comes up and ends, again and again.
    pub fn kubelet_crashes(&self) -> bool {
        self.kubelet == "activating" && self.kubelet_sub == "auto-restart"
            || self.kubelet == "failed"
            || self.kubelet_restarts >= CRASHES && self.kubelet != "active"
    }

    /// What the kubelet said when it gave up; the last error where it did not.
    pub fn last_words(&self) -> Option<String> {
        let fatal = |line: &&String| {
            let line = line.to_lowercase();
            ["command failed", "failed to run kubelet", "error: ", "unknown flag", "panic:"]
                .iter()
                .any(|word| line.contains(word))
        };
        let line = self.kubelet_log.iter().rev().find(fatal).or(self.kubelet_log.last())?;
        // klog: what went wrong is the value of `err`, in quotes.
        let said = line.split_once("err=\"").map_or(line.as_str(), |(_, rest)| rest.strip_suffix('"').unwrap_or(rest));
        Some(neutral::line(&said.replace("\\\"", "\"").chars().take(300).collect::<String>()))
    }

    /// A kubelet that crashes, by its last words.
    pub fn crash(&self) -> Option<Cause> {
        let times = if self.kubelet_restarts > 0 { format!(" ({} restarts)", self.kubelet_restarts) } else { String::new() };
        let words = self.last_words().unwrap_or_else(|| "its log does not say why".to_owned());
        let why = cause::guess(&self.kubelet_log).map_or_else(|| words.clone(), |known| format!("{known} ({words})"));
        let mend = Some("journalctl --unit=kubelet --lines=50".to_owned());
        Some(Cause { what: format!("the kubelet crashes{times}: {why}"), mend })
    }

    /// The one cause, the most fundamental first; `None` if the machine looks well.
    pub fn cause(&self) -> Option<Cause> {
        let cause = |what: String, mend: &str| Some(Cause { what, mend: (!mend.is_empty()).then(|| mend.to_owned()) });
        if self.disk_free_kib.is_some_and(|free| free < 100 * 1024) {
            return cause(
                format!("the disk is full: {} MiB are free on /var/lib", self.disk_free_kib.unwrap_or_default() / 1024),
                "df -h",
            );
        }
        if self.inodes_free == Some(0) && self.disk_free_kib.is_some() {
            return cause("the disk has no inodes left on /var/lib".into(), "df -i");
        }
        if let Some(ahead) = self.clock_ahead.filter(|ahead| ahead.abs() > CLOCK_LIMIT) {
            let side = if ahead > 0.0 { "ahead" } else { "behind" };
            return cause(format!("its clock is {:.0} s {side}", ahead.abs()), "timedatectl");
        }
        if !["", "active"].contains(&self.containerd.as_str()) {
            return cause(format!("containerd is {}", self.containerd), "systemctl restart containerd");
        }
        if self.kubelet_crashes() {
            return self.crash();
        }
        if !["", "active", "activating", "reloading"].contains(&self.kubelet.as_str()) {
            return cause(format!("the kubelet is {}", self.kubelet), "systemctl start kubelet");
        }
        if self.certificate == "expired" {
            return cause("the kubelet's certificate has expired".into(), "journalctl --unit=kubelet --lines=50");
        }
        if let Some((name, said)) = self.ended.first_key_value() {
            return cause(format!("{name} does not run: {said}"), "crictl ps --all");
        }
        if self.cni == Some(0) {
            return cause("/etc/cni/net.d is empty: the pod network has not been set up here".into(), "");
        }
        if !self.kubelet.is_empty() && !self.joined {
            return cause("it has no kubelet.conf: it has not joined".into(), "");
        }
        cause::guess(&self.kubelet_log).and_then(|known| cause(known, "journalctl --unit=kubelet --lines=50"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WELL: &str = "fact kubelet active\nfact kubelet_sub running\nfact kubelet_restarts 0\nfact kubelet_config yes\n\
        fact containerd active\nfact cni 1\nfact disk_free_kib 44511904\nfact inodes_free 15927883\nfact certificate valid\n\
        fact ended_etcd \nfact ended_kube-apiserver \nfact clock 1000.4\n";

    fn cause_of(good: &str, bad: &str) -> Option<Cause> {
        assert!(WELL.contains(good), "{good}");
        Look::parse(&WELL.replacen(good, bad, 1), 1000.0).cause()
    }

    #[test]
    fn a_machine_that_is_well_has_no_cause_and_one_that_says_nothing_has_none_either() {
        assert_eq!(Look::parse(WELL, 1000.0).cause(), None);
        assert_eq!(Look::parse("", 1000.0).cause(), None);
    }

    #[test]
    fn each_fault_is_told_with_what_to_type() {
        for (good, bad, what, mend) in [
            ("fact kubelet active", "fact kubelet inactive", "the kubelet is inactive", "systemctl start kubelet"),
            ("fact containerd active", "fact containerd inactive", "containerd is inactive", "systemctl restart containerd"),
            ("fact cni 1", "fact cni 0", "/etc/cni/net.d is empty", ""),
            ("44511904", "20480", "20 MiB are free", "df -h"),
            ("fact clock 1000.4", "fact clock 1700.4", "700 s ahead", "timedatectl"),
            ("fact clock 1000.4", "fact clock 400.4", "600 s behind", "timedatectl"),
            ("certificate valid", "certificate expired", "certificate has expired", "journalctl"),
            ("ended_etcd ", "ended_etcd panic: \u{1b}[31mcorrupt", "etcd does not run: panic: corrupt", "crictl"),
            ("kubelet_config yes", "kubelet_config no", "has not joined", ""),
        ] {
            let cause = cause_of(good, bad).unwrap_or_else(|| panic!("{bad}"));
            assert!(cause.what.contains(what) && cause.mend.unwrap_or_default().contains(mend), "{bad}: {}", cause.what);
        }
    }

    #[test]
    fn a_kubelet_that_crashes_is_told_by_its_last_words() {
        let log = "fact kubelet activating\nfact kubelet_sub auto-restart\nfact kubelet_restarts 7\nfact kubelet_config yes\n\
            kubelet E1121 15:34:09.1 1788 run.go:72] \"command failed\" err=\"failed to load kubelet config file, path: /var/lib/kubelet/config.yaml, error: \\\"bad\\\"\"\n\
            kubelet kubelet.service: Failed with result 'exit-code'.\n";
        let cause = Look::parse(log, 0.0).cause().unwrap();
        assert_eq!(
            cause.what,
            "the kubelet crashes (7 restarts): failed to load kubelet config file, path: /var/lib/kubelet/config.yaml, error: \"bad\""
        );
        let other = log.replace("failed to load kubelet config file", "unknown service runtime.v1.RuntimeService");
        assert!(Look::parse(&other, 0.0).cause().unwrap().what.contains("CRI plugin of containerd is switched off"));
        let silent = log.lines().take(4).collect::<Vec<_>>().join("\n");
        assert!(Look::parse(&silent, 0.0).cause().unwrap().what.ends_with("its log does not say why"));
    }

    #[test]
    fn containerd_comes_before_the_kubelet_that_misses_it() {
        let both = WELL
            .replace("fact containerd active", "fact containerd failed")
            .replace("fact kubelet active", "fact kubelet failed");
        assert_eq!(Look::parse(&both, 1000.0).cause().unwrap().what, "containerd is failed");
    }
}

//! How machines of a group are replaced.

use serde::{Deserialize, Serialize};

/// How machines of a group are replaced; never both amounts 0. Control planes go one at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RollingUpdate {
    /// How many new machines may be there before old ones go.
    pub max_surge: Amount,
    /// How many machines may be missing meanwhile.
    pub max_unavailable: Amount,
    /// Seconds that the pods of a machine may take to leave it; never 0.
    #[serde(default = "drain_timeout")]
    pub drain_timeout: u32,
    #[serde(default)]
    pub on_drain_timeout: DrainEnd,
    /// Of control planes always in place.
    #[serde(default)]
    pub upgrade: UpgradeBy,
}

/// What follows where pods are left on a machine when its drain has had its time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DrainEnd {
    /// Nothing more is done with it until somebody looks.
    #[default]
    Stop,
    /// They are deleted, whatever budgets say.
    Force,
}

/// How machines of a group come to another version of Kubernetes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UpgradeBy {
    /// Where they stand.
    #[default]
    InPlace,
    /// New machines take their places.
    Replace,
}

impl UpgradeBy {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InPlace => "in-place",
            Self::Replace => "replace",
        }
    }
}

impl DrainEnd {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Force => "force",
        }
    }
}

fn drain_timeout() -> u32 {
    600
}

impl Default for RollingUpdate {
    fn default() -> Self {
        Self {
            max_surge: Amount::Count(1),
            max_unavailable: Amount::Count(0),
            drain_timeout: drain_timeout(),
            on_drain_timeout: DrainEnd::Stop,
            upgrade: UpgradeBy::InPlace,
        }
    }
}

/// A number of machines, or a share of a group's count in percent, 0 to 100.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Amount {
    Count(u32),
    Percent(u8),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_older_kubewright_recorded_heeds_budgets() {
        let old = r#"{"max_surge":{"count":1},"max_unavailable":{"count":0}}"#;
        assert_eq!(serde_json::from_str::<RollingUpdate>(old).unwrap(), RollingUpdate::default());
    }
}

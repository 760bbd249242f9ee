//! Settings of components, and the patches that they name.

use std::collections::BTreeMap;

use super::{Surroundings, resolve, value};
use crate::cluster::{Component, Components, Fields, HostPath, NodeSettings, Patch};
use crate::spec::file::{ComponentKeys, GroupKeys, HostPathKeys, PatchKeys, SpecFile};
use crate::spec::place::At;
use crate::spec::problem::{Code, Fault, Findings, quoted};
use crate::spec::read::{List, Map};
use crate::spec::values::components::{EnvName, FlagName, FlagValue, FreeFields, PreflightCheck};

/// A patch is a few lines; more is a wrong file.
const LONGEST_PATCH: usize = 64 * 1024;

/// `None` if a problem was reported.
pub(super) fn of(spec: &SpecFile, around: &Surroundings, findings: &mut Findings) -> Option<Components> {
    let patches = patches(&spec.patches, around, findings);
    let etcd = &spec.etcd.as_ref()?.value;
    Some(Components {
        api_server: component(&spec.api_server)?,
        controller_manager: component(&spec.controller_manager)?,
        scheduler: component(&spec.scheduler)?,
        etcd: Component { extra_args: args(&etcd.extra_args)?, extra_envs: envs(&etcd.extra_envs)?, extra_volumes: vec![] },
        kubelet: fields(&spec.kubelet)?,
        kube_proxy: fields(&spec.kube_proxy)?,
        patches: patches?,
        ignore_preflight_errors: checks(&spec.ignore_preflight_errors)?,
    })
}

/// `None` if a problem was reported.
pub(super) fn of_group(keys: &GroupKeys, around: &Surroundings, findings: &mut Findings) -> Option<NodeSettings> {
    let patches = patches(&keys.patches, around, findings);
    Some(NodeSettings {
        kubelet: fields(&keys.kubelet)?,
        kubelet_args: args(&keys.kubelet_args)?,
        patches: patches?,
        ignore_preflight_errors: checks(&keys.ignore_preflight_errors)?,
    })
}

fn component(keys: &Option<At<ComponentKeys>>) -> Option<Component> {
    let keys = &keys.as_ref()?.value;
    let volume = |keys: &HostPathKeys| {
        let host_path = value(&keys.host_path)?.0;
        Some(HostPath {
            name: value(&keys.name)?.0,
            mount_path: value(&keys.mount_path).map_or_else(|| host_path.clone(), |path| path.0),
            host_path,
            read_only: value(&keys.read_only)?,
            path_type: value(&keys.path_type)?.as_str().to_owned(),
        })
    };
    Some(Component {
        extra_args: args(&keys.extra_args)?,
        extra_envs: envs(&keys.extra_envs)?,
        extra_volumes: keys.extra_volumes.as_ref()?.value.values().map(volume).collect::<Option<_>>()?,
    })
}

fn args(map: &Option<At<Map<FlagName, FlagValue>>>) -> Option<BTreeMap<String, String>> {
    Some(map.as_ref()?.value.0.iter().map(|(name, value)| (name.value.0.clone(), value.value.0.clone())).collect())
}

fn envs(map: &Option<At<Map<EnvName, FlagValue>>>) -> Option<BTreeMap<String, String>> {
    Some(map.as_ref()?.value.0.iter().map(|(name, value)| (name.value.0.clone(), value.value.0.clone())).collect())
}

fn fields(free: &Option<At<FreeFields>>) -> Option<Fields> {
    Some(free.as_ref()?.value.0.iter().map(|(name, value)| (name.value.clone(), value.clone())).collect())
}

fn checks(list: &Option<At<List<PreflightCheck>>>) -> Option<Vec<String>> {
    let mut checks: Vec<String> = list.as_ref()?.value.values().map(|check| check.0.clone()).collect();
    checks.sort();
    checks.dedup();
    Some(checks)
}

/// All files are looked at, so that all problems are told.
fn patches(list: &Option<At<List<PatchKeys>>>, around: &Surroundings, findings: &mut Findings) -> Option<Vec<Patch>> {
    let patches: Vec<_> = list.as_ref()?.value.values().map(|keys| patch(keys, around, findings)).collect();
    patches.into_iter().collect()
}

fn patch(keys: &PatchKeys, around: &Surroundings, findings: &mut Findings) -> Option<Patch> {
    let at = keys.file.as_ref()?;
    let path = resolve(&at.value, &at.span, around, findings)?;
    let read = around.files.read(&path).and_then(|bytes| match String::from_utf8(bytes) {
        Ok(text) if text.len() > LONGEST_PATCH => Err(format!("it has more than {} KiB", LONGEST_PATCH / 1024)),
        Ok(text) => match serde_saphyr::from_str::<serde_json::Value>(&text) {
            Ok(serde_json::Value::Object(_) | serde_json::Value::Array(_)) => Ok(text),
            Ok(_) => Err("it is neither a table nor a list".into()),
            Err(error) => Err(format!("it is not YAML: {}", error.to_string().lines().next().unwrap_or_default())),
        },
        Err(_) => Err("it is not text".into()),
    });
    match read {
        Ok(text) => Some(Patch { target: value(&keys.target)?, kind: value(&keys.kind)?, text }),
        Err(reason) => {
            let message = format!("the patch {} cannot be used: {reason}", quoted(&at.value.0));
            findings.error(&at.span, Fault::new(Code::Component, message));
            None
        }
    }
}

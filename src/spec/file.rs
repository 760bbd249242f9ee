//! Every key of a spec: the one list from which loader, messages and JSON Schema are made.
//!
//! To add a key, add a line here, carry it into [`crate::cluster`] in [`super::build`], and run
//! `kubewright schema > clusters/kubewright.schema.json`.

use toml::de::DeTable;

use super::nearest;
use super::problem::Findings;
use super::read::{Fields, Int, List, Map};
use super::table::{Key, Shape, table};
use super::values::components::{
    EnvName, Fingerprint, FlagName, FlagValue, FreeFields, MachinePath, PathType, PreflightCheck, VolumeName,
};
use super::values::kube::{LabelKey, LabelValue, Period};
use super::values::machine::{KeyText, MachineType, PathText, Profile, TagKey, TagValue, VolumeKind};
use super::values::names::{ClusterName, DnsZone, GroupName, San, User};
use super::values::net::{Cidr, MirrorUrl, Region, Zone};
use super::values::words::{Reach, SchemaVersion, Source};
use crate::cluster::{
    Amount, Cni, DrainEnd, HostKeys, Image, KubernetesVersion, Nat, PatchKind, PatchTarget, Ports, Role, SshAddress, Taint,
    UpgradeBy,
};

table! {
    /// A cluster, as kubewright builds and keeps it.
    SpecFile {
        /// Version of this file format.
        schema: SchemaVersion = required;
        /// DNS name of the cluster; it lies in `api.dns_zone`, and the API answers at `api.<name>`. At most 53 characters.
        name: ClusterName = required;
        /// Kubernetes version, all three numbers.
        kubernetes: KubernetesVersion = required;
        /// `delete cluster` refuses while this is true.
        prevent_destroy: bool = default(false);
        /// Extra tags of everything that is created; at most 40 together with those of a group.
        tags: Map<TagKey, TagValue> = default({});
        /// Where the cluster runs.
        aws: AwsKeys = required;
        /// Addresses and routes.
        network: NetworkKeys = default({});
        /// How the Kubernetes API is reached.
        api: ApiKeys = required;
        /// How kubewright logs in to the machines.
        ssh: SshKeys = required;
        /// Services of type NodePort (tcp and udp 30000 to 32767).
        node_ports: NodePortKeys = default({});
        /// Where kubeadm, kubelet and the other programs come from.
        packages: PackageKeys = default({});
        /// kube-apiserver, beyond kubewright's own settings.
        api_server: ComponentKeys = default({});
        /// kube-controller-manager, beyond kubewright's own settings.
        controller_manager: ComponentKeys = default({});
        /// kube-scheduler, beyond kubewright's own settings.
        scheduler: ComponentKeys = default({});
        /// etcd, beyond kubewright's own settings.
        etcd: EtcdKeys = default({});
        /// Fields of KubeletConfiguration (kubelet.config.k8s.io/v1beta1) of every machine, laid over kubewright's own.
        kubelet: FreeFields = default({});
        /// Fields of KubeProxyConfiguration (kubeproxy.config.k8s.io/v1alpha1), laid over kubewright's own.
        kube_proxy: FreeFields = default({});
        /// kubeadm's patches, for every machine that runs their target.
        patches: List<PatchKeys> = default([]);
        /// kubeadm's preflight checks whose errors do not count, by name; never `all`.
        ignore_preflight_errors: List<PreflightCheck> = default([]);
        /// Machines made alike; at least one group has the role `control-plane`.
        instance_group: List<GroupKeys> = required;
    }
}

table! {
    /// Where the cluster runs.
    AwsKeys {
        /// AWS region.
        region: Region = required;
        /// Availability zones of the region, letters a to h. A zone can be added later without moving a subnet.
        zones: List<Zone> = required;
    }
}

table! {
    /// Addresses and routes.
    NetworkKeys {
        /// Network of the VPC, /16 to /24. Cut in 16 blocks: one subnet for each zone letter, and one for its NAT gateway and bastion.
        cidr: Cidr = default("10.20.0.0/16");
        /// Addresses of pods, /8 to /24; each machine takes a /24 of it.
        pods: Cidr = default("192.168.0.0/16");
        /// Addresses of services, /12 to /24.
        services: Cidr = default("10.96.0.0/12");
        /// Pod network; with `none` you install one yourself, and nodes stay NotReady until then.
        cni: Cni = default("calico");
        /// What control planes and nodes may say to each other beyond what kubewright opens itself: ports with their protocol,
        /// such as "8472/udp" or "30000-30100/tcp", or `icmp`, `ipip` or `all`. A pod network of your own needs it.
        ports: List<Ports> = default([]);
        /// `public`: machines have public addresses. `private`: they have none, and reach out through NAT gateways.
        topology: Reach = default("public");
        /// NAT gateways of the private topology: one for each zone (default), or one for all, which is cheaper and is lost with its zone.
        nat: Nat = optional;
    }
}

table! {
    /// How the Kubernetes API is reached.
    ApiKeys {
        /// Route 53 hosted zone, which exists already, for `api.<name>`.
        dns_zone: DnsZone = required;
        /// More names or addresses in the API server's certificate.
        sans: List<San> = default([]);
        /// CIDRs that may reach the API (tcp 6443). Empty: nobody outside the cluster.
        access: List<Cidr> = default([]);
    }
}

table! {
    /// How kubewright logs in to the machines.
    SshKeys {
        /// Login user. Default: the one of the image's alias; an AMI id needs it.
        user: User = optional;
        /// Port of the machines' SSH server.
        port: Int<1, 65535> = default(22);
        /// Public key that the machines let in: the path of an OpenSSH file, or its one line. ed25519 or RSA.
        public_key: KeyText = required;
        /// Path of the private key. A passphrase comes from KUBEWRIGHT_SSH_PASSPHRASE, never from here.
        private_key: PathText = optional;
        /// Use the agent at SSH_AUTH_SOCK. Default: true if there is no `private_key`.
        agent: bool = optional;
        /// CIDRs that may reach SSH; where there is a bastion, of the bastion only. Empty: nobody.
        access: List<Cidr> = default([]);
        /// Which address of a machine is used. Default: that of the topology.
        address: SshAddress = optional;
        /// How host keys are known: from the instance's console output, or the first one seen is believed.
        host_keys: HostKeys = default("console");
    }
}

table! {
    /// Services of type NodePort.
    NodePortKeys {
        /// CIDRs that may reach ports 30000 to 32767 of nodes. Empty: nobody.
        access: List<Cidr> = default([]);
    }
}

table! {
    /// Where kubeadm, kubelet and the other programs come from.
    PackageKeys {
        /// `apt`: the package repository of the Kubernetes minor. `bundle`: a folder that is uploaded to the machines.
        source: Source = default("apt");
        /// With `apt`: https address of a mirror of the repository.
        mirror: MirrorUrl = optional;
        /// With `mirror`: fingerprint of the key that signs it. Default: that of the community's key.
        signing_key: Fingerprint = optional;
        /// With `bundle`: the folder, relative to this file.
        bundle: PathText = optional;
    }
}

table! {
    /// Machines made alike.
    GroupKeys {
        /// Name, at most 40 characters; machines are called `<name>-<zone>-<n>`.
        name: GroupName = required;
        /// What the machines do.
        role: Role = required;
        /// How many machines; control planes of all groups together are 1, 3, 5 or 7.
        count: Int<0, 5000> = required;
        /// Zones of this group, spread evenly. Default: all of the cluster.
        zones: List<Zone> = optional;
        /// EC2 instance type.
        machine_type: MachineType = required;
        /// Alias, resolved once to the newest image and then pinned, or an AMI id.
        image: Image = default("debian-13");
        /// Root volume, always encrypted.
        volume: VolumeKeys = default({});
        /// Labels of the nodes.
        labels: Map<LabelKey, LabelValue> = default({});
        /// Taints of the nodes, as `key=value:Effect`.
        taints: List<Taint> = default([]);
        /// Extra tags of the machines and their volumes.
        tags: Map<TagKey, TagValue> = default({});
        /// Name of an existing IAM instance profile.
        instance_profile: Profile = optional;
        /// Hops that answers of the instance metadata service may travel; 1 keeps pods away from it.
        metadata_hop_limit: Int<1, 64> = default(1);
        /// How machines of the group are replaced.
        rolling_update: RollingUpdateKeys = default({});
        /// Fields of KubeletConfiguration of this group's machines, laid over those of the cluster.
        kubelet: FreeFields = default({});
        /// Flags of the kubelet, without their dashes.
        kubelet_args: Map<FlagName, FlagValue> = default({});
        /// kubeadm's patches for this group's machines.
        patches: List<PatchKeys> = default([]);
        /// kubeadm's preflight checks whose errors do not count on this group's machines, by name; never `all`.
        ignore_preflight_errors: List<PreflightCheck> = default([]);
    }
}

table! {
    /// A component of the control plane, beyond kubewright's own settings.
    ComponentKeys {
        /// Flags, without their dashes; they win over kubewright's own.
        extra_args: Map<FlagName, FlagValue> = default({});
        /// Environment variables; from Kubernetes 1.31 on.
        extra_envs: Map<EnvName, FlagValue> = default({});
        /// Files and folders of the machine that the component's pod sees.
        extra_volumes: List<HostPathKeys> = default([]);
    }
}

table! {
    /// etcd, beyond kubewright's own settings.
    EtcdKeys {
        /// Flags, without their dashes; they win over kubewright's own.
        extra_args: Map<FlagName, FlagValue> = default({});
        /// Environment variables; from Kubernetes 1.31 on.
        extra_envs: Map<EnvName, FlagValue> = default({});
        /// How many snapshots stay in the state store, of those that somebody asked for and of those of rolls and upgrades each.
        snapshots_kept: Int<1, 1000> = default(10);
    }
}

table! {
    /// A file or folder of the machine that a component's pod sees.
    HostPathKeys {
        /// Name of the volume.
        name: VolumeName = required;
        /// Path on the machine.
        host_path: MachinePath = required;
        /// Path in the pod. Default: the same.
        mount_path: MachinePath = optional;
        /// The pod cannot change it.
        read_only: bool = default(true);
        /// What has to be there, as Kubernetes' hostPath says it; empty: anything.
        path_type: PathType = default("");
    }
}

table! {
    /// A patch, as kubeadm applies it.
    PatchKeys {
        /// What is patched.
        target: PatchTarget = required;
        /// How the patch is to be read.
        kind: PatchKind = default("strategic");
        /// The patch, YAML or JSON; relative to this file.
        file: PathText = required;
    }
}

table! {
    /// Root volume.
    VolumeKeys {
        /// Size in GiB. Default: 40 for control planes, 60 for nodes, 10 for bastions.
        size_gib: Int<8, 16384> = optional;
        /// EBS volume type.
        kind: VolumeKind = default("gp3");
    }
}

table! {
    /// How machines of the group are replaced.
    RollingUpdateKeys {
        /// How many new ones may be there before old ones go: a number or a share such as "25%".
        max_surge: Amount = default(1);
        /// How many may be missing meanwhile: a number or a share such as "25%".
        max_unavailable: Amount = default(0);
        /// How long the pods of a machine may take to leave it, such as "90s" or "10m"; at most a day.
        drain_timeout: Period = default("10m");
        /// What then: `stop`, or `force`, which deletes the pods that a disruption budget still keeps.
        on_drain_timeout: DrainEnd = default("stop");
        /// How `upgrade` brings a machine to another version: `in-place`, or `replace`, which makes a new one; control planes only in place.
        upgrade: UpgradeBy = default("in-place");
    }
}

impl SpecFile {
    /// Reads the tree of a whole file.
    pub fn read_root(tree: &DeTable, findings: &mut Findings) -> Self {
        // What is missing at the top is reported at the first key; the file as a whole has no header.
        let first = tree.keys().map(|key| key.span()).min_by_key(|span| span.start).unwrap_or_default();
        let fields = Fields::check("", tree, first, Self::KEYS, findings);
        Self::from_fields(&fields, findings)
    }
}

/// Another table, as it is written, that knows this key or one very much like it, and that key.
pub(crate) fn elsewhere(name: &str) -> Option<(String, &'static str)> {
    let mut homes: Vec<(bool, String, &'static str)> = Vec::new();
    visit("the top of the file", SpecFile::KEYS, &mut |table, keys| {
        if let Some(key) = nearest(name, keys.iter().map(|key| key.name)) {
            homes.push((key != name, table.to_owned(), key));
        }
    });
    homes.into_iter().min_by_key(|(differs, ..)| *differs).map(|(_, table, key)| (table, key))
}

/// Calls `seen` with every table of the format, as it is written, and its keys.
fn visit(table: &str, keys: &'static [Key], seen: &mut impl FnMut(&str, &'static [Key])) {
    seen(table, keys);
    for key in keys {
        match key.shape {
            Shape::Value => {}
            Shape::Table(inner) => visit(&format!("[{}]", key.name), inner, seen),
            Shape::Tables(inner) => visit(&format!("[[{}]]", key.name), inner, seen),
        }
    }
}

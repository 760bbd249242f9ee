//! Every key of a spec, with a change of it and what has to follow; a new field of the model has to be named here.

use std::collections::BTreeSet;

use kubewright::cluster::{Api, Cluster, Components, InstanceGroup, Network, NodeSettings, RollingUpdate, Ssh, Volume};

/// Has a value for everything that can be changed.
pub const BASE: &str = r#"schema = 1
name = "demo.k8s.example.com"
kubernetes = "1.34.2"
prevent_destroy = false
tags = { team = "blue", cost = "42" }

[aws]
region = "us-east-1"
zones = ["us-east-1a", "us-east-1b"]

[network]
cidr = "10.20.0.0/16"
pods = "192.168.0.0/16"
services = "10.96.0.0/12"
cni = "calico"
ports = ["4789/udp", "9000/udp", "icmp"]
topology = "public"

[api]
dns_zone = "k8s.example.com"
sans = ["k8s.corp.example.com"]
access = ["203.0.113.0/24"]

[ssh]
user = "admin"
port = 22
public_key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f demo@example"
private_key = "~/.ssh/id_ed25519"
access = ["203.0.113.0/24"]
address = "public"
host_keys = "console"

[node_ports]
access = ["203.0.113.0/24"]

[packages]
source = "bundle"
bundle = "../.lab/bundle"

[[instance_group]]
name = "control-plane"
role = "control-plane"
count = 1
machine_type = "t3.medium"
image = "debian-12"

[[instance_group]]
name = "nodes"
role = "node"
count = 2
zones = ["us-east-1a", "us-east-1b"]
machine_type = "t3.large"
image = "debian-12"
volume = { size_gib = 60, kind = "gp3" }
labels = { tier = "general", disk = "ssd" }
taints = ["dedicated=web:NoSchedule", "spot=yes:PreferNoSchedule"]
tags = { owner = "ops" }
instance_profile = "nodes"
metadata_hop_limit = 1
rolling_update = { max_surge = 1, max_unavailable = 0 }
# end
"#;

pub enum Then {
    /// Exactly these actions, by the beginning of their ids, each at least once.
    Does(&'static [&'static str]),
    /// Live machines stay as they are and are shown as behind; besides, these actions.
    Behind(&'static [&'static str]),
    /// Nothing but another revision: it is about the machines to come, or about kubewright itself.
    Registers,
    Refused,
}

pub use Then::{Behind, Does, Refused, Registers};

/// `(key, from, to, what follows, what is said)`
pub type Case = (&'static str, &'static str, &'static str, Then, &'static [&'static str]);

const OTHER: &str = "AAAAC3NzaC1lZDI1NTE5AAAAIPIdMxaDYhlCwc8ZfbIQVEJxpL0IX39CPxuS0Bg5dCu5";
const THIS: &str = "AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f";
const MORE: &str =
    "\n[[instance_group]]\nname = \"gpu\"\nrole = \"node\"\ncount = 1\nmachine_type = \"m5.large\"\nimage = \"debian-12\"\n";

pub fn cases() -> Vec<Case> {
    vec![
        ("kubernetes", "1.34.2", "1.34.3", Refused, &["kubernetes 1.34.2 -> 1.34.3 is an upgrade"]),
        ("kubernetes", "1.34.2", "1.33.1", Refused, &["1.34.2 -> 1.33.1"]),
        ("aws.region", "region = \"us-east-1\"", "region = \"us-west-2\"", Refused, &["aws.region", "us-east-1 -> us-west-2"]),
        (
            "aws.zones",
            "\"us-east-1b\"]\n\n",
            "\"us-east-1b\", \"us-east-1c\"]\n\n",
            Does(&["create subnet/us-east-1c", "routes route-table/public"]),
            &["subnet us-east-1c", "10.20."],
        ),
        ("network.cidr", "10.20.0.0/16", "10.30.0.0/16", Refused, &["network.cidr", "10.20.0.0/16 -> 10.30.0.0/16"]),
        ("network.pods", "192.168.0.0/16", "172.16.0.0/16", Refused, &["network.pods", "192.168.0.0/16 -> 172.16.0.0/16"]),
        ("network.services", "10.96.0.0/12", "10.112.0.0/12", Refused, &["network.services", "10.96.0.0/12 -> 10.112.0.0/12"]),
        ("network.cni", "\"calico\"", "\"none\"", Refused, &["network.cni", "calico -> none"]),
        (
            "network.ports",
            "\"icmp\"]",
            "\"icmp\", \"9000-9100/tcp\", \"ipip\", \"all\"]",
            Does(&["rules security-group/control-plane", "rules security-group/node"]),
            &[
                "+ tcp 9000-9100 from node machines",
                "+ ip-in-ip from control-plane machines",
                "+ all from node machines",
                "network.ports, node",
                "the spec changed",
            ],
        ),
        (
            "network.ports",
            ", \"9000/udp\", \"icmp\"]",
            "]",
            Does(&["rules security-group/control-plane", "rules security-group/node"]),
            &["- udp 9000 from control-plane machines", "- icmp from node machines", "disruptive"],
        ),
        // The pod network opens it anyway.
        ("network.ports", "\"4789/udp\", ", "", Registers, &["network.ports"]),
        (
            "network.topology",
            "topology = \"public\"",
            "topology = \"private\"",
            Refused,
            &["network.topology", "public -> private"],
        ),
        ("api.dns_zone", "\"k8s.example.com\"", "\"example.com\"", Refused, &["api.dns_zone", "k8s.example.com -> example.com"]),
        (
            "api.sans",
            "k8s.corp.example.com",
            "api.corp.example.com",
            Refused,
            &["api.sans", "k8s.corp.example.com -> api.corp.example.com"],
        ),
        (
            "api.access",
            "access = [\"203.0.113.0/24\"]\n\n[ssh]",
            "access = [\"203.0.113.0/24\", \"198.51.100.0/24\"]\n\n[ssh]",
            Does(&["rules security-group/control-plane"]),
            &["+ tcp 6443 from 198.51.100.0/24", "the spec changed"],
        ),
        (
            "api.access",
            "access = [\"203.0.113.0/24\"]\n\n[ssh]",
            "access = [\"198.51.100.0/24\"]\n\n[ssh]",
            Does(&["rules security-group/control-plane"]),
            &["+ tcp 6443 from 198.51.100.0/24", "- tcp 6443 from 203.0.113.0/24", "disruptive"],
        ),
        ("ssh.user", "user = \"admin\"", "user = \"ops\"", Registers, &["ssh.user"]),
        (
            "ssh.port",
            "port = 22",
            "port = 2222",
            Does(&["rules security-group/control-plane", "rules security-group/node"]),
            &["+ tcp 2222", "- tcp 22 "],
        ),
        (
            "ssh.public_key",
            THIS,
            OTHER,
            Behind(&["replace key-pair"]),
            &["ssh.public_key changed", "key ", "needs: new machines in their place"],
        ),
        ("ssh.public_key", "demo@example", "somebody@else", Registers, &["ssh.public_key"]),
        ("ssh.private_key", "private_key = \"~/.ssh/id_ed25519\"\n", "", Registers, &["ssh.auth"]),
        (
            "ssh.access",
            "access = [\"203.0.113.0/24\"]\naddress",
            "access = []\naddress",
            Does(&["rules security-group/control-plane", "rules security-group/node"]),
            &["- tcp 22 from 203.0.113.0/24"],
        ),
        ("ssh.address", "address = \"public\"", "address = \"private\"", Registers, &["ssh.address"]),
        ("ssh.host_keys", "\"console\"", "\"trust-on-first-use\"", Registers, &["ssh.host_keys"]),
        (
            "node_ports",
            "[node_ports]\naccess = [\"203.0.113.0/24\"]",
            "[node_ports]\naccess = [\"203.0.113.0/24\", \"192.0.2.0/24\"]",
            Does(&["rules security-group/node"]),
            &["+ tcp 30000-32767 from 192.0.2.0/24", "+ udp 30000-32767 from 192.0.2.0/24"],
        ),
        (
            "tags",
            "team = \"blue\", cost = \"42\"",
            "team = \"red\", env = \"prod\"",
            Does(&["tag "]),
            &["~ tag team: blue -> red", "+ tag env: prod", "- tag cost"],
        ),
        ("packages", "../.lab/bundle", "../other", Registers, &["packages.bundle"]),
        ("packages", "source = \"bundle\"\nbundle = \"../.lab/bundle\"", "source = \"apt\"", Registers, &["packages"]),
        ("snapshots_kept", "\n[packages]", "\n[etcd]\nsnapshots_kept = 48\n[packages]", Registers, &["snapshots_kept"]),
        ("prevent_destroy", "prevent_destroy = false", "prevent_destroy = true", Registers, &["prevent_destroy"]),
        (
            "groups",
            "# end\n",
            MORE,
            Does(&["create instance/gpu-", "prepare gpu-", "join gpu-"]),
            &["instance group gpu", "0 -> 1", "new instance group", "m5.large"],
        ),
        (
            "group.name",
            "name = \"nodes\"\n",
            "name = \"web\"\n",
            Does(&["create instance/web-", "prepare web-", "join web-", "drain nodes-", "delete instance/nodes-"]),
            &["new instance group", "instance group nodes left the spec"],
        ),
        (
            "group.role",
            "name = \"nodes\"\nrole = \"node\"",
            "name = \"nodes\"\nrole = \"bastion\"",
            Refused,
            &["the role cannot be changed", "node -> bastion"],
        ),
        (
            "group.count",
            "count = 2",
            "count = 4",
            Does(&["create instance/nodes-", "prepare nodes-", "join nodes-"]),
            &["2 -> 4", "count 2 -> 4"],
        ),
        (
            "group.count",
            "count = 2",
            "count = 1",
            Does(&["drain nodes-us-east-1b-1", "delete instance/nodes-us-east-1b-1"]),
            &["2 -> 1", "count 2 -> 1", "their pods move to other nodes"],
        ),
        ("group.count", "count = 2", "count = 0", Does(&["drain nodes-", "delete instance/nodes-"]), &["2 -> 0"]),
        (
            "group.count",
            "role = \"control-plane\"\ncount = 1",
            "role = \"control-plane\"\ncount = 3",
            Does(&[
                "create instance/control-plane-",
                "prepare control-plane-",
                "join-control-plane control-plane-",
                "ready control-plane-",
                "publish control-plane-",
            ]),
            &["1 -> 3", "count 1 -> 3"],
        ),
        (
            "group.zones",
            "zones = [\"us-east-1a\", \"us-east-1b\"]\nmachine",
            "zones = [\"us-east-1a\"]\nmachine",
            Does(&[
                "create instance/nodes-us-east-1a-2",
                "prepare nodes-us-east-1a-2",
                "join nodes-us-east-1a-2",
                "drain nodes-us-east-1b-1",
                "delete instance/nodes-us-east-1b-1",
            ]),
            &["us-east-1b"],
        ),
        (
            "group.machine_type",
            "t3.large",
            "m5.large",
            Behind(&[]),
            &["machine type t3.large -> m5.large", "2 behind", "needs: new machines in their place"],
        ),
        (
            "group.image",
            "image = \"debian-12\"\nvolume",
            "image = \"ubuntu-24.04\"\nvolume",
            Behind(&[]),
            &["image ami-", "2 behind"],
        ),
        ("group.volume", "size_gib = 60", "size_gib = 80", Behind(&[]), &["volume 60-gp3 -> 80-gp3"]),
        ("group.volume", "kind = \"gp3\"", "kind = \"gp2\"", Behind(&[]), &["volume 60-gp3 -> 60-gp2"]),
        (
            "group.labels",
            "tier = \"general\", disk = \"ssd\"",
            "tier = \"web\", team = \"a\"",
            Does(&["label nodes-"]),
            &[
                "~ label tier: general -> web",
                "+ label team=a",
                "- label disk",
                "labels or taints of instance group nodes changed",
            ],
        ),
        (
            "group.taints",
            "\"dedicated=web:NoSchedule\", \"spot=yes:PreferNoSchedule\"",
            "\"dedicated=db:NoSchedule\", \"slow=:NoExecute\"",
            Does(&["label nodes-"]),
            &["~ taint dedicated:NoSchedule: web -> db", "+ taint slow=:NoExecute", "- taint spot:PreferNoSchedule", "evicted"],
        ),
        (
            "group.tags",
            "owner = \"ops\"",
            "shift = \"night\"",
            Does(&["tag instance/nodes-"]),
            &["+ tag shift: night", "- tag owner"],
        ),
        (
            "group.tags",
            "owner = \"ops\"",
            "owner = \"ops\", team = \"green\"",
            Does(&["tag instance/nodes-"]),
            &["tag team: blue -> green"],
        ),
        ("group.instance_profile", "\"nodes\"\nmetadata", "\"other\"\nmetadata", Behind(&[]), &["profile nodes -> other"]),
        ("group.metadata_hop_limit", "metadata_hop_limit = 1", "metadata_hop_limit = 2", Behind(&[]), &["hop-limit 1 -> 2"]),
        (
            "group.rolling_update",
            "max_surge = 1, max_unavailable = 0",
            "max_surge = 0, max_unavailable = 1",
            Registers,
            &["instance group nodes: rolling_update"],
        ),
        (
            "api_server",
            "\n[packages]",
            "\n[api_server]\nextra_args = { v = \"4\" }\n[packages]",
            Refused,
            &["settings of components", "api_server"],
        ),
        (
            "controller_manager",
            "\n[packages]",
            "\n[controller_manager]\nextra_envs = { GODEBUG = \"x\" }\n[packages]",
            Refused,
            &["settings of components", "controller_manager"],
        ),
        (
            "scheduler",
            "\n[packages]",
            "\n[[scheduler.extra_volumes]]\nname = \"x\"\nhost_path = \"/x\"\n[packages]",
            Refused,
            &["settings of components", "scheduler"],
        ),
        ("etcd", "\n[packages]", "\n[etcd]\nextra_args = { v = \"4\" }\n[packages]", Refused, &["live cluster: etcd"]),
        ("kubelet", "\n[packages]", "\n[kubelet]\nmaxPods = 60\n[packages]", Refused, &["live cluster: kubelet"]),
        ("kube_proxy", "\n[packages]", "\n[kube_proxy]\nmode = \"nftables\"\n[packages]", Refused, &["live cluster: kube_proxy"]),
        (
            "patches",
            "\n[packages]",
            "\n[[patches]]\ntarget = \"etcd\"\nfile = \"patch.yaml\"\n[packages]",
            Refused,
            &["live cluster: patches"],
        ),
        (
            "ignore_preflight_errors",
            "schema = 1\n",
            "schema = 1\nignore_preflight_errors = [\"NumCPU\"]\n",
            Registers,
            &["ignore_preflight_errors"],
        ),
        ("group.kubelet", "# end", "kubelet = { maxPods = 60 }\n# end", Behind(&[]), &["settings none ->"]),
        ("group.kubelet_args", "# end", "kubelet_args = { v = \"4\" }\n# end", Behind(&[]), &["settings none ->"]),
        (
            "group.patches",
            "# end",
            "[[instance_group.patches]]\ntarget = \"kubeletconfiguration\"\nfile = \"patch.yaml\"\n# end",
            Behind(&[]),
            &["settings none ->"],
        ),
        (
            "group.ignore_preflight_errors",
            "# end",
            "ignore_preflight_errors = [\"NumCPU\"]\n# end",
            Registers,
            &["instance group nodes: ignore_preflight_errors"],
        ),
    ]
}

/// Every field of the model: a new one must be named here, and changed by a case above.
pub fn keys(cluster: Cluster) -> BTreeSet<&'static str> {
    let Cluster {
        name: _,
        kubernetes: _,
        region: _,
        zones: _,
        network,
        api,
        ssh,
        node_ports: _,
        groups,
        tags: _,
        packages: _,
        components,
        prevent_destroy: _,
        snapshots_kept: _,
    } = cluster;
    let Components {
        api_server: _,
        controller_manager: _,
        scheduler: _,
        etcd: _,
        kubelet: _,
        kube_proxy: _,
        patches: _,
        ignore_preflight_errors: _,
    } = *components;
    let Network { cidr: _, pods: _, services: _, cni: _, ports: _, topology: _ } = network;
    let Api { dns_zone: _, sans: _, access: _ } = api;
    let Ssh { user: _, port: _, public_key: _, auth: _, access: _, address: _, host_keys: _ } = ssh;
    for group in groups {
        let InstanceGroup {
            name: _,
            role: _,
            count: _,
            zones: _,
            machine_type: _,
            image: _,
            volume,
            labels: _,
            taints: _,
            tags: _,
            instance_profile: _,
            metadata_hop_limit: _,
            rolling_update,
            settings,
        } = group;
        let NodeSettings { kubelet: _, kubelet_args: _, patches: _, ignore_preflight_errors: _ } = settings;
        let Volume { size_gib: _, kind: _ } = volume;
        let RollingUpdate { max_surge: _, max_unavailable: _, drain_timeout: _, on_drain_timeout: _, upgrade: _ } =
            rolling_update;
    }
    [
        "kubernetes",
        "aws.region",
        "aws.zones",
        "network.cidr",
        "network.pods",
        "network.services",
        "network.cni",
        "network.ports",
        "network.topology",
        "api.dns_zone",
        "api.sans",
        "api.access",
        "ssh.user",
        "ssh.port",
        "ssh.public_key",
        "ssh.private_key",
        "ssh.access",
        "ssh.address",
        "ssh.host_keys",
        "node_ports",
        "groups",
        "tags",
        "packages",
        "api_server",
        "controller_manager",
        "scheduler",
        "etcd",
        "kubelet",
        "kube_proxy",
        "patches",
        "ignore_preflight_errors",
        "prevent_destroy",
        "snapshots_kept",
        "group.name",
        "group.role",
        "group.count",
        "group.zones",
        "group.machine_type",
        "group.image",
        "group.volume",
        "group.labels",
        "group.taints",
        "group.tags",
        "group.instance_profile",
        "group.metadata_hop_limit",
        "group.rolling_update",
        "group.kubelet",
        "group.kubelet_args",
        "group.patches",
        "group.ignore_preflight_errors",
    ]
    .into()
}

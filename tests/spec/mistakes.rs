//! One mistake, one report: its kind, its words, its line.

use std::collections::BTreeSet;

use kubewright::spec::{Code, Severity};

use crate::world::*;

struct Case {
    code: Code,
    /// What is replaced in `ha.toml`, and by what.
    edits: Vec<(&'static str, String)>,
    /// In the message or the help.
    says: &'static str,
    /// In the line that is pointed at.
    line: &'static str,
}

fn case(code: Code, from: &'static str, to: impl Into<String>, says: &'static str, line: &'static str) -> Case {
    Case { code, edits: vec![(from, to.into())], says, line }
}

impl Case {
    fn and(mut self, from: &'static str, to: &str) -> Self {
        self.edits.push((from, to.to_owned()));
        self
    }
}

/// Writes a key into the group of workers.
const NODES: &str = "name = \"nodes\"\n";

fn nodes(code: Code, line: &'static str, says: &'static str) -> Case {
    case(code, NODES, format!("{NODES}{line}\n"), says, line)
}

/// Writes a key beside those of how the workers are replaced.
fn drain(code: Code, key: &'static str, says: &'static str) -> Case {
    case(code, "max_unavailable = 0", format!("max_unavailable = 0, {key}"), says, key)
}

fn ports(entry: &'static str, says: &'static str) -> Case {
    case(Code::Ports, "cni = \"flannel\"", format!("cni = \"flannel\"\nports = [\"53/tcp\", {entry}]"), says, entry)
}

const COUNT_CP: &str = "count = 3\nmachine_type = \"t3.medium\"";
const BASTION: &str =
    "name = \"b\"\nrole = \"bastion\"\ncount = 1\nmachine_type = \"t3.micro\"\n[[instance_group]]\nname = \"nodes\"\n";

fn planes(count: i64) -> String {
    format!("count = {count}\nmachine_type = \"t3.medium\"")
}

#[rustfmt::skip]
fn errors() -> Vec<Case> {
    use Code::*;
    let name = "name = \"demo.k8s.example.com\"";
    let version = "kubernetes = \"1.34.2\"";
    let zones = "zones = [\"us-east-1a\", \"us-east-1b\", \"us-east-1c\"]";
    let (cidr, pods, services) = ("cidr = \"10.20.0.0/16\"", "pods = \"192.168.0.0/16\"", "services = \"10.96.0.0/12\"");
    let dns = "dns_zone = \"k8s.example.com\" ";
    let key = "private_key = \"~/.ssh/id_ed25519\" ";
    let public = "public_key = \"~/.ssh/id_ed25519.pub\"";
    let bundle = "bundle = \"../.lab/bundle\"";
    let source = "source = \"bundle\"";
    let cni = "cni = \"flannel\"";
    let ssh = "[ssh]\n";
    let long_label = "x".repeat(64);
    let many_tags: String = (0..41).map(|n| format!("t{n} = ''\n")).collect();
    vec![
        case(Component, "[network]\n", "[api_server]\nextra_args = { secure-port = \"443\" }\n[network]\n", "is not to be set", "secure-port"),
        case(Component, "[network]\n", "[api_server]\nextra_args = { --v = \"4\" }\n[network]\n", "with its dashes", "--v"),
        case(Component, "[network]\n", "[etcd]\nextra_args = { data-dir = \"/x\" }\n[network]\n", "is not to be set", "data-dir"),
        case(Component, "[network]\n", "[kubelet]\ncgroupDriver = \"cgroupfs\"\n[network]\n", "that of the container runtime", "cgroupDriver"),
        case(Component, "[network]\n", "[kubelet]\nx = [1979-05-27]\n[network]\n", "write it as text", "1979"),
        case(Component, "[network]\n", "[kube_proxy]\nclusterCIDR = \"10.0.0.0/8\"\n[network]\n", "set network.pods", "clusterCIDR"),
        case(Component, "[network]\n", "[scheduler]\nextra_envs = { 1x = \"y\" }\n[network]\n", "environment variable", "1x"),
        case(Component, "[network]\n", "[[patches]]\ntarget = \"etcd\"\nfile = \"no.yaml\"\n[network]\n", "there is no such file", "no.yaml"),
        case(Component, "[network]\n", "[[scheduler.extra_volumes]]\nname = \"x\"\nhost_path = \"../x\"\n[network]\n", "not an absolute path", "../x"),
        case(Component, "schema = 1", "schema = 1\nignore_preflight_errors = [\"all\"]", "hide the ones that matter", "all"),
        case(Choice, "[network]\n", "[[patches]]\ntarget = \"kubelet\"\nfile = \"~/.ssh/patch.yaml\"\n[network]\n", "kubeletconfiguration", "kubelet"),
        nodes(Component, "kubelet_args = { pod-infra-container-image = \"x\", node-ip = \"10.0.0.1\" }", "machine's own address"),
        nodes(Component, "patches = [{ target = \"etcd\", file = \"~/.ssh/patch.yaml\" }]", "run no etcd"),
        case(UnknownKey, "role = \"node\"\n", "role = \"node\"\nmachine-type = \"t3.medium\"\n", "did you mean `machine_type`?", "machine-type"),
        case(UnknownKey, "role = \"node\"\n", "role = \"node\"\nmachineTyp = \"t3.medium\"\n", "did you mean `machine_type`?", "machineTyp"),
        case(UnknownKey, "schema = 1", "schema = 1\nregion = \"us-east-1\"", "it belongs in [aws]", "region ="),
        case(UnknownKey, "schema = 1", "schema = 1\nregin = \"us-east-1\"", "did you mean `region`, which belongs in [aws]?", "regin ="),
        nodes(UnknownKey, "subnets = [\"us-east-1a\"]", "did you mean `zones`?"),
        case(UnknownKey, "schema = 1", "schema = 1\n\"\\u001b[31m\" = 1", "\\u{1b}", "u001b"),
        case(MissingKey, "kubernetes = \"1.34.2\"\n", "", "`kubernetes` is missing", "schema = 1"),
        case(MissingKey, "region = \"us-east-1\"\n", "", "`region` is missing in `aws`", "[aws]"),
        case(MissingKey, "role = \"node\"\n", "", "`role` is missing in `instance_group`", "[[instance_group]]"),
        case(SchemaVersion, "schema = 1", "schema = 2", "it reads schema 1", "schema = 2"),
        case(ControlCharacter, cni, "cni = \"cal\\u0000ico\"", "U+0000", "cni"),
        case(ControlCharacter, cni, "cni = \"cal\\u202eico\"", "U+202E", "cni"),
        case(Choice, cni, "cni = \"calicoo\"", "did you mean \"calico\"?", "cni"),
        case(Choice, cni, "cni = \"weave\"", "\"calico\", \"cilium\", \"flannel\" or \"none\"", "cni"),
        case(Choice, "role = \"node\"", "role = \"worker\"", "did you mean \"node\"?", "role"),
        case(Name, name, "name = \"Demo.k8s.example.com\"", "write \"demo.k8s.example.com\"", "name"),
        case(Name, name, "name = \"$(reboot).k8s.example.com\"", "`$` may not stand in it", "name"),
        case(Name, name, "name = \"a b.k8s.example.com\"", "` ` may not stand in it", "name"),
        case(Name, name, "name = \"-a.k8s.example.com\"", "begins and ends with", "name"),
        case(Name, name, "name = \"a..k8s.example.com\"", "each part between the dots", "name"),
        case(Name, name, "name = \"demo.k8s.example.com.\"", "ends with a dot", "name"),
        case(Name, name, "name = \"\"", "is not a DNS name", "name"),
        case(Name, name, "name = \"demo\"", "only one part", "name"),
        case(Name, name, format!("name = \"{}.k8s.example.com\"", "d".repeat(50)), "53 are the most", "name"),
        case(DnsZone, name, "name = \"demo.example.org\"", "does not lie in the zone", "dns_zone"),
        case(DnsZone, dns, "dns_zone = \"8s.example.com\"", "does not lie in the zone", "dns_zone"),
        case(DnsZone, dns, "dns_zone = \"k8s_example\"", "`_` may not stand in it", "dns_zone"),
        case(Version, version, "kubernetes = \"v1.34.2\"", "without the `v`: \"1.34.2\"", "kubernetes"),
        case(Version, version, "kubernetes = \"1.34\"", "such as \"1.34.0\"", "kubernetes"),
        case(Version, version, "kubernetes = \"1.28.9\"", "too old; 1.29 to 1.37", "kubernetes"),
        case(Version, version, "kubernetes = \"1.38.0\"", "too new", "kubernetes"),
        case(Version, version, "kubernetes = \"2.0.0\"", "too new", "kubernetes"),
        case(Version, version, "kubernetes = \"1.34.2-rc.1\"", "pre-releases", "kubernetes"),
        case(Version, version, "kubernetes = \"latest\"", "three numbers", "kubernetes"),
        case(WrongType, version, "kubernetes = 1.34", "write \"1.34.0\"", "kubernetes"),
        case(WrongType, zones, "zones = \"us-east-1a\"", "write [\"us-east-1a\"]", "zones"),
        case(WrongType, COUNT_CP, "count = \"3\"\nmachine_type = \"t3.medium\"", "without quotes: 3", "count = \"3\""),
        case(Region, "region = \"us-east-1\"", "region = \"us-east-1a\"", "its region is \"us-east-1\"", "region"),
        case(Region, "region = \"us-east-1\"", "region = \"us-east1\"", "did you mean \"us-east-1\"?", "region"),
        case(Zone, zones, "zones = [\"us-east-1a\", \"eu-west-1b\"]", "write \"us-east-1b\"", "zones"),
        case(Zone, zones, "zones = [\"us-east-1\"]", "add the zone's letter", "zones"),
        case(Zone, zones, "zones = [\"us-east-1-bos-1a\"]", "local or wavelength zone", "zones"),
        case(Zone, zones, "zones = [\"us-east-1-wl1-bos-wlz-1\"]", "local or wavelength zone", "zones"),
        case(Zone, zones, "zones = [\"us-east-1i\"]", "beyond the letter h", "zones"),
        case(Zone, zones, "zones = [\"here\"]", "is not a zone", "zones"),
        case(Repeated, zones, "zones = [\"us-east-1a\", \"us-east-1a\"]", "listed twice", "zones"),
        case(NothingListed, zones, "zones = []", "at least one zone", "zones = []"),
        nodes(Zone, "zones = [\"us-east-1d\"]", "not among the cluster's zones"),
        nodes(NothingListed, "zones = []", "at least one zone"),
        nodes(Repeated, "zones = [\"us-east-1b\", \"us-east-1b\"]", "listed twice"),
        case(Cidr, cidr, "cidr = \"10.20.0.5/16\"", "write \"10.20.0.0/16\"", "cidr"),
        case(Cidr, cidr, "cidr = \"10.20.0.0\"", "no prefix length", "cidr"),
        case(Cidr, cidr, "cidr = \"10.20.0.0/33\"", "is not a CIDR", "cidr"),
        case(Cidr, cidr, "cidr = \"fd00::/16\"", "IPv6", "cidr"),
        case(Cidr, cidr, "cidr = \"169.254.0.0/16\"", "a private range", "cidr"),
        case(Cidr, "[api]\n", "[node_ports]\naccess = [\"203.0.113.9/24\"]\n[api]\n", "write \"203.0.113.0/24\"", "203.0.113.9/24"),
        case(CidrSize, cidr, "cidr = \"10.0.0.0/15\"", "too wide; use /16 to /24", "cidr"),
        case(CidrSize, cidr, "cidr = \"10.20.0.0/25\"", "too narrow; use /16 to /24", "cidr"),
        case(CidrSize, services, "services = \"10.96.0.0/11\"", "too wide; use /12 to /24", "services"),
        case(CidrSize, services, "services = \"10.96.0.0/25\"", "too narrow", "services"),
        case(CidrSize, pods, "pods = \"192.168.0.0/25\"", "too narrow; use /8 to /24", "pods"),
        case(CidrOverlap, pods, "pods = \"10.20.0.0/16\"", "pods 10.20.0.0/16 overlap the VPC 10.20.0.0/16", "pods"),
        case(CidrOverlap, services, "services = \"192.168.128.0/20\"", "overlap pods", "services"),
        case(CidrOverlap, cidr, "cidr = \"10.100.0.0/16\"", "services 10.96.0.0/12 overlap the VPC", "services"),
        case(Repeated, "[ssh]\n", "sans = [\"a.example\", \"a.example\"]\n[ssh]\n", "listed twice", "sans"),
        case(San, "[ssh]\n", "sans = [\"not a name\"]\n[ssh]\n", "is not a DNS name", "sans"),
        case(User, ssh, "[ssh]\nuser = \"Admin\"\n", "is not a login name", "user"),
        case(User, ssh, "[ssh]\nuser = \"a;reboot\"\n", "is not a login name", "user"),
        case(User, "machine_type = \"t3.large\"\nimage = \"debian-12\"", "machine_type = \"t3.large\"\nimage = \"ami-0123456789abcdef0\"", "user = \"admin\"", "ami-"),
        case(OutOfRange, ssh, "[ssh]\nport = 0\n", "`port` must be 1 to 65535, not 0", "port"),
        case(OutOfRange, ssh, "[ssh]\nport = 65536\n", "`port` must be 1 to 65535", "port"),
        case(PublicKey, public, "public_key = \"~/.ssh/other.pub\"", "cannot be read: there is no such file", "public_key"),
        case(Login, key, "private_key = \"~/.ssh/id_ed25519.pub\"", "this is the public key", "private_key"),
        case(Login, ssh, "[ssh]\nagent = true\n", "exclude each other", "agent"),
        case(Login, key, "agent = false ", "no way to log in", "agent"),
        case(Login, cni, "cni = \"calico\"\ntopology = \"private\"", "no public address", "address =").and(ssh, "[ssh]\naddress = \"public\"\n"),
        case(Path, key, "private_key = \"~root/.ssh/id\"", "another user", "private_key"),
        case(Path, key, "private_key = \"\"", "the path is empty", "private_key"),
        case(Packages, bundle, "bundle = \"../elsewhere\"", "there is no bundle in `../elsewhere`", "bundle"),
        case(Packages, bundle, "", "the folder of the bundle is missing", "source"),
        case(Packages, source, "source = \"apt\"", "packages come from apt", "bundle = "),
        case(Packages, source, "source = \"bundle\"\nmirror = \"https://m.example.com\"", "packages come from a bundle", "mirror"),
        case(Packages, bundle, "mirror = \"http://m.example.com\"", "is not an https address", "mirror").and(source, "source = \"apt\""),
        case(Packages, bundle, "mirror = \"https://u:p@m.example.com\"", "no secrets", "mirror").and(source, "source = \"apt\""),
        case(Packages, bundle, "mirror = \"https://m.example.com/$(x)\"", "plain https", "mirror").and(source, "source = \"apt\""),
        case(GroupName, NODES, "name = \"Nodes\"\n", "cannot name an instance group", "Nodes"),
        case(GroupName, NODES, format!("name = \"{}\"\n", "n".repeat(41)), "40 are the most", "nnn"),
        case(DuplicateGroup, NODES, "name = \"control-plane\"\n", "a second instance group", "name = \"control-plane\""),
        case(Quorum, COUNT_CP, planes(2), "2 control planes cannot keep quorum when one is lost; use 1, 3 or 5", "count = 2"),
        case(Quorum, COUNT_CP, planes(4), "use 1, 3 or 5", "count = 4"),
        case(Quorum, COUNT_CP, planes(0), "there is no control plane", "count = 0"),
        case(Quorum, COUNT_CP, planes(9), "at most 7", "count = 9"),
        case(Quorum, "role = \"control-plane\"", "role = \"node\"", "add an [[instance_group]] with role = \"control-plane\"", "[[instance_group]]"),
        case(Quorum, "role = \"node\"\n", "role = \"control-plane\"\n", "6 control planes", "count = 3"),
        case(OutOfRange, COUNT_CP, planes(-1), "`count` must be 0 to 5000, not -1", "count = -1"),
        case(OutOfRange, COUNT_CP, planes(5001), "`count` must be 0 to 5000, not 5001", "count = 5001"),
        case(OutOfRange, COUNT_CP, "count = 99999999999999999999999\nmachine_type = \"t3.medium\"", "must be 0 to 5000", "count"),
        case(OutOfRange, NODES, format!("name = \"more\"\nrole = \"node\"\ncount = 4999\nmachine_type = \"t3.large\"\n[[instance_group]]\n{NODES}"), "more than 5000", "count = ").and(pods, "pods = \"172.0.0.0/11\""),
        case(Bastion, NODES, BASTION, "nothing uses this bastion", "bastion"),
        case(Bastion, NODES, BASTION.replace("count = 1", "count = 0"), "would cut off SSH", "count = 0").and(cni, "topology = \"private\""),
        case(Bastion, NODES, BASTION.replace("count = 1", "count = 1\nlabels = { a = 'b' }"), "has no labels", "labels").and(cni, "topology = \"private\""),
        case(Bastion, NODES, BASTION.replace("count = 1", "count = 1\ntaints = [\"a:NoExecute\"]"), "has no taints", "taints").and(cni, "topology = \"private\""),
        case(MachineType, "machine_type = \"t3.large\"", "machine_type = \"large\"", "such as \"t3.medium\"", "machine_type"),
        case(Image, "machine_type = \"t3.large\"\nimage = \"debian-12\"", "machine_type = \"t3.large\"\nimage = \"debian12\"", "did you mean \"debian-12\"?", "image"),
        case(Image, "machine_type = \"t3.large\"\nimage = \"debian-12\"", "machine_type = \"t3.large\"\nimage = \"ami-123\"", "is not an AMI id", "image"),
        nodes(OutOfRange, "volume = { size_gib = 7 }", "`size_gib` must be 8 to 16384, not 7"),
        nodes(OutOfRange, "volume = { size_gib = 16385 }", "must be 8 to 16384"),
        nodes(Volume, "volume = { kind = \"io2\" }", "IOPS"),
        nodes(Volume, "volume = { kind = \"ssd\" }", "use \"gp3\""),
        nodes(Label, "labels = { \"-a\" = \"b\" }", "is not a label key"),
        nodes(Label, "labels = { \"UPPER.example/a\" = \"b\" }", "is not a label key"),
        nodes(Label, "labels = { a = \"b c\" }", "is not a label value"),
        case(Label, NODES, format!("{NODES}labels = {{ {long_label} = \"b\" }}\n"), "is not a label key", "labels"),
        nodes(Label, "labels = { \"kubernetes.io/role\" = \"x\" }", "is reserved"),
        nodes(Label, "labels = { \"topology.kubernetes.io/zone\" = \"x\" }", "is reserved"),
        nodes(Label, "labels = { \"x.k8s.io/y\" = \"x\" }", "is reserved"),
        nodes(Label, "labels = { \"kubewright.io/slot\" = \"x\" }", "is reserved"),
        nodes(Label, "labels = { \"node-role.kubernetes.io/control-plane\" = \"\" }", "is reserved"),
        nodes(Taint, "taints = [\"a=b\"]", "the effect is missing"),
        nodes(Taint, "taints = [\"a=b:NoSchedul\"]", "did you mean `NoSchedule`?"),
        nodes(Taint, "taints = [\"=b:NoSchedule\"]", "cannot be its key"),
        nodes(Taint, "taints = [\"a=b c:NoSchedule\"]", "cannot be its value"),
        nodes(Taint, "taints = [\"node.kubernetes.io/not-ready:NoSchedule\"]", "Kubernetes itself"),
        nodes(Taint, "taints = [\"a=b:NoSchedule\", \"a=c:NoSchedule\"]", "one value for each key and effect"),
        nodes(ReservedTag, "tags = { Name = \"x\" }", "is reserved"),
        nodes(ReservedTag, "tags = { \"kubewright.io/cluster\" = \"x\" }", "is reserved"),
        nodes(ReservedTag, "tags = { \"AWS:x\" = \"x\" }", "is reserved"),
        nodes(Tag, "tags = { \"\" = \"x\" }", "1 to 128 characters"),
        case(Tag, "[aws]\n", format!("[tags]\n{} = ''\n[aws]\n", "k".repeat(129)), "1 to 128 characters", "kkk"),
        case(Tag, "[aws]\n", format!("[tags]\nk = '{}'\n[aws]\n", "v".repeat(257)), "at most 256 characters", "vvv"),
        case(Tag, "[aws]\n", format!("[tags]\n{many_tags}[aws]\n"), "40 are the most", "[tags]"),
        nodes(InstanceProfile, "instance_profile = \"arn:aws:iam::1:instance-profile/nodes\"", "only the name, not the ARN: `nodes`"),
        nodes(OutOfRange, "metadata_hop_limit = 65", "must be 1 to 64"),
        case(RollingUpdate, "max_surge = 1, max", "max_surge = 0, max", "no machine could ever be replaced", "rolling_update"),
        case(RollingUpdate, "max_surge = 1, max", "max_surge = \"150%\", max", "\"0%\" to \"100%\"", "rolling_update"),
        case(RollingUpdate, COUNT_CP, format!("{COUNT_CP}\nrolling_update.max_surge = 3"), "one at a time", "max_surge = 3"),
        case(OutOfRange, "[aws]\n", "[etcd]\nsnapshots_kept = 0\n[aws]\n", "must be 1 to 1000", "snapshots_kept"),
        drain(Period, "drain_timeout = \"0s\"", "from 1 s to 24 h"),
        drain(Period, "drain_timeout = \"-5m\"", "from 1 s to 24 h"),
        drain(Period, "drain_timeout = \"90ms\"", "whole seconds"),
        drain(Period, "drain_timeout = \"25h\"", "from 1 s to 24 h"),
        drain(Period, "drain_timeout = \"99999999999h\"", "from 1 s to 24 h"),
        drain(Period, "drain_timeout = \"soon\"", "write it as \"90s\""),
        drain(WrongType, "drain_timeout = 600", "must be a time"),
        drain(Choice, "on_drain_timeout = \"forced\"", "did you mean \"force\"?"),
        drain(Choice, "upgrade = \"replaced\"", "did you mean \"replace\"?"),
        drain(Choice, "upgrade = \"never\"", "\"in-place\" or \"replace\""),
        drain(WrongType, "upgrade = true", "must be"),
        case(RollingUpdate, COUNT_CP, format!("{COUNT_CP}\nrolling_update.upgrade = \"replace\""), "only `kubeadm upgrade apply`", "upgrade = "),
        case(Nat, cni, "cni = \"calico\"\nnat = \"one\"", "no meaning in the public topology", "nat"),
        ports("\"8472\"", "write \"8472/tcp\" or \"8472/udp\""),
        ports("\"30000-30100\"", "write \"30000-30100/tcp\" or"),
        ports("\"udp/8472\"", "write \"8472/udp\""),
        ports("\"udp\"", "write \"1-65535/udp\" for every port"),
        ports("\"8472/sctp\"", "another protocol than tcp or udp"),
        ports("\"8472/UDP\"", "another protocol than tcp or udp"),
        ports("\"8/icmp\"", "write \"icmp\""),
        ports("\"30100-30000/tcp\"", "write \"30000-30100/tcp\""),
        ports("\"0/tcp\"", "ports are 1 to 65535"),
        ports("\"1-65536/tcp\"", "ports are 1 to 65535"),
        ports("\"+1/tcp\"", "neither ports nor a protocol"),
        ports("\"1-2-3/tcp\"", "neither ports nor a protocol"),
        ports("\"-/tcp\"", "neither ports nor a protocol"),
        ports("\"ALL\"", "\"icmp\", \"ipip\" or \"all\""),
        ports("\"\"", "\"icmp\", \"ipip\" or \"all\""),
        case(Repeated, cni, format!("{cni}\nports = [\"1-2/tcp\", \"all\", \"8472/udp\", \"8472-8472/udp\"]"), "8472/udp is listed twice", "ports"),
        case(WrongType, cni, format!("{cni}\nports = [8472]"), "8472/udp", "ports"),
        case(WrongType, cni, format!("{cni}\nports = \"8472/udp\""), "write [\"8472/udp\"]", "ports"),
    ]
}

#[rustfmt::skip]
fn warnings() -> Vec<Case> {
    use Code::*;
    let api = "access = [\"203.0.113.0/24\"]         # who may reach the API; nobody else can";
    vec![
        case(OpenToAll, api, "access = [\"0.0.0.0/0\"]", "the whole internet may reach the Kubernetes API", "0.0.0.0/0"),
        case(OpenToAll, "[aws]\n", "[node_ports]\naccess = [\"0.0.0.0/0\"]\n[aws]\n", "may reach NodePorts", "0.0.0.0/0"),
        case(NobodyMayReach, api, "access = []", "`api.access` is empty", "access = []"),
        case(NobodyMayReach, api, "", "`api.access` is empty", "[api]"),
        case(NoPorts, "cni = \"flannel\"", "cni = \"none\"", "no port is open between machines", "cni"),
        case(NoPorts, "cni = \"flannel\"", "cni = \"none\"\nports = []", "such as ports = [\"8472/udp\"]", "cni"),
        case(NoRoute, "cni = \"flannel\"", "topology = \"private\"", "needs a route into the VPC", "topology"),
        case(NoRoute, "[ssh]\n", "[ssh]\naddress = \"private\"\n", "needs a route into the VPC", "address"),
        case(UnknownRegion, "region = \"us-east-1\"", "region = \"us-esat-1\"", "did you mean \"us-east-1\"?", "region")
            .and("zones = [\"us-east-1a\", \"us-east-1b\", \"us-east-1c\"]", "zones = [\"us-esat-1a\"]"),
        case(PodRoom, "count = 3\nmachine_type = \"t3.large\"", "count = 300\nmachine_type = \"t3.large\"", "hold a /24 for 256 machines; the spec has 303", "pods"),
    ]
}

fn check(case: &Case, severity: Severity) {
    let text = case.edits.iter().fold(HA.to_owned(), |text, (from, to)| edit(&text, from, to));
    let outcome = load(&text);
    assert_eq!(outcome.is_err(), severity == Severity::Error, "{} / {}", case.code.as_str(), case.says);
    let problems = problems(outcome);
    let shown = problems.render(140, false);
    let [problem] = problems.list.as_slice() else { panic!("{} / {}: not one problem\n{shown}", case.code.as_str(), case.says) };
    assert_eq!(problem.code, case.code, "{shown}");
    assert_eq!(problem.severity, severity, "{shown}");
    let words = format!("{} {}", problem.message, problem.help.clone().unwrap_or_default());
    assert!(words.contains(case.says), "`{}` is not said\n{shown}", case.says);
    let place = problem.place.as_ref().unwrap();
    let line = text.lines().nth(place.line - 1).unwrap();
    assert!(line.contains(case.line), "`{}` is not pointed at\n{shown}", case.line);
    assert!(shown.contains(&format!("--> clusters/ha.toml:{}:{}\n", place.line, place.column)), "{shown}");
}

#[test]
fn one_mistake_is_one_error_at_its_line() {
    for case in errors() {
        check(&case, Severity::Error);
    }
}

#[test]
fn what_is_allowed_but_unwise_is_a_warning() {
    for case in warnings() {
        check(&case, Severity::Warning);
    }
}

#[test]
fn files_that_are_no_spec_at_all() {
    let no_spec = |bytes: &[u8]| problems(load_with(bytes, &Files::default()));
    let ten_mb = vec![b'#'; 10_000_000];
    let cases: [(&[u8], Code, &str); 7] = [
        (b"", Code::Empty, "clusters/ha.toml is empty"),
        (b" \r\n\t\n", Code::Empty, "clusters/ha.toml is empty"),
        (&ten_mb, Code::TooLarge, "is 10.0 MB; a spec is at most 1 MiB"),
        (b"schema = 1\nname = \"caf\xe9\"\n", Code::NotUtf8, "not UTF-8: byte 0xe9 at offset 22"),
        (b"this is no spec\n", Code::Syntax, "not TOML: "),
        (b"{\"name\": \"x\"}\n", Code::Syntax, "not TOML: "),
        (b"apiVersion: v1\nkind: Cluster\n", Code::Syntax, "not TOML: "),
    ];
    for (bytes, code, says) in cases {
        let problems = no_spec(bytes);
        assert!(problems.list.iter().all(|problem| problem.code == code), "{}", problems.render(100, false));
        assert!(problems.list[0].message.contains(says), "{} lacks {says}", problems.list[0].message);
    }
    let place = no_spec(b"schema = 1\nname = \"caf\xe9\"\n").list[0].place.clone().unwrap();
    assert_eq!((place.line, place.column), (2, 12));
}

#[test]
fn every_wrong_port_of_a_list_is_told_at_its_place() {
    let text = edit(HA, "cni = \"flannel\"", "cni = \"none\"\nports = [\"8472\", \"2-1/tcp\", \"1/udp\", \"x\", \"1/udp\"]");
    let found: Vec<(&str, usize)> = load(&text)
        .unwrap_err()
        .list
        .iter()
        .map(|problem| (problem.code.as_str(), problem.place.as_ref().unwrap().column))
        .collect();
    assert_eq!(found, [("ports", 10), ("ports", 18), ("ports", 38), ("repeated", 43)]);
}

#[test]
fn ports_that_are_open_anyway_and_ranges_that_overlap_are_fine() {
    let text =
        edit(HA, "cni = \"flannel\"", "cni = \"flannel\"\nports = [\"8472/udp\", \"10250/tcp\", \"1-9/tcp\", \"5-12/tcp\"]");
    let loaded = load(&text).unwrap();
    assert!(loaded.warnings.is_empty());
    assert_eq!(loaded.cluster.network.ports.len(), 4);
}

#[test]
fn a_value_that_is_no_toml_does_not_hide_the_other_mistakes() {
    let text = edit(HA, "region = \"us-east-1\"", "region = us-east-1")
        .replace("count = 3\nmachine_type = \"t3.medium\"", "count = 2\nmachine-type = True");
    let found: Vec<&str> = load(&text).unwrap_err().list.iter().map(|problem| problem.code.as_str()).collect();
    assert_eq!(found, ["syntax", "quorum", "syntax"]);
}

#[test]
fn after_an_unclosed_table_nothing_is_guessed() {
    let text = edit(HA, "[[instance_group]]\nname = \"nodes\"", "[[instance_group]\nname = \"nodes\"");
    let text = edit(&text, "[aws]\n", "colour = 1\n[aws]\n");
    let found: Vec<&str> = load(&text).unwrap_err().list.iter().map(|problem| problem.code.as_str()).collect();
    assert_eq!(found, ["unknown-key", "syntax"], "what stands before it is still reported");
}

#[test]
fn every_kind_of_problem_has_a_case() {
    let mut covered: BTreeSet<Code> = errors().iter().chain(&warnings()).map(|case| case.code).collect();
    // The first five above and in `disk.rs`; the last is the report of a bug.
    covered.extend([Code::Empty, Code::TooLarge, Code::NotUtf8, Code::Syntax, Code::Unreadable, Code::Unexplained]);
    assert_eq!(covered, Code::ALL.iter().copied().collect());
}

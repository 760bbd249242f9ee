//! A whole life of a cluster's objects: made, looked at, changed, refused, deleted.

use std::collections::BTreeMap;

use kubewright::cloud::{Cloud, CloudError, Scope};
use kubewright::cluster::Role;
use kubewright::desired::{Peer, Protocol, ResourceId, Rule};
use kubewright::observed::{HostedZone, Image, KeyPair, MachineType};
use kubewright::plan::change::{RecordChange, RecordVerb, RunInstance};
use kubewright::plan::{Change, Changed, Ref, Tags};

use crate::script::{Script, known};

pub const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGfzoUFgIrw5TQ2cWrPvKJwbDpqhO7H8eQ8l9vE0kVhS me";

pub async fn life(cloud: &dyn Cloud, uid: &str, zone: (&str, &str), image: &Image) -> Vec<(String, String)> {
    let mut script = Script::new(cloud, uid);
    catalogue(&mut script, image).await;
    let (vpc, subnets, igw) = network(&mut script).await;
    let (eip, nat, table, associations) = routing(&mut script, &vpc, &subnets, &igw).await;
    let groups = groups(&mut script, &vpc).await;
    let machine = machines(&mut script, &subnets[0], &groups[1], image).await;
    records(&mut script, zone).await;
    refusals(&mut script, &vpc, &subnets[0], &groups[1], &eip).await;

    script.change("terminate", Change::TerminateInstance { instance: known(&machine) }).await;
    script.change("terminate again", Change::TerminateInstance { instance: known(&machine) }).await;
    script.instances("instances in the end").await;
    script.change("delete the nat", Change::DeleteNatGateway { gateway: known(&nat) }).await;
    let left = script.nat_gateways().await;
    script.note("nat gateways in the end", left.map(|all| all.len().to_string()));
    script.change("release the address", Change::ReleaseAddress { allocation: known(&eip) }).await;
    for association in associations {
        script.change("disassociate", Change::DisassociateRouteTable { association }).await;
    }
    script.change("delete the table", Change::DeleteRouteTable { table: known(&table) }).await;
    for (step, group) in ["delete the first group", "delete the group"].into_iter().zip(&groups) {
        script.change(step, Change::DeleteSecurityGroup { group: known(group) }).await;
    }
    let detach = Change::DetachInternetGateway { gateway: known(&igw), vpc: known(&vpc) };
    script.change("detach", detach.clone()).await;
    script.change("detach again", detach).await;
    script.change("delete the igw", Change::DeleteInternetGateway { gateway: known(&igw) }).await;
    for (step, subnet) in ["delete the subnet", "delete the second subnet"].into_iter().zip(&subnets) {
        script.change(step, Change::DeleteSubnet { subnet: known(subnet) }).await;
    }
    script.change("delete the vpc", Change::DeleteVpc { vpc: known(&vpc) }).await;
    script.change("delete the vpc again", Change::DeleteVpc { vpc: known(&vpc) }).await;
    for step in ["delete the key", "delete the key again"] {
        script.change(step, Change::DeleteKeyPair { name: format!("k{uid}") }).await;
    }
    let scope = script.scope();
    script.list("vpcs in the end", cloud.vpcs(&scope).await);
    script.inside("in the end", &scope).await;
    script.addresses("addresses in the end").await;
    script.list("keys in the end", cloud.key_pairs(&scope).await);
    script.outcomes
}

async fn catalogue(script: &mut Script<'_>, image: &Image) {
    let account = script.cloud.account().await;
    script.note("account", account.map(|account| format!("{} {}", account.id, account.partition)));
    script.list("zones", script.cloud.zones().await);
    let names = ["t3.medium".to_owned(), "t4g.small".to_owned(), "t9.nonsense".to_owned()];
    let types = script.cloud.machine_types(&names).await;
    script.show("machine types", types, |kind: &MachineType| {
        let (arm, offered) = (kind.architectures.contains(&"arm64".to_owned()), kind.zones.contains(&"us-east-1a".to_owned()));
        format!("{} {arm} {} {} {offered}", kind.name, kind.vcpus, kind.memory_mib)
    });
    let images = script.cloud.images_by_id(&[image.id.clone(), "ami-0123456789abcdef0".to_owned()]).await;
    script.note("images", images.map(|all| format!("{} {}", all.len(), all.iter().all(|one| one == image))));
    let none = script.cloud.images_by_name("099720109477", &["no such image *".to_owned()]).await;
    script.list("no images", none);
}

async fn network(script: &mut Script<'_>) -> (String, [String; 2], String) {
    let (owned, scope) = (script.owned(), script.scope());
    let vpc = script.make("vpc", Change::CreateVpc { cidr: "10.77.0.0/16".parse().unwrap(), tags: owned.clone() }).await;
    for scope in [scope.clone(), Scope::Name(format!("n{}", script.uid)), Scope::Vpc(vpc.clone())] {
        script.list("vpcs", script.cloud.vpcs(&scope).await);
    }
    for attribute in ["enableDnsHostnames", "enableDnsSupport"] {
        let change = Change::ModifyVpcAttribute { vpc: known(&vpc), attribute: attribute.into(), value: true };
        script.change("attribute", change).await;
    }
    script.inside("of a new vpc", &Scope::Vpc(vpc.clone())).await;
    let subnet = |cidr: &str, zone: &str| Change::CreateSubnet {
        vpc: known(&vpc),
        cidr: cidr.parse().unwrap(),
        zone: zone.into(),
        tags: owned.clone(),
    };
    let first = script.make("subnet", subnet("10.77.0.0/24", "us-east-1a")).await;
    script.change("subnet that overlaps", subnet("10.77.0.128/25", "us-east-1a")).await;
    script.change("subnet outside", subnet("10.78.0.0/24", "us-east-1a")).await;
    let second = script.make("second subnet", subnet("10.77.1.0/24", "us-east-1b")).await;
    script.list("subnets", script.cloud.subnets(&scope).await);
    let igw = script.make("igw", Change::CreateInternetGateway { tags: owned.clone() }).await;
    let attach = Change::AttachInternetGateway { gateway: known(&igw), vpc: known(&vpc) };
    script.change("attach", attach.clone()).await;
    script.change("attach again", attach).await;
    script.change("delete an attached igw", Change::DeleteInternetGateway { gateway: known(&igw) }).await;
    for scope in [scope, Scope::Vpc(vpc.clone())] {
        script.list("igws", script.cloud.internet_gateways(&scope).await);
    }
    (vpc, [first, second], igw)
}

async fn routing(script: &mut Script<'_>, vpc: &str, subnets: &[String; 2], igw: &str) -> (String, String, String, Vec<String>) {
    let (owned, scope, uid) = (script.owned(), script.scope(), script.uid.clone());
    let eip = script.make("address", Change::AllocateAddress { tags: owned.clone() }).await;
    let create = Change::CreateNatGateway {
        subnet: known(&subnets[1]),
        allocation: known(&eip),
        token: format!("n{uid}"),
        tags: owned.clone(),
    };
    let nat = script.make("nat", create.clone()).await;
    script.change("nat again with the same token", create).await;
    let seen = script.nat_gateways().await;
    script.list("nats", seen);
    script.addresses("addresses").await;

    let create = Change::CreateRouteTable { vpc: known(vpc), token: format!("r{uid}"), tags: owned };
    let table = script.make("route table", create.clone()).await;
    let twin = script.cloud.change(&create).await.unwrap().id.unwrap();
    script.note("route table again with the same token", Ok((twin == table).to_string()));
    if twin != table {
        script.cloud.change(&Change::DeleteRouteTable { table: known(&twin) }).await.unwrap();
    }
    let destination = "0.0.0.0/0".parse().unwrap();
    let route = Change::CreateRoute { table: known(&table), destination, target: known(igw), nat: false };
    script.change("route", route.clone()).await;
    script.change("route again", route).await;
    let replace = Change::ReplaceRoute { table: known(&table), destination, target: known(&nat), nat: true };
    script.change("replace the route", replace).await;
    let mut associations = Vec::new();
    for subnet in subnets {
        let associate = Change::AssociateRouteTable { table: known(&table), subnet: known(subnet) };
        associations.push(script.make("associate", associate).await);
    }
    script.change("delete an associated table", Change::DeleteRouteTable { table: known(&table) }).await;
    script.inside("with routes", &Scope::Vpc(vpc.to_owned())).await;
    script.inside("with routes, by tag", &scope).await;
    (eip, nat, table, associations)
}

async fn groups(script: &mut Script<'_>, vpc: &str) -> [String; 2] {
    let owned = script.owned();
    let create = |name: &str| Change::CreateSecurityGroup {
        vpc: known(vpc),
        name: name.into(),
        description: format!("{name} of a test"),
        tags: owned.clone(),
    };
    let one = script.make("group", create("one")).await;
    script.change("group again", create("one")).await;
    let two = script.make("second group", create("two")).await;
    let rule = |protocol, ports, peer, text: &str| Rule { egress: false, protocol, ports, peer, description: text.into() };
    let (near, node) = (|| Peer::Cidr("10.0.0.0/8".parse().unwrap()), || Peer::Group(Role::Node));
    let rules = vec![
        rule(Protocol::Tcp, Some((6443, 6443)), node(), "API from nodes"),
        rule(Protocol::Tcp, Some((22, 22)), near(), "SSH"),
        rule(Protocol::Tcp, Some((22, 22)), Peer::Cidr("192.168.0.0/16".parse().unwrap()), "SSH too"),
        rule(Protocol::Udp, Some((4789, 4789)), node(), "VXLAN"),
        rule(Protocol::IpInIp, None, node(), "IP-in-IP"),
        rule(Protocol::Tcp, Some((9000, 9100)), node(), "a range"),
        rule(Protocol::Icmp, None, node(), "ping from nodes"),
        rule(Protocol::All, None, node(), "everything from nodes"),
        rule(Protocol::Icmp, None, near(), "ping"),
    ];
    let groups = BTreeMap::from([("node".to_owned(), known(&two))]);
    let group = || known(&one);
    let authorize = |rules: &[Rule], egress| {
        let (rules, groups) = (rules.to_vec(), groups.clone());
        Change::AuthorizeRules { group: group(), egress, rules, groups }
    };
    let revoke = |rules: &[Rule], egress| {
        let (rules, groups) = (rules.to_vec(), groups.clone());
        Change::RevokeRules { group: group(), egress, rules, groups }
    };
    script.change("authorize", authorize(&rules, false)).await;
    script.change("authorize again", authorize(&rules[1..2], false)).await;
    let stranger = rule(Protocol::All, None, Peer::Foreign("sg-0123456789abcdef0".into()), "");
    script.change("authorize a group that is not there", authorize(std::slice::from_ref(&stranger), false)).await;
    // Where it was accepted.
    let _ = script.cloud.change(&revoke(&[stranger], false)).await;
    let everything = [Rule { egress: true, ..rule(Protocol::All, None, Peer::Cidr("0.0.0.0/0".parse().unwrap()), "") }];
    script.change("revoke what every new group has", revoke(&everything, true)).await;
    script.change("revoke it again", revoke(&everything, true)).await;
    let https = [Rule { egress: true, ..rule(Protocol::Tcp, Some((443, 443)), near(), "HTTPS") }];
    script.change("let it out to some", authorize(&https, true)).await;
    script.change("revoke one of the same ports", revoke(&rules[2..3], false)).await;
    script.inside("with rules", &Scope::Vpc(vpc.to_owned())).await;
    [one, two]
}

async fn machines(script: &mut Script<'_>, subnet: &str, group: &str, image: &Image) -> String {
    let (owned, scope, key) = (script.owned(), script.scope(), format!("k{}", script.uid));
    let import = Change::ImportKeyPair { name: key.clone(), public_key: KEY.into(), tags: owned.clone() };
    script.make("key", import.clone()).await;
    script.change("key again", import).await;
    let seen = script.cloud.key_pairs(&scope).await;
    script.show("keys", seen, |pair: &KeyPair| {
        let kept = pair.public_key.as_ref().is_some_and(|key| key.split(' ').nth(1) == KEY.split(' ').nth(1));
        format!("{} {kept} {:?}", pair.name, pair.tags)
    });
    let request = RunInstance {
        image: image.id.clone(),
        machine_type: "t3.medium".into(),
        subnet: known(subnet),
        security_groups: vec![known(group)],
        public_address: true,
        key_name: key,
        user_data: "#cloud-config\n{}\n".into(),
        root_device: image.root_device.clone(),
        volume_gib: 20,
        volume_kind: "gp3".into(),
        instance_profile: None,
        metadata_hop_limit: 1,
        source_dest_check: true,
        tags: owned,
    };
    let uid = script.uid.clone();
    let run =
        |token: &str, request: RunInstance| Change::RunInstance { token: format!("{token}{uid}"), request: Box::new(request) };
    let id = script.make("run", run("i", request.clone())).await;
    let twin = script.cloud.change(&run("i", request.clone())).await.unwrap().id;
    script.note("run again with the same token", Ok((twin.as_ref() == Some(&id)).to_string()));
    let other = script.cloud.change(&run("i", RunInstance { volume_gib: 21, ..request.clone() })).await;
    let said = other.as_ref().map(|_| String::new()).map_err(Clone::clone);
    script.note("run again with the same token, other request", said);
    script.instances("instances").await;
    for extra in [twin, other.ok().and_then(|changed| changed.id)].into_iter().flatten().filter(|extra| *extra != id) {
        script.cloud.change(&Change::TerminateInstance { instance: known(&extra) }).await.unwrap();
    }
    for (step, wrong) in [
        ("unknown image", RunInstance { image: "ami-0123456789abcdef0".into(), ..request.clone() }),
        ("unknown subnet", RunInstance { subnet: known("subnet-0123456789abcdef0"), ..request.clone() }),
        ("unknown group", RunInstance { security_groups: vec![known("sg-0123456789abcdef0")], ..request.clone() }),
        ("unresolved", RunInstance { subnet: Ref::Id(ResourceId::Vpc), ..request.clone() }),
    ] {
        let refused = script.cloud.change(&run(&step.replace(' ', "-"), wrong)).await;
        if let Ok(Changed { id: Some(extra), .. }) = &refused {
            script.cloud.change(&Change::TerminateInstance { instance: known(extra) }).await.unwrap();
            // moto makes the unknown group up.
            let _ = script.cloud.change(&Change::DeleteSecurityGroup { group: known("sg-0123456789abcdef0") }).await;
        }
        script.note(step, refused.map(|_| String::new()).map_err(|error| CloudError { code: String::new(), ..error }));
    }
    script.change("source/dest check", Change::ModifySourceDestCheck { instance: known(&id), value: false }).await;
    let extra = Tags::from([("extra".to_owned(), "1".to_owned()), ("more".to_owned(), "2".to_owned())]);
    script.change("tag", Change::CreateTags { resource: known(&id), tags: extra }).await;
    script.change("untag", Change::DeleteTags { resource: known(&id), keys: vec!["more".into()] }).await;
    script.instances("the machine").await;
    let console = script.cloud.console_output("i-0123456789abcdef0").await;
    script.note("console of nobody", console.map(|text| format!("{text:?}")));
    id
}

async fn records(script: &mut Script<'_>, (zone, name): (&str, &str)) {
    let zones = script.cloud.hosted_zones(name).await;
    script.show("hosted zones", zones, |zone: &HostedZone| format!("{} {} {}", zone.name, zone.private, zone.name_servers.len()));
    let record = |verb, label: &str, kind: &str, values: &[&str]| RecordChange {
        verb,
        name: format!("{label}.{name}"),
        kind: kind.into(),
        ttl: 60,
        values: values.iter().map(|value| known(value)).collect(),
    };
    let batch = |changes: Vec<RecordChange>| Change::ChangeRecords { zone: zone.to_owned(), changes };
    let all = |verb| {
        vec![
            record(verb, "owner.demo", "TXT", &["heritage=kubewright,uid=\"1\""]),
            record(verb, "demo-2", "A", &["10.0.0.9"]),
            record(verb, "*.demo", "A", &["10.0.0.6"]),
        ]
    };
    let mut create = all(RecordVerb::Create);
    create.push(record(RecordVerb::Create, "api.demo", "A", &["10.0.0.4", "10.0.0.5"]));
    let change = script.make("records", batch(create)).await;
    let mut synced = script.cloud.records_in_sync(&change).await;
    while matches!(synced, Ok(false)) {
        synced = script.cloud.records_in_sync(&change).await;
    }
    script.note("in sync", synced.map(|synced| synced.to_string()));
    let suffix = format!("demo.{name}");
    script.list("records at and below the name", script.cloud.records(zone, &suffix).await);
    script.change("record created again", batch(vec![record(RecordVerb::Create, "api.demo", "A", &["10.0.0.7"])])).await;
    script.change("upsert", batch(vec![record(RecordVerb::Upsert, "api.demo", "A", &["10.0.0.8"])])).await;
    let old = record(RecordVerb::Delete, "api.demo", "A", &["10.0.0.4", "10.0.0.5"]);
    script.change("record deleted with an old value", batch(vec![old])).await;
    script.list("records after the refusals", script.cloud.records(zone, &suffix).await);
    script.change("delete the record", batch(vec![record(RecordVerb::Delete, "api.demo", "A", &["10.0.0.8"])])).await;
    script.change("delete the other records", batch(all(RecordVerb::Delete))).await;
    script.list("records in the end", script.cloud.records(zone, &suffix).await);
}

async fn refusals(script: &mut Script<'_>, vpc: &str, subnet: &str, group: &str, eip: &str) {
    let scope = script.scope();
    script.change("delete a subnet with a machine", Change::DeleteSubnet { subnet: known(subnet) }).await;
    script.list("subnets after the refusals", script.cloud.subnets(&scope).await);
    script.change("delete a group in use", Change::DeleteSecurityGroup { group: known(group) }).await;
    script.inside("after the refusals", &scope).await;
    script.change("release an address in use", Change::ReleaseAddress { allocation: known(eip) }).await;
    script.addresses("addresses after the refusals").await;
    script.change("delete a vpc with everything", Change::DeleteVpc { vpc: known(vpc) }).await;
}

//! Bootstrap of real machines of the lab. Run by `lab exec -- cargo test --test bootstrap_lab`; without the lab there is nothing to run on.

#[path = "bootstrap/fleet.rs"]
mod fleet;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use aws_sdk_ec2::types::{IpPermission, IpRange, ResourceType, Tag, TagSpecification};
use base64::Engine;
use fleet::{Told, cluster, fleet, machine};
use kubewright::bootstrap::{Consoles, Fleet, Machine, NodeTask, Nodes, Pki, SshNodes};
use kubewright::clock::{RandomIds, SystemClock};

struct Ec2(aws_sdk_ec2::Client);

#[async_trait]
impl Consoles for Ec2 {
    async fn console(&self, instance: &str) -> Result<Option<String>, String> {
        let answer =
            self.0.get_console_output().instance_id(instance).latest(true).send().await.map_err(|error| format!("{error:?}"))?;
        let decode = |text: &str| base64::engine::general_purpose::STANDARD.decode(text).ok();
        Ok(answer.output().and_then(decode).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
    }
}

/// Instances of the lab, terminated when dropped is not possible in async code: the test ends them itself.
async fn launch(client: &aws_sdk_ec2::Client, count: i32, public_key: &str) -> Vec<(String, String)> {
    let unique = format!("{}", std::process::id());
    let vpc = client.create_vpc().cidr_block("10.77.0.0/16").send().await.unwrap().vpc.unwrap().vpc_id.unwrap();
    let subnet = client.create_subnet().vpc_id(&vpc).cidr_block("10.77.1.0/24").availability_zone("us-east-1a");
    let subnet = subnet.send().await.unwrap().subnet.unwrap().subnet_id.unwrap();
    let group =
        client.create_security_group().vpc_id(&vpc).group_name(format!("bootstrap-{unique}")).description("bootstrap test");
    let group = group.send().await.unwrap().group_id.unwrap();
    let all = IpPermission::builder().ip_protocol("-1").ip_ranges(IpRange::builder().cidr_ip("0.0.0.0/0").build()).build();
    client.authorize_security_group_ingress().group_id(&group).ip_permissions(all).send().await.unwrap();
    let key = format!("bootstrap-{unique}");
    let blob = aws_sdk_ec2::primitives::Blob::new(public_key.as_bytes());
    client.import_key_pair().key_name(&key).public_key_material(blob).send().await.unwrap();
    let images = client.describe_images().owners("136693071363").send().await.unwrap();
    let image = images.images().iter().find(|image| image.name().unwrap_or_default().starts_with("debian-12-amd64")).unwrap();
    let tags = TagSpecification::builder()
        .resource_type(ResourceType::Instance)
        .tags(Tag::builder().key("Name").value("bootstrap").build());
    let run = client.run_instances().image_id(image.image_id().unwrap()).min_count(count).max_count(count).key_name(&key);
    let run =
        run.subnet_id(&subnet).security_group_ids(&group).instance_type("t3.medium".into()).tag_specifications(tags.build());
    let run = run.send().await.unwrap();
    run.instances()
        .iter()
        .map(|one| (one.instance_id().unwrap().to_string(), one.private_ip_address().unwrap().to_string()))
        .collect()
}

/// As apply does, once the API server answers: nobody looks the name up before.
async fn publish(name: &str, address: &str) {
    use aws_sdk_route53::types::{Change, ChangeAction, ChangeBatch, ResourceRecord, ResourceRecordSet, RrType};
    let client = aws_sdk_route53::Client::new(&aws_config::load_from_env().await);
    let zones = client.list_hosted_zones().send().await.unwrap();
    let zone = zones.hosted_zones().iter().find(|zone| name.ends_with(zone.name().trim_end_matches('.'))).unwrap();
    let value = ResourceRecord::builder().value(address).build().unwrap();
    let set = ResourceRecordSet::builder().name(name).r#type(RrType::A).ttl(60).resource_records(value).build().unwrap();
    let change = Change::builder().action(ChangeAction::Upsert).resource_record_set(set).build().unwrap();
    let batch = ChangeBatch::builder().changes(change).build().unwrap();
    client.change_resource_record_sets().hosted_zone_id(zone.id()).change_batch(batch).send().await.unwrap();
}

async fn run(nodes: &SshNodes, task: NodeTask, slot: &str, fleet: &Arc<Fleet>) -> Told {
    let told = Told::default();
    if let Err(error) = nodes.run(task, slot, fleet.clone(), told.events()).await {
        panic!("{task:?} {slot}: {error:#?}\n{:#?}", told.all());
    }
    told
}

#[tokio::test(flavor = "multi_thread")]
async fn machines_become_a_cluster_and_a_second_run_does_nothing() {
    if std::env::var_os("KUBEWRIGHT_LAB").is_none() {
        return;
    }
    let home = PathBuf::from(std::env::var_os("HOME").unwrap());
    let lab_bundle = || PathBuf::from(std::env::var_os("KUBEWRIGHT_LAB").unwrap()).join("bundle");
    let bundle = std::env::var_os("KUBEWRIGHT_LAB_BUNDLE").map_or_else(lab_bundle, PathBuf::from);
    let public_key = std::fs::read_to_string(home.join(".ssh/id_ed25519.pub")).unwrap();
    let client = aws_sdk_ec2::Client::new(&aws_config::load_from_env().await);
    let started = Instant::now();
    let lap = |what: &str| eprintln!("{:6.2} s  {what}", started.elapsed().as_secs_f64());
    let instances = launch(&client, 4, &public_key).await;
    lap("instances asked for");
    let slots = [("cp-1", "control-plane"), ("cp-2", "control-plane"), ("node-1", "nodes"), ("node-2", "nodes")];
    let machines: Vec<Machine> =
        slots.iter().zip(&instances).map(|((slot, group), (id, address))| machine(slot, group, id, address)).collect();
    let mut spec = cluster(public_key.trim(), &home.join(".ssh/id_ed25519"), &bundle);
    spec.kubernetes = std::fs::read_to_string(bundle.join("VERSION")).unwrap().trim().trim_start_matches('v').parse().unwrap();
    let pki = Pki::generate(jiff::Timestamp::now()).unwrap();
    let before = fleet(&spec, &pki, &machines, &[]);
    let after = fleet(&spec, &pki, &machines, &["cp-1"]);
    for round in 0..2 {
        let nodes = SshNodes::new(Arc::new(Ec2(client.clone())), Arc::new(SystemClock), Arc::new(RandomIds));
        let begun = Instant::now();
        let prepared =
            futures::future::join_all(machines.iter().map(|machine| run(&nodes, NodeTask::Prepare, &machine.slot, &before)))
                .await;
        lap("prepared");
        let mut told = prepared;
        told.push(run(&nodes, NodeTask::Init, "cp-1", &before).await);
        lap("init");
        publish(&format!("api.internal.{}", spec.name), &machines[0].private_address).await;
        told.push(run(&nodes, NodeTask::JoinControlPlane, "cp-2", &after).await);
        lap("control plane joined");
        let workers = ["node-1", "node-2"].map(|slot| run(&nodes, NodeTask::JoinWorker, slot, &after));
        told.extend(futures::future::join_all(workers).await);
        lap("workers joined");
        let steps: Vec<(String, bool)> = told.iter().flat_map(Told::steps).collect();
        assert!(steps.iter().all(|(_, skipped)| *skipped == (round == 1)), "round {round}: {steps:?}");
        eprintln!("round {round}: {:.2} s", begun.elapsed().as_secs_f64());
    }
    let nodes = SshNodes::new(Arc::new(Ec2(client.clone())), Arc::new(SystemClock), Arc::new(RandomIds));
    run(&nodes, NodeTask::Drain, "node-2", &after).await;
    lap("drained");
    let ids: Vec<String> = instances.iter().map(|(id, _)| id.clone()).collect();
    client.terminate_instances().set_instance_ids(Some(ids)).send().await.unwrap();
    let _ = Duration::ZERO;
}

//! Bootstrap of real machines of the lab; `./test` starts it.

#[path = "bootstrap/fleet.rs"]
mod fleet;
#[path = "lab/inside.rs"]
mod inside;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use aws_sdk_ec2::types::{IpPermission, IpRange, ResourceType, Tag, TagSpecification};
use base64::Engine;
use fleet::{Told, cluster, fleet, machine};
use kubewright::bootstrap::ssh::{Call, Connection, Known, Limits, Login, SshError, Stdin, Target};
use kubewright::bootstrap::{Consoles, Fleet, Machine, NodeError, NodeEvent, NodeTask, Nodes, Pki, SshNodes};
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

/// Instances of the lab with their addresses; the test terminates them itself.
async fn launch(client: &aws_sdk_ec2::Client, count: i32, public_key: &str, network: u8) -> Vec<(String, String)> {
    let unique = format!("{}-{network}", std::process::id());
    let vpc = client.create_vpc().cidr_block(format!("10.{network}.0.0/16")).send().await.unwrap().vpc.unwrap().vpc_id.unwrap();
    let subnet = client.create_subnet().vpc_id(&vpc).cidr_block(format!("10.{network}.1.0/24")).availability_zone("us-east-1a");
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

fn bundle() -> PathBuf {
    let of_the_lab = || PathBuf::from(std::env::var_os("KUBEWRIGHT_LAB").unwrap()).join("bundle-stand-ins");
    std::env::var_os("KUBEWRIGHT_LAB_BUNDLE").map_or_else(of_the_lab, PathBuf::from)
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
    if inside::ran("machines_become_a_cluster_and_a_second_run_does_nothing") {
        return;
    }
    let home = PathBuf::from(std::env::var_os("HOME").unwrap());
    let bundle = bundle();
    let public_key = std::fs::read_to_string(home.join(".ssh/id_ed25519.pub")).unwrap();
    let client = aws_sdk_ec2::Client::new(&aws_config::load_from_env().await);
    let started = Instant::now();
    let lap = |what: &str| eprintln!("{:6.2} s  {what}", started.elapsed().as_secs_f64());
    let instances = launch(&client, 4, &public_key, 77).await;
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
        let planes = ["cp-1", "cp-2"].map(|slot| run(&nodes, NodeTask::Ready, slot, &after));
        told.extend(futures::future::join_all(planes).await);
        lap("control planes Ready");
        let steps: Vec<(String, bool)> = told.iter().flat_map(Told::steps).collect();
        assert!(steps.iter().all(|(_, skipped)| *skipped == (round == 1)), "round {round}: {steps:?}");
        eprintln!("round {round}: {:.2} s", begun.elapsed().as_secs_f64());
    }
    let nodes = SshNodes::new(Arc::new(Ec2(client.clone())), Arc::new(SystemClock), Arc::new(RandomIds));
    // Labels and taints of nodes that live: new ones come, old ones go, a second time nothing is said against it.
    let (mut other, mut marked) = (spec.clone(), machines.clone());
    for group in &mut other.groups {
        marked.iter_mut().filter(|machine| machine.group == group.name).for_each(|machine| machine.marks = group.marks());
        group.labels = [("colour".to_owned(), "green".to_owned())].into();
        group.taints.clear();
    }
    for round in 0..2 {
        let relabelled = fleet(&other, &pki, &marked, &["cp-1"]);
        for slot in ["cp-1", "node-1"] {
            let told = run(&nodes, NodeTask::Label, slot, &relabelled).await;
            assert_eq!(told.steps(), [("labels".to_owned(), round == 1)]);
        }
        let said = nodes.ask(kubewright::bootstrap::inspect::Query::Nodes, "cp-1", relabelled).await.unwrap();
        assert_eq!((said.matches("green").count(), said.matches("\"team\"").count()), (2, 2), "{said}");
    }
    lap("labelled");
    run(&nodes, NodeTask::Drain, "node-2", &after).await;
    // As of a machine that is gone.
    run(&nodes, NodeTask::Forget, "node-2", &after).await;
    lap("drained");
    let ids: Vec<String> = instances.iter().map(|(id, _)| id.clone()).collect();
    client.terminate_instances().set_instance_ids(Some(ids)).send().await.unwrap();
}

async fn shell(target: &Target, script: &str) -> Result<String, SshError> {
    let connection = Connection::open(target.clone(), Limits::default()).await?;
    let stdin = Stdin::Bytes(script.as_bytes().to_vec());
    let output = connection.call(Call { command: "sudo -n sh -s", stdin, limit: Duration::from_secs(60) }).await?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_string())
}

/// One machine of the lab, and a way in beside the one that is tested.
struct Probe {
    client: aws_sdk_ec2::Client,
    instance: String,
    target: Target,
    fleet: Arc<Fleet>,
}

impl Probe {
    async fn new(network: u8) -> Self {
        let home = PathBuf::from(std::env::var_os("HOME").unwrap());
        let key = home.join(".ssh/id_ed25519");
        let public_key = std::fs::read_to_string(home.join(".ssh/id_ed25519.pub")).unwrap();
        let client = aws_sdk_ec2::Client::new(&aws_config::load_from_env().await);
        let (instance, address) = launch(&client, 1, &public_key, network).await.remove(0);
        let bundle = bundle();
        let mut spec = cluster(public_key.trim(), &key, &bundle);
        spec.kubernetes =
            std::fs::read_to_string(bundle.join("VERSION")).unwrap().trim().trim_start_matches('v').parse().unwrap();
        let pki = Pki::generate(jiff::Timestamp::now()).unwrap();
        let fleet = fleet(&spec, &pki, &[machine("cp-1", "control-plane", &instance, &address)], &[]);
        let target = Target {
            address,
            port: 22,
            user: "admin".into(),
            login: Login::KeyFile { path: key, passphrase: None },
            known: Known::FirstUse,
            through: None,
        };
        Self { client, instance, target, fleet }
    }

    fn nodes(&self) -> SshNodes {
        SshNodes::new(Arc::new(Ec2(self.client.clone())), Arc::new(SystemClock), Arc::new(RandomIds))
    }

    async fn shell(&self, script: &str) -> Result<String, SshError> {
        shell(&self.target, script).await
    }

    /// Runs `Prepare`, and a script on the machine whenever a step begins; with `hold`, that step waits for the script's end.
    async fn prepare_disturbed(
        &self,
        at: Option<&'static str>,
        hold: bool,
        script: &'static str,
    ) -> (Result<(), NodeError>, Told) {
        let told = Told::default();
        let (steps, mut begun) = tokio::sync::mpsc::unbounded_channel();
        let (done, ended) = std::sync::mpsc::channel();
        let ended = std::sync::Mutex::new(ended);
        let forward = told.events();
        let events = Arc::new(move |event: NodeEvent| {
            if let NodeEvent::StepStarted { step, .. } = &event
                && at.is_none_or(|at| at == step)
            {
                steps.send(()).unwrap();
                if hold {
                    tokio::task::block_in_place(|| ended.lock().unwrap().recv().unwrap());
                }
            }
            forward(event);
        });
        let target = self.target.clone();
        let disturb = tokio::spawn(async move {
            while begun.recv().await.is_some() {
                let _ = shell(&target, script).await;
                let _ = done.send(());
            }
        });
        let result = self.nodes().run(NodeTask::Prepare, "cp-1", self.fleet.clone(), events).await;
        disturb.await.unwrap();
        (result, told)
    }

    async fn end(self) {
        self.client.terminate_instances().instance_ids(self.instance).send().await.unwrap();
    }
}

const CONTAINERD_SINCE: &str = "systemctl show --property=ActiveEnterTimestampMonotonic --value containerd";

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_survives_lost_connections_failures_repeats_and_a_second_run() {
    if inside::ran("a_machine_survives_lost_connections_failures_repeats_and_a_second_run") {
        return;
    }
    let probe = Probe::new(78).await;

    // Every connection is killed whenever a step begins: steps go on where they were, and none of the long ones runs twice.
    let (result, told) = probe.prepare_disturbed(None, false, "pkill -KILL -u admin sshd").await;
    result.unwrap_or_else(|error| panic!("{error:#?}"));
    assert!(told.all().iter().any(|event| matches!(event, NodeEvent::Waiting(text) if text.contains("connecting again"))));
    let journal = probe.shell("cat /var/lib/kubewright/journal").await.unwrap();
    for unit in ["cloud-init", "container-runtime", "images"] {
        assert_eq!(journal.lines().filter(|line| line.starts_with(&format!("{unit} "))).count(), 1, "{unit}: {journal}");
    }
    let names: Vec<String> = told.steps().into_iter().map(|(name, _)| name).collect();

    // Without its journal everything is done again, and nothing is disturbed by it.
    let since = probe.shell(CONTAINERD_SINCE).await.unwrap();
    let before = probe
        .shell("rm /var/lib/kubewright/journal; cat /etc/hosts /etc/containerd/config.toml /etc/sysctl.d/99-kubewright.conf")
        .await
        .unwrap();
    let again = run(&probe.nodes(), NodeTask::Prepare, "cp-1", &probe.fleet).await;
    assert_eq!(again.steps(), names.iter().map(|name| (name.clone(), false)).collect::<Vec<_>>());
    assert_eq!(probe.shell(CONTAINERD_SINCE).await.unwrap(), since, "containerd was restarted for nothing");
    let after = probe.shell("cat /etc/hosts /etc/containerd/config.toml /etc/sysctl.d/99-kubewright.conf").await.unwrap();
    assert_eq!(after, before);

    // A step that fails says what failed and why; the next run goes on there.
    probe.shell("sed -i /^container-runtime/d /var/lib/kubewright/journal; systemctl mask --now containerd").await.unwrap();
    let error = probe.nodes().run(NodeTask::Prepare, "cp-1", probe.fleet.clone(), Told::default().events()).await.unwrap_err();
    assert_eq!((error.step.as_str(), error.retryable), ("container-runtime", false), "{error:?}");
    assert!(
        error.exit.is_some() && error.stderr.iter().any(|line| line.contains("masked")) && !error.left.is_empty(),
        "{error:?}"
    );
    probe.shell("systemctl unmask containerd").await.unwrap();
    let told = run(&probe.nodes(), NodeTask::Prepare, "cp-1", &probe.fleet).await;
    let done: Vec<String> = told.steps().into_iter().filter(|(_, skipped)| !skipped).map(|(name, _)| name).collect();
    assert_eq!(done, ["container-runtime"]);

    // A later run takes the node over: the earlier one stops at its next step and changes nothing more.
    probe.shell("rm /var/lib/kubewright/journal").await.unwrap();
    let (result, _) = probe.prepare_disturbed(Some("swap"), true, "echo later >/var/lib/kubewright/owner").await;
    let stopped = result
        .map(|()| "went on")
        .unwrap_or_else(|error| if error.cause.contains("two runs") { "stopped" } else { panic!("{error:#?}") });
    assert_eq!(stopped, "stopped");
    assert_eq!(probe.shell("cat /var/lib/kubewright/owner").await.unwrap(), "later");

    // A machine of another cluster is left alone.
    let stranger = Fleet {
        cluster: probe.fleet.cluster.clone(),
        pki: Pki::generate(jiff::Timestamp::now()).unwrap(),
        machines: probe.fleet.machines.clone(),
        ready_control_planes: vec![],
    };
    let error = probe.nodes().run(NodeTask::Prepare, "cp-1", Arc::new(stranger), Told::default().events()).await.unwrap_err();
    assert!(error.step == "facts" && error.cause.contains("another cluster"), "{error:?}");

    // Without sudo, with everything else in order.
    probe.shell("rm -f /etc/sudoers.d/*; rm -f /var/lib/kubewright/journal; gpasswd -d admin sudo; true").await.unwrap();
    let error = probe.nodes().run(NodeTask::Prepare, "cp-1", probe.fleet.clone(), Told::default().events()).await.unwrap_err();
    assert!(error.step == "facts" && error.cause.contains("sudo"), "{error:?}");
    probe.end().await;
}

//! Saved plans: applied exactly as they were shown, or refused with what moved.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;

use kubewright::cloud::fake::World as Account;
use kubewright::observed::{Observed, RecordSet};
use kubewright::plan::document::Document;

use crate::cases::{BASE, cases};
use crate::world::*;

/// Of the base, with something to do in each part of a plan.
fn changed() -> String {
    let text = edit(BASE, "access = [\"203.0.113.0/24\"]\n\n[ssh]", "access = [\"198.51.100.0/24\"]\n\n[ssh]");
    edit(&text, "tier = \"general\"", "tier = \"web\"")
}

fn out(world: &World) -> String {
    world.home.path().join("plan.json").to_str().unwrap().to_owned()
}

fn document(file: &str) -> Document {
    Document::read(&std::fs::read(file).unwrap()).unwrap()
}

/// The same store, another copy of the account.
fn beside(world: &World) -> World {
    let Store::Memory(objects) = &world.store else { panic!("in memory") };
    World { cloud: world.cloud.fork(), store: Store::Memory(objects.clone()), ..World::new() }
}

#[tokio::test(start_paused = true)]
async fn an_untouched_plan_is_applied_with_exactly_the_actions_that_were_shown() {
    for (what, before, text) in
        [("create", None, PRIVATE.to_owned()), ("change", Some(BASE), changed()), ("nothing", Some(BASE), BASE.to_owned())]
    {
        let world = World::new();
        if let Some(before) = before {
            world.create(before).await;
        }
        let (spec, plan) = (world.spec(&text), out(&world));
        let verb = if before.is_none() { &["create", "cluster"][..] } else { &["update"] };
        let untouched = world.everything().await;
        let dry = [verb, &["-f", &spec, "--plan-out", &plan, "-o", "json"]].concat();
        let ran = world.run(&dry).await.expect(0).says(&[&format!("--plan {plan} --yes")]);
        assert_eq!(world.everything().await, untouched, "{what}: a dry run wrote");
        assert_eq!(std::fs::read_to_string(&plan).unwrap(), ran.out, "{what}: -o json is the same document");
        assert_eq!(std::fs::metadata(&plan).unwrap().permissions().mode() & 0o777, 0o600, "{what}");
        let saved = document(&plan);
        assert_eq!(saved.render().unwrap(), ran.out, "{what}");

        // Shown again, in the same words as the dry run.
        let show = [verb, &["--plan", &plan]].concat();
        let (first, again) = (world.run(&[verb, &["-f", &spec]].concat()).await, world.run(&show).await.expect(0));
        let lines = |ran: &Ran| ran.out.lines().filter(|line| !line.contains("reads")).map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(lines(&first), lines(&again), "{what}");
        assert_eq!(world.everything().await, untouched, "{what}: to show it wrote");

        let applied = world.run(&[verb, &["--plan", &plan, "--yes", "-o", "json"]].concat()).await.expect(0);
        let report: serde_json::Value = serde_json::from_str(&applied.out).unwrap();
        let done = report["report"]["outcome"]["done"].as_array().unwrap().iter();
        let done: BTreeSet<String> = done.map(|done| done["id"].as_str().unwrap().to_owned()).collect();
        let shown: BTreeSet<String> = saved.plan.actions.iter().map(|action| action.id.clone()).collect();
        assert_eq!(done, shown, "{what}");
        let _ = world.settled().await;

        // Once: the state has moved by it.
        let after = world.everything().await;
        let _ = world.run(&[verb, &["--plan", &plan, "--yes"]].concat()).await.expect(if what == "create" { 1 } else { 5 });
        assert_eq!(world.everything().await, after, "{what}");
    }
}

/// Runs a saved plan in a world that has moved; nothing may be touched.
async fn refused(world: &World, what: &str, args: &[&str], says: &[&str]) {
    let before = world.everything().await;
    for yes in [&[][..], &["--yes"]] {
        let ran = world.run(&[args, yes].concat()).await;
        assert_eq!(ran.code, 5, "{what}\n{ran}");
        let _ = ran.says(says).says(&["nothing was changed", "--plan-out"]);
        assert_eq!(world.everything().await, before, "{what}");
    }
}

#[tokio::test(start_paused = true)]
async fn any_edit_of_the_spec_is_refused() {
    let world = World::of(BASE).await;
    let (spec, plan) = (world.spec(&changed()), out(&world));
    let _ = world.run(&["update", "-f", &spec, "--plan-out", &plan]).await.expect(0);
    let mut edits: Vec<(String, String)> = vec![
        ("a comment".into(), format!("{}# later\n", changed())),
        ("what was applied".into(), BASE.to_owned()),
        ("no spec any more".into(), "not toml [".into()),
        ("nothing".into(), String::new()),
    ];
    edits.extend(
        cases()
            .into_iter()
            .filter(|(_, from, ..)| changed().matches(from).count() == 1)
            .map(|(key, from, to, ..)| (key.to_owned(), edit(&changed(), from, to))),
    );
    assert!(edits.len() > 40, "{}", edits.len());
    for (what, text) in edits {
        world.spec(&text);
        refused(&world, &what, &["update", "--plan", &plan], &["moved", "spec:", "is not as it was"]).await;
    }
    // The same text elsewhere is the same spec; none at all is not.
    world.spec(&changed());
    let elsewhere = world.home.path().join("clusters/moved.toml");
    std::fs::rename(&spec, &elsewhere).unwrap();
    refused(&world, "gone", &["update", "--plan", &plan], &["spec:", "cannot be read", "-f says where it is now"]).await;
    let _ = world.run(&["update", "--plan", &plan, "-f", elsewhere.to_str().unwrap()]).await.expect(0);

    // What it points to.
    let world = World::new();
    let (spec, plan) = (world.spec(EXAMPLES[1].1), out(&world));
    let _ = world.run(&["create", "-f", &spec, "--plan-out", &plan]).await.expect(0);
    write(&world.home.path().join(".ssh/id_ed25519.pub"), OTHER_KEY.as_bytes());
    refused(&world, "key", &["create", "--plan", &plan], &["spec: what it points to"]).await;
}

type Edit = fn(&mut Account);

/// One change by hand for each kind of thing that is observed; the compiler names the one that is missing.
fn foreign_changes() -> Vec<(&'static str, Edit)> {
    fn tag(tags: &mut std::collections::BTreeMap<String, String>) {
        tags.insert("touched".into(), "by hand".into());
    }
    let Observed {
        vpcs: _,
        subnets: _,
        internet_gateways: _,
        nat_gateways: _,
        addresses: _,
        route_tables: _,
        security_groups: _,
        key_pairs: _,
        instances: _,
        hosted_zones: _,
        records: _,
    } = Observed::default();
    vec![
        ("VPC", |account| account.vpcs.values_mut().for_each(|one| tag(&mut one.seen.tags))),
        ("subnet", |account| tag(&mut account.subnets.values_mut().next().unwrap().tags)),
        ("internet gateway", |account| account.internet_gateways.values_mut().for_each(|one| one.attached.clear())),
        ("NAT gateway", |account| account.nat_gateways.values_mut().next().unwrap().seen.state = "failed".into()),
        ("address", |account| account.addresses.values_mut().for_each(|one| one.association = None)),
        ("route table", |account| {
            account
                .route_tables
                .values_mut()
                .filter(|one| !one.tags.is_empty())
                .for_each(|one| one.routes[1].target = "igw-9".into())
        }),
        ("security group", |account| {
            let group = account.security_groups.values_mut().find(|group| group.name.starts_with("node")).unwrap();
            group.rules.pop();
        }),
        ("key pair", |account| account.key_pairs.clear()),
        ("instance", |account| account.instances.values_mut().next().unwrap().seen.machine_type = "t3.nano".into()),
        ("hosted zone", |account| {
            account.hosted_zones.values_mut().for_each(|zone| zone.seen.name_servers.push("ns-9.example".into()))
        }),
        ("record", |account| {
            let name = format!("api.{NAME}");
            let record =
                RecordSet { name: name.clone(), kind: "A".into(), ttl: 30, values: vec!["192.0.2.9".into()], special: false };
            account
                .hosted_zones
                .values_mut()
                .for_each(|zone| drop(zone.records.insert((name.clone(), "A".into()), record.clone())));
        }),
    ]
}

#[tokio::test(start_paused = true)]
async fn any_change_of_the_account_is_refused_whatever_its_kind() {
    let world = World::of(PRIVATE).await;
    let plan = out(&world);
    let text = edit(PRIVATE, "team = \"blue\"", "team = \"red\"");
    let spec = world.spec(&text);
    let _ = world.run(&["update", "-f", &spec, "--plan-out", &plan]).await.expect(0);
    for (kind, change) in foreign_changes() {
        let other = beside(&world);
        other.cloud.edit(change);
        refused(&other, kind, &["update", "--plan", &plan, "-f", &spec], &["moved", "account:", kind]).await;
    }
    // What is not the cluster's may change: somebody else's VPC, record and group.
    let other = beside(&world);
    other.cloud.plant_zone("elsewhere.example.com", false);
    let vpc = kubewright::plan::Change::CreateVpc { cidr: "10.99.0.0/16".parse().unwrap(), tags: Default::default() };
    other.cloud.plant(&vpc).unwrap();
    let _ = other.run(&["update", "--plan", &plan, "-f", &spec, "--yes"]).await.expect(0);

    // Of a new cluster: an image that is newer, a zone that is gone.
    let world = World::new();
    let (spec, plan) = (world.spec(SMALL), out(&world));
    let _ = world.run(&["create", "-f", &spec, "--plan-out", &plan]).await.expect(0);
    let other = beside(&world);
    other.cloud.edit(|account| {
        let mut image = account.catalogue.images.iter().find(|image| image.name.starts_with("debian-12-amd64")).unwrap().clone();
        (image.id, image.created) = ("ami-00000000000000new".into(), "2027-01-01T00:00:00Z".into());
        account.catalogue.images.push(image);
    });
    refused(&other, "image", &["create", "--plan", &plan, "-f", &spec], &["images: debian-12", "ami-00000000000000new"]).await;
}

#[tokio::test(start_paused = true)]
async fn any_write_of_the_state_is_refused() {
    let base = World::of(SMALL).await;
    let stored = base.dump().await;
    let tagged = edit(SMALL, "schema = 1\n", "schema = 1\ntags = { a = \"b\" }\n");
    for (what, commands, says) in [
        ("a run that found nothing to do", vec![vec!["update", "--yes"]], "state: it was written meanwhile"),
        ("another revision", vec![vec!["update", "-f", "TAGGED", "--yes"]], "state: it was written meanwhile"),
        ("a delete", vec![vec!["delete", "cluster", NAME, "--yes"], vec!["create", "-f", "SPEC", "--yes"]], "of another cluster"),
    ] {
        let world = World { cloud: base.cloud.fork(), ..World::new() };
        world.restore(&stored).await;
        let plan = out(&world);
        let spec = world.spec(SMALL);
        let other = world.home.path().join("clusters/tagged.toml");
        write(&other, tagged.as_bytes());
        let _ = world.run(&["update", "--plan-out", &plan]).await.expect(0);
        for command in commands {
            let command = command.into_iter().map(|word| match word {
                "SPEC" => spec.as_str(),
                "TAGGED" => other.to_str().unwrap(),
                word => word,
            });
            let _ = world.run(&command.collect::<Vec<_>>()).await.expect(0);
        }
        refused(&world, what, &["update", "--plan", &plan], &[says]).await;
    }
    // Of a cluster that was not there.
    let world = World::new();
    let (spec, plan) = (world.spec(SMALL), out(&world));
    let _ = world.run(&["create", "-f", &spec, "--plan-out", &plan]).await.expect(0);
    world.cloud.fail(
        kubewright::cloud::fake::When::Every("RunInstances".into()),
        kubewright::cloud::fake::Fault::refused("InsufficientInstanceCapacity", "none"),
    );
    let _ = world.run(&["create", "-f", &spec, "--yes"]).await.expect(1);
    refused(&world, "registered", &["create", "--plan", &plan], &["state: the cluster was registered meanwhile"]).await;
}

#[tokio::test(start_paused = true)]
async fn what_is_no_plan_of_this_kubewright_is_refused_before_anything_is_read() {
    let world = World::of(SMALL).await;
    let plan = out(&world);
    let tagged = world.spec(&edit(SMALL, "schema = 1\n", "schema = 1\ntags = { a = \"b\" }\n"));
    let _ = world.run(&["update", "-f", &tagged, "--plan-out", &plan]).await.expect(0);
    let good = std::fs::read(&plan).unwrap();
    // Every place near the ends, and a sample of the rest.
    let sample = |n: &usize| *n < 400 || good.len() - n < 400 || n.is_multiple_of(37);
    for n in (0..good.len()).filter(sample) {
        assert!(Document::read(&good[..n]).is_err(), "cut at {n}");
        for bit in [0x01, 0x20] {
            let mut bad = good.clone();
            bad[n] ^= bit;
            assert!(Document::read(&bad).is_err(), "byte {n} changed");
        }
    }
    let edited = |edit: fn(&mut Document)| {
        let mut document = document(&plan);
        edit(&mut document);
        document.render().unwrap().into_bytes()
    };
    let text = String::from_utf8(good.clone()).unwrap();
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        ("nothing", vec![], "cut short or not JSON"),
        ("half", good[..good.len() / 2].to_vec(), "cut short or not JSON"),
        ("not text", vec![0xff, 0xfe, 0x00], "cut short or not JSON"),
        ("other JSON", b"{\"a\": 1}".to_vec(), "no plan of kubewright"),
        ("deep JSON", "[".repeat(100_000).into_bytes(), "no plan of kubewright"),
        ("newer", text.replace("\"format\": 1", "\"format\": 2").into_bytes(), "written by a newer kubewright: format 2"),
        ("edited", text.replace("\"a\": \"b\"", "\"a\": \"c\"").into_bytes(), "it was edited or damaged"),
        ("other version", edited(|document| document.kubewright = "9.9.9".into()), "9.9.9 made the plan"),
        ("other account", edited(|document| document.basis.account = "999999999999".into()), "account: it was 999999999999"),
        ("one action less", edited(|document| drop(document.plan.actions.pop())), "is called for as well"),
        ("unknown field", text.replace("\"totals\"", "\"total\"").into_bytes(), "edited or damaged"),
    ];
    for (what, bytes, says) in cases {
        assert_ne!(bytes, good, "{what}");
        write(std::path::Path::new(&plan), &bytes);
        refused(&world, what, &["update", "--plan", &plan], &[says]).await;
    }
    let before = world.everything().await;
    for (args, code) in [
        (&["update", "--plan", "/no/such/plan.json"][..], 1),
        (&["update", "--plan", "/"], 1),
        (&["update", "--plan-out", "/no/such/folder/plan.json"], 1),
        (&["update", "--plan-out", "/"], 1),
        (&["update", "--plan", &plan, "--plan-out", &plan], 64),
        (&["update", "--plan-out", &plan, "--yes"], 64),
    ] {
        let _ = world.run(args).await.expect(code);
    }
    write(std::path::Path::new(&plan), &good);
    for args in [&["create", "--plan", &plan][..], &["update", "other.example.com", "--plan", &plan]] {
        let _ = world.run(args).await.expect(64).says(&["plan"]);
    }
    assert_eq!(world.everything().await, before);
}

/// A plan that cannot be applied is not saved, nor one that an earlier run's calls may still change.
#[tokio::test(start_paused = true)]
async fn only_a_plan_that_can_be_applied_is_saved() {
    let world = World::of(SMALL).await;
    let plan = out(&world);
    let moved = world.spec(&edit(SMALL, "schema = 1\n", "schema = 1\nnetwork = { cidr = \"10.9.0.0/16\" }\n"));
    let _ = world.run(&["update", "-f", &moved, "--plan-out", &plan]).await.expect(5).says(&["network.cidr"]);
    assert!(!std::path::Path::new(&plan).exists());

    let world = World::new();
    let (spec, plan) = (world.spec(SMALL), out(&world));
    world.cloud.fail(kubewright::cloud::fake::When::Action("CreateVpc".into(), 1), kubewright::cloud::fake::Fault::HangAfter);
    let create = ["create", "-f", &spec, "--yes"];
    tokio::select! {
        _ = world.run(&create) => panic!("it was to hang"),
        () = world.cloud.hung() => {}
    }
    let _ = world.run(&["lock", "break", NAME, "--yes"]).await.expect(0);
    let _ = world
        .run(&["create", "-f", &spec, "--plan-out", &plan])
        .await
        .expect(5)
        .says(&["1 call of an earlier run had no answer", "kubewright update"]);
    assert!(!std::path::Path::new(&plan).exists());
    let _ = world.run(&["create", "-f", &spec, "--yes"]).await.expect(0);
    let _ = world.run(&["update", "--plan-out", &plan]).await.expect(0);
    let _ = world.run(&["update", "--plan", &plan, "--yes"]).await.expect(0);
}

/// The schema says what documents look like: every key of one is in it.
#[tokio::test(start_paused = true)]
async fn the_schema_of_plans_has_every_key_of_a_plan() {
    fn keys(value: &serde_json::Value, found: &mut BTreeSet<String>) {
        match value {
            serde_json::Value::Object(fields) => fields.iter().for_each(|(key, value)| {
                // What stands in these is the user's or AWS's.
                if !["tags", "images", "objects", "groups"].contains(&key.as_str()) {
                    keys(value, found);
                }
                found.insert(key.clone());
            }),
            serde_json::Value::Array(values) => values.iter().for_each(|value| keys(value, found)),
            _ => {}
        }
    }
    let world = World::new();
    let schema = world.run(&["schema", "plan", "-o", "json"]).await.expect(0).out;
    let schema: serde_json::Value = serde_json::from_str(&schema).unwrap();
    assert_eq!(schema["$id"], "urn:kubewright:plan:1");
    let text = schema.to_string();
    let spec = world.spec(PRIVATE);
    let printed = world.run(&["create", "-f", &spec, "-o", "json"]).await.expect(0).out;
    let mut found = BTreeSet::new();
    keys(&serde_json::from_str(&printed).unwrap(), &mut found);
    assert!(found.len() > 40, "{found:?}");
    for key in found {
        assert!(text.contains(&format!("\"{key}\"")), "{key} is not in the schema");
    }
}

//! The account in memory and the AWS client say the same, call by call: the client on the lab's region, or on the emulator at
//! `KUBEWRIGHT_TEST_AWS_ENDPOINT`.

use std::fmt::Write as _;

use aws_config::{BehaviorVersion, Region};
use aws_credential_types::Credentials;
use kubewright::cloud::Cloud;
use kubewright::cloud::aws::{AwsCloud, Connection};
use kubewright::cloud::fake::FakeCloud;
use kubewright::cluster::ImageAlias;

#[path = "../lab/inside.rs"]
mod inside;
mod life;
mod random;
mod script;

/// Steps whose answers differ from AWS on moto, and why.
const DIFFERENCES: &[(&str, &str)] = &[
    ("the default group", "moto's default group lacks the rule that lets its members in"),
    ("unknown group", "moto does not look at the groups of an interface in RunInstances"),
    ("terminate again", "moto looks for the interface that went with the instance"),
];

/// Steps that differ on moto alone; the lab's proxy supplies what is missing.
const ALONE: &[(&str, &str)] = &[
    ("authorize a group that is not there", "moto looks only at rules of group names"),
    ("run again with the same token", "moto ignores client tokens of instances"),
    ("run again with the same token, other request", "moto ignores client tokens of instances"),
    ("instances", "there are more after the calls with the same token"),
    ("nat again with the same token", "moto ignores client tokens of NAT gateways"),
    ("route table again with the same token", "moto ignores client tokens of route tables"),
    ("delete a subnet with a machine", "moto does not see the machine"),
    ("subnets after the refusals", "the subnet is gone already"),
    ("delete a group in use", "moto does not see the machine"),
    ("groups after the refusals", "the group is gone already"),
    ("release an address in use", "moto does not look"),
    ("addresses after the refusals", "the address is gone already"),
    ("record created again", "moto compares with past changes instead of the zone's records"),
    ("record deleted with an old value", "moto compares with past changes instead of the zone's records"),
    ("records after the refusals", "the record is gone already"),
    ("release the address", "it was released already"),
    ("delete the group", "it was deleted already"),
    ("delete the subnet", "it was deleted already"),
];

/// The image that both the lab and the account in memory have, or one that moto brings along.
async fn image(aws: &AwsCloud) -> kubewright::observed::Image {
    let alias = ImageAlias::Debian13;
    let debian = aws.images_by_name(alias.owner(), &[alias.name_pattern("amd64")]).await.unwrap();
    let amazon = aws.images_by_name("amazon", &["al2023-ami-2023*".to_owned()]).await.unwrap();
    debian.into_iter().chain(amazon).find(|image| image.architecture == "x86_64").expect("an image")
}

/// The SDK on an endpoint, with keys of nobody, so that no real account can ever be reached from here.
async fn sdk(endpoint: String) -> aws_config::SdkConfig {
    aws_config::defaults(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .endpoint_url(endpoint)
        .credentials_provider(Credentials::new("AKIATEST", "test", None, None, "test"))
        .load()
        .await
}

/// Where to: `None` where the test was run inside of the lab instead.
fn endpoint(test: &str) -> Option<String> {
    let given = std::env::var("KUBEWRIGHT_TEST_AWS_ENDPOINT").ok();
    if given.is_none() && inside::ran(test) {
        return None;
    }
    Some(given.or_else(|| std::env::var("AWS_ENDPOINT_URL").ok()).expect("an endpoint"))
}

#[tokio::test]
async fn random_sequences_of_calls_get_the_same_answers() {
    let Some(endpoint) = endpoint("random_sequences_of_calls_get_the_same_answers") else { return };
    let sdk = sdk(endpoint).await;
    let aws = AwsCloud::new(&Connection { sdk, region: "us-east-1".to_owned() });
    let fake = FakeCloud::default();
    fake.set_options(|options| {
        *options = kubewright::cloud::fake::Options { vpc_quota: 10_000, address_quota: 10_000, ..Default::default() }
    });
    random::sequences(&aws, &fake).await;
}

#[tokio::test]
async fn the_account_in_memory_and_the_client_on_an_emulated_region_agree() {
    let Some(endpoint) = endpoint("the_account_in_memory_and_the_client_on_an_emulated_region_agree") else { return };
    let sdk = sdk(endpoint).await;
    let uid = uuid::Uuid::new_v4().simple().to_string();
    let zone_name = format!("{uid}.example");
    let route53 = aws_sdk_route53::Client::new(&sdk);
    let created = route53.create_hosted_zone().name(&zone_name).caller_reference(&uid).send().await.unwrap();
    let zone = created.hosted_zone().unwrap().id().trim_start_matches("/hostedzone/").to_owned();
    let aws = AwsCloud::new(&Connection { sdk, region: "us-east-1".to_owned() });
    let real = life::life(&aws, &uid, (&zone, &zone_name), &image(&aws).await).await;
    route53.delete_hosted_zone().id(&zone).send().await.unwrap();

    let fake = FakeCloud::default();
    let before = fake.snapshot();
    let zone = fake.plant_zone(&zone_name, false);
    let first = fake.edit(|world| world.catalogue.images.first().cloned()).unwrap();
    let imagined = life::life(&fake, &uid, (&zone, &zone_name), &first).await;
    fake.edit(|world| world.hosted_zones.clear());
    assert_eq!(fake.snapshot(), before);

    assert_eq!(real.len(), imagined.len());
    let differ = || real.iter().zip(&imagined).filter(|(one, other)| one != other);
    // Tokens that are kept are the mark of the proxy.
    let alone = differ().any(|((step, _), _)| step == "run again with the same token");
    let known: Vec<_> = DIFFERENCES.iter().chain(ALONE.iter().filter(|_| alone)).collect();
    let mut surprises = String::new();
    for ((step, real), (_, imagined)) in differ() {
        match known.iter().find(|(known, _)| known == step) {
            Some((_, why)) => eprintln!("{step}: differs ({why})"),
            None => _ = writeln!(surprises, "--- {step}\nclient: {real}\nfake:   {imagined}"),
        }
    }
    assert!(surprises.is_empty(), "{surprises}");
    for (step, _) in known {
        assert!(differ().any(|((differing, _), _)| differing == step), "\"{step}\" does not differ any more");
    }
    assert_eq!(aws.calls().throttled, 0);
}

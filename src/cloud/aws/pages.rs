//! Listings page by page, and the filters and tags that go with them.

use std::error::Error;
use std::future::Future;

use aws_sdk_ec2::config::http::HttpResponse;
use aws_sdk_ec2::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_ec2::types::{Filter, ResourceType, Tag, TagSpecification};

use super::send::{Repeat, send};
use super::{Result, hollow};
use crate::cloud::Scope;
use crate::cloud::calls::Call;
use crate::cloud::pace::Pace;
use crate::desired::tags;
use crate::observed::Tags;

/// Largest page of most EC2 listings.
pub const PAGE: i32 = 1000;
/// Largest page of `DescribeRouteTables` and `DescribeInstanceTypes`.
pub const SMALL_PAGE: i32 = 100;
/// Most values of one EC2 filter.
pub const FILTER_VALUES: usize = 200;

/// Every page of a listing, in order. `fetch` gets the token of the page, `next` reads the token of the following one.
pub async fn pages<P, E, F, Fut>(pace: &Pace, call: &Call, fetch: F, next: impl Fn(&P) -> Option<&str>) -> Result<Vec<P>>
where
    F: Fn(Option<String>) -> Fut,
    Fut: Future<Output = std::result::Result<P, SdkError<E, HttpResponse>>>,
    E: ProvideErrorMetadata + Error + 'static,
{
    let mut all = Vec::new();
    let mut token: Option<String> = None;
    loop {
        let page = send(pace, call, Repeat::Harmless, || fetch(token.clone())).await?;
        let following = next(&page).filter(|token| !token.is_empty()).map(str::to_owned);
        all.push(page);
        match following {
            None => return Ok(all),
            // A listing that gives its own token again would never end.
            Some(following) if token.as_ref() == Some(&following) => return Err(hollow(call, "next page")),
            Some(following) => token = Some(following),
        }
    }
}

pub fn filter(name: &str, values: impl IntoIterator<Item = impl AsRef<str>>) -> Filter {
    let values: Vec<String> = values.into_iter().map(|value| value.as_ref().to_owned()).collect();
    Filter::builder().name(name).set_values(Some(values)).build()
}

/// The filter of a scope; `vpc`: the name of the listing's filter for VPCs.
pub fn scoped(scope: &Scope, vpc: &str) -> Filter {
    match scope {
        Scope::Uid(uid) => filter(&format!("tag:{}", tags::CLUSTER_UID), [literal(uid)]),
        Scope::Name(name) => filter(&format!("tag:{}", tags::CLUSTER), [literal(name)]),
        Scope::Vpc(id) => filter(vpc, [literal(id)]),
    }
}

/// Whether an object's tags are those of the scope. A listing is believed by the tags that it shows: to take somebody else's
/// object for ours because a filter did not work could delete it.
pub fn within(scope: &Scope, tagged: &Tags) -> bool {
    match scope {
        Scope::Uid(uid) => tagged.get(tags::CLUSTER_UID) == Some(uid),
        Scope::Name(name) => tagged.get(tags::CLUSTER) == Some(name),
        Scope::Vpc(_) => true,
    }
}

/// `*`, `?` and `\` mean something in filter values.
fn literal(value: &str) -> String {
    let mut escaped = String::with_capacity(value.len());
    for c in value.chars() {
        if matches!(c, '*' | '?' | '\\') {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}

pub fn sdk_tags(tags: &Tags) -> Vec<Tag> {
    tags.iter().map(|(key, value)| Tag::builder().key(key).value(value).build()).collect()
}

/// Tags for the object that the call makes, in the call itself.
pub fn tagged(kind: ResourceType, tags: &Tags) -> Option<TagSpecification> {
    (!tags.is_empty()).then(|| TagSpecification::builder().resource_type(kind).set_tags(Some(sdk_tags(tags))).build())
}

pub fn seen_tags(tags: &[Tag]) -> Tags {
    let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
    tags.iter().map(|tag| (text(tag.key()), text(tag.value()))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_is_matched_literally() {
        let filter = scoped(&Scope::Name("a*b?c\\d".into()), "vpc-id");
        assert_eq!(filter.name(), Some("tag:kubewright.io/cluster"));
        assert_eq!(filter.values(), ["a\\*b\\?c\\\\d"]);
        assert_eq!(scoped(&Scope::Vpc("vpc-1".into()), "attachment.vpc-id").name(), Some("attachment.vpc-id"));
    }
}

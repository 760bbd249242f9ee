//! Client tokens, which moto stores and ignores: the same token with the same parameters gives the same answer.
//!
//! This is a copy of what AWS documents. It shows that a client uses its tokens well; it says nothing about AWS.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use sha2::{Digest, Sha256};

use super::name::Name;
use crate::http::Answer;
use crate::node::lock;

const ACTIONS: [&str; 6] =
    ["RunInstances", "CreateNatGateway", "CreateRouteTable", "CreateVolume", "CreateNetworkInterface", "CreateLaunchTemplate"];

/// What was answered to a token.
#[derive(Clone)]
pub struct Kept {
    parameters: [u8; 32],
    pub answer: Answer,
    pub body: Vec<u8>,
}

/// One token's place: held while its call is carried out, so that two at a time become one.
pub type Place = Arc<tokio::sync::Mutex<Option<Kept>>>;

#[derive(Default)]
pub struct Tokens {
    places: Mutex<HashMap<String, Place>>,
}

/// How a call with a token stands to what was kept.
#[derive(Debug, PartialEq)]
pub enum Match {
    First,
    Same,
    OtherParameters,
}

impl Tokens {
    /// The place of the call's token; none for calls without one.
    pub fn place(&self, name: &Name) -> Option<Place> {
        if name.service != "ec2" || !ACTIONS.contains(&name.action.as_str()) {
            return None;
        }
        let token = name.field("ClientToken").filter(|token| !token.is_empty())?;
        let key = format!("{}/{}/{token}", name.region, name.action);
        Some(lock(&self.places).entry(key).or_default().clone())
    }

    pub fn clear(&self) {
        lock(&self.places).clear();
    }
}

pub fn compare(kept: Option<&Kept>, name: &Name) -> Match {
    match kept {
        None => Match::First,
        Some(kept) if kept.parameters == parameters(name) => Match::Same,
        Some(_) => Match::OtherParameters,
    }
}

pub fn keep(name: &Name, answer: &Answer, body: &[u8]) -> Kept {
    Kept { parameters: parameters(name), answer: answer.clone(), body: body.to_vec() }
}

/// The instances of a kept RunInstances answer.
pub fn instances(kept: &Kept) -> Vec<String> {
    let text = String::from_utf8_lossy(&kept.body).into_owned();
    let mut found: Vec<String> =
        text.split("<instanceId>").skip(1).filter_map(|rest| Some(rest.split_once('<')?.0.to_owned())).collect();
    found.dedup();
    found
}

/// A digest of the parameters in any order, without the token itself.
fn parameters(name: &Name) -> [u8; 32] {
    let mut fields: Vec<_> = name.form.iter().filter(|(key, _)| key != "ClientToken").collect();
    fields.sort();
    let mut digest = Sha256::new();
    for (key, value) in fields {
        digest.update(format!("{}:{key}={}:{value};", key.len(), value.len()));
    }
    digest.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::StatusCode;

    fn call(token: &str, count: &str) -> Name {
        let field = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        Name {
            service: "ec2".into(),
            region: "us-east-1".into(),
            action: "RunInstances".into(),
            form: vec![field("MinCount", count), field("ClientToken", token)],
            ..Name::default()
        }
    }

    #[tokio::test]
    async fn same_token_same_answer() {
        let tokens = Tokens::default();
        let name = call("t-1", "1");
        let place = tokens.place(&name).unwrap();
        assert_eq!(compare(place.lock().await.as_ref(), &name), Match::First);
        let body = b"<r><instanceId>i-1</instanceId><instanceId>i-2</instanceId></r>";
        *place.lock().await = Some(keep(&name, &crate::http::answer(StatusCode::OK, "text/xml", &body[..]), body));

        let mut reordered = name.clone();
        reordered.form.reverse();
        let again = tokens.place(&reordered).unwrap();
        let again = again.lock().await;
        assert_eq!(compare(again.as_ref(), &reordered), Match::Same);
        assert_eq!(compare(again.as_ref(), &call("t-1", "2")), Match::OtherParameters);
        assert_eq!(instances(again.as_ref().unwrap()), ["i-1", "i-2"]);
    }

    #[test]
    fn only_calls_that_have_a_token() {
        let tokens = Tokens::default();
        assert!(tokens.place(&call("", "1")).is_none());
        let mut other = call("t", "1");
        other.action = "CreateVpc".into();
        assert!(tokens.place(&other).is_none());
    }
}

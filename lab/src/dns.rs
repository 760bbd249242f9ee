//! The VPC's DNS server: answers from the emulated hosted zones, public and private alike, and for the names
//! that EC2 gives to private addresses. It forwards nothing.

use std::net::Ipv4Addr;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use hickory_proto::op::{Message, MessageType, OpCode, ResponseCode};
use hickory_proto::rr::rdata::{A, CNAME, NS, SOA, TXT};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};

use crate::serve::Hub;
use crate::world::{self, World, Zone};
use crate::{hub, packages};

/// Serves UDP and TCP until the supervisor ends.
pub async fn serve(hub: Arc<Hub>) -> Result<()> {
    let udp = UdpSocket::bind((hub::DNS, 53)).await.context("binding the DNS server")?;
    let tcp = TcpListener::bind((hub::DNS, 53)).await?;
    let over_tcp = hub.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = tcp.accept().await {
            let hub = over_tcp.clone();
            tokio::spawn(async move { stream_answers(stream, &hub).await });
        }
    });
    tokio::spawn(async move {
        let mut buffer = [0; 4096];
        while let Ok((length, peer)) = udp.recv_from(&mut buffer).await {
            if let Some(reply) = reply(&buffer[..length], &hub.world()) {
                udp.send_to(&reply, peer).await.ok(); // a client that left asks again
            }
        }
    });
    Ok(())
}

/// Queries of one TCP connection, each with its length in front.
async fn stream_answers(mut stream: TcpStream, hub: &Hub) -> Option<()> {
    loop {
        let length = tokio::time::timeout(Duration::from_secs(10), stream.read_u16()).await.ok()?.ok()?;
        let mut query = vec![0; length.into()];
        stream.read_exact(&mut query).await.ok()?;
        let reply = reply(&query, &hub.world())?;
        stream.write_u16(reply.len().try_into().ok()?).await.ok()?;
        stream.write_all(&reply).await.ok()?;
    }
}

/// The answer to one query in wire format; none to what is no query.
fn reply(query: &[u8], world: &World) -> Option<Vec<u8>> {
    let query = Message::from_vec(query).ok()?;
    if query.metadata.message_type != MessageType::Query {
        return None;
    }
    answer(&query, world).to_vec().ok()
}

/// The answer to one query.
pub fn answer(query: &Message, world: &World) -> Message {
    let mut reply = Message::response(query.metadata.id, query.metadata.op_code);
    reply.metadata.recursion_desired = query.metadata.recursion_desired;
    reply.metadata.recursion_available = true;
    let [question] = &query.queries[..] else {
        reply.metadata.response_code = ResponseCode::FormErr;
        return reply;
    };
    reply.add_query(question.clone());
    if query.metadata.op_code != OpCode::Query {
        reply.metadata.response_code = ResponseCode::NotImp;
        return reply;
    }
    let kind = question.query_type;
    let mut name = question.name.clone();
    // a CNAME leads to another name, perhaps of another zone; eight of them are a loop
    for _ in 0..8 {
        let text = name.to_ascii().to_lowercase();
        if let Some(address) = ec2_name(&text) {
            if kind == RecordType::A {
                reply.add_answer(Record::from_rdata(name, 60, RData::A(A(address))));
            }
            return reply;
        }
        if text.strip_suffix('.') == Some(packages::NAME) {
            let address = hub::PACKAGES.parse().ok().filter(|_| kind == RecordType::A);
            reply.add_answers(address.map(|address| Record::from_rdata(name, 60, RData::A(A(address)))));
            return reply;
        }
        let Some(zone) = zone_of(world, &text) else {
            if reply.answers.is_empty() {
                // a name of the VPC's own domain does not exist; what lies outside is not ours to answer
                let own = text.ends_with(".ec2.internal.") || text.matches('.').count() < 2;
                reply.metadata.response_code = if own { ResponseCode::NXDomain } else { ResponseCode::Refused };
            }
            return reply;
        };
        reply.metadata.authoritative = true;
        let here: Vec<&world::Record> = zone.records.iter().filter(|record| record.name == text).collect();
        let found: Vec<Record> = here.iter().filter(|record| record.kind == kind.to_string()).flat_map(|r| wire(r)).collect();
        if !found.is_empty() {
            reply.add_answers(found);
            return reply;
        }
        let alias = here.iter().find(|record| record.kind == "CNAME").and_then(|record| wire(record).pop());
        let Some(alias) = alias else {
            let below = format!(".{text}");
            let exists = !here.is_empty() || zone.records.iter().any(|record| record.name.ends_with(&below));
            if !exists {
                reply.metadata.response_code = ResponseCode::NXDomain;
            }
            reply.add_authorities(zone.records.iter().filter(|record| record.kind == "SOA").flat_map(wire));
            return reply;
        };
        if let RData::CNAME(target) = &alias.data {
            name = target.0.clone();
        }
        reply.add_answer(alias);
    }
    reply.metadata.response_code = ResponseCode::ServFail;
    reply
}

/// The zone with the longest name that holds `name`.
fn zone_of<'a>(world: &'a World, name: &str) -> Option<&'a Zone> {
    world
        .zones
        .iter()
        .filter(|zone| name == zone.name || name.ends_with(&format!(".{}", zone.name)))
        .max_by_key(|zone| zone.name.len())
}

/// `ip-10-20-0-4.ec2.internal.`, which EC2 answers without any zone.
fn ec2_name(name: &str) -> Option<Ipv4Addr> {
    let host = name.strip_suffix(".ec2.internal.")?.strip_prefix("ip-")?;
    host.replace('-', ".").parse().ok()
}

/// A record set as DNS records; values that are not of their type are left out.
fn wire(set: &world::Record) -> Vec<Record> {
    let Ok(name) = Name::from_str(&set.name) else { return Vec::new() };
    let rdata = |value: &str| -> Option<RData> {
        let target = |text: &str| Name::from_str(&format!("{}.", text.trim_end_matches('.'))).ok();
        Some(match set.kind.as_str() {
            "A" => RData::A(A(value.parse().ok()?)),
            "CNAME" => RData::CNAME(CNAME(target(value)?)),
            "NS" => RData::NS(NS(target(value)?)),
            "TXT" => RData::TXT(TXT::new(vec![value.trim_matches('"').to_owned()])),
            "SOA" => {
                let fields: Vec<&str> = value.split(' ').collect();
                let [primary, mail, serial, refresh, retry, expire, minimum] = fields[..] else { return None };
                // negative answers are kept only briefly, so that a test need not wait a day
                let minimum = minimum.parse::<u32>().ok()?.min(5);
                RData::SOA(SOA::new(
                    target(primary)?,
                    target(mail)?,
                    serial.parse().ok()?,
                    refresh.parse().ok()?,
                    retry.parse().ok()?,
                    expire.parse().ok()?,
                    minimum,
                ))
            }
            _ => return None,
        })
    };
    set.resource_records.iter().filter_map(|value| Some(Record::from_rdata(name.clone(), set.seconds(), rdata(value)?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use hickory_proto::op::Query;
    use serde_json::json;

    fn world() -> World {
        let record =
            |name: &str, kind: &str, values: &[&str]| json!({"Name": name, "Type": kind, "TTL": 60, "ResourceRecords": values});
        serde_json::from_value(json!({"instances": [], "groups": [], "zones": [{
        "id": "Z1", "name": "k8s.example.com.", "private": false, "records": [
            record("k8s.example.com.", "SOA", &["ns.example. mail.example. 1 7200 900 1209600 86400"]),
            record("api.demo.k8s.example.com.", "A", &["10.20.0.4", "10.20.0.5"]),
            record("www.k8s.example.com.", "CNAME", &["api.demo.k8s.example.com"]),
            record("note.k8s.example.com.", "TXT", &["\"owner=me\""]),
        ]}]}))
        .unwrap()
    }

    fn ask(name: &str, kind: RecordType) -> Message {
        let mut query = Message::query();
        query.add_query(Query::query(Name::from_str(name).unwrap(), kind));
        let wire = reply(&query.to_vec().unwrap(), &world()).unwrap();
        Message::from_vec(&wire).unwrap()
    }

    #[test]
    fn answers_from_the_zone() {
        let reply = ask("API.demo.k8s.example.com.", RecordType::A);
        assert_eq!(reply.answers.len(), 2);
        assert!(reply.metadata.authoritative);
        assert_eq!(ask("note.k8s.example.com.", RecordType::TXT).answers.len(), 1);
    }

    #[test]
    fn follows_an_alias_name() {
        let reply = ask("www.k8s.example.com.", RecordType::A);
        assert_eq!(reply.answers.len(), 3);
    }

    #[test]
    fn no_data_is_not_no_name() {
        let no_data = ask("api.demo.k8s.example.com.", RecordType::AAAA);
        assert_eq!((no_data.metadata.response_code, no_data.authorities.len()), (ResponseCode::NoError, 1));
        let between = ask("demo.k8s.example.com.", RecordType::A);
        assert_eq!(between.metadata.response_code, ResponseCode::NoError);
        let no_name = ask("nothing.k8s.example.com.", RecordType::A);
        assert_eq!((no_name.metadata.response_code, no_name.authorities.len()), (ResponseCode::NXDomain, 1));
    }

    #[test]
    fn other_names_are_refused_and_private_ones_are_known() {
        assert_eq!(ask("example.org.", RecordType::A).metadata.response_code, ResponseCode::Refused);
        assert_eq!(ask("i-0abc.ec2.internal.", RecordType::A).metadata.response_code, ResponseCode::NXDomain);
        assert_eq!(ask("packages.lab.internal.", RecordType::A).answers.len(), 1);
        assert_eq!(ask("packages.lab.internal.", RecordType::AAAA).metadata.response_code, ResponseCode::NoError);
        assert_eq!(ask("ip-10-20-0-4.ec2.internal.", RecordType::A).answers.len(), 1);
    }
}

//! The control endpoint on the hub's loopback: what tests and the other commands ask of the supervisor.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use anyhow::{Context, Result, bail};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::emulator;
use crate::http::{self, Answer, CONTROL};
use crate::node::Order;
use crate::serve::Hub;

pub async fn serve(hub: Arc<Hub>) -> Result<()> {
    let listener = TcpListener::bind(CONTROL).await.context("binding the control endpoint")?;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let hub = hub.clone();
            tokio::spawn(async move {
                let service = service_fn(|request| answer(&hub, request));
                // a client that goes away early has its own reasons
                hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await.ok();
            });
        }
    });
    Ok(())
}

async fn answer(hub: &Hub, request: Request<Incoming>) -> Result<Answer, std::convert::Infallible> {
    let (status, value) = match route(hub, request).await {
        Ok(value) => (StatusCode::OK, value),
        Err(error) => (StatusCode::BAD_REQUEST, json!({"error": format!("{error:#}")})),
    };
    Ok(http::answer(status, "application/json", value.to_string()))
}

async fn route(hub: &Hub, request: Request<Incoming>) -> Result<Value> {
    let (parts, body) = request.into_parts();
    let bytes = body.collect().await?.to_bytes();
    let body: Value = if bytes.is_empty() { Value::Null } else { serde_json::from_slice(&bytes)? };
    let path: Vec<&str> = parts.uri.path().trim_matches('/').split('/').collect();
    Ok(match (&parts.method, &path[..]) {
        (&Method::GET, ["status"]) => status(hub)?,
        (&Method::GET, ["account"]) => emulator::account(None).await?,
        (&Method::GET, ["account", of]) => emulator::account(Some(of)).await?,
        (&Method::POST, ["account", of]) => emulator::further(of).await?,
        (&Method::GET, ["world"]) => serde_json::to_value(&*hub.world())?,
        (&Method::POST, ["look"]) => {
            hub.follow().await?;
            Value::Null
        }
        (&Method::POST, ["reset"]) => {
            hub.reset().await?;
            Value::Null
        }
        (&Method::GET, ["calls"]) => serde_json::to_value(hub.proxy.log.calls())?,
        (&Method::GET, ["calls", key]) => serde_json::to_value(hub.proxy.log.calls_of(key))?,
        (&Method::DELETE, ["calls"]) => {
            hub.proxy.log.clear()?;
            Value::Null
        }
        (&Method::DELETE, ["calls", key]) => {
            hub.proxy.log.forget(key);
            Value::Null
        }
        (&Method::GET, ["faults"]) => serde_json::to_value(hub.proxy.faults.list())?,
        (&Method::POST, ["faults"]) => json!({"id": hub.proxy.faults.add(serde_json::from_value(body)?)}),
        (&Method::DELETE, ["faults"]) => json!({"removed": hub.proxy.faults.clear()}),
        (&Method::DELETE, ["faults", id]) => json!({"removed": hub.proxy.faults.remove(id.parse()?)}),
        (&Method::PUT, ["console-delay"]) => {
            let seconds = body.as_u64().context("console-delay wants a number of seconds")?;
            hub.console_delay.store(seconds, Ordering::Relaxed);
            Value::Null
        }
        (&Method::POST, ["iam", "enforce"]) => {
            emulator::enforce_iam(body.as_bool().context("enforce wants true or false")?).await?;
            Value::Null
        }
        (&Method::POST, ["iam", "user"]) => {
            let field = |name: &str| body[name].as_str().with_context(|| format!("{name} is missing"));
            emulator::iam_user(field("name")?, field("policy")?).await?
        }
        (&Method::POST, ["nodes", id, order]) => {
            anyhow::ensure!(hub.nodes.view(id).is_some(), "there is no node {id}");
            match *order {
                "boot" => anyhow::ensure!(hub.nodes.order(id, Order::Reboot).await, "{id} is leaving"),
                "kill" => anyhow::ensure!(hub.nodes.order(id, Order::Kill).await, "{id} is leaving"),
                "cut" | "uncut" => {
                    hub.firewall.set_cut(id, *order == "cut");
                    hub.firewall.apply(&hub.world())?;
                }
                other => bail!("no such order: {other}"),
            }
            Value::Null
        }
        _ => bail!("no such path: {} {}", parts.method, parts.uri.path()),
    })
}

fn status(hub: &Hub) -> Result<Value> {
    let mut nodes = serde_json::to_value(hub.nodes.views())?;
    for node in nodes.as_array_mut().into_iter().flatten() {
        let cut = node["id"].as_str().is_some_and(|id| hub.firewall.is_cut(id));
        node["cut"] = json!(cut);
    }
    Ok(json!({"nodes": nodes, "refused": hub.nodes.refused(&hub.world())}))
}

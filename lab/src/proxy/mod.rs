//! The proxy in front of moto: it names, numbers and logs every call, does faults to them, supplies what moto
//! lacks, and tells the nodes when something changed.

pub mod console;
pub mod errors;
pub mod faults;
pub mod log;
pub mod name;
mod peer;
mod tokens;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::body::{Bytes, Incoming};
use hyper::http::request::Parts;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use crate::emulator;
use crate::http::{self, Answer, MOTO, PROXY};
use crate::node::Order;
use crate::serve::Hub;
use crate::state::Lab;
use faults::{Fault, Faults, Mode, When};
use log::{Call, Log};
use name::Name;
use tokens::{Match, Tokens};

pub struct Proxy {
    pub log: Log,
    pub faults: Faults,
    tokens: Tokens,
    /// moto checks If-Match and writes in two steps: two writers of one key could both win, as never on S3.
    s3_writes: tokio::sync::Mutex<()>,
}

/// The connection is cut instead of an answer.
#[derive(Debug)]
struct Cut;

impl std::fmt::Display for Cut {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("cut by a fault of the lab")
    }
}

impl std::error::Error for Cut {}

impl Proxy {
    pub fn new(lab: &Lab) -> Result<Self> {
        Ok(Self {
            log: Log::new(&lab.calls())?,
            faults: Faults::default(),
            tokens: Tokens::default(),
            s3_writes: Default::default(),
        })
    }

    /// Drops what it remembers of an account that is no more.
    pub fn forget(&self) -> Result<()> {
        self.faults.clear();
        self.tokens.clear();
        self.log.clear()
    }
}

pub async fn serve(hub: Arc<Hub>) -> Result<()> {
    let listener = TcpListener::bind(PROXY).await.context("binding the proxy")?;
    tokio::spawn(async move {
        while let Ok((stream, peer)) = listener.accept().await {
            let hub = hub.clone();
            tokio::spawn(async move {
                let service = service_fn(|request| handle(&hub, peer, request));
                let mut server = hyper::server::conn::http1::Builder::new();
                // a cut connection and a client that went away end here alike
                server.preserve_header_case(true).serve_connection(TokioIo::new(stream), service).await.ok();
            });
        }
    });
    Ok(())
}

async fn handle(hub: &Arc<Hub>, peer: SocketAddr, request: Request<Incoming>) -> Result<Answer, Cut> {
    let start = Instant::now();
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map_err(|_| Cut)?.to_bytes();
    let name = name::name(&parts, &body);
    let mut call = Call { seq: hub.proxy.log.number(), ..Call::new(&name) };
    let fault = hub.proxy.faults.hit(&name);
    call.fault = fault.as_ref().map(Fault::label);
    if fault.as_ref().is_some_and(|fault| fault.mode == Mode::Hang) {
        hub.proxy.log.write(call.clone());
    }
    let answer = with_fault(hub, peer, &name, fault.as_ref(), &mut call, &parts, body).await;
    if fault.is_some_and(|fault| fault.mode == Mode::Hang) {
        return answer;
    }
    call.ms = start.elapsed().as_millis() as u64;
    if let Ok(answer) = &answer {
        call.status = answer.status().as_u16();
    }
    hub.proxy.log.write(call);
    answer
}

/// Carries a call out with what its fault does before, instead and after.
async fn with_fault(
    hub: &Arc<Hub>,
    peer: SocketAddr,
    name: &Name,
    fault: Option<&Fault>,
    call: &mut Call,
    parts: &Parts,
    body: Bytes,
) -> Result<Answer, Cut> {
    let Some(fault) = fault else { return carry_out(hub, name, call, parts, body).await };
    let pause = Duration::from_millis(fault.ms);
    match (fault.mode, fault.when) {
        (Mode::Error | Mode::Throttle, _) => {
            tokio::time::sleep(pause).await;
            let (status, code) = match fault.mode {
                Mode::Throttle => errors::throttled(&name.service),
                _ => (503, "RequestLimitExceeded"),
            };
            let (status, code) = (fault.status.unwrap_or(status), fault.code.as_deref().unwrap_or(code));
            call.code = code.to_owned();
            Ok(errors::error(&name.service, status, code, "A fault of the lab."))
        }
        (Mode::DropBefore, _) => Err(Cut),
        (Mode::DropAfter, _) => {
            carry_out(hub, name, call, parts, body).await?;
            Err(Cut)
        }
        (Mode::Hang, _) => {
            tokio::time::sleep(if fault.ms == 0 { Duration::from_secs(3600) } else { pause }).await;
            Err(Cut)
        }
        (Mode::Delay, When::Before) => {
            tokio::time::sleep(pause).await;
            carry_out(hub, name, call, parts, body).await
        }
        (Mode::Delay, When::After) => {
            let answer = carry_out(hub, name, call, parts, body).await;
            tokio::time::sleep(pause).await;
            answer
        }
        (Mode::Signal, When::Before) => {
            send_signal(fault, peer);
            if fault.signal.as_deref().unwrap_or("KILL").ends_with("KILL") {
                return Err(Cut);
            }
            carry_out(hub, name, call, parts, body).await
        }
        (Mode::Signal, When::After) => {
            let answer = carry_out(hub, name, call, parts, body).await;
            send_signal(fault, peer);
            answer
        }
    }
}

fn send_signal(fault: &Fault, peer: SocketAddr) {
    let signal = peer::signal_of(fault.signal.as_deref().unwrap_or("KILL"));
    let of_peer = || peer::process(peer, PROXY.parse().ok()?);
    let pid = fault.pid.or_else(of_peer).and_then(|pid| rustix::process::Pid::from_raw(pid as i32));
    match (signal, pid) {
        (Some(signal), Some(pid)) => {
            if let Err(error) = rustix::process::kill_process(pid, signal) {
                tracing::error!("signal {signal:?} to {pid:?}: {error}");
            }
        }
        _ => tracing::error!("fault {}: no such signal, or no process at {peer}", fault.id),
    }
}

/// The call itself. What has arrived is carried out, and its token kept, although who asked for it is gone.
async fn carry_out(hub: &Arc<Hub>, name: &Name, call: &mut Call, parts: &Parts, body: Bytes) -> Result<Answer, Cut> {
    let (hub, name, parts, mut own) = (Arc::clone(hub), name.clone(), parts.clone(), call.clone());
    let work = tokio::spawn(async move {
        let answer = carried_out(&hub, &name, &mut own, &parts, body).await;
        (answer, own)
    });
    let (answer, own) = work.await.map_err(|_| Cut)?;
    *call = own;
    answer
}

/// Answered by the lab, from a token, or by moto.
async fn carried_out(hub: &Arc<Hub>, name: &Name, call: &mut Call, parts: &Parts, body: Bytes) -> Result<Answer, Cut> {
    if name.service == "ec2"
        && name.action == "GetConsoleOutput"
        && let Some(answer) = console::answer(hub, name)
    {
        return Ok(answer);
    }
    if name.service == "ec2" && name.field("DryRun") == Some("true") && name.action != "RunInstances" {
        // moto creates some kinds of things in spite of the flag
        call.code = "DryRunOperation".into();
        return Ok(errors::error("ec2", 412, "DryRunOperation", "Request would have succeeded, but DryRun flag is set."));
    }
    let _whole = match (name.service.as_str(), name.change) {
        ("s3", true) => Some(hub.proxy.s3_writes.lock().await),
        _ => None,
    };
    let Some(place) = hub.proxy.tokens.place(name) else { return ask_moto(hub, name, call, parts, body).await };
    let mut kept = place.lock().await;
    match (tokens::compare(kept.as_ref(), name), kept.as_ref()) {
        (Match::Same, Some(known)) => {
            call.replayed = true;
            if name.action == "RunInstances" && all_terminated(&tokens::instances(known)).await {
                call.code = "IdempotentInstanceTerminated".into();
                let text = "The client token was already used for instances that are terminated.";
                return Ok(errors::error("ec2", 400, "IdempotentInstanceTerminated", text));
            }
            Ok(known.answer.clone())
        }
        (Match::OtherParameters, _) => {
            call.code = "IdempotentParameterMismatch".into();
            let text = "Arguments on this idempotent request are inconsistent with arguments used in previous request(s).";
            Ok(errors::error("ec2", 400, "IdempotentParameterMismatch", text))
        }
        _ => {
            let answer = ask_moto(hub, name, call, parts, body).await?;
            if answer.status().is_success() {
                let bytes = answer.body().clone().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
                *kept = Some(tokens::keep(name, &answer, &bytes));
            }
            Ok(answer)
        }
    }
}

async fn all_terminated(instances: &[String]) -> bool {
    match emulator::worlds().await {
        Ok(world) => instances.iter().all(|id| !world.instances.iter().any(|instance| instance.id == *id)),
        Err(_) => false,
    }
}

/// Passes the call on as it came, signature and Host included.
async fn ask_moto(hub: &Arc<Hub>, name: &Name, call: &mut Call, parts: &Parts, body: Bytes) -> Result<Answer, Cut> {
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    let mut request = Request::builder().method(parts.method.clone()).uri(path);
    for (key, value) in &parts.headers {
        if !["connection", "expect", "transfer-encoding", "content-length"].contains(&key.as_str()) {
            request = request.header(key, value);
        }
    }
    let request = request.header("content-length", body.len()).header("connection", "close").body(Full::new(body));
    let sent = match request {
        Ok(request) => http::send(MOTO, request).await,
        Err(error) => Err(error.into()),
    };
    let answer = match sent {
        Ok(answer) => answer,
        Err(error) => return Ok(gap(name, call, &format!("moto gave no answer: {error:#}"))),
    };
    let (head, bytes) = answer.into_parts();
    if let Some(text) = head.headers.get("x-lab-gap") {
        return Ok(gap(name, call, text.to_str().unwrap_or("an exception")));
    }
    if head.status.is_client_error() || head.status.is_server_error() {
        call.code = errors::code(&bytes);
        if let Some((code, answer)) = errors::of_iam(&name.service, head.status, &bytes) {
            call.code = code;
            return Ok(answer);
        }
    } else if name.change {
        after_change(hub, name);
    }
    let mut out = hyper::Response::new(Full::new(bytes));
    *out.status_mut() = head.status;
    for (key, value) in &head.headers {
        if !["connection", "transfer-encoding"].contains(&key.as_str()) {
            out.headers_mut().append(key, value.clone());
        }
    }
    Ok(out)
}

fn after_change(hub: &Arc<Hub>, name: &Name) {
    if name.action == "RebootInstances" {
        for id in name.list("InstanceId") {
            let (hub, id) = (hub.clone(), id.to_owned());
            tokio::spawn(async move { hub.nodes.order(&id, Order::Reboot).await });
        }
    }
    if ["ec2", "route53", "autoscaling", "elasticloadbalancing"].contains(&name.service.as_str()) {
        hub.look_again();
    }
}

/// Something that moto does not do: a name of its own and a status that no client retries.
fn gap(name: &Name, call: &mut Call, text: &str) -> Answer {
    tracing::error!("{} {}: {text}", name.service, name.action);
    call.code = "LabEmulatorGap".into();
    errors::error(&name.service, 501, "LabEmulatorGap", text)
}

//! One HTTP/1.1 request on the hub's loopback, and small answers.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

pub const MOTO: &str = "127.0.0.1:4568";
pub const PROXY: &str = "127.0.0.1:4566";
pub const CONTROL: &str = "127.0.0.1:4567";

pub type Answer = Response<Full<Bytes>>;

/// Sends one request on a connection of its own and reads the whole answer.
pub async fn send(address: &str, request: Request<Full<Bytes>>) -> Result<Response<Bytes>> {
    let stream = TcpStream::connect(address).await.with_context(|| format!("connecting to {address}"))?;
    let (mut sender, connection) =
        hyper::client::conn::http1::Builder::new().preserve_header_case(true).handshake(TokioIo::new(stream)).await?;
    tokio::spawn(async move {
        // the end of the connection is seen by whoever waits for the answer
        connection.await.ok();
    });
    let (parts, body) = sender.send_request(request).await?.into_parts();
    let bytes = body.collect().await?.to_bytes();
    Ok(Response::from_parts(parts, bytes))
}

/// A request with a JSON body and a JSON answer; anything but 2xx is an error with the answer's text.
pub async fn json(address: &str, method: Method, path: &str, body: &serde_json::Value) -> Result<serde_json::Value> {
    let payload = if body.is_null() { String::new() } else { body.to_string() };
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", address)
        .header("content-type", "application/json")
        .header("content-length", payload.len())
        .body(Full::new(Bytes::from(payload)))?;
    let answer = tokio::time::timeout(Duration::from_secs(60), send(address, request))
        .await
        .with_context(|| format!("no answer to {path} within 60 s"))??;
    let text = String::from_utf8_lossy(answer.body());
    if !answer.status().is_success() {
        let message = serde_json::from_str::<serde_json::Value>(&text)
            .ok()
            .and_then(|value| Some(value.get("error")?.as_str()?.to_owned()))
            .unwrap_or_else(|| text.trim().to_owned());
        bail!("{message}");
    }
    Ok(serde_json::from_str(&text).unwrap_or(serde_json::Value::Null))
}

pub fn answer(status: StatusCode, kind: &str, body: impl Into<Bytes>) -> Answer {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    if let Ok(value) = kind.parse() {
        response.headers_mut().insert("content-type", value);
    }
    response
}

/// Runs a future on a small runtime of its own: for commands that ask one thing.
pub fn block_on<T>(future: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(future)
}

//! GetConsoleOutput with the node's own console text; moto answers the same text of 2006 for all.

use std::sync::atomic::Ordering;
use std::time::Duration;

use base64::Engine;
use hyper::StatusCode;

use super::name::Name;
use crate::http::{self, Answer};
use crate::serve::Hub;

/// As much as EC2 keeps.
const LIMIT: usize = 64 * 1024;

/// The answer for an instance that is there; moto refuses the others.
pub fn answer(hub: &Hub, name: &Name) -> Option<Answer> {
    let id = name.field("InstanceId")?;
    hub.world().instances.iter().find(|instance| instance.id == id)?;
    let delay = Duration::from_secs(hub.console_delay.load(Ordering::Relaxed));
    let ready = hub.nodes.view(id).and_then(|view| view.ready_at);
    let due = delay.is_zero() || ready.is_some_and(|ready| ready.elapsed() >= delay);
    let text = if due { hub.nodes.console(id) } else { Vec::new() };
    let text = &text[text.len().saturating_sub(LIMIT)..];
    let output = base64::engine::general_purpose::STANDARD.encode(text);
    let now = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S.000Z").to_string();
    let body = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <GetConsoleOutputResponse xmlns=\"http://ec2.amazonaws.com/doc/2016-11-15/\"><requestId>lab</requestId>\
         <instanceId>{id}</instanceId><timestamp>{now}</timestamp><output>{output}</output></GetConsoleOutputResponse>"
    );
    Some(http::answer(StatusCode::OK, "text/xml", body))
}

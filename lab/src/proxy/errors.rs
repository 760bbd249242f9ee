//! An error as each service writes it.

use hyper::StatusCode;

use crate::http::{self, Answer};

pub fn error(service: &str, status: u16, code: &str, message: &str) -> Answer {
    let message = message.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let body = match service {
        "ec2" => format!(
            "<Response><Errors><Error><Code>{code}</Code><Message>{message}</Message></Error></Errors>\
             <RequestID>lab</RequestID></Response>"
        ),
        "s3" => format!("<Error><Code>{code}</Code><Message>{message}</Message><RequestId>lab</RequestId></Error>"),
        _ => format!(
            "<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code><Message>{message}</Message></Error>\
             <RequestId>lab</RequestId></ErrorResponse>"
        ),
    };
    http::answer(status, "text/xml", format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n{body}"))
}

/// How a service says that it is asked too often.
pub fn throttled(service: &str) -> (u16, &'static str) {
    match service {
        "ec2" => (503, "RequestLimitExceeded"),
        "s3" => (503, "SlowDown"),
        _ => (400, "Throttling"),
    }
}

/// The code of an error answer.
pub fn code(body: &[u8]) -> String {
    super::name::between(&String::from_utf8_lossy(body), "<Code>", "</Code>").unwrap_or_default().to_owned()
}

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

/// moto's refusals by IAM are in no service's form; here they are in the service's own.
pub fn of_iam(service: &str, status: StatusCode, body: &[u8]) -> Option<(String, Answer)> {
    let text = String::from_utf8_lossy(body);
    if !text.contains("<ErrorResponse><Errors>") {
        return None;
    }
    let message = super::name::between(&text, "<Message>", "</Message>")?;
    let (status, code, message) = match (service, code(body)) {
        ("ec2", code) if code == "AccessDenied" => {
            (403, "UnauthorizedOperation".to_owned(), format!("You are not authorized to perform this operation. {message}"))
        }
        (_, code) => (status.as_u16(), code, message.to_owned()),
    };
    let answer = error(service, status, &code, &message);
    Some((code, answer))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_by_iam_are_in_the_service_s_form() {
        let body =
            b"<ErrorResponse><Errors><Error><Code>AccessDenied</Code><Message>no</Message></Error></Errors></ErrorResponse>";
        let (code, answer) = of_iam("ec2", StatusCode::FORBIDDEN, body).unwrap();
        assert_eq!((code.as_str(), answer.status()), ("UnauthorizedOperation", StatusCode::FORBIDDEN));
        assert_eq!(of_iam("route53", StatusCode::FORBIDDEN, body).unwrap().0, "AccessDenied");
        assert!(of_iam("ec2", StatusCode::BAD_REQUEST, b"<Response><Errors/></Response>").is_none());
    }
}

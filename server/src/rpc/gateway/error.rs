//! Failures as HTTP statuses and JSON bodies.
//!
//! The bodies have the fields of every version of etcd's gateway: older clients match `error`,
//! newer ones `message`.

use http::StatusCode;
use serde::Serialize;
use tonic::Status;

/// The status of the reader's end of a call, which HTTP does not name.
const CLIENT_CLOSED_REQUEST: u16 = 499;

/// A failure as the gateway tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Told {
    /// The number of the gRPC code.
    code: i32,
    text: String,
}

#[derive(Serialize)]
struct Whole<'a> {
    error: &'a str,
    code: i32,
    message: &'a str,
}

#[derive(Serialize)]
struct Line<'a> {
    error: InLine<'a>,
}

#[derive(Serialize)]
struct InLine<'a> {
    grpc_code: i32,
    http_code: u16,
    message: &'a str,
    http_status: &'a str,
    code: i32,
}

impl Told {
    /// A path of the gateway that calls nothing.
    pub(super) fn not_found() -> Self {
        Self::new(5, "Not Found")
    }

    /// A method other than POST. The code is the one that etcd's gateway has for it.
    pub(super) fn wrong_method() -> Self {
        Self::new(12, "Method Not Allowed")
    }

    fn new(code: i32, text: &str) -> Self {
        Self {
            code,
            text: text.to_owned(),
        }
    }

    /// The HTTP status, as the gateway of etcd maps codes.
    pub(super) fn http_status(&self) -> StatusCode {
        match self.code {
            0 => StatusCode::OK,
            1 => StatusCode::from_u16(CLIENT_CLOSED_REQUEST).unwrap_or(StatusCode::BAD_REQUEST),
            3 | 9 | 11 => StatusCode::BAD_REQUEST,
            4 => StatusCode::GATEWAY_TIMEOUT,
            5 => StatusCode::NOT_FOUND,
            6 | 10 => StatusCode::CONFLICT,
            7 => StatusCode::FORBIDDEN,
            8 => StatusCode::TOO_MANY_REQUESTS,
            12 => StatusCode::NOT_IMPLEMENTED,
            14 => StatusCode::SERVICE_UNAVAILABLE,
            16 => StatusCode::UNAUTHORIZED,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// The body of a response that is nothing else.
    pub(super) fn body(&self) -> Vec<u8> {
        json(&Whole {
            error: &self.text,
            code: self.code,
            message: &self.text,
        })
    }

    /// The last line of a stream, or its only one.
    pub(super) fn line(&self) -> Vec<u8> {
        let http = self.http_status();
        json(&Line {
            error: InLine {
                grpc_code: self.code,
                http_code: http.as_u16(),
                message: &self.text,
                http_status: http.canonical_reason().unwrap_or_default(),
                code: self.code,
            },
        })
    }
}

impl From<&Status> for Told {
    fn from(status: &Status) -> Self {
        Self::new(status.code().into(), status.message())
    }
}

fn json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("invariant: texts and numbers are always JSON")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_the_http_status_of_etcds_gateway() {
        let expected = [
            200, 499, 500, 400, 504, 404, 409, 403, 429, 400, 409, 400, 501, 500, 503, 500, 401,
        ];
        for (code, http) in (0..).zip(expected) {
            assert_eq!(Told::new(code, "").http_status().as_u16(), http, "{code}");
        }
    }

    #[test]
    fn bodies_have_the_fields_of_every_version() {
        let told = Told::new(3, "a \"b\"");
        let body = r#"{"error":"a \"b\"","code":3,"message":"a \"b\""}"#;
        assert_eq!(told.body(), body.as_bytes());
        let line = concat!(
            r#"{"error":{"grpc_code":3,"http_code":400,"message":"a \"b\"","#,
            r#""http_status":"Bad Request","code":3}}"#
        );
        assert_eq!(told.line(), line.as_bytes());
    }
}

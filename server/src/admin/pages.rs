//! Responses in the exact form of Go's HTTP server: types, headers and closing line breaks.

use axum::{
    body::Body,
    http::{HeaderName, Method, StatusCode, header},
    response::Response,
};

/// The content type of every plain response.
pub(super) const PLAIN: &str = "text/plain; charset=utf-8";

/// A response with status 200 and the given content type.
pub(super) fn text(content_type: &'static str, body: impl Into<Body>) -> Response {
    build(
        StatusCode::OK,
        &[(header::CONTENT_TYPE, content_type)],
        body.into(),
    )
}

/// A plain response with status 200 whose type browsers must not guess.
pub(super) fn plain(body: String) -> Response {
    let headers = [
        (header::CONTENT_TYPE, PLAIN),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    build(StatusCode::OK, &headers, body.into())
}

/// An error response; a line break follows the text.
pub(super) fn error(status: StatusCode, words: &str) -> Response {
    let headers = [
        (header::CONTENT_TYPE, PLAIN),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    build(status, &headers, format!("{words}\n").into())
}

/// The response to every method but GET; `None` for GET.
pub(super) fn refuse_all_but_get(method: &Method) -> Option<Response> {
    if method == Method::GET {
        return None;
    }
    let mut response = error(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed");
    response
        .headers_mut()
        .insert(header::ALLOW, header::HeaderValue::from_static("GET"));
    Some(response)
}

/// The response for an unknown path.
pub(super) async fn not_found() -> Response {
    error(StatusCode::NOT_FOUND, "404 page not found")
}

fn build(status: StatusCode, headers: &[(HeaderName, &'static str)], body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    for (name, value) in headers {
        response
            .headers_mut()
            .insert(name, header::HeaderValue::from_static(value));
    }
    response
}

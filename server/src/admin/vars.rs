//! The page `/debug/vars`: variables of the process, in the form of Go's `expvar`, as etcd has it.
//!
//! The words of the command line are left out, since the page is for everybody, and so are the
//! statistics of Go's memory, for which `/metrics` has the process's own.

use axum::{http::Method, response::Response};
use rustix::process::{Resource, getrlimit};

use super::pages;

const JSON: &str = "application/json; charset=utf-8";

pub(super) async fn page(method: Method) -> Response {
    if let Some(refused) = pages::refuse_all_but_get(&method) {
        return refused;
    }
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let text = format!("{{\n\"cmdline\": [\"tenured\"],\n\"file_descriptor_limit\": {limit}\n}}\n");
    pages::text(JSON, text)
}

//! Who may call the pages and the gateway from a browser: origins and host names, as etcd's
//! `--cors` and `--host-whitelist`.
//!
//! Calls of gRPC are not concerned: no browser makes them.

use http::{
    HeaderMap, HeaderValue, Uri,
    header::{
        ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
        HOST, ORIGIN, VARY,
    },
};

/// Stands for every origin, or every name.
const ANY: &str = "*";

const METHODS: HeaderValue = HeaderValue::from_static("POST, GET, OPTIONS, PUT, DELETE");
const HEADERS: HeaderValue = HeaderValue::from_static("accept, content-type, authorization");

/// The page for a host name that is not listed.
pub(super) const HOST_REFUSED: &str = concat!(
    "tenured received the request, but its Host header has a name that is not listed.\n",
    "Add the name to --host-whitelist, or use an address that is listed. The list protects\n",
    "against pages that make a name of their own stand for this address (DNS rebinding).\n",
);

/// The origins and host names that may call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access {
    /// Origins whose pages may read responses; `*` is all, none is no header.
    pub origins: Vec<String>,
    /// Names that the Host header may have; `*` is all.
    pub hosts: Vec<String>,
}

impl Access {
    /// Whether a request names a host that is listed.
    pub(super) fn allows_host(&self, uri: &Uri, headers: &HeaderMap) -> bool {
        if self.hosts.is_empty() || self.hosts.iter().any(|host| host == ANY) {
            return true;
        }
        let header = headers.get(HOST).and_then(|host| host.to_str().ok());
        let host = uri.host().or_else(|| header.map(name_of)).unwrap_or("");
        let host = host.trim_start_matches('[').trim_end_matches(']');
        self.hosts.iter().any(|it| it.eq_ignore_ascii_case(host))
    }

    /// Whether any page of another origin may call.
    pub(super) fn is_shared(&self) -> bool {
        !self.origins.is_empty()
    }

    /// Whether the page of a request may open a WebSocket, which it can read whatever headers the
    /// response has: one of a listed origin, or of this one. Clients that are no browser name none.
    pub(super) fn allows_socket(&self, request: &HeaderMap) -> bool {
        let Some(origin) = request.get(ORIGIN) else {
            return true;
        };
        let mut listed = self.origins.iter();
        if listed.any(|it| it == ANY || it.as_bytes() == origin.as_bytes()) {
            return true;
        }
        let authority = origin.to_str().ok().and_then(|it| it.split_once("://"));
        let host = request.get(HOST).and_then(|host| host.to_str().ok());
        let both = authority.zip(host);
        both.is_some_and(|((_, authority), host)| authority.eq_ignore_ascii_case(host))
    }

    /// The headers that let pages of the request's origin read the response.
    pub(super) fn share(&self, request: &HeaderMap) -> HeaderMap {
        let mut headers = HeaderMap::new();
        let is_any = self.origins.iter().any(|origin| origin == ANY);
        let origin = if is_any {
            HeaderValue::from_static(ANY)
        } else {
            let origin = request.get(ORIGIN).filter(|origin| {
                let mut listed = self.origins.iter();
                listed.any(|it| it.as_bytes() == origin.as_bytes())
            });
            let Some(origin) = origin else {
                return headers;
            };
            // A cache must not serve it to another origin.
            headers.insert(VARY, HeaderValue::from_static("Origin"));
            origin.clone()
        };
        headers.insert(ACCESS_CONTROL_ALLOW_METHODS, METHODS);
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, HEADERS);
        headers
    }
}

/// The name in a Host header, without the port.
fn name_of(host: &str) -> &str {
    let after_address = host.rfind(']').map_or(0, |end| end + 1);
    match host[after_address..].rfind(':') {
        Some(colon) => &host[..after_address + colon],
        None => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access(origins: &[&str], hosts: &[&str]) -> Access {
        let owned = |words: &[&str]| words.iter().map(ToString::to_string).collect();
        Access {
            origins: owned(origins),
            hosts: owned(hosts),
        }
    }

    fn with(name: http::HeaderName, value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_static(value))])
    }

    #[test]
    fn only_listed_hosts_may_call() {
        let listed = access(&[], &["a.example", "::1", "127.0.0.1"]);
        let path = Uri::from_static("/version");
        for (host, is_allowed) in [
            ("a.example", true),
            ("A.example:2379", true),
            ("[::1]:2379", true),
            ("[::1]", true),
            ("127.0.0.1:80", true),
            ("b.example", false),
            ("a.example.b.example", false),
            ("", false),
        ] {
            let allowed = listed.allows_host(&path, &with(HOST, host));
            assert_eq!(allowed, is_allowed, "{host}");
        }
        assert!(!listed.allows_host(&path, &HeaderMap::new()));
        let absolute = Uri::from_static("http://a.example:2379/version");
        assert!(listed.allows_host(&absolute, &HeaderMap::new()));
        for all in [access(&[], &[]), access(&[], &["a.example", "*"])] {
            assert!(all.allows_host(&path, &with(HOST, "b.example")));
        }
    }

    #[test]
    fn a_page_of_another_origin_opens_no_websocket_unless_it_is_listed() {
        let from = |origin| {
            let mut headers = with(HOST, "a.example:2379");
            headers.insert(ORIGIN, HeaderValue::from_static(origin));
            headers
        };
        let none = access(&[], &[]);
        assert!(none.allows_socket(&with(HOST, "a.example")), "no browser");
        assert!(none.allows_socket(&from("http://A.example:2379")));
        for foreign in ["https://b.example", "http://a.example", "null", "", "://"] {
            assert!(!none.allows_socket(&from(foreign)), "{foreign}");
        }
        let listed = access(&["https://b.example"], &[]);
        assert!(listed.allows_socket(&from("https://b.example")));
        assert!(!listed.allows_socket(&from("https://c.example")));
        assert!(access(&["*"], &[]).allows_socket(&from("null")));
    }

    #[test]
    fn only_listed_origins_may_read() {
        let request = with(ORIGIN, "https://a.example");
        let origin = |access: &Access| {
            let headers = access.share(&request);
            headers.get(ACCESS_CONTROL_ALLOW_ORIGIN).cloned()
        };
        assert!(!access(&[], &[]).is_shared());
        assert_eq!(
            origin(&access(&["*"], &[])),
            Some(HeaderValue::from_static("*"))
        );
        let listed = access(&["https://b.example", "https://a.example"], &[]);
        assert_eq!(
            origin(&listed),
            Some(HeaderValue::from_static("https://a.example"))
        );
        assert_eq!(
            listed.share(&request).get(VARY),
            Some(&HeaderValue::from_static("Origin"))
        );
        assert_eq!(origin(&access(&["https://b.example"], &[])), None);
    }
}

//! Tests of every page in every state: each response equals etcd's byte for byte.

use axum::{
    body::{Body, to_bytes},
    http::{Method, Request, header},
};
use tower::ServiceExt as _;

use super::*;
use crate::config::MetricsLevel;

/// A member in a given state.
#[derive(Clone)]
struct Member {
    leader: bool,
    learner: bool,
    alarms: Vec<Alarm>,
    linearizable: Result<(), String>,
    serializable: Result<(), String>,
    disk: Result<(), String>,
    version: Option<String>,
    hangs: bool,
}

const SOUND: Member = Member {
    leader: true,
    learner: false,
    alarms: Vec::new(),
    linearizable: Ok(()),
    serializable: Ok(()),
    disk: Ok(()),
    version: None,
    hangs: false,
};

impl Health for Member {
    fn has_leader(&self) -> bool {
        self.leader
    }

    fn is_learner(&self) -> bool {
        self.learner
    }

    fn alarms(&self) -> Vec<Alarm> {
        self.alarms.clone()
    }

    fn disk(&self) -> Result<(), String> {
        self.disk.clone()
    }

    fn cluster_version(&self) -> Option<String> {
        self.version.clone()
    }

    fn linearizable_read(&self) -> ProbeFuture<'_> {
        if self.hangs {
            return Box::pin(std::future::pending());
        }
        Box::pin(async { self.linearizable.clone() })
    }

    fn serializable_read(&self) -> ProbeFuture<'_> {
        Box::pin(async { self.serializable.clone() })
    }
}

struct Answer {
    status: u16,
    kind: String,
    body: String,
    allow: Option<String>,
}

async fn ask_with(method: Method, member: &Member, path: &str) -> (Answer, Arc<Metrics>) {
    let metrics = Metrics::new(MetricsLevel::Basic);
    let router = router(Arc::new(member.clone()), Arc::clone(&metrics));
    let request = Request::builder()
        .method(method)
        .uri(path)
        .body(Body::empty())
        .unwrap();
    let response = router.oneshot(request).await.unwrap();
    let header = |name| {
        response
            .headers()
            .get(name)
            .map(|it| it.to_str().unwrap().to_owned())
    };
    let (kind, allow) = (header(header::CONTENT_TYPE).unwrap(), header(header::ALLOW));
    let status = response.status().as_u16();
    let body = to_bytes(response.into_body(), 1 << 20).await.unwrap();
    let body = String::from_utf8(body.to_vec()).unwrap();
    (
        Answer {
            status,
            kind,
            body,
            allow,
        },
        metrics,
    )
}

async fn ask(member: &Member, path: &str) -> (u16, String) {
    let (answer, _) = ask_with(Method::GET, member, path).await;
    (answer.status, answer.body)
}

fn is(status: u16, body: &str) -> (u16, String) {
    (status, body.to_owned())
}

#[tokio::test]
async fn a_sound_member_is_healthy_and_the_answer_is_counted() {
    let (answer, metrics) = ask_with(Method::GET, &SOUND, "/health").await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.body, r#"{"health":"true","reason":""}"#);
    assert_eq!(answer.kind, "text/plain; charset=utf-8");
    assert_eq!(metrics.health.success.get(), 1);
    assert_eq!(metrics.health.failures.get(), 0);
}

#[tokio::test]
async fn each_reason_for_ill_health_is_named() {
    let no_space = Member {
        alarms: vec![Alarm::NoSpace],
        ..SOUND
    };
    let corrupt = Member {
        alarms: vec![Alarm::NoSpace, Alarm::Corrupt],
        ..SOUND
    };
    let leaderless = Member {
        leader: false,
        ..SOUND
    };
    let unread = Member {
        linearizable: Err("etcdserver: request timed out".into()),
        ..SOUND
    };
    for (member, path, reason) in [
        (&no_space, "/health", "ALARM NOSPACE"),
        (&corrupt, "/health?exclude=NOSPACE", "ALARM CORRUPT"),
        (&leaderless, "/health", "RAFT NO LEADER"),
        (
            &unread,
            "/health",
            "RANGE ERROR:etcdserver: request timed out",
        ),
    ] {
        let expected = format!("{{\"health\":\"false\",\"reason\":\"{reason}\"}}\n");
        assert_eq!(ask(member, path).await, (503, expected), "{path}");
    }
    let (_, metrics) = ask_with(Method::GET, &leaderless, "/health").await;
    assert_eq!(metrics.health.failures.get(), 1);
}

#[tokio::test]
async fn an_excluded_alarm_and_a_local_check_leave_the_member_healthy() {
    let no_space = Member {
        alarms: vec![Alarm::NoSpace],
        ..SOUND
    };
    let lonely = Member {
        leader: false,
        linearizable: Err("no".into()),
        ..SOUND
    };
    let healthy = is(200, r#"{"health":"true","reason":""}"#);
    assert_eq!(
        ask(&no_space, "/health?exclude=&exclude=NOSPACE").await,
        healthy
    );
    assert_eq!(ask(&lonely, "/health?serializable=true").await, healthy);
    assert_eq!(ask(&lonely, "/health?serializable=1").await.0, 503);
}

#[tokio::test(start_paused = true)]
async fn a_read_that_never_answers_is_given_up() {
    let hanging = Member {
        hangs: true,
        ..SOUND
    };
    let expected = "{\"health\":\"false\",\"reason\":\"RANGE ERROR:context deadline exceeded\"}\n";
    assert_eq!(ask(&hanging, "/health").await, is(503, expected));
}

#[tokio::test]
async fn a_sound_member_is_live_and_ready() {
    for path in [
        "/livez",
        "/readyz",
        "/livez/serializable_read",
        "/readyz/non_learner",
    ] {
        let (answer, _) = ask_with(Method::GET, &SOUND, path).await;
        assert_eq!(
            (answer.status, answer.body.as_str()),
            (200, "ok\n"),
            "{path}"
        );
        assert_eq!(answer.kind, "text/plain; charset=utf-8");
    }
    let verbose = "[+]data_corruption ok\n[+]serializable_read ok\n[+]linearizable_read ok\n\
                   [+]non_learner ok\nok\n";
    assert_eq!(ask(&SOUND, "/readyz?verbose").await, is(200, verbose));
    let one = is(200, "[+]serializable_read ok\nok\n");
    assert_eq!(ask(&SOUND, "/livez/serializable_read?verbose").await, one);
}

#[tokio::test]
async fn a_member_whose_disk_hangs_is_live_but_not_ready_and_says_why() {
    let hung = Member {
        disk: Err("a write to the log has not ended after 3.0 s".into()),
        ..SOUND
    };
    let report = "[-]disk failed: a write to the log has not ended after 3.0 s\n\n";
    assert_eq!(ask(&hung, "/readyz").await, is(503, report));
    assert_eq!(ask(&hung, "/readyz?exclude=disk").await, is(200, "ok\n"));
    assert_eq!(ask(&hung, "/livez").await, is(200, "ok\n"));
}

#[tokio::test]
async fn a_member_without_its_cluster_is_live_but_not_ready() {
    let alone = Member {
        linearizable: Err("etcdserver: no leader".into()),
        ..SOUND
    };
    assert_eq!(ask(&alone, "/livez").await, is(200, "ok\n"));
    let report = "[+]data_corruption ok\n[+]serializable_read ok\n\
                  [-]linearizable_read failed: etcdserver: no leader\n[+]non_learner ok\n\n";
    assert_eq!(ask(&alone, "/readyz").await, is(503, report));
    assert_eq!(
        ask(&alone, "/readyz?exclude=linearizable_read").await,
        is(200, "ok\n")
    );
    assert_eq!(
        ask(&alone, "/readyz?exclude=linearizable_read&exclude=x")
            .await
            .0,
        200
    );
    assert_eq!(
        ask(&alone, "/readyz/data_corruption").await,
        is(200, "ok\n")
    );
    let (_, metrics) = ask_with(Method::GET, &alone, "/readyz").await;
    let text = String::from_utf8(metrics.render()).unwrap();
    let row = r#"etcd_server_healthcheck{name="linearizable_read",type="readyz"} 0"#;
    assert!(text.contains(row), "{text}");
}

#[tokio::test]
async fn corruption_and_learning_make_a_member_unready() {
    let corrupt = Member {
        alarms: vec![Alarm::Corrupt],
        ..SOUND
    };
    let said = is(
        503,
        "[-]data_corruption failed: alarm activated: CORRUPT\n\n",
    );
    assert_eq!(ask(&corrupt, "/readyz/data_corruption").await, said);
    let learner = Member {
        learner: true,
        ..SOUND
    };
    let said = is(503, "[-]non_learner failed: not supported for learner\n\n");
    assert_eq!(ask(&learner, "/readyz/non_learner").await, said);
    let full = Member {
        alarms: vec![Alarm::NoSpace],
        ..SOUND
    };
    assert_eq!(
        ask(&full, "/readyz").await,
        is(200, "ok\n"),
        "a full member still serves reads"
    );
}

#[tokio::test]
async fn versions_are_told_before_and_after_the_cluster_agreed() {
    let (answer, _) = ask_with(Method::GET, &SOUND, "/version").await;
    let before = r#"{"etcdserver":"3.6.0","etcdcluster":"not_decided","storage":"unknown"}"#;
    assert_eq!((answer.status, answer.body.as_str()), (200, before));
    assert_eq!(answer.kind, "application/json");
    let agreed = Member {
        version: Some("3.6.0".into()),
        ..SOUND
    };
    let after = r#"{"etcdserver":"3.6.0","etcdcluster":"3.6.0","storage":"3.6.0"}"#;
    assert_eq!(ask(&agreed, "/version").await, is(200, after));
}

#[tokio::test]
async fn metrics_are_served_as_text() {
    let (answer, _) = ask_with(Method::GET, &SOUND, "/metrics").await;
    assert_eq!(answer.kind, "text/plain; version=0.0.4; charset=utf-8");
    assert!(
        answer
            .body
            .contains("# TYPE etcd_server_has_leader gauge\n")
    );
}

#[tokio::test]
async fn other_methods_are_refused_and_other_paths_are_not_found() {
    for path in [
        "/health",
        "/livez",
        "/readyz/non_learner",
        "/version",
        "/debug/vars",
    ] {
        let (answer, _) = ask_with(Method::POST, &SOUND, path).await;
        assert_eq!(
            (answer.status, answer.body.as_str()),
            (405, "Method Not Allowed\n"),
            "{path}"
        );
        assert_eq!(answer.allow.as_deref(), Some("GET"));
    }
    assert_eq!(
        ask_with(Method::HEAD, &SOUND, "/health").await.0.status,
        405
    );
    for path in [
        "/",
        "/v2/keys",
        "/readyz/nothing",
        "/livez/non_learner",
        "/health/",
    ] {
        assert_eq!(
            ask(&SOUND, path).await,
            is(404, "404 page not found\n"),
            "{path}"
        );
    }
}

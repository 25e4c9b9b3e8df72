//! What docs/gateway.md tells people to paste prints what it says.

use std::process::Stdio;

use serde_json::{Deserializer, Value};
use tenure_testkit::{Cluster, STATE_MAX, find_program};
use tokio::{process::Command, time::timeout};

use super::beside_etcd::without_identity;

const DOCUMENT: &str = include_str!("../../../../../docs/gateway.md");

/// The blocks of code, each with its language.
fn blocks() -> Vec<(&'static str, &'static str)> {
    let fenced = DOCUMENT.split("```").skip(1).step_by(2);
    fenced.filter_map(|block| block.split_once('\n')).collect()
}

/// The objects in a text, without what differs between any two clusters.
fn objects(text: &str) -> Vec<Value> {
    let objects = Deserializer::from_str(text).into_iter::<Value>();
    let objects = objects.map(|object| {
        let mut object = object.unwrap_or_else(|error| panic!("{error}: {text}"));
        without_identity(&mut object);
        object
    });
    objects.collect()
}

#[tokio::test]
async fn the_examples_of_the_document_print_what_it_says() {
    if find_program("curl").is_none() {
        println!("SKIPPED: curl is not installed");
        return;
    }
    let cluster = Cluster::start(1).await;
    let blocks = blocks();
    let mut compared = 0;
    for (at, (language, text)) in blocks.iter().enumerate() {
        if *language != "sh" {
            continue;
        }
        let script = text.replace("localhost:2379", cluster.node(0).address());
        let ran = Command::new("sh")
            .args(["-ec", &script])
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output();
        let ran = timeout(STATE_MAX, ran).await.unwrap().unwrap();
        let out = String::from_utf8(ran.stdout).unwrap();
        assert!(ran.status.success(), "{script}: {out}");
        assert!(!out.is_empty(), "{script}");
        if let Some(("json", expected)) = blocks.get(at + 1) {
            assert_eq!(objects(&out), objects(expected), "{script}");
            compared += 1;
        }
    }
    assert_eq!(
        compared,
        blocks
            .iter()
            .filter(|(language, _)| *language == "json")
            .count()
    );
}

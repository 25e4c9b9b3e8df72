//! Holds this checkout to the house rules.

use std::{env, fs, process::Command};

use tenure_tidy::{
    boundary, clippy, document, form, layers,
    packages::{self, Packages},
    readme, signature,
    tree::{self, SourceFile},
};

fn files() -> Vec<SourceFile> {
    let files = tree::files(&tree::top()).expect("the checkout can be read");
    assert!(files.len() > 100, "the checkout was found");
    files
}

fn text(path: &str) -> String {
    let file = files().into_iter().find(|file| file.path == path);
    file.unwrap_or_else(|| panic!("there is a {path}")).text
}

#[track_caller]
fn assert_none(found: &[String]) {
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

fn cargo(arguments: &[&str]) -> Vec<u8> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(arguments)
        .current_dir(tree::top())
        .output()
        .expect("cargo can be run");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    output.stdout
}

fn metadata() -> Packages {
    Packages::from_metadata(&description()).expect("cargo describes packages")
}

/// What cargo says of the packages.
fn description() -> serde_json::Value {
    let versions = String::from_utf8(cargo(&["-vV"])).expect("cargo writes text");
    let host = versions
        .lines()
        .find_map(|line| line.strip_prefix("host: "));
    // Packages of other platforms are not downloaded by a build, and asking would fetch them.
    let platform = ["--filter-platform", host.expect("cargo names its host")];
    let arguments = [
        &["metadata", "--format-version", "1", "--locked"][..],
        &platform,
    ]
    .concat();
    serde_json::from_slice(&cargo(&arguments)).expect("cargo writes JSON")
}

#[test]
fn dependencies_point_one_way() {
    assert_none(&packages::wrong_arrows(&metadata()));
}

#[test]
fn the_state_machine_pulls_in_nothing_that_does_io() {
    assert_none(&packages::impurities(&metadata()));
}

#[test]
fn borders_inside_the_server_hold() {
    assert_none(&boundary::crossings(&files(), boundary::BORDERS));
}

#[test]
fn imports_lead_to_the_same_layer_or_below_and_form_no_circle() {
    assert_none(&layers::faults(&files(), layers::CRATES));
}

#[test]
fn the_client_shows_its_users_no_generated_type() {
    assert_none(&signature::generated(&files(), &signature::CLIENT));
}

#[test]
fn every_source_file_says_first_what_it_is() {
    assert_none(&form::headers(&files()));
}

#[test]
fn files_are_short_and_lines_are_narrow() {
    assert_none(&form::sizes(&files()));
}

#[test]
fn names_say_what_is_inside() {
    assert_none(&form::names(&files()));
}

#[test]
fn nothing_is_unfinished_or_silenced() {
    assert_none(&form::unfinished(&files()));
}

#[test]
fn no_path_of_a_machine_is_in_the_tree() {
    assert_none(&form::machine_paths(&files()));
}

#[test]
fn the_bans_of_the_workspace_hold_in_the_state_machine() {
    let (root, nearest) = (text(".clippy.toml"), text("statemachine/.clippy.toml"));
    assert!(
        clippy::bans(&root).len() > 3,
        "the bans of the workspace were read"
    );
    assert_none(&clippy::forgotten(&root, &nearest));
}

#[test]
fn the_first_page_is_short() {
    assert_none(&document::readme(&files()));
}

/// With `TENURE_REWRITE_DOCS` set, the page is written instead.
#[test]
fn the_first_page_of_the_client_is_its_documentation() {
    let page = readme::of_documentation("tenure", &text("client/src/lib.rs"));
    assert_none(&readme::missing_features(&description(), "tenure", &page));
    if env::var_os("TENURE_REWRITE_DOCS").is_some() {
        let path = tree::top().join("client/README.md");
        fs::write(path, page).expect("the checkout can be written");
        return;
    }
    let hint = "run it again with TENURE_REWRITE_DOCS=1 to write client/README.md";
    assert!(text("client/README.md") == page, "{hint}");
}

#[test]
fn links_lead_somewhere() {
    assert_none(&document::broken_links(&files()));
}

//! `check` and `schema`: what a file is told.

use std::{fs, path::Path};

use super::*;

#[track_caller]
fn check(path: &Path) -> Said {
    run(&["check", path.to_str().expect("text")])
}

#[test]
fn good_file_passes_and_says_what_was_left_to_defaults() {
    let site = Site::new();
    let said = check(&site.save(&site.text("east", "", "")));
    assert_eq!((said.code, said.err.as_str()), (Some(0), ""));
    assert!(said.out.contains("nodeIdRanges") && said.out.contains("0–9"), "{}", said.out);
    assert!(said.out.contains("KIP-848"), "what the neutral view costs: {}", said.out);
}

#[test]
fn every_fault_is_told_at_once_with_line_and_remedy() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("gateway.yaml");
    fs::write(
        &path,
        "streamingDomains:
- {name: a, kafkaCluster: {bootstrapServers: [{id: s, endpoint: 'x:9092'}]}}
- {name: a, kafkaCluster: {bootstrapServers: [{id: s, endpoint: 'y:9092'}]}}
routes:
- name: r
  endpont: 'localhost:19092'
  streamingDomain: {name: nowhere}
  security: {auth: swap}
",
    )
    .expect("writes");
    let said = check(&path);
    assert_eq!(said.code, Some(2));
    let told = said.out + &said.err;
    for expected in ["endpont", "did you mean `endpoint`", "nowhere", "not supported yet"] {
        assert!(told.contains(expected), "{expected}: {told}");
    }
    for line in [3, 6, 7, 8] {
        assert!(told.contains(&format!("gateway.yaml:{line}:")), "line {line}: {told}");
    }
}

#[test]
fn faults_as_json_are_json() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("gateway.yaml");
    fs::write(&path, "routes: 5\n").expect("writes");
    let said = run(&["check", "--json", path.to_str().expect("text")]);
    assert_eq!(said.code, Some(2));
    let faults: serde_json::Value = serde_json::from_str(&said.out).expect("JSON");
    assert!(faults["faults"].as_array().is_some_and(|it| !it.is_empty()), "{faults}");
}

#[test]
fn file_that_is_not_there_is_one_line_with_a_remedy() {
    let said = run(&["check", "/nowhere/gateway.yaml"]);
    assert_eq!(said.code, Some(2));
    assert!(said.err.contains("/nowhere/gateway.yaml: No such file"), "{said:?}");
    assert!(said.err.contains("check the path"), "{said:?}");
    assert_eq!(said.err.lines().count(), 1, "{}", said.err);
}

#[test]
fn examples_of_the_repository_pass() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
    let mut checked = 0;
    for entry in fs::read_dir(folder).expect("examples") {
        let path = entry.expect("an entry").path();
        if path.extension().is_some_and(|it| it == "yaml") {
            let said = check(&path);
            assert_eq!(said.code, Some(0), "{}: {said:?}", path.display());
            checked += 1;
        }
    }
    assert!(checked >= 2);
}

#[test]
fn schema_is_a_json_schema_with_every_root_key() {
    let said = run(&["schema"]);
    let schema: serde_json::Value = serde_json::from_str(&said.out).expect("JSON");
    assert!(schema["$schema"].as_str().is_some_and(|it| it.contains("json-schema.org")));
    for key in ["streamingDomains", "routes", "admin", "control", "limits"] {
        assert!(said.out.contains(&format!("\"{key}\"")), "{key}");
    }
}

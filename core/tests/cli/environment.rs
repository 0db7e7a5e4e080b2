//! Where the configuration comes from, and ports that are taken.

use std::net::TcpListener;

use super::*;

#[test]
fn file_and_text_come_from_the_environment() {
    let site = Site::new();
    let text = site.text("east", "", "");
    let gateway = Gateway::spawn(switchyard(&["run"]).env("GATEWAY_CONFIG_FILE", site.save(&text)));
    gateway.says("ready");
    gateway.kill();
    let mut command = switchyard(&["run"]);
    command.env("GATEWAY_CONFIG", &text).current_dir(site.folder.path());
    let gateway = Gateway::spawn(&mut command);
    gateway.says("ready");
    assert_eq!(site.domain(), "east");
}

#[test]
fn no_configuration_at_all_is_told_with_the_ways_to_give_one() {
    let said = run(&["run"]);
    assert_eq!(said.code, Some(2));
    for way in ["GATEWAY_CONFIG_FILE", "GATEWAY_CONFIG"] {
        assert!(said.err.contains(way), "{said:?}");
    }
}

#[test]
fn log_level_counts_and_a_wrong_one_is_refused() {
    let site = Site::new();
    let config = site.save(&site.text("east", "", ""));
    let debug = Gateway::spawn(switchyard(&["run"]).arg(&config).env("GATEWAY_LOG_LEVEL", "error"));
    eventually("answers", || site.route());
    assert_eq!(debug.log(), Vec::<String>::new());
    let output = switchyard(&["run"]).arg(&config).env("GATEWAY_LOG_LEVEL", "chatty").output();
    let said = said(&output.expect("runs"));
    assert_eq!(said.code, Some(2));
    assert!(said.err.contains("GATEWAY_LOG_LEVEL") && said.err.contains("chatty"), "{said:?}");
}

/// A log that is kept is searched, and codes of colours stand between a key and its value.
#[test]
fn log_that_is_not_on_a_terminal_has_no_colours() {
    let site = Site::new();
    site.save(&site.text("east", "", ""));
    let ready = site.start().says("ready");
    assert!(!ready.contains('\u{1b}') && ready.contains("routes=1"), "{ready:?}");
}

#[test]
fn json_log_is_one_object_a_line() {
    let site = Site::new();
    let config = site.save(&site.text("east", "", ""));
    let gateway = Gateway::spawn(switchyard(&["run", "--log-format", "json"]).arg(config));
    gateway.says("ready");
    for line in gateway.log() {
        let object: serde_json::Value = serde_json::from_str(&line).expect("JSON");
        assert!(object["level"].is_string(), "{line}");
    }
}

#[test]
fn node_id_stands_in_for_its_placeholder() {
    let site = Site::new();
    let text = site.text("east", "", "name: gw-$(gatewayNodeId)");
    let path = site.save(&text);
    let check = |node_id: Option<&str>| {
        let mut command = switchyard(&["check"]);
        if let Some(node_id) = node_id {
            command.env("GATEWAY_NODE_ID", node_id);
        }
        said(&command.arg(&path).output().expect("runs"))
    };
    let missing = check(None);
    assert_eq!(missing.code, Some(2));
    assert!(missing.err.contains("GATEWAY_NODE_ID"), "{missing:?}");
    assert_eq!(check(Some("7")).code, Some(0));
    let gateway = Gateway::spawn(switchyard(&["run"]).arg(&path).env("GATEWAY_NODE_ID", "7"));
    gateway.says("ready");
    assert!(site.call(&["status"]).out.starts_with("gateway gw-7,"));
}

/// The cluster's only broker is node 1: clients would be shown an empty cluster, and nobody would know why.
#[test]
fn broker_outside_the_ranges_is_told_before_a_client_misses_it() {
    let site = Site::new();
    let servers = format!("endpoint: '{}:9092'}}]", site.address);
    let with_ranges = format!("{servers}, nodeIdRanges: [{{name: high, start: 5, end: 6}}]");
    site.save(&site.text("east", "", "").replace(&servers, &with_ranges));
    let told = site.start().says("outside `nodeIdRanges`");
    assert!(told.contains("domain=east") && told.contains("node=1"), "{told}");
}

#[test]
fn address_of_another_machine_stops_the_start_with_a_remedy_of_its_own() {
    let site = Site::new();
    let config = site.save(&site.text("east", "bindAddress: 203.0.113.7", ""));
    let said = run(&["run", config.to_str().expect("text")]);
    assert_eq!(said.code, Some(2), "{said:?}");
    assert!(
        said.err.contains("203.0.113.7:19092") && said.err.contains("`bindAddress`"),
        "{said:?}"
    );
}

#[test]
fn port_that_is_taken_stops_the_start_with_the_route_and_a_remedy() {
    for port in [19092, 19094, 9180] {
        let site = Site::new();
        let config = site.save(&site.text("east", "", ""));
        let _taken = TcpListener::bind((site.address, port)).expect("a free port");
        let said = run(&["run", config.to_str().expect("text")]);
        assert_eq!(said.code, Some(2), "{said:?}");
        let error = said.err.lines().find(|it| it.starts_with("error: ")).expect("an error");
        assert!(error.contains(&format!(":{port}")), "{error}");
        assert!(said.err.contains("remedy:"), "{said:?}");
    }
}

//! The two HTTP ports.

use std::fs;

use super::*;

fn agent() -> ureq::Agent {
    ureq::Agent::config_builder().http_status_as_error(false).build().into()
}

/// Status code and body.
pub(super) fn get(url: &str) -> (u16, String) {
    let mut answer = agent().get(url).call().expect("an answer");
    (answer.status().as_u16(), answer.body_mut().read_to_string().expect("text"))
}

fn post(url: &str, headers: &[(&str, &str)], body: &str) -> (u16, serde_json::Value) {
    let mut call = agent().post(url).header("content-type", "application/json");
    for (name, value) in headers {
        call = call.header(*name, *value);
    }
    let mut answer = call.send(body).expect("an answer");
    (answer.status().as_u16(), answer.body_mut().read_json().unwrap_or_default())
}

fn running(more: &str) -> (Site, Gateway) {
    let site = Site::new();
    site.save(&site.text("east", "", more));
    let gateway = site.start();
    (site, gateway)
}

#[test]
fn health_answers_and_names_the_routes() {
    let (site, _gateway) = running("");
    let health = format!("http://{}:9190", site.address);
    assert_eq!(get(&format!("{health}/livez")), (200, "ok\n".into()));
    let (code, ready) = get(&format!("{health}/readyz"));
    assert_eq!(code, 200);
    let ready: serde_json::Value = serde_json::from_str(&ready).expect("JSON");
    assert_eq!(ready, serde_json::json!({"ready": true, "routes": {"sales": "serving"}}));
}

#[test]
fn metrics_have_the_names_and_labels_of_their_table() {
    let (site, _gateway) = running("");
    let (code, text) = get(&format!("http://{}:9190/metrics", site.address));
    assert_eq!(code, 200);
    assert!(text.ends_with("# EOF\n"), "OpenMetrics ends so");
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (_, value) = line.rsplit_once(' ').expect("a value");
        value.parse::<f64>().unwrap_or_else(|_| panic!("{line}"));
    }
    assert!(text.contains("route=\"sales\""), "{text}");
}

#[test]
fn metrics_can_be_left_out() {
    let site = Site::new();
    let text = site.text("east", "", "");
    let address = site.address;
    let with = format!("admin: {{bindAddress: {address}, endpoints: {{metrics: false}}}}");
    site.save(&text.replace(&format!("admin: {{bindAddress: {address}}}"), &with));
    let _gateway = site.start();
    assert_eq!(get(&format!("http://{address}:9190/metrics")).0, 404);
    assert_eq!(get(&format!("http://{address}:9190/livez")).0, 200);
}

#[test]
fn config_tells_desired_from_observed() {
    let (site, _gateway) = running("");
    let (code, text) = get(&format!("{}/config", site.control()));
    assert_eq!(code, 200);
    let config: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert!(config["configId"].is_string() && config["appliedAt"].is_string(), "{config}");
    let route = &config["routes"][0];
    assert_eq!(route["desired"]["domain"], "east");
    assert_eq!(route["desired"]["revision"], 1);
    assert_eq!(route["observed"]["domain"], "east");
    assert_eq!(route["eligibleDomains"], serde_json::json!(["east", "west"]));
}

#[test]
fn calls_that_make_no_sense_are_refused_with_a_remedy() {
    let (site, _gateway) = running("");
    let route = format!("{}/routes/sales", site.control());
    let refusals = [
        (format!("{route}/fence"), "not json", 400),
        (format!("{route}/fence"), r#"{"mode": "maybe"}"#, 422),
        (format!("{route}/fence"), r#"{"moed": "hold"}"#, 422),
        (format!("{route}/switchover"), "{}", 422),
        (format!("{route}/switchover"), r#"{"to": "north"}"#, 422),
        (format!("{}/routes/sails/fence", site.control()), "{}", 404),
        (format!("{route}/unfence"), r#"{"expectedRevision": 7}"#, 409),
    ];
    for (url, body, code) in refusals {
        let (got, answer) = post(&url, &[], body);
        assert_eq!(got, code, "{url} {body}: {answer}");
        assert!(answer["error"].is_string() && answer["remedy"].is_string(), "{answer}");
    }
    assert_eq!(get(&format!("{route}/fence")).0, 405);
    let long = format!(r#"{{"errorMessage": "{}"}}"#, "x".repeat(20_000));
    assert_eq!(post(&format!("{route}/fence"), &[], &long).0, 413);
    assert_eq!(site.route().expect("answers")["desired"]["revision"], 1);
}

/// In an outage nobody thinks of an empty object.
#[test]
fn fence_and_unfence_need_no_body() {
    let (site, _gateway) = running("");
    let call = |action: &str| {
        let url = format!("{}/routes/sales/{action}", site.control());
        agent().post(url).send_empty().expect("an answer").status().as_u16()
    };
    assert_eq!(call("fence"), 202);
    assert_eq!(site.route().expect("answers")["observed"]["phase"], "fenced");
    assert_eq!(call("unfence"), 202);
    assert_eq!(site.route().expect("answers")["observed"]["phase"], "serving");
    assert_eq!(call("switchover"), 415, "a target has no default");
}

#[test]
fn web_page_cannot_fence_a_route() {
    let (site, _gateway) = running("");
    let url = format!("{}/routes/sales/fence", site.control());
    let (code, _) = post(&url, &[("origin", "https://example.com")], "{}");
    assert_eq!(code, 403);
    assert_eq!(site.route().expect("answers")["observed"]["phase"], "serving");
}

#[test]
fn token_is_asked_for_and_read_anew_for_every_call() {
    let site = Site::new();
    let token = site.path("token");
    fs::write(&token, "first\n").expect("writes");
    let address = site.address;
    let with = format!("control: {{bindAddress: {address}, tokenFile: token}}");
    let text = site.text("east", "", "");
    site.save(&text.replace(&format!("control: {{bindAddress: {address}}}"), &with));
    let _gateway = site.start();
    let url = format!("{}/config", site.control());
    let code = |bearer: &str| {
        let answer = agent().get(&url).header("authorization", bearer).call().expect("an answer");
        answer.status().as_u16()
    };
    assert_eq!(get(&url).0, 401);
    assert_eq!(code("Bearer wrong"), 401);
    assert_eq!(code("Bearer firstly"), 401);
    assert_eq!(code("Bearer first"), 200);
    fs::write(&token, "second").expect("writes");
    assert_eq!((code("Bearer first"), code("Bearer second")), (401, 200));
    let said = site.call(&["status", "--token-file", token.to_str().expect("text")]);
    assert_eq!(said.code, Some(0), "{said:?}");
    fs::write(&token, "").expect("writes");
    assert_eq!(code("Bearer "), 503, "an empty token admits nobody");
}

/// A gateway that nobody can command is found out at its start, not in the outage.
#[test]
fn token_file_without_a_token_stops_the_start() {
    for content in [None, Some(" \n")] {
        let site = Site::new();
        if let Some(content) = content {
            fs::write(site.path("token"), content).expect("writes");
        }
        let address = site.address;
        let with = format!("control: {{bindAddress: {address}, tokenFile: token}}");
        let text = site.text("east", "", "");
        let path = site.save(&text.replace(&format!("control: {{bindAddress: {address}}}"), &with));
        let said = run(&["run", path.to_str().expect("text")]);
        assert_eq!(said.code, Some(2), "{said:?}");
        let error = said.err.lines().find(|it| it.starts_with("error: ")).expect("an error");
        assert!(error.contains("token file") && said.err.contains("remedy: "), "{said:?}");
    }
}

#[test]
fn control_beyond_loopback_without_a_token_is_refused_by_the_configuration() {
    let site = Site::new();
    let address = site.address;
    let text = site.text("east", "", "");
    let open = "control: {bindAddress: 0.0.0.0}";
    let path = site.save(&text.replace(&format!("control: {{bindAddress: {address}}}"), open));
    let said = run(&["check", path.to_str().expect("text")]);
    assert_eq!(said.code, Some(2));
    assert!((said.out + &said.err).contains("tokenFile"));
}

//! What a gateway that comes back does.

use std::fs;

use super::*;

/// The folder's state file.
fn state(site: &Site) -> PathBuf {
    site.path("gateway.state.json")
}

#[test]
fn switchover_survives_a_kill() {
    let site = Site::new();
    site.save(&site.text("east", "", ""));
    let gateway = site.start();
    assert_eq!(site.call(&["switchover", "--route", "sales", "--to", "west"]).code, Some(0));
    gateway.kill();
    let _gateway = site.start();
    assert_eq!(site.domain(), "west");
}

#[test]
fn fence_survives_a_kill() {
    let site = Site::new();
    site.save(&site.text("east", "", ""));
    let gateway = site.start();
    assert_eq!(site.call(&["fence", "--route", "sales", "--mode", "hold"]).code, Some(0));
    gateway.kill();
    let _gateway = site.start();
    let route = site.route().expect("answers");
    assert_eq!(
        (&route["observed"]["phase"], &route["observed"]["gate"]),
        (&"fenced".into(), &"hold".into())
    );
}

#[test]
fn section_that_was_edited_meanwhile_wins_over_the_state() {
    let site = Site::new();
    site.save(&site.text("east", "", ""));
    let gateway = site.start();
    site.call(&["switchover", "--route", "sales", "--to", "west"]);
    gateway.kill();
    site.save(&site.text("east", "clientView: native", ""));
    let _gateway = site.start();
    assert_eq!(site.domain(), "east");
}

#[test]
fn state_that_cannot_be_read_stops_the_start_with_a_remedy() {
    let site = Site::new();
    let config = site.save(&site.text("east", "", ""));
    fs::write(state(&site), "{ not json").expect("writes");
    let said = run(&["run", config.to_str().expect("text")]);
    assert_eq!(said.code, Some(2), "{said:?}");
    assert!(said.err.contains("gateway.state.json") && said.err.contains("remedy:"), "{said:?}");
}

/// Nothing is acknowledged that would be forgotten.
#[test]
fn command_whose_decision_cannot_be_kept_is_refused() {
    let site = Site::new();
    let more = format!("stateFile: {}", site.path("missing/state.json").display());
    site.save(&site.text("east", "", &more));
    let _gateway = site.start();
    let said = site.call(&["fence", "--route", "sales"]);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.err.contains("missing/state.json"), "{said:?}");
    assert_eq!(site.route().expect("answers")["observed"]["phase"], "serving");
}

/// An error fence names the route's brokers, so that clients know where to ask again; of a gateway that starts behind
/// its fence no client has ever got through to teach it who they are.
#[test]
fn gateway_that_starts_fenced_names_the_brokers_that_it_has_looked_at() {
    let site = Site::new();
    site.save(&site.text("east", "fence: {scope: ALL}", ""));
    let _gateway = site.start();
    let host = site.address.to_string();
    eventually("Metadata with a broker", || {
        let mut client = broker::Client::connect(site.address, 19092).ok()?;
        let answer = client.metadata().ok()?;
        answer.windows(host.len()).any(|bytes| bytes == host.as_bytes()).then_some(())
    });
}

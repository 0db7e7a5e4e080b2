//! Signals and the watched file.

use super::{broker::Client, *};

#[test]
fn terminated_gateway_lets_requests_in_flight_wait_and_ends_well() {
    let site = Site::new();
    site.save(&site.text("east", "", "limits: {shutdownDrain: 1s}"));
    let mut gateway = site.start();
    let mut client = Client::connect(site.address, 19092).expect("connects");
    client.metadata().expect("an answer");
    client.fetch().expect("is sent");
    eventually("the fetch is on its way", || {
        (site.route()?["observed"]["inFlight"] == 1).then_some(())
    });
    let begun = Instant::now();
    gateway.signal("TERM");
    assert!(client.closed());
    let took = begun.elapsed();
    assert!(took >= Duration::from_millis(900), "the fetch was given its time: {took:?}");
    assert_eq!(gateway.ends(), Some(0));
    assert!(Client::connect(site.address, 19092).is_err(), "nobody listens any more");
}

#[test]
fn saved_file_is_applied_without_a_signal() {
    let site = Site::new();
    site.save(&site.text("east", "", ""));
    let gateway = site.start();
    site.save(&site.text("west", "", ""));
    gateway.says("configuration applied");
    assert_eq!(site.domain(), "west");
}

#[test]
fn faulty_file_changes_nothing_and_is_reported() {
    let site = Site::new();
    site.save(&site.text("east", "", ""));
    let gateway = site.start();
    let before = site.route();
    site.save("routes: [");
    gateway.signal("HUP");
    gateway.says("nothing has changed");
    assert_eq!(site.route(), before);
    site.save(&site.text("west", "", ""));
    gateway.signal("HUP");
    gateway.says("configuration applied");
    assert_eq!(site.domain(), "west");
}

/// Somebody who moved the control port would otherwise look for it in vain.
#[test]
fn edit_that_needs_a_restart_is_applied_as_far_as_it_goes_and_told() {
    let site = Site::new();
    let text = site.text("east", "", "");
    site.save(&text);
    let gateway = site.start();
    let address = site.address;
    let moved =
        format!("control: {{bindAddress: {address}, port: 9181}}\nstateFile: elsewhere.json");
    let text = text.replace(&format!("control: {{bindAddress: {address}}}"), &moved);
    site.save(&text.replace("streamingDomain: {name: east", "streamingDomain: {name: west"));
    gateway.says("`control` was edited: that takes effect when the gateway is started again");
    gateway.says("`stateFile` was edited");
    assert!(!gateway.log().iter().any(|line| line.contains("`admin` was edited")));
    assert_eq!(site.domain(), "west");
}

/// A signal to be on the safe side must not look like a change to whoever watches for changes.
#[test]
fn signal_without_an_edit_is_counted_as_unchanged() {
    let site = Site::new();
    site.save(&site.text("east", "", ""));
    let gateway = site.start();
    let applied_at = || {
        let said = site.call(&["status", "--json"]);
        let status: serde_json::Value = serde_json::from_str(&said.out).expect("JSON");
        status["appliedAt"].clone()
    };
    let before = applied_at();
    gateway.signal("HUP");
    gateway.says("configuration is in force already");
    assert_eq!(applied_at(), before);
    let (_, metrics) = super::http::get(&format!("http://{}:9190/metrics", site.address));
    assert!(metrics.contains("switchyard_reloads_total{outcome=\"unchanged\"} 1"), "{metrics}");
}

#[test]
fn edited_limits_count_for_the_end_as_well() {
    let site = Site::new();
    site.save(&site.text("east", "", "limits: {shutdownDrain: 1h}"));
    let mut gateway = site.start();
    site.save(&site.text("east", "", "limits: {shutdownDrain: 1s}"));
    gateway.says("configuration applied");
    let mut client = Client::connect(site.address, 19092).expect("connects");
    client.metadata().expect("an answer");
    client.fetch().expect("is sent");
    eventually("the fetch is on its way", || {
        (site.route()?["observed"]["inFlight"] == 1).then_some(())
    });
    gateway.signal("TERM");
    assert_eq!(gateway.ends(), Some(0));
}

/// An address is edited because a broker has a new name, and the sessions go on; whoever has put another cluster there
/// must hear that some clients still write to the old one.
#[test]
fn edited_bootstrap_server_is_told_with_what_it_does_not_do() {
    let site = Site::new();
    let text = site.text("east", "", "");
    site.save(&text);
    let gateway = site.start();
    site.save(&text.replace(":9092'", ":9093'"));
    let told = gateway.says("bootstrap servers were edited");
    assert!(told.contains("domain=east") && told.contains("switchover"), "{told}");
}

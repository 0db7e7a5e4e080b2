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

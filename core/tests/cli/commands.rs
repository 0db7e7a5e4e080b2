//! Commands against a running gateway.

use super::{broker::Client, *};

fn running() -> (Site, Gateway) {
    let site = Site::new();
    site.save(&site.text("east", "", ""));
    let gateway = site.start();
    (site, gateway)
}

#[test]
fn commands_without_a_gateway_say_how_to_reach_one() {
    let site = Site::new();
    for command in [&["status"][..], &["fence", "--route", "sales"]] {
        let said = site.call(command);
        assert_eq!(said.code, Some(1), "{said:?}");
        assert!(
            said.err.contains("no gateway answers") && said.err.contains("--control"),
            "{said:?}"
        );
    }
}

#[test]
fn status_shows_the_route_and_its_sessions() {
    let (site, _gateway) = running();
    let mut client = Client::connect(site.address, 19092).expect("connects");
    client.metadata().expect("an answer");
    let said = site.call(&["status"]);
    let row = said.out.lines().last().expect("a row");
    let cells: Vec<_> = row.split_whitespace().collect();
    assert_eq!(cells[0], "sales");
    assert_eq!(cells[2..6], ["east", "serving", "–", "1"], "{}", said.out);
}

/// `status --watch | head` ends with its reader, and not with a panic.
#[test]
fn status_that_is_watched_ends_with_its_reader() {
    let (site, _gateway) = running();
    let mut watching = switchyard(&["status", "--json", "--watch"])
        .env("SWITCHYARD_CONTROL", site.control())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary runs");
    let mut lines = BufReader::new(watching.stdout.take().expect("piped")).lines();
    let line = lines.next().expect("a line").expect("text");
    let status: serde_json::Value = serde_json::from_str(&line).expect("JSON");
    assert_eq!(status["routes"][0]["name"], "sales");
    drop(lines);
    let ended = watching.wait_with_output().expect("ends");
    assert_eq!((said(&ended).code, said(&ended).err.as_str()), (Some(0), ""));
}

#[test]
fn switchover_moves_the_sessions_and_says_so() {
    let (site, _gateway) = running();
    let mut client = Client::connect(site.address, 19092).expect("connects");
    client.metadata().expect("an answer");
    let said = site.call(&["switchover", "--route", "sales", "--to", "west"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(said.out.contains("accepted as revision 2"), "{}", said.out);
    assert!(
        said.out.contains("sales points at west (revision 2): 1 sessions moved"),
        "{}",
        said.out
    );
    assert!(client.closed());
    let again = site.call(&["switchover", "--route", "sales", "--to", "west"]);
    assert_eq!(again.out, "sales points at west already (revision 2)\n");
}

#[test]
fn switchover_to_a_cluster_that_does_not_answer_changes_nothing() {
    let (site, _gateway) = running();
    site.west.refuse();
    let before = site.route();
    let said = site.call(&["switchover", "--route", "sales", "--to", "west"]);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.err.contains("west"), "{said:?}");
    assert_eq!(site.route(), before);
}

#[test]
fn names_that_are_not_there_are_bad_input_with_the_known_ones() {
    let (site, _gateway) = running();
    let said = site.call(&["fence", "--route", "sails"]);
    assert_eq!(said.code, Some(2));
    assert!(said.err.contains("sails") && said.err.contains("sales"), "{said:?}");
    let said = site.call(&["switchover", "--route", "sales", "--to", "north"]);
    assert_eq!(said.code, Some(2));
    assert!(said.err.contains("north") && said.err.contains("west"), "{said:?}");
}

#[test]
fn revision_that_was_overtaken_is_refused() {
    let (site, _gateway) = running();
    assert_eq!(site.call(&["fence", "--route", "sales"]).code, Some(0));
    let said = site.call(&["unfence", "--route", "sales", "--expected-revision", "1"]);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.err.contains("revision"), "{said:?}");
    let said = site.call(&["unfence", "--route", "sales", "--expected-revision", "2"]);
    assert_eq!(said.code, Some(0), "{said:?}");
}

/// An operator fences, switches and opens: at no moment may a client get through to the old cluster.
#[test]
fn route_fenced_before_a_switchover_stays_fenced_until_it_is_opened() {
    let (site, _gateway) = running();
    site.call(&["fence", "--route", "sales", "--mode", "error"]);
    let said = site.call(&["switchover", "--route", "sales", "--to", "west"]);
    assert!(said.out.contains("still stands"), "{}", said.out);
    let route = site.route().expect("answers");
    assert_eq!(route["observed"]["phase"], "fenced");
    let said = site.call(&["unfence", "--route", "sales"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    let mut client = Client::connect(site.address, 19092).expect("connects");
    client.metadata().expect("an answer of west");
}

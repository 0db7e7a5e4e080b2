use std::{collections::BTreeMap, sync::Arc, time::Duration};

use super::*;
use crate::{
    oracle::{
        History, Home,
        history::{Entry, Position, What},
        judge,
    },
    scenario::values::Bounds,
};

fn outcome() -> Outcome {
    let entry = |ms: u64, who: &str, what| Entry { at_us: ms * 1000, who: who.into(), what };
    let position = |offset| Position { topic: "orders".into(), partition: 0, offset };
    let text = |text: &str| What::Note { text: text.into() };
    let entries = vec![
        entry(1000, "checkout-1", What::Sent { number: 0 }),
        entry(1010, "checkout-1", What::Acknowledged { number: 0, position: position(0) }),
        entry(2000, "network", text("<east> goes silent & stays so")),
        entry(9000, "checkout-1", What::Sent { number: 1 }),
        entry(30_000, "checkout-1", What::Acknowledged { number: 1, position: position(1) }),
    ];
    let history = History { entries, logs: BTreeMap::new() };
    let home = Home { topic: "orders".into(), cluster: "west".into(), route: None };
    let case = Case {
        recovery_began: Duration::from_secs(40),
        ended: Duration::from_mins(1),
        producers: [(Arc::from("checkout-1"), home)].into(),
        ..Case::default()
    };
    let verdict = judge(&history, &case);
    let expect = Expectations {
        figures: [("lost".to_owned(), Bounds::exactly(0))].into(),
        violates: vec!["one-writer".to_owned()],
        ..Expectations::default()
    };
    Outcome {
        scenario: "regional-outage".to_owned(),
        about: "East goes silent.".to_owned(),
        seed: 7,
        replay: "switchyard-sim replay scenarios/regional-outage.yaml --seed 7".to_owned(),
        failures: failures(&verdict, &expect),
        margins: vec![Margin {
            who: "checkout".to_owned(),
            setting: "delivery.timeout.ms".to_owned(),
            limit_ms: 120_000,
            longest_ms: 21_000,
            exceeded: 0,
        }],
        history,
        case,
        verdict,
        simulated: Duration::from_mins(1),
        wall: Duration::from_millis(500),
        digest: "0123".to_owned(),
    }
}

#[test]
fn summary_says_what_was_lost_and_how_to_see_it_again() {
    insta::assert_snapshot!(summary(&outcome()));
}

/// A page that is mailed around must show everything by itself, and take nothing for markup.
#[test]
fn page_needs_no_network_and_escapes_what_it_shows() {
    let page = page(&outcome());
    for outside in ["http:", "https:", "src=", "@import", "<script"] {
        assert!(!page.contains(outside), "{outside}");
    }
    assert!(page.contains("&lt;east&gt; goes silent &amp; stays so"));
    assert!(!page.contains("<east>"));
    assert!(page.contains("prefers-color-scheme: dark"));
    assert!(page.contains("<svg"));
}

/// A scenario that shows a violation proves nothing when there is none.
#[test]
fn violation_that_was_promised_and_did_not_happen_is_a_failure() {
    let checks: Vec<_> = outcome().failures.iter().map(|failure| failure.check.clone()).collect();
    assert_eq!(checks, ["lost", "one-writer"]);
}

/// Elements that may be left open, and those that have no end.
const UNCLOSED: &[&str] = &["td", "th", "tr", "meta", "br", "!doctype"];

/// Every element that has to be closed is, in the right order, and every attribute ends.
pub(crate) fn assert_well_formed(page: &str) {
    let mut open: Vec<&str> = Vec::new();
    let body = page.split_once("</style>").expect("a page with a style").1;
    for tag in body.split('<').skip(1) {
        let (tag, _) = tag.split_once('>').unwrap_or_else(|| panic!("`<{tag}` has no end"));
        assert!(tag.matches('"').count().is_multiple_of(2), "an attribute of <{tag}> has no end");
        let name = tag.trim_start_matches('/').split([' ', '/']).next().unwrap_or_default();
        if UNCLOSED.contains(&name) || tag.ends_with('/') {
            continue;
        }
        if tag.starts_with('/') {
            // The head was opened before the style.
            let expected = open.pop().unwrap_or(if name == "head" { "head" } else { "html" });
            assert_eq!(expected, name, "closed in the wrong order");
        } else {
            open.push(name);
        }
    }
    assert_eq!(open, [""; 0], "left open");
}

#[test]
fn page_is_well_formed() {
    assert_well_formed(&page(&outcome()));
}

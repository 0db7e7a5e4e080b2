use std::{cell::Cell, path::PathBuf};

use super::*;
use crate::{client::Library, report::Margin};

fn example(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../examples").join(name)
}

fn request(name: &str) -> Request {
    Request {
        gateway: example(name),
        route: None,
        to: None,
        producer: None,
        consumer: None,
        library: Library::Java,
        rate: 5,
        record_bytes: 100,
    }
}

fn subject(name: &str) -> Subject {
    Subject { origin: name.to_owned(), ..Subject::read(&request(name)).expect("a good file") }
}

/// As if records expired after 107 s without a way, and members were thrown out after 41 s.
fn planted(event: Event, reaction_s: u64) -> Sample {
    let mut sample = Sample::new(event, reaction_s);
    let mut put = |figure: &str, value: u64, witness: &str| {
        sample.figures.insert(figure.to_owned(), value);
        sample.witnesses.insert(figure.to_owned(), witness.to_owned());
    };
    put("rto", reaction_s * 1000 + 250, "");
    if event == Event::Outage {
        put("lost", 3, "producers-1 #7, acknowledged at 14.9 s, is not on west");
    }
    if event != Event::Restart && reaction_s >= 107 {
        put("failed", reaction_s * 10, "134.0 producers-1 failed reason=TimeoutException");
        sample.marks.insert("delivery-timeout".to_owned());
    }
    if event == Event::Restart && reaction_s >= 41 {
        sample.figures.insert("rebalances".to_owned(), 2);
        sample.marks.insert("session-expired".to_owned());
    }
    if event == Event::Planned && reaction_s > 60 {
        sample.marks.insert("fence-answered".to_owned());
    }
    for (setting, limit_ms) in [("delivery.timeout.ms", 120_000), ("session.timeout.ms", 45_000)] {
        sample.margins.push(Margin {
            who: "producers".to_owned(),
            setting: setting.to_owned(),
            limit_ms,
            longest_ms: reaction_s * 1000 + 13_000,
            exceeded: 0,
        });
    }
    sample
}

/// A conclusion that is a minute off would be trusted in the one night when it matters.
#[test]
fn thresholds_are_found_to_the_second_between_the_reaction_times() {
    let runs = Cell::new(0);
    let assessment = Assessment::make(&subject("two-regions.yaml"), REACTIONS, |event, seconds| {
        runs.set(runs.get() + 1);
        Some(planted(event, seconds))
    });
    let found: Vec<_> = assessment
        .thresholds
        .iter()
        .map(|it| (it.event, it.effect, it.survived_s, it.from_s))
        .collect();
    assert_eq!(
        found,
        [
            (Event::Outage, Effect::Lost, None, 5),
            (Event::Outage, Effect::Failed, Some(106), 107),
            (Event::Planned, Effect::Failed, Some(106), 107),
            (Event::Planned, Effect::Answered, Some(60), 61),
            (Event::Restart, Effect::Rebalanced, Some(40), 41),
        ]
    );
    assert!(runs.get() < 60, "{} runs are too many to wait for", runs.get());
}

#[test]
fn text_says_what_is_lost_from_when_on_and_what_to_change() {
    let subject = subject("two-regions.yaml");
    let assessment =
        Assessment::make(&subject, REACTIONS, |event, seconds| Some(planted(event, seconds)));
    insta::assert_snapshot!(text(&subject, &assessment));
    let json = assessment.json(&subject);
    assert_eq!(json["conclusions"][1]["setting"]["needed"], "135000");
    assert_eq!(json["samples"].as_array().map(Vec::len), Some(assessment.samples.len()));
}

/// What is known when the user has waited long enough must not read as if nothing could happen.
#[test]
fn interrupted_assessment_speaks_of_what_was_rehearsed_only() {
    let subject = subject("two-regions.yaml");
    let mut left = 12;
    let assessment = Assessment::make(&subject, REACTIONS, |event, seconds| {
        left -= 1;
        (left >= 0).then(|| planted(event, seconds))
    });
    assert_eq!(assessment.samples.len(), 12);
    let failed = assessment.thresholds.iter().find(|it| it.effect == Effect::Failed);
    let failed = failed.expect("120 s were rehearsed");
    assert_eq!(
        (failed.survived_s, failed.from_s),
        (Some(90), 120),
        "nothing in between was looked at"
    );
    assert!(!text(&subject, &assessment).contains("Restart"));
}

/// Every page has to show everything by itself, in light and dark.
#[test]
fn page_needs_no_network_and_draws_what_is_lost() {
    let subject = subject("two-regions.yaml");
    let assessment =
        Assessment::make(&subject, REACTIONS, |event, seconds| Some(planted(event, seconds)));
    let page = page(&subject, &assessment);
    for outside in ["http:", "https:", "src=", "@import", "<script", "NaN", "inf"] {
        assert!(!page.contains(outside), "{outside}");
    }
    for there in ["<polyline", "failed sends", "<code>delivery.timeout.ms</code>", "color-scheme"] {
        assert!(page.contains(there), "{there}");
    }
    crate::report::assert_well_formed(&page);
}

/// The examples are what a newcomer tries first.
#[test]
fn every_example_gives_scenarios_that_can_be_played() {
    for (name, to) in
        [("gateway.yaml", Some("west")), ("two-regions.yaml", Some("west")), ("minimal.yaml", None)]
    {
        let subject = subject(name);
        assert_eq!(subject.to.as_deref(), to, "{name}");
        for event in Event::ALL {
            let scenario = trial::scenario(&subject, event, 5);
            let scenario = scenario.unwrap_or_else(|error| panic!("{name} {event:?}: {error}"));
            assert!(!scenario.timeline.is_empty());
        }
    }
}

#[test]
fn faults_of_all_files_are_told_at_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, text: &str| {
        let file = folder.path().join(name);
        std::fs::write(&file, text).expect("a file");
        file
    };
    let request = Request {
        gateway: write("g.yaml", "routes: []\nstreamingDomain: []\n"),
        producer: Some(write("p.properties", "delivery.timout.ms=5\nacks=maybe\n")),
        consumer: Some(write("c.properties", "session.timeout.ms=soon\n")),
        ..request("minimal.yaml")
    };
    let error = Subject::read(&request).expect_err("faults").to_string();
    for told in [
        "g.yaml:",
        "did you mean `streamingDomains`?",
        "`delivery.timout.ms` is no producer property of the Java client: did you mean `delivery.timeout.ms`?",
        "`acks=maybe`",
        "`session.timeout.ms=soon`",
    ] {
        assert!(error.contains(told), "{told}\n{error}");
    }
    assert_eq!(error.matches("remedy: ").count(), error.lines().count() / 2, "{error}");
}

#[test]
fn unknown_route_or_target_names_those_that_there_are() {
    let wrong = |request: Request| Subject::read(&request).expect_err("a fault").to_string();
    let route = wrong(Request { route: Some("sale".to_owned()), ..request("two-regions.yaml") });
    assert!(
        route.contains("no route `sale`") && route.contains("did you mean `sales`?"),
        "{route}"
    );
    let to = wrong(Request { to: Some("north".to_owned()), ..request("two-regions.yaml") });
    assert!(to.contains("from `east` to `north`") && to.contains("`--to` with `west`"), "{to}");
    let to = wrong(Request { to: Some("west".to_owned()), ..request("minimal.yaml") });
    assert!(to.contains("there is no other domain"), "{to}");
}

/// A production file names ids and logins that would keep the clients of a rehearsal from working.
#[test]
fn properties_of_production_are_taken_as_they_are() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("p.properties");
    let text = "bootstrap.servers=kafka.example:9092\ntransactional.id=orders\nsecurity.protocol=SASL_SSL\n\
                delivery.timeout.ms=300000\n";
    std::fs::write(&file, text).expect("a file");
    let request = Request { producer: Some(file), ..request("two-regions.yaml") };
    let subject = Subject::read(&request).expect("a good file");
    let settings = subject.settings(crate::client::Role::Producer);
    assert_eq!(settings.keys().collect::<Vec<_>>(), ["delivery.timeout.ms"]);
    assert!(subject.notes.iter().any(|note| note.contains("security.protocol")));
    let document = trial::document(&subject, Event::Outage, 5);
    assert_eq!(document["producers"][0]["transaction-records"], 10);
}

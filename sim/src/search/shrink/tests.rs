use serde_json::json;

use super::*;

fn document() -> Document {
    let domain = |name: &str| {
        let servers = json!([{"id": "main", "endpoint": format!("{name}.example:9092")}]);
        json!({"name": name, "kafkaCluster": {"bootstrapServers": servers}})
    };
    let value = json!({
        "about": "East goes silent while much else happens.",
        "gateway": {
            "streamingDomains": [domain("east"), domain("west")],
            "routes": [{
                "name": "sales", "endpoint": "gateway.example:19092", "streamingDomain": {"name": "east"},
            }],
        },
        "instances": 2,
        "clusters": {"east": {}, "west": {"brokers": 4}},
        "topics": [{"name": "orders", "partitions": 12}, {"name": "audit"}],
        "mirror": {"from": "east", "to": "west"},
        "producers": [
            {"name": "checkout", "route": "sales", "topic": "orders", "count": 40, "rate": 20,
             "settings": {"acks": "all", "linger.ms": 10}},
            {"name": "noise", "route": "sales", "topic": "audit"},
        ],
        "consumers": [{"name": "billing", "route": "sales", "topics": ["orders"]}],
        "duration": "5m",
        "timeline": [
            {"at": "10s..20s", "slow": {"between": ["clients", "gateway"], "latency": "20ms", "for": "5s"}},
            {"after": "10s", "kill-gateway": {"instance": 2, "for": "5s..9s"}},
            {"at": "60s", "region-down": {"cluster": "east", "for": "90s"}},
            {"after": "10s", "stop-broker": {"cluster": "west", "broker": 1, "for": "5s"}},
            {"after": "1s", "promote": {}},
        ],
        "expect": {"lost": 0},
    });
    Document::new(value, "s")
}

/// What is left over must be what the failure needs, and nothing that only stands beside it.
#[test]
fn scenario_with_superfluous_steps_shrinks_to_the_step_that_matters() {
    // Planted: it fails as long as the region is away for 30 s while at least three producers write.
    let mut fails = |document: &Document| {
        let value = document.value();
        let steps = value["timeline"].as_array().expect("a timeline");
        let down = steps.iter().find(|step| step.get("region-down").is_some());
        let seconds = |text: &Value| {
            switchyard::config::duration::parse(text.as_str().unwrap_or("0s"))
                .map(|it| it.as_secs())
        };
        let long = down.is_some_and(|step| {
            seconds(&step["region-down"]["for"]).is_ok_and(|lasts| lasts >= 30)
        });
        let checkouts = value["producers"].as_array().into_iter().flatten();
        let writers = checkouts.filter(|it| it["name"] == "checkout");
        long && writers.map(|it| it["count"].as_u64().unwrap_or(1)).sum::<u64>() >= 3
    };
    let mut attempts = 0;
    let mut go_on = |made, _| {
        attempts = made;
        true
    };
    let small = Shrinker::new(1000, &mut fails, &mut go_on).shrink(document());
    let value = small.value();
    assert_eq!(
        value["timeline"],
        json!([{"at": "0s", "region-down": {"cluster": "east", "for": "30s"}}])
    );
    assert_eq!(
        value["producers"],
        json!([{
            "name": "checkout", "route": "sales", "topic": "orders", "count": 3, "rate": 1, "settings": {},
        }])
    );
    assert_eq!(value["topics"], json!([{"name": "orders", "partitions": 1}]));
    assert_eq!(value["clusters"], json!({"east": {"brokers": 1}, "west": {"brokers": 1}}));
    for gone in ["consumers", "mirror", "instances"] {
        assert!(value.get(gone).is_none(), "{gone}");
    }
    assert!(attempts < 150, "{attempts} runs are too many to wait for");
    small.scenario().expect("what is written can be rehearsed");
}

#[test]
fn shrinking_stops_when_it_is_told_to() {
    let mut fails = |_: &Document| true;
    let mut made = 0;
    let mut go_on = |attempts, _| {
        made = attempts;
        attempts < 2
    };
    let small = Shrinker::new(1000, &mut fails, &mut go_on).shrink(document());
    assert_eq!(made, 2);
    assert!(small.scenario().is_ok());
    let mut go_on = |attempts, _| {
        made = attempts;
        true
    };
    Shrinker::new(5, &mut fails, &mut go_on).shrink(document());
    assert_eq!(made, 5, "the limit is kept");
}

/// A time that is drawn anew in the smaller scenario would hide what made the run fail.
#[test]
fn resolving_writes_down_the_times_that_the_seed_draws() {
    let document = document();
    let resolved = document.resolved(7);
    let (before, after) = (document.value(), resolved.value());
    let at = |value: &Value| value["timeline"][0]["at"].as_str().expect("a time").to_owned();
    assert_eq!(at(before), "10s..20s");
    let drawn = switchyard::config::duration::parse(&at(after)).expect("one time");
    assert!((10..=20).contains(&drawn.as_secs()));
    let lasts = after["timeline"][1]["kill-gateway"]["for"].as_str().expect("a time");
    assert!(switchyard::config::duration::parse(lasts).is_ok(), "{lasts}");
    assert_eq!(after["timeline"][2], before["timeline"][2], "fixed times stay as they are written");
    assert_eq!(document.resolved(7), resolved);
    assert_ne!(document.resolved(8), resolved);
}

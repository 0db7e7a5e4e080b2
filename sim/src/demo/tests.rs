//! What people see, and that the gateway takes its configuration.

use std::time::Duration;

use switchyard::{
    config::{Environment, Source, load},
    driver::status::RouteStatus,
};

use super::{Look, PORT_BASE_MAX, Plan, Rates, Totals, gateway, line, table, words};

fn plan() -> Plan {
    Plan { port_base: 19092, control_port: 9180, admin_port: 9190, load: true }
}

fn look() -> Look {
    let route: RouteStatus = serde_json::from_value(serde_json::json!({
        "name": "sales", "endpoint": "127.0.0.1:19092", "clientView": "neutral",
        "desired": {"revision": 2, "domain": "west", "bootstrapServerId": "x", "fence": null},
        "observed": {
            "phase": "draining", "gate": "hold", "domain": "east", "sessions": 6,
            "sessionsBehind": 0, "sessionsOnOldTarget": 6, "inFlight": 3, "parkedBytes": 420,
            "lastMove": null,
        },
        "eligibleDomains": ["east", "west"],
        "lastChange": {"by": "cli", "at": "2026-01-02T03:04:05Z"},
    }))
    .expect("a status");
    let totals = Totals {
        acknowledged: 3600,
        consumed: 3590,
        missing: 10,
        duplicated: 2,
        lag: 7,
        retries: 1,
    };
    Look { route, totals: Some(totals), mirror_lag: Some(12), switchovers: 1 }
}

#[test]
fn table_shows_a_route_on_its_way() {
    let rates = Rates { produced: 300, consumed: 299 };
    insta::assert_snapshot!(table(&look(), rates, Duration::from_secs(12)), @r"
    ROUTE  ENDPOINT         DOMAIN       PHASE     SESSIONS  PARKED  PRODUCED/S  CONSUMED/S  LAG  MIRROR LAG
    sales  127.0.0.1:19092  east → west  draining  6         420 B   300         299         7    12
    12 s, 1 switchover, 3600 acknowledged, 3590 consumed, 10 not yet, 2 twice
    ");
}

#[test]
fn line_shows_the_same_in_one() {
    let rates = Rates { produced: 300, consumed: 299 };
    insta::assert_snapshot!(line(&look(), rates, Duration::from_secs(12)), @"12 s  sales at east → west, draining  6 sessions  300 produced/s  299 consumed/s  lag 7  mirror lag 12");
}

#[test]
fn without_load_there_are_no_numbers_of_records() {
    let look = Look { totals: None, mirror_lag: None, ..look() };
    insta::assert_snapshot!(line(&look, Rates::default(), Duration::ZERO), @"0 s  sales at east → west, draining  6 sessions  – produced/s  – consumed/s  lag –  mirror lag –");
    insta::assert_snapshot!(words(None, 0, Duration::from_secs(3)), @"3 s, 0 switchovers");
}

#[test]
fn rates_are_by_the_second_whatever_the_time_between() {
    let totals = |acknowledged| Totals { acknowledged, ..Totals::default() };
    let rate = |ms| Rates::between(totals(100), totals(700), Duration::from_millis(ms)).produced;
    assert_eq!((rate(2000), rate(500), rate(0)), (300, 1200, 600_000));
}

/// The file is generated, and people will edit it: it must be one that the gateway takes without a word.
#[test]
fn configuration_is_taken_for_any_first_port() {
    for port_base in [1024, 19092, PORT_BASE_MAX] {
        let plan = Plan { port_base, ..plan() };
        let source = Source::Inline(gateway::text(plan));
        let loaded = load(&source, &Environment::default()).expect("a configuration");
        let eligible: Vec<_> =
            loaded.model.routes.values().map(|route| route.eligible().count()).collect();
        assert_eq!(eligible, [2], "{port_base}");
    }
}

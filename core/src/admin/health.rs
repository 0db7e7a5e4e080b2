//! `/livez`, `/readyz`, `/metrics`.

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::State,
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::get,
};
use serde_json::json;

use crate::{
    driver::ControlHandle,
    telemetry::{Metrics, RouteGauges},
};

#[derive(Clone)]
struct Health {
    control: ControlHandle,
    metrics: Arc<Metrics>,
}

/// The health port's calls; `/metrics` only where it is wanted.
pub fn router(control: ControlHandle, metrics: Arc<Metrics>, with_metrics: bool) -> Router {
    let mut router =
        Router::new().route("/livez", get(async || "ok\n")).route("/readyz", get(ready));
    if with_metrics {
        router = router.route("/metrics", get(metrics_text));
    }
    router.with_state(Health { control, metrics })
}

/// Every port of every route is bound before this is served. A fenced route is as ready as any: to take the
/// gateway out of a load balancer would turn the fence into an outage.
async fn ready(State(health): State<Health>) -> Response {
    let Some(status) = health.control.status().await else {
        return (StatusCode::SERVICE_UNAVAILABLE, Json(json!({"ready": false}))).into_response();
    };
    let routes: serde_json::Map<_, _> = status
        .routes
        .iter()
        .map(|route| (route.name.to_string(), json!(route.observed.phase)))
        .collect();
    Json(json!({"ready": true, "routes": routes})).into_response()
}

async fn metrics_text(State(health): State<Health>) -> Response {
    let Some(status) = health.control.status().await else {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    };
    let gauges: Vec<_> = status
        .routes
        .iter()
        .map(|route| RouteGauges {
            route: &route.name,
            domain: &route.observed.domain,
            phase: route.observed.phase.label(),
            fence: route.desired.fence.as_ref().map(|fence| fence.mode.label()),
            revision: route.desired.revision,
            observed: route.observed.sessions,
        })
        .collect();
    let text = health.metrics.render(&gauges);
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(CONTENT_TYPE, kind)], text).into_response()
}

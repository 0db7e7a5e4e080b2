//! Whole files.

use std::net::SocketAddr;

use super::*;
use crate::{
    topology::{BrokerAddress, NodeId, VirtualEndpoint},
    wire::api::ClientView,
};

fn read(text: &str) -> Result<Loaded, ConfigError> {
    let environment = Environment { node_id: Some("3".to_owned()), ..Environment::default() };
    check(text.as_bytes(), &Source::File("/etc/gw/gateway.yaml".into()), &environment)
}

#[track_caller]
fn valid(text: &str) -> Loaded {
    read(text).unwrap_or_else(|error| panic!("{error}"))
}

#[track_caller]
fn faults(text: &str) -> String {
    read(text).expect_err("a fault").to_string()
}

/// What the gateway's introductions show: one snippet for the domain and one for the route, to be put
/// together by the reader, without the root key and without node ids.
const DOMAIN_SNIPPET: &str = r#"
streamingDomains:
  - name: sales
    type: kafka
    kafkaCluster:
      name: sales-cluster
      bootstrapServers:
        - id: internal-listener
          endpoint: "kafka-1.example.com:9092"
"#;
const ROUTE_SNIPPET: &str = r#"
routes:
  - name: sales-route
    endpoint: "gateway.example.com:19092"
    brokerIdentificationStrategy:
      type: port
    streamingDomain:
      name: sales
      bootstrapServerId: internal-listener
    security:
      auth: passthrough
"#;

/// Whoever comes from there must not have to write a key before it works.
#[test]
fn snippets_joined_are_a_configuration_as_they_stand() {
    let Loaded { model, notices } = valid(&format!("{DOMAIN_SNIPPET}{ROUTE_SNIPPET}"));
    let route = &model.routes["sales-route"];
    assert_eq!(route.endpoint(), "gateway.example.com:19092");
    assert_eq!(
        (&*route.target.domain, &*route.target.bootstrap_server_id),
        ("sales", "internal-listener")
    );
    let ports = route.port_map("sales").expect("eligible");
    let nodes: Vec<_> = ports.nodes().map(|(node, port)| (node.0, port)).collect();
    let zero_to_nine: Vec<_> =
        (0..10).map(|node| (node, 19_093 + u16::try_from(node).expect("small"))).collect();
    assert_eq!(nodes, zero_to_nine);
    let notices: Vec<String> = notices.iter().map(Notice::to_string).collect();
    assert!(notices.iter().any(|notice| notice.contains("node ids 0 to 9")), "{notices:?}");
}

/// The root key stands in files of the container image, and not in those of its Kubernetes resource.
#[test]
fn root_key_makes_no_difference() {
    let plain = format!("{DOMAIN_SNIPPET}{ROUTE_SNIPPET}configId: same\n");
    let rooted =
        plain.lines().fold("gateway:\n".to_owned(), |text, line| text + "  " + line + "\n");
    assert_eq!(valid(&plain).model, valid(&rooted).model);
}

/// A port must mean the same node as with the gateway that the file was written for.
#[test]
fn several_ranges_get_their_ports_one_after_another() {
    let text = "
streamingDomains:
- name: a
  kafkaCluster:
    bootstrapServers: [{id: x, endpoint: 'k:9092'}]
    nodeIdRanges: [{name: first, start: 1, end: 3}, {name: second, start: 101, end: 103}]
routes: [{name: r, endpoint: 'gw:19092', streamingDomain: {name: a}}]
";
    let model = valid(text).model;
    let ports = model.routes["r"].port_map("a").expect("eligible");
    assert_eq!(model.routes["r"].ports(), 19_092..=19_098);
    assert_eq!(ports.endpoint_at(19_092), Some(VirtualEndpoint::Bootstrap));
    for (port, node) in [(19_093, 1), (19_095, 3), (19_096, 101), (19_098, 103)] {
        assert_eq!(ports.endpoint_at(port), Some(VirtualEndpoint::Node(NodeId(node))));
        assert_eq!(ports.port_of(NodeId(node)), Some(port));
    }
    assert_eq!(ports.endpoint_at(19_099), None);
}

/// A key that is accepted and not read would be a promise that nobody keeps.
#[test]
fn every_key_that_is_supported_is_read() {
    let text = r#"
gateway:
  name: gw-$(gatewayNodeId)
  mode: static
  configId: "2026-01-02.a"
  stateFile: state/decided.json
  streamingDomains:
  - name: sales
    type: kafka
    kafkaCluster:
      name: the-cluster
      bootstrapServers:
      - {id: internal, endpoint: "PLAINTEXT://k-1:9092, SASL_PLAINTEXT://k-2:9093"}
      - {id: external, endpoint: "[::1]:9094"}
      nodeIdRanges: [{name: brokers, start: 1, end: 3}]
  secretStores: []
  routes:
  - name: orders
    endpoint: "PLAINTEXT://gw.example.com:19092"
    bindAddress: 127.0.0.9
    brokerIdentificationStrategy: {type: port}
    streamingDomain: {name: sales, bootstrapServerId: external}
    fence: {scope: ALL, errorCode: NOT_LEADER_OR_FOLLOWER, errorMessage: closed, mode: hold,
            holdTimeMax: 1m 30s, holdBytesMax: 2MiB}
    security: {auth: passthrough}
    clientView: neutral
  admin: {bindAddress: 127.0.0.2, port: 9191, endpoints: {metrics: false}, jvmMetrics: [], commonTags: {env: test}}
  control: {bindAddress: 127.0.0.3, port: 9181, tokenFile: token}
  limits: {connectionsMax: 1, frameBytesMax: 2MiB, firstFrameBytesMax: 4096, rewriteBytesMax: 1MiB, inFlightMax: 2,
           firstRequestTimeout: 3s, connectTimeout: 4s, writeStallTimeout: 5s, shutdownDrain: 6s}
  advanced: {useIoUring: false}
"#;
    let model = valid(text).model;
    assert_eq!((&*model.name, &*model.config_id), ("gw-3", "2026-01-02.a"));
    assert_eq!(model.state_file, Some("/etc/gw/state/decided.json".into()));

    let domain = &model.domains["sales"];
    assert_eq!((&*domain.cluster_name, &domain.node_id_ranges), ("the-cluster", &vec![1..=3]));
    let servers: Vec<(&str, Vec<String>)> = domain
        .bootstrap_servers
        .iter()
        .map(|server| {
            (&*server.id, server.addresses.iter().map(BrokerAddress::to_string).collect())
        })
        .collect();
    assert_eq!(
        servers,
        [
            ("internal", vec!["k-1:9092".to_owned(), "k-2:9093".to_owned()]),
            ("external", vec!["[::1]:9094".to_owned()])
        ]
    );

    let route = &model.routes["orders"];
    assert_eq!(route.endpoint(), "gw.example.com:19092");
    assert_eq!(route.bind_address().to_string(), "127.0.0.9");
    assert_eq!(&*route.target.bootstrap_server_id, "external");
    assert_eq!(route.client_view, ClientView::Neutral);
    let fence = route.fence.as_ref().expect("scope ALL");
    assert_eq!(*fence, route.fence_defaults);
    assert_eq!((fence.mode, fence.error_code), (model::FenceMode::Hold, 6));
    assert_eq!(fence.error_message.as_deref(), Some("closed"));
    assert_eq!((fence.hold_time_max.as_secs(), fence.hold_bytes_max), (90, 2 << 20));

    assert_eq!(model.admin.address, SocketAddr::from(([127, 0, 0, 2], 9191)));
    assert!(!model.admin.metrics);
    assert_eq!(model.admin.common_tags["env"], "test");
    assert_eq!(model.control.address, SocketAddr::from(([127, 0, 0, 3], 9181)));
    assert_eq!(model.control.token_file, Some("/etc/gw/token".into()));
    let limits = &model.limits;
    assert_eq!((limits.connections_max, limits.in_flight_max), (1, 2));
    let sizes = [limits.frame_bytes_max, limits.first_frame_bytes_max, limits.rewrite_bytes_max];
    assert_eq!(sizes, [2 << 20, 4096, 1 << 20]);
    let times = [
        limits.first_request_timeout,
        limits.connect_timeout,
        limits.write_stall_timeout,
        limits.shutdown_drain,
    ];
    assert_eq!(times.map(|time| time.as_secs()), [3, 4, 5, 6]);
}

/// Whoever moves a file here must learn of everything that would be missing, in one go, and no password of it may
/// land in a terminal.
#[test]
fn every_key_that_does_not_exist_yet_is_refused_where_it_stands() {
    let text = r#"
gateway:
  mode: dynamic
  streamingDomains:
  - name: sales
    kafkaCluster:
      bootstrapServers:
      - id: internal
        endpoint: "SASL_SSL://host:9092"
        ssl: {ignoreTrust: true, truststore: {type: JKS, location: /t, password: {value: hunter2}}}
  secretStores:
  - {name: vault, provider: {type: VAULT, config: {authToken: hunter2}}}
  routes:
  - name: orders
    endpoint: "gw:19092"
    brokerIdentificationStrategy: {type: host, pattern: "broker-$(nodeId).example.com:9092"}
    streamingDomain: {name: sales}
    streamingDomains: [{name: sales, bootstrapServerId: internal}]
    rules: {fencing: [{trafficType: PRODUCE}]}
    security:
      auth: swap
      ssl: {clientAuth: required}
      swapConfig: {clusterAuth: {sasl: {mechanism: PLAIN, jaasConfig: {file: /hunter2}}}}
      cluster: {sales: {secretStore: vault}}
  admin: {jvmMetrics: [heap]}
  advanced: {useIoUring: true}
"#;
    let told = faults(text);
    assert!(!told.contains("hunter2"), "{told}");
    let where_and_what: Vec<&str> =
        told.lines().filter(|line| line.contains("not supported yet")).collect();
    insta::assert_snapshot!(where_and_what.join("\n"), @r"
    /etc/gw/gateway.yaml:3:3: mode: `dynamic` is not supported yet
    /etc/gw/gateway.yaml:10:9: streamingDomains[0].kafkaCluster.bootstrapServers[0].ssl: is not supported yet
    /etc/gw/gateway.yaml:11:3: secretStores: is not supported yet
    /etc/gw/gateway.yaml:16:36: routes[0].brokerIdentificationStrategy.type: `host` is not supported yet
    /etc/gw/gateway.yaml:16:48: routes[0].brokerIdentificationStrategy.pattern: is not supported yet
    /etc/gw/gateway.yaml:18:5: routes[0].streamingDomains: is not supported yet
    /etc/gw/gateway.yaml:19:5: routes[0].rules: is not supported yet
    /etc/gw/gateway.yaml:21:7: routes[0].security.auth: `swap` is not supported yet
    /etc/gw/gateway.yaml:22:7: routes[0].security.ssl: is not supported yet
    /etc/gw/gateway.yaml:23:7: routes[0].security.swapConfig: is not supported yet
    /etc/gw/gateway.yaml:24:7: routes[0].security.cluster: is not supported yet
    /etc/gw/gateway.yaml:25:11: admin.jvmMetrics: is not supported yet
    /etc/gw/gateway.yaml:26:14: advanced.useIoUring: is not supported yet
    ");
}

/// One fault must not hide another, whatever sections they stand in.
#[test]
fn faults_of_all_sections_are_told_at_once_in_the_order_of_their_lines() {
    let told = faults(
        "name: x
name: y
streamingDomains:
- name: a
  kafkaCluster:
    bootstrapServers: [{id: p, endpoint: 'h'}]
    nodeIdRanges: [{start: 5, end: 1}, {start: 0, end: 3}, {start: 2, end: 4}]
- name: a
  kafkaCluster: {bootstrapServers: [{id: p, endpoint: 'h:1'}, {id: p, endpoint: 'h:2'}]}
routes:
- name: r
  endpoint: 'localhost:19092'
  streamingDomain: {name: nowhere}
  fence: {scope: SOME, errorCode: NOPE}
- name: r
  endpoint: 9
  streamingDomain: {name: a}
  clientView: newtral
limits: {connectTimeout: 5, frameBytesMax: 1TB}
control: {bindAddress: 0.0.0.0}
configId: 'a b'
",
    );
    insta::assert_snapshot!(told, @r#"
    /etc/gw/gateway.yaml:2:1: name: the key stands already on line 1
      remedy: keep one `name`
    /etc/gw/gateway.yaml:6:32: streamingDomains[0].kafkaCluster.bootstrapServers[0].endpoint: `h` has no port
      remedy: write `host:port`, for example `kafka-1.example.com:9092`
    /etc/gw/gateway.yaml:7:20: streamingDomains[0].kafkaCluster.nodeIdRanges[0]: ends at 1, before it starts at 5
      remedy: write the smaller node id as `start`
    /etc/gw/gateway.yaml:7:60: streamingDomains[0].kafkaCluster.nodeIdRanges[2]: 2 to 4 overlaps 0 to 3 (`streamingDomains[0].kafkaCluster.nodeIdRanges[1]`)
      remedy: let every node id stand in one range only
    /etc/gw/gateway.yaml:8:3: streamingDomains[1].name: `a` is taken by `streamingDomains[0]` on line 4
      remedy: give each a name of its own
    /etc/gw/gateway.yaml:9:64: streamingDomains[1].kafkaCluster.bootstrapServers[1].id: `p` is taken by `streamingDomains[1].kafkaCluster.bootstrapServers[0]` on line 9
      remedy: give each a name of its own
    /etc/gw/gateway.yaml:13:21: routes[0].streamingDomain.name: no streaming domain is called `nowhere`
      remedy: write `a`
    /etc/gw/gateway.yaml:14:11: routes[0].fence.scope: `SOME` is unknown
      remedy: write `ALL` or `NONE`
    /etc/gw/gateway.yaml:14:24: routes[0].fence.errorCode: `NOPE` is not a Kafka error
      remedy: write the name of a Kafka error, for example `NOT_LEADER_OR_FOLLOWER`
    /etc/gw/gateway.yaml:15:3: routes[1].name: `r` is taken by `routes[0]` on line 11
      remedy: give each a name of its own
    /etc/gw/gateway.yaml:16:3: routes[1].endpoint: is the number 9, not a text
      remedy: put it in quotes: "9"
    /etc/gw/gateway.yaml:18:3: routes[1].clientView: `newtral` is unknown
      remedy: did you mean `neutral`?
    /etc/gw/gateway.yaml:19:10: limits.connectTimeout: is the number 5, not a text
      remedy: put it in quotes: "5"
    /etc/gw/gateway.yaml:19:29: limits.frameBytesMax: `1TB` is not a size
      remedy: write a number of bytes, or a text such as `64MiB`
    /etc/gw/gateway.yaml:20:11: control.bindAddress: lets everybody who reaches 0.0.0.0 repoint routes
      remedy: write `tokenFile` with the path of a file that holds a token, or `127.0.0.1`
    /etc/gw/gateway.yaml:21:1: configId: `a b` cannot be used as an id
      remedy: write 1 to 64 letters, digits, `.`, `_`, `:` or `-`
    "#);
}

/// One label twice on a metric, and the whole scrape is refused by Prometheus.
#[test]
fn common_tags_that_are_labels_already_are_refused() {
    let told = faults(&format!(
        "{DOMAIN_SNIPPET}{ROUTE_SNIPPET}admin: {{commonTags: {{route: a, le: b, env: c}}}}\n"
    ));
    insta::assert_snapshot!(told, @r"
    /etc/gw/gateway.yaml:21:22: admin.commonTags.route: `route` is a label of the gateway's own metrics
      remedy: give the tag another name
    /etc/gw/gateway.yaml:21:32: admin.commonTags.le: `le` is a label of the gateway's own metrics
      remedy: give the tag another name
    ");
}

//! Repointing a route between two clusters while clients work, which are never restarted: nothing that was
//! acknowledged is lost, and nobody gets stuck.
//!
//! The clusters are as unlike as they can be: alpha's leader epochs stand high and beta's at zero, every leader of
//! beta is another node than on alpha, most of alpha's nodes do not exist on beta, topic ids differ, and producers on
//! beta go by the same producer ids as those that are moved there.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use serde_json::json;
use switchyard_itests::{
    Result,
    cluster::BROKER_PORT,
    eventually,
    gateway::{Config, Gateway},
    itest,
    java::{GroupProtocol, Load, VerifiableConsumer, VerifiableProducer},
    ledger::{Found, Ledger, none},
    librdkafka::{GroupConsumer, Producer, SteadyProducer, spoken},
    machine,
    tap::{Forbidden, Tap},
    wire,
    world::{World, create_topic, producer_ids, unique, world},
};

/// How long clients may take to start and to stop: several JVMs on two cores.
const LIMIT: Duration = Duration::from_mins(1);

/// How long a client may be without work after its route was repointed. Measured are 0.1 to 1.5 s.
const RECOVERY_TIME_MAX: Duration = Duration::from_secs(20);

/// Bits of a producer id that a cluster itself gives; the neutral view puts a tag above them.
const OWN_BITS: i64 = (1 << 40) - 1;

/// What a coordinator answers to a member of a KIP-848 group that it does not know, and what lets the member go on.
const GROUP_ID_NOT_FOUND: i16 = 69;
const UNKNOWN_MEMBER_ID: i16 = 25;

/// Records a second of every producer.
const RATE: u32 = 100;

/// A topic of two partitions on both clusters. On alpha nodes 2 and 3 lead it with epochs above five, on beta node 1
/// does with epoch 0.
async fn topic_on_both(world: &World) -> Result<String> {
    let topic = unique("repoint");
    create_topic(&world.alpha, &topic, &[&[2, 3, 1], &[3, 1, 2]]).await?;
    create_topic(&world.beta, &topic, &[&[1], &[1]]).await?;
    let (alpha, beta) = (world.alpha.address(1), world.beta.address(1));
    for _ in 0..3 {
        for replicas in [[[3, 2, 1], [2, 1, 3]], [[2, 3, 1], [3, 1, 2]]] {
            let [first, second] = &replicas;
            tokio::try_join!(
                wire::move_leader(&alpha, &topic, 0, first),
                wire::move_leader(&alpha, &topic, 1, second)
            )?;
        }
    }
    let leaders = wire::leaders(&alpha, &topic).await?;
    let high = leaders.iter().all(|&(_, epoch)| epoch > 5);
    assert!(high && leaders[0].0 == 2 && leaders[1].0 == 3, "leaders of alpha: {leaders:?}");
    assert_eq!(wire::leaders(&beta, &topic).await?, [(1, 0), (1, 0)]);
    Ok(topic)
}

/// Sees to it that every producer id that alpha gives from now on is still to come at beta. Gives the last id that
/// beta has given.
async fn put_alpha_ahead(world: &World) -> Result<i64> {
    let mut beta = wire::Connection::open(&world.beta.address(1)).await?;
    let last = wire::take_producer_id(&mut beta).await?;
    for &node in &world.alpha.plan().nodes {
        let mut alpha = wire::Connection::open(&world.alpha.address(node)).await?;
        while wire::take_producer_id(&mut alpha).await? <= last {}
    }
    Ok(last)
}

/// Producers that write to beta itself and got from it the very ids of `moved`, which alpha gave to others.
async fn namesakes(
    world: &World,
    topic: &str,
    mut last: i64,
    moved: &BTreeSet<i64>,
) -> Result<Vec<SteadyProducer>> {
    let mut beta = wire::Connection::open(&world.beta.address(1)).await?;
    let mut producers = Vec::new();
    for &id in moved {
        while last < id - 1 {
            last = wire::take_producer_id(&mut beta).await?;
        }
        let producer = Producer::new(&world.beta.bootstrap(), &[("enable.idempotence", "true")])?;
        let prefix = format!("namesake{id}");
        let producer = SteadyProducer::start(producer, topic, &prefix, RATE);
        last = producer.producer().producer_id().await?;
        assert_eq!(last, id, "beta did not give the id that alpha gave");
        producers.push(producer);
    }
    Ok(producers)
}

/// An idempotent producer of each library behind the gateway: `7.…` is the Java one's, `r.…` librdkafka's.
struct Producers {
    java: VerifiableProducer,
    librdkafka: SteadyProducer,
}

impl Producers {
    fn start(bootstrap: &str, topic: &str) -> Result<Self> {
        let load = Load { topic, prefix: 7, records: None, rate: Some(RATE) };
        let java = VerifiableProducer::start(bootstrap, load, &[])?;
        let librdkafka = Producer::new(bootstrap, &[("enable.idempotence", "true")])?;
        let librdkafka = SteadyProducer::start(librdkafka, topic, "r", RATE);
        Ok(Self { java, librdkafka })
    }

    fn acknowledged(&self) -> (usize, usize) {
        (self.java.acknowledged(), self.librdkafka.acknowledged())
    }

    /// Waits until both have been told of so many more successes than now.
    async fn await_more(&self, more: usize, limit: Duration) -> Result<()> {
        let (java, librdkafka) = self.acknowledged();
        self.java.await_acknowledged(java + more, limit).await?;
        self.librdkafka.await_acknowledged(librdkafka + more, limit).await
    }

    /// Ends them in good order; fails when a single record did.
    async fn finish(self) -> Result<Ledger> {
        let mut ledger = self.librdkafka.finish().await?;
        ledger.acknowledged.extend(self.java.finish().await?.acknowledged);
        Ok(ledger)
    }
}

/// A classic group of each library behind the gateway, with one member.
struct Readers {
    java: VerifiableConsumer,
    librdkafka: GroupConsumer,
}

impl Readers {
    fn start(bootstrap: &str, topic: &str) -> Result<Self> {
        let classic = GroupProtocol::Classic;
        let java = VerifiableConsumer::start(bootstrap, topic, &unique("group"), classic)?;
        let librdkafka = GroupConsumer::start(bootstrap, topic, &unique("group"), &[])?;
        Ok(Self { java, librdkafka })
    }

    /// Waits until both have received so many records in all.
    async fn await_count(&self, count: usize, limit: Duration) -> Result<()> {
        self.java.await_count(count, limit).await?;
        self.librdkafka.await_count(count, limit).await
    }

    /// Waits until both have received all of these values.
    async fn await_values(&self, values: &BTreeSet<String>) -> Result<()> {
        let missing = || {
            let lacks =
                |received: Vec<String>| values.difference(&received.into_iter().collect()).count();
            (lacks(self.java.values()), lacks(self.librdkafka.values()))
        };
        let what = format!("all of {} records at both consumers", values.len());
        let read =
            eventually(&what, RECOVERY_TIME_MAX, || async { (missing() == (0, 0)).then_some(()) });
        read.await.map_err(|error| {
            let (missing, tail) = (missing(), self.java.tail());
            format!(
                "{error}: Java and librdkafka lack {missing:?}; the former's output ends:{tail}"
            )
            .into()
        })
    }

    /// Ends them in good order; fails when one reported an error that it does not mend by itself.
    async fn finish(self) -> Result<()> {
        self.librdkafka.healthy()?;
        self.java.leave().await
    }
}

/// Whether the trigger lets requests in flight finish.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Cut {
    Drained,
    Severed,
}

/// Moves clients from alpha to beta by `trigger`.
async fn moved_by(cut: Cut, trigger: impl AsyncFnOnce(&mut Gateway) -> Result<()>) -> Result<()> {
    let world = world().await?;
    let topic = topic_on_both(world).await?;
    let mut gateway = Gateway::start(Config::new("neutral", &[&world.alpha, &world.beta])).await?;
    let bootstrap = gateway.bootstrap();
    let last_of_beta = put_alpha_ahead(world).await?;
    let readers = Readers::start(&bootstrap, &topic)?;
    let producers = Producers::start(&bootstrap, &topic)?;
    producers.await_more(200, LIMIT).await?;
    readers.await_count(400, LIMIT).await?;

    // What alpha's brokers see is what clients were given: alpha's ids with the tag.
    let tagged = producer_ids(&world.alpha, &topic).await?;
    let own: BTreeSet<_> = tagged.iter().map(|id| id & OWN_BITS).collect();
    assert!(own.len() == 2 && tagged.is_disjoint(&own), "ids at alpha: {tagged:?}");
    let namesakes = namesakes(world, &topic, last_of_beta, &own).await?;
    for namesake in &namesakes {
        namesake.await_acknowledged(50, LIMIT).await?;
    }

    let start = Instant::now();
    trigger(&mut gateway).await?;
    gateway.await_route("/observed/domain", &json!("beta")).await?;
    gateway.await_route("/observed/phase", &json!("serving")).await?;
    let cut_off = gateway.route("/observed/lastMove/cutOff")?;
    println!("at beta after {:.1} s, {cut_off} requests cut off", start.elapsed().as_secs_f32());
    // Whatever is acknowledged from now on, beta has taken.
    producers.await_more(1, RECOVERY_TIME_MAX).await?;
    println!("both producers work after {:.1} s", start.elapsed().as_secs_f32());
    producers.await_more(300, RECOVERY_TIME_MAX).await?;

    let mut ledger = producers.finish().await?;
    for namesake in namesakes {
        ledger.acknowledged.extend(namesake.finish().await?.acknowledged);
    }
    let (mut everywhere, mut at_beta) = (Found::default(), Found::default());
    at_beta.read(&world.beta.bootstrap(), &topic)?;
    everywhere.read(&world.alpha.bootstrap(), &topic)?;
    everywhere.read(&world.beta.bootstrap(), &topic)?;
    none("acknowledged records are lost", &everywhere.lost(&ledger))?;
    if cut == Cut::Drained {
        assert_eq!(cut_off, json!(0), "requests were cut off in spite of the drain");
        none("records are there twice", &everywhere.duplicated())?;
    }
    assert!(at_beta.count("7.") >= 300 && at_beta.count("r.") >= 300);
    readers.await_values(&at_beta.0.into_keys().collect()).await?;
    println!("both consumers have everything after {:.1} s", start.elapsed().as_secs_f32());
    readers.finish().await?;

    // The ids did collide but for the tag: four producers wrote to beta, by two ids of their clusters.
    let at_beta = producer_ids(&world.beta, &topic).await?;
    assert_eq!(at_beta, tagged.union(&own).copied().collect());
    Ok(())
}

/// The way of operators who keep everything in files.
#[test]
fn clients_moved_by_a_saved_configuration_lose_nothing_and_go_on() {
    itest(moved_by(Cut::Drained, async |gateway| {
        gateway.save(|config| config.routes[0].domain = "beta".into())
    }));
}

/// The roughest way: no drain, no fence, so that what is in flight is cut off. That may repeat records, but not lose them.
#[test]
fn clients_severed_by_a_switchover_of_the_control_api_lose_nothing_and_go_on() {
    itest(moved_by(Cut::Severed, async |gateway| {
        let said = gateway.command("switchover", &json!({"to": "beta"}))?;
        assert_eq!(said, json!({"revision": 2, "changed": true}));
        Ok(())
    }));
}

/// The way of runbooks.
#[test]
fn clients_moved_by_the_command_line_lose_nothing_and_go_on() {
    itest(moved_by(Cut::Drained, async |gateway| {
        let arguments =
            ["switchover", "--route", "main", "--to", "beta", "--fence", "hold", "--drain", "5s"];
        let said = gateway.cli(&arguments)?;
        assert!(said.contains("main points at beta (revision 2)"), "{said}");
        Ok(())
    }));
}

/// A hold of ten seconds is silence to clients, which all of them bear.
#[test]
fn clients_held_for_ten_seconds_report_no_error_and_lose_nothing() {
    itest(async {
        let world = world().await?;
        let topic = unique("held");
        create_topic(&world.alpha, &topic, &[&[1, 2, 3], &[2, 3, 1], &[3, 1, 2]]).await?;
        let gateway = Gateway::start(Config::new("neutral", &[&world.alpha, &world.beta])).await?;
        let bootstrap = gateway.bootstrap();
        let readers = Readers::start(&bootstrap, &topic)?;
        let producers = Producers::start(&bootstrap, &topic)?;
        producers.await_more(200, LIMIT).await?;
        readers.await_count(400, LIMIT).await?;

        let start = Instant::now();
        gateway.command("fence", &json!({"mode": "hold"}))?;
        gateway.await_route("/observed/inFlight", &json!(0)).await?;
        // Records go on coming in at the producers, so requests must be waiting before long.
        eventually("requests that wait", LIMIT, || async {
            gateway.route("/observed/parkedBytes").ok()?.as_u64().filter(|&bytes| bytes > 0)
        })
        .await?;
        tokio::time::sleep(Duration::from_secs(1)).await; // Callbacks of the last answers.
        let before = producers.acknowledged();
        // Not a wait for something: the length of the hold is what is under test.
        tokio::time::sleep(Duration::from_secs(10).saturating_sub(start.elapsed())).await;
        assert_eq!(producers.acknowledged(), before, "records passed the fence");
        gateway.command("unfence", &json!({}))?;
        // What came in meanwhile is written as well.
        producers.await_more(1000, RECOVERY_TIME_MAX).await?;

        producers.java.undisturbed()?;
        producers.librdkafka.producer().undisturbed()?;
        let ledger = producers.finish().await?;
        let mut found = Found::default();
        found.read(&world.alpha.bootstrap(), &topic)?;
        none("acknowledged records are lost", &found.lost(&ledger))?;
        none("records are there twice", &found.duplicated())?;
        readers.await_values(&ledger.acknowledged).await?;
        readers.java.undisturbed()?;
        readers.librdkafka.undisturbed()?;
        let assignments = (readers.java.assignments(), readers.librdkafka.assignments());
        assert_eq!(assignments, (1, 1), "a consumer was taken out of its group");
        readers.finish().await
    });
}

/// How many brokers clients of the gateway are told of: three are alpha's, one is beta's.
async fn brokers_shown(gateway: &Gateway) -> Result<usize> {
    Ok(wire::metadata(&gateway.bootstrap(), &[]).await?.brokers.len())
}

/// A gateway that drifts back after a restart would split the clients over two clusters.
#[test]
fn gateway_restarted_after_a_switchover_points_where_it_was_switched_to() {
    itest(async {
        let world = world().await?;
        let mut gateway =
            Gateway::start(Config::new("neutral", &[&world.alpha, &world.beta])).await?;
        assert_eq!(brokers_shown(&gateway).await?, 3);
        gateway.cli(&["switchover", "--route", "main", "--to", "beta"])?;
        for signal in ["TERM", "KILL"] {
            gateway.halt(signal).await?;
            gateway.start_again().await?;
            assert_eq!(gateway.route("/observed/domain")?, json!("beta"), "after {signal}");
            assert_eq!(gateway.route("/desired/revision")?, json!(2), "after {signal}");
            assert_eq!(gateway.route("/lastChange/by")?, json!("cli"), "after {signal}");
            assert_eq!(brokers_shown(&gateway).await?, 1, "after {signal}");
        }
        // The same file saved once more is no new word of the operator.
        gateway.save(|_| ())?;
        gateway.halt("TERM").await?;
        gateway.start_again().await?;
        assert_eq!(brokers_shown(&gateway).await?, 1);
        // An edited section is, though it names the domain that it has named all the time.
        gateway.halt("TERM").await?;
        gateway.save(|config| config.routes[0].fence = Some("{mode: hold}".into()))?;
        gateway.start_again().await?;
        assert_eq!(gateway.route("/desired/domain")?, json!("alpha"));
        assert_eq!(gateway.route("/lastChange/by")?, json!("config"));
        assert_eq!(brokers_shown(&gateway).await?, 3);
        Ok(())
    });
}

/// A fence that opened by a restart would let clients write to a cluster in the middle of its promotion.
#[test]
fn gateway_restarted_while_fenced_stays_fenced() {
    itest(async {
        let world = world().await?;
        let mut gateway =
            Gateway::start(Config::new("neutral", &[&world.alpha, &world.beta])).await?;
        gateway.cli(&["fence", "--route", "main", "--mode", "hold"])?;
        for signal in ["TERM", "KILL"] {
            gateway.halt(signal).await?;
            gateway.start_again().await?;
            assert_eq!(gateway.route("/desired/fence/mode")?, json!("hold"), "after {signal}");
            assert_eq!(gateway.route("/observed/phase")?, json!("fenced"), "after {signal}");
        }
        // A request of a client waits at the fence, and is answered when it is opened.
        let bootstrap = gateway.bootstrap();
        let asked = tokio::spawn(async move { wire::metadata(&bootstrap, &[]).await });
        eventually("a request that waits", LIMIT, || async {
            gateway.route("/observed/parkedBytes").ok()?.as_u64().filter(|&bytes| bytes > 0)
        })
        .await?;
        assert!(!asked.is_finished());
        gateway.cli(&["unfence", "--route", "main"])?;
        assert_eq!(asked.await??.brokers.len(), 3);
        gateway.halt("KILL").await?;
        gateway.start_again().await?;
        assert_eq!(gateway.route("/desired/fence")?, json!(null));
        assert_eq!(brokers_shown(&gateway).await?, 3);
        Ok(())
    });
}

/// Clients remember the ports of brokers over a restart of the gateway, which has yet to learn what stands behind them.
#[test]
fn client_on_a_broker_port_of_a_gateway_that_knows_nothing_yet_is_served() {
    itest(async {
        let world = world().await?;
        let topic = unique("early");
        create_topic(&world.alpha, &topic, &[&[3, 1, 2]]).await?;
        // The only way to alpha leads through a listener that does not exist when the gateway looks at its domain.
        let way = machine::address(22, 9);
        let mut config = Config::new("neutral", &[&world.alpha]);
        config.domains[0].endpoint = format!("{way}:{BROKER_PORT}");
        let gateway = Gateway::start(config).await?;
        eventually("a look in vain", LIMIT, || async {
            gateway.log().contains("cannot look at the streaming domain").then_some(())
        })
        .await?;
        let nothing = Forbidden { hosts: Vec::new(), ports: Vec::new() };
        let _way = Tap::start(&way, &world.alpha.plan().host(1), [BROKER_PORT], nothing).await?;

        // It goes by the port of node 3, the leader, and has no other address.
        let producer = Producer::new(&gateway.node(3), &[("enable.idempotence", "true")])?;
        let producer = SteadyProducer::start(producer, &topic, "r", RATE);
        producer.await_acknowledged(200, RECOVERY_TIME_MAX).await?;
        assert!(gateway.metrics()?.contains("broker_learned"), "{}", gateway.metrics()?);
        let ledger = producer.finish().await?;
        let mut found = Found::default();
        found.read(&world.alpha.bootstrap(), &topic)?;
        none("acknowledged records are lost", &found.lost(&ledger))?;
        none("records are there twice", &found.duplicated())
    });
}

/// A KIP-848 member that is told that its group does not exist is dead for good, so it must not be told.
#[test]
fn consumer_protocol_groups_in_native_view_moved_by_a_switchover_join_again() {
    itest(async {
        let world = world().await?;
        let topic = unique("kip848");
        create_topic(&world.alpha, &topic, &[&[2, 3, 1], &[3, 1, 2]]).await?;
        create_topic(&world.beta, &topic, &[&[1], &[1]]).await?;
        let gateway = Gateway::start(Config::new("native", &[&world.alpha, &world.beta])).await?;
        let bootstrap = gateway.bootstrap();
        let protocol = GroupProtocol::Consumer;
        let java = VerifiableConsumer::start(&bootstrap, &topic, &unique("group"), protocol)?;
        let settings = [("group.protocol", spoken(protocol)?.name())];
        let librdkafka = GroupConsumer::start(&bootstrap, &topic, &unique("group"), &settings)?;
        let produce = async |prefix: u32| {
            let load = Load { topic: &topic, prefix, records: Some(500), rate: None };
            VerifiableProducer::start(&bootstrap, load, &[])?.end(LIMIT).await
        };
        produce(1).await?;
        java.await_count(500, LIMIT).await?;
        librdkafka.await_count(500, LIMIT).await?;

        gateway.command("switchover", &json!({"to": "beta", "fence": "hold", "drain": "5s"}))?;
        gateway.await_route("/observed/domain", &json!("beta")).await?;
        gateway.await_route("/observed/phase", &json!("serving")).await?;
        // A member may read on at its old positions for a while: it hears of its coordinator at its next heartbeat.
        eventually("both members in their groups again", RECOVERY_TIME_MAX, || async {
            ((java.assignments(), librdkafka.assignments()) == (2, 2)).then_some(())
        })
        .await
        .map_err(|error| format!("{error}:{}{}", java.tail(), librdkafka.log_tail(20)))?;
        // What would have killed them, and what they were told instead.
        let group = unique("nobody");
        let (direct, through) = (world.beta.address(1), gateway.node(1));
        assert_eq!(wire::heartbeat_of_member(&direct, &group).await?, GROUP_ID_NOT_FOUND);
        assert_eq!(wire::heartbeat_of_member(&through, &group).await?, UNKNOWN_MEMBER_ID);

        let ledger = produce(2).await?;
        let missing = |values: Vec<String>| {
            ledger.acknowledged.difference(&values.into_iter().collect()).count()
        };
        let moved = eventually("beta's records at both consumers", RECOVERY_TIME_MAX, || async {
            (missing(java.values()) == 0 && missing(librdkafka.values()) == 0).then_some(())
        });
        moved.await.map_err(|error| {
            let lacks = (missing(java.values()), missing(librdkafka.values()));
            format!("{error}: Java and librdkafka lack {lacks:?}; Java's output:{}", java.tail())
        })?;
        librdkafka.healthy()?;
        java.leave().await
    });
}

//! The comparison of brokers itself: a broker that lies in one field must be found out.

use std::collections::BTreeMap;

use switchyard_itests::{
    Result,
    differential::{
        allowed::Allowances,
        bench::Bench,
        fake_and_real::ALLOWED,
        generate, parse,
        shrink::shrink,
        target::Target,
        term::{Ask, Step},
        value::Value,
    },
    fake::{FakeCluster, FakePlan},
    fake_test,
};

const PLAN: FakePlan = FakePlan {
    brokers: 1,
    settings: &[
        ("auto.create.topics.enable", "false"),
        ("group.initial.rebalance.delay.ms", "0"),
        ("offsets.topic.replication.factor", "1"),
        ("transaction.state.log.replication.factor", "1"),
    ],
    users: &[],
    profile: switchyard_sim::cluster::versions::Profile::Kafka41,
};

/// Sequences among which one must show the lie.
const SEQUENCES: u64 = 200;
const STEPS: usize = 14;
const TRIES_MAX: usize = 300;

/// A broker that counts one record too many when there are three.
fn lie(ask: &Ask, answer: &mut Value) {
    if ask.api.name == "ListOffsets" {
        answer.visit_mut("", &mut |name, value| {
            if name == "Offset" && *value == Value::Int(3) {
                *value = Value::Int(4);
            }
        });
    }
}

fn target(name: &str, letter: char, cluster: &FakeCluster) -> Target {
    Target::new(name, letter, BTreeMap::from([(1, cluster.address(1))]))
}

/// Without this, a comparison that never finds anything would look like brokers that agree.
#[test]
fn planted_lie_is_found_and_shrunk_to_what_it_takes() {
    fake_test(async {
        let (honest, liar) = (FakeCluster::start(PLAN)?, FakeCluster::start(PLAN)?);
        let mut second = target("liar", 'l', &liar);
        second.lie = Some(lie);
        let bench =
            Bench::new(vec![target("honest", 'h', &honest), second], Allowances::new(ALLOWED));
        bench.warm_up().await?;
        for seed in 0..SEQUENCES {
            let sequence = generate::sequence(seed, STEPS)?;
            let Some(disagreement) = bench.play(&sequence, false).await?.into_iter().next() else {
                continue;
            };
            let shrunk = shrink(&bench, &sequence, disagreement, TRIES_MAX).await;
            let apis = shrunk.sequence.steps.iter().filter_map(|step| match step {
                Step::Ask(ask) => Some(ask.api.name),
                Step::Pause(_) => None,
            });
            let text = format!("{}{}", shrunk.sequence, shrunk.disagreement);
            let apis: Vec<_> = apis.collect();
            assert_eq!(apis.first(), Some(&"CreateTopics"), "{text}");
            assert_eq!(apis.last(), Some(&"ListOffsets"), "{text}");
            assert!(apis[1..apis.len() - 1].iter().all(|api| *api == "Produce"), "{text}");
            assert!(apis.len() <= 5, "{text}");
            assert!(text.contains("Offset:  3  4"), "{text}");
            // What is printed can be played again.
            let again = parse::sequences(&shrunk.sequence.to_string())?;
            assert!(!bench.play(&again[0], false).await?.is_empty(), "{text}");
            return Ok(());
        }
        Err::<(), _>("no sequence shows the lie".into())
    });
}

/// The same broker twice: what differs is a fault of the comparison.
#[test]
fn two_fake_clusters_agree() -> Result<()> {
    let sequences =
        (1000..1040).map(|seed| generate::sequence(seed, STEPS)).collect::<Result<Vec<_>>>()?;
    fake_test(async {
        let (one, other) = (FakeCluster::start(PLAN)?, FakeCluster::start(PLAN)?);
        let targets = vec![target("one", 'a', &one), target("other", 'b', &other)];
        let bench = Bench::new(targets, Allowances::new(ALLOWED));
        bench.warm_up().await?;
        let mut faults = Vec::new();
        bench
            .play_all(&sequences, 4, false, |sequence, outcome, _| match outcome {
                Ok(found) => faults.extend(found.iter().map(|one| format!("{sequence}{one}"))),
                Err(error) => faults.push(format!("{sequence}{error}")),
            })
            .await;
        if faults.is_empty() { Ok(()) } else { Err(faults.join("\n").into()) }
    });
    Ok(())
}

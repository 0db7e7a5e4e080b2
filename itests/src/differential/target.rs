//! Who is asked, and what one sequence knows of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use switchyard::wire::schema::{self, Api};

use super::{
    batch,
    connection::{Connection, SILENT},
    term::{Ask, Term},
    value::Value,
};
use crate::Result;

/// How long an answer may take.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(12);
/// How long an error that passes may last.
const PASSING_TIME_MAX: Duration = Duration::from_secs(3);
/// The client that looks at things between the steps; those of steps have names.
const ASIDE: &str = "";
/// How long coordinators may take to come up.
const WARM_UP_TIME_MAX: Duration = Duration::from_mins(1);
/// Names that together belong to every coordinator.
const COORDINATED_NAMES: usize = 64;
/// Between two tries.
const PAUSE: Duration = Duration::from_millis(20);

/// `COORDINATOR_LOAD_IN_PROGRESS`, `COORDINATOR_NOT_AVAILABLE`, `NOT_COORDINATOR`, `CONCURRENT_TRANSACTIONS`: a broker that
/// says so says something else soon.
const PASSING: [i64; 4] = [14, 15, 16, 51];

/// An id that no topic has, unless a topic of this name is known.
const NO_TOPIC_ID: u128 = 0x0bad_cafe_0000_4000_8000_0000_0000_0001;

/// Changes an answer before it is compared.
pub type Lie = fn(&Ask, &mut Value);

/// A cluster as one way leads to it.
#[derive(Clone, Debug)]
pub struct Target {
    /// What it is called in reports.
    pub name: String,
    /// Distinguishes the names that its sequences use from those of another target on the same cluster: one letter.
    pub letter: char,
    /// Addresses of its brokers by node id.
    pub brokers: BTreeMap<i32, String>,
    /// Where it is looked at between the steps, if not there: a gateway may not pass on what that takes.
    pub aside: Option<BTreeMap<i32, String>>,
    /// For tests of the comparison itself, and for what is known to differ.
    pub lie: Option<Lie>,
}

impl Target {
    /// A target that says what it says.
    pub fn new(name: &str, letter: char, brokers: impl IntoIterator<Item = (i32, String)>) -> Self {
        let brokers = brokers.into_iter().collect();
        Self { name: name.to_owned(), letter, brokers, aside: None, lie: None }
    }

    fn first_node(&self) -> Result<i32> {
        self.brokers
            .keys()
            .next()
            .copied()
            .ok_or_else(|| format!("{}: no broker", self.name).into())
    }
}

/// One target during one sequence.
pub(super) struct Party<'a> {
    pub(super) target: &'a Target,
    /// Start of every name.
    pub(super) prefix: String,
    /// What `now` is.
    now_ms: i64,
    connections: BTreeMap<(String, i32), Connection>,
    topic_ids: BTreeMap<String, u128>,
    /// By the labels of steps.
    answers: BTreeMap<String, Value>,
    /// Numbers of opaque ids, by kind and text, in the order in which they were seen.
    identities: BTreeMap<(&'static str, String), usize>,
    topics: BTreeSet<String>,
}

impl<'a> Party<'a> {
    /// `case` is no other sequence's; `now_ms` is the same for all targets.
    pub(super) fn new(target: &'a Target, case: &str, now_ms: i64) -> Self {
        Self {
            target,
            prefix: format!("{case}{}-", target.letter),
            now_ms,
            connections: BTreeMap::new(),
            topic_ids: BTreeMap::new(),
            answers: BTreeMap::new(),
            identities: BTreeMap::new(),
            topics: BTreeSet::new(),
        }
    }

    /// A term's value here. `None`: it refers to an answer that has no such place.
    pub(super) fn resolve(&self, term: &Term) -> Option<Value> {
        Some(match term {
            Term::Value(value) => value.clone(),
            Term::Array(elements) => {
                Value::Array(elements.iter().filter_map(|term| self.resolve(term)).collect())
            }
            Term::Struct(fields) => Value::Struct(
                fields
                    .iter()
                    .filter_map(|(name, term)| Some((name.clone(), self.resolve(term)?)))
                    .collect(),
            ),
            Term::Name(name) => Value::String(self.name(name)),
            Term::TopicId(name) => {
                let id = self.topic_ids.get(&self.name(name)).copied();
                Value::Uuid(id.unwrap_or(NO_TOPIC_ID))
            }
            Term::Answer { label, path, plus } => {
                match self.answers.get(label).and_then(|answer| answer.at(path))? {
                    Value::Int(value) => Value::Int(value.wrapping_add(*plus)),
                    value => value.clone(),
                }
            }
            Term::Now(plus) => Value::Int(self.now_ms + plus),
            Term::Repeat(text, count) => Value::String(text.repeat(*count)),
            Term::Records(batches) => {
                let batches = batches.iter().filter_map(|term| self.resolve(term));
                Value::Bytes(batches.flat_map(|value| batch::encode(&value)).collect())
            }
        })
    }

    /// `t0` with the sequence's prefix; `*` stands for whatever follows, as a regular expression writes it.
    fn name(&self, name: &str) -> String {
        format!("{}{}", self.prefix, name.replace('*', ".*"))
    }

    fn node(&self, ask: &Ask) -> Result<i32> {
        match ask.node {
            Some(node) => Ok(node),
            None => self.target.first_node(),
        }
    }

    async fn connection(&mut self, client: &str, node: i32) -> Result<&mut Connection> {
        let key = (client.to_owned(), node);
        if self.connections.get(&key).is_none_or(Connection::is_ended) {
            let target = self.target;
            let aside = target.aside.as_ref().filter(|_| client == ASIDE);
            let address = aside.unwrap_or(&target.brokers).get(&node);
            let address = address.ok_or_else(|| format!("{}: no node {node}", self.target.name))?;
            let opened = Connection::open(address)
                .await
                .map_err(|error| format!("{} at {address}: {error}", self.target.name))?;
            self.connections.insert(key.clone(), opened);
        }
        self.connections.get_mut(&key).ok_or_else(|| "a connection was lost".into())
    }

    /// Sends a request whose answer is [`Self::collect`]ed later.
    pub(super) async fn send(&mut self, ask: &Ask, body: &Value) -> Result<()> {
        let node = self.node(ask)?;
        let connection = self.connection(&ask.client, node).await?;
        connection.send(ask.api, *ask.versions.start(), body).await
    }

    /// The answer to the oldest request of this step's client.
    pub(super) async fn collect(&mut self, ask: &Ask) -> Result<Value> {
        let key = (ask.client.clone(), self.node(ask)?);
        let connection = self.connections.get_mut(&key).ok_or("nothing was sent")?;
        let answer = connection.receive(ANSWER_TIME_MAX).await;
        Ok(self.told(ask, answer))
    }

    /// Asks and waits for the answer; again, as long as it is an error that passes.
    pub(super) async fn ask(&mut self, ask: &Ask, body: &Value) -> Result<Value> {
        let start = tokio::time::Instant::now();
        loop {
            self.send(ask, body).await?;
            let answer = self.collect(ask).await?;
            let passes = answer.error_codes().iter().any(|code| PASSING.contains(code));
            if !passes || start.elapsed() > PASSING_TIME_MAX {
                return Ok(answer);
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    fn told(&self, ask: &Ask, mut answer: Value) -> Value {
        if let Some(lie) = self.target.lie {
            lie(ask, &mut answer);
        }
        answer
    }

    /// Later steps refer to this answer.
    pub(super) fn remember(&mut self, ask: &Ask, answer: &Value) {
        if let Some(label) = &ask.label {
            self.answers.insert(label.clone(), answer.clone());
        }
    }

    /// The number of an opaque id.
    pub(super) fn identity(&mut self, kind: &'static str, text: String) -> usize {
        let next = self.identities.keys().filter(|(own, _)| *own == kind).count() + 1;
        *self.identities.entry((kind, text)).or_insert(next)
    }

    async fn aside(&mut self, node: i32, name: &str, version: i16, body: &Value) -> Result<Value> {
        let api: &'static Api = schema::apis()
            .iter()
            .find(|api| api.name == name)
            .ok_or_else(|| format!("no schema of {name}"))?;
        let connection = self.connection(ASIDE, node).await?;
        connection.send(api, version, body).await?;
        let answer = connection.receive(ANSWER_TIME_MAX).await;
        if answer.text() == Some(SILENT) {
            return Err(format!("{}: {name}: {SILENT}", self.target.name).into());
        }
        Ok(answer)
    }

    /// Waits until all coordinators of groups and of transactions answer.
    pub(super) async fn warm_up(&mut self) -> Result<()> {
        let start = tokio::time::Instant::now();
        let node = self.target.first_node()?;
        let keys: Vec<_> = (0..COORDINATED_NAMES)
            .map(|number| Value::String(format!("{}{number}", self.prefix)))
            .collect();
        let asked = |key_type| {
            let keys = ("CoordinatorKeys".to_owned(), Value::Array(keys.clone()));
            Value::Struct(vec![("KeyType".to_owned(), Value::Int(key_type)), keys])
        };
        let list = |name: &str| Value::Struct(vec![(name.to_owned(), Value::Array(keys.clone()))]);
        let requests = [
            ("FindCoordinator", 4, asked(0)),
            ("FindCoordinator", 4, asked(1)),
            ("DescribeGroups", 5, list("Groups")),
            ("DescribeTransactions", 0, list("TransactionalIds")),
        ];
        // Producer id 0, which answers have also where there is no producer, is nobody's from now on.
        let first = Value::Struct(vec![("TransactionalId".to_owned(), Value::Null)]);
        let requests = requests.into_iter().chain([("InitProducerId", 2, first)]);
        for (name, version, request) in requests {
            loop {
                let answer = self.aside(node, name, version, &request).await?;
                if !answer.error_codes().iter().any(|code| PASSING.contains(code)) {
                    break;
                }
                if start.elapsed() > WARM_UP_TIME_MAX {
                    return Err(format!(
                        "{}: coordinators do not come up: {answer}",
                        self.target.name
                    )
                    .into());
                }
                tokio::time::sleep(PAUSE).await;
            }
        }
        Ok(())
    }

    /// What a request began goes on after its answer; this waits for the end of that.
    pub(super) async fn settle(&mut self, ask: &Ask, body: &Value, answer: &Value) -> Result<()> {
        match ask.api.name {
            "CreateTopics" | "CreatePartitions" | "DeleteTopics" => {
                self.settle_topics(ask, body, answer).await
            }
            "EndTxn" | "InitProducerId" => self.settle_transaction(body).await,
            _ => Ok(()),
        }
    }

    async fn settle_topics(&mut self, ask: &Ask, body: &Value, answer: &Value) -> Result<()> {
        if body.field("ValidateOnly").or(body.field("validateOnly")) == Some(&Value::Bool(true)) {
            return Ok(());
        }
        let list = ["Topics", "Results", "Responses"].into_iter().map(|list| answer.list(list));
        for result in list.flatten() {
            let fine = result.field("ErrorCode").and_then(Value::int) == Some(0);
            let Some(name) = result.field("Name").and_then(Value::text).filter(|_| fine) else {
                continue;
            };
            let name = name.to_owned();
            if ask.api.name == "DeleteTopics" {
                self.await_topic(&name, 0).await?;
                self.topic_ids.remove(&name);
                continue;
            }
            let wanted = body
                .list("Topics")
                .iter()
                .find(|topic| topic.field("Name").and_then(Value::text) == Some(&name))
                .and_then(|topic| topic.field("Count")?.int());
            self.topics.insert(name.clone());
            self.await_topic(
                &name,
                wanted.and_then(|count| usize::try_from(count).ok()).unwrap_or(1),
            )
            .await?;
        }
        Ok(())
    }

    /// Waits until a topic has so many partitions that are led and served; 0: until it is gone.
    async fn await_topic(&mut self, name: &str, partitions: usize) -> Result<()> {
        let request = Value::Struct(vec![(
            "Topics".into(),
            Value::Array(vec![Value::Struct(vec![("Name".into(), Value::String(name.into()))])]),
        )]);
        let start = tokio::time::Instant::now();
        while start.elapsed() < PASSING_TIME_MAX {
            let node = self.target.first_node()?;
            let metadata = self.aside(node, "Metadata", 12, &request).await?;
            let topic = metadata.list("Topics").first().cloned().unwrap_or(Value::Null);
            let known = topic.field("ErrorCode").and_then(Value::int) == Some(0);
            if partitions == 0 && !known {
                return Ok(());
            }
            if partitions > 0 && known && self.is_served(name, &topic, partitions).await? {
                if let Some(Value::Uuid(id)) = topic.field("TopicId") {
                    self.topic_ids.insert(name.to_owned(), *id);
                }
                return Ok(());
            }
            tokio::time::sleep(PAUSE).await;
        }
        Err(format!("{}: {name} does not become ready", self.target.name).into())
    }

    async fn is_served(&mut self, name: &str, topic: &Value, partitions: usize) -> Result<bool> {
        let found = topic.list("Partitions");
        if found.len() < partitions {
            return Ok(false);
        }
        for partition in found {
            let number = |name| partition.field(name).and_then(Value::int).unwrap_or(-1);
            let leader = i32::try_from(number("LeaderId"))?;
            if leader < 0 {
                return Ok(false);
            }
            let index = Value::Int(number("PartitionIndex"));
            let asked =
                vec![("PartitionIndex".into(), index), ("Timestamp".into(), Value::Int(-1))];
            let asked = vec![
                ("Name".into(), Value::String(name.into())),
                ("Partitions".into(), Value::Array(vec![Value::Struct(asked)])),
            ];
            let request = Value::Struct(vec![
                ("ReplicaId".into(), Value::Int(-1)),
                ("Topics".into(), Value::Array(vec![Value::Struct(asked)])),
            ]);
            let answer = self.aside(leader, "ListOffsets", 5, &request).await?;
            if answer.error_codes() != [0] {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Waits until a transaction's markers are written.
    async fn settle_transaction(&mut self, body: &Value) -> Result<()> {
        let Some(Value::String(id)) = body.field("TransactionalId") else { return Ok(()) };
        let ids = Value::Array(vec![Value::String(id.clone())]);
        let request = Value::Struct(vec![("TransactionalIds".into(), ids)]);
        let start = tokio::time::Instant::now();
        while start.elapsed() < PASSING_TIME_MAX {
            let node = self.target.first_node()?;
            let answer = self.aside(node, "DescribeTransactions", 0, &request).await?;
            let state = answer.at("TransactionStates[0].TransactionState").and_then(Value::text);
            if !state.is_some_and(|state| state.starts_with("Prepare")) {
                return Ok(());
            }
            tokio::time::sleep(PAUSE).await;
        }
        Err(format!("{}: the transaction of {id} does not end", self.target.name).into())
    }

    /// Deletes the topics that were created.
    pub(super) async fn clean_up(&mut self) -> Result<()> {
        if self.topics.is_empty() {
            return Ok(());
        }
        let names = self.topics.iter().map(|name| Value::String(name.clone())).collect();
        let request = Value::Struct(vec![
            ("TopicNames".into(), Value::Array(names)),
            ("TimeoutMs".into(), Value::Int(5000)),
        ]);
        let node = self.target.first_node()?;
        self.aside(node, "DeleteTopics", 5, &request).await?;
        Ok(())
    }
}

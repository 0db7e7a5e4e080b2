//! Takes down what happens in a run: the history that oracles judge, and the trace whose digest says whether two runs were
//! the same.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use sha2::{Digest, Sha256};
use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
    span::{Attributes, Id},
};
use tracing_subscriber::{
    Layer,
    layer::Context,
    registry::{LookupSpan, Registry},
};

use crate::oracle::{
    History,
    history::{Entry, Stored, What},
};

/// Everything that was taken down so far. Cloning gives another handle.
#[derive(Clone, Default)]
pub struct Recorder(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    history: History,
    digest: Sha256,
    /// One `Arc` for each name.
    names: BTreeMap<String, Arc<str>>,
}

impl Recorder {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes down that `who` saw `what` at this moment of the simulation.
    pub fn record(&self, who: &str, what: What) {
        self.record_at(turmoil::sim_elapsed().unwrap_or_default(), who, what);
    }

    /// As [`Self::record`], from outside of the simulation.
    pub fn record_at(&self, at: Duration, who: &str, what: What) {
        let at_us = u64::try_from(at.as_micros()).unwrap_or(u64::MAX);
        let mut inner = self.lock();
        let who = inner.name(who);
        let entry = Entry { at_us, who, what };
        let mut line = String::new();
        // Writing into a string does not fail.
        let _ = writeln!(line, "{entry}");
        inner.digest.update(line.as_bytes());
        inner.history.entries.push(entry);
    }

    /// An operator did something, or something broke.
    pub fn note(&self, who: &str, text: impl Into<Arc<str>>) {
        self.record(who, What::Note { text: text.into() });
    }

    /// What a cluster holds in the end.
    pub fn logs(&self, cluster: &str, log: Vec<Stored>) {
        self.lock().history.logs.insert(cluster.to_owned(), log);
    }

    /// One shared copy of a name.
    pub fn name(&self, name: &str) -> Arc<str> {
        self.lock().name(name)
    }

    /// What was taken down, and the digest of the trace in lower-case hex.
    pub fn finish(&self) -> (History, String) {
        let mut inner = self.lock();
        let digest = std::mem::take(&mut inner.digest).finalize();
        let mut hex = String::with_capacity(64);
        for byte in digest {
            let _ = write!(hex, "{byte:02x}");
        }
        let mut history = std::mem::take(&mut inner.history);
        // What was seen in clusters is fetched a moment later.
        history.entries.sort_by_key(|entry| entry.at_us);
        (history, hex)
    }

    /// A subscriber that takes down what the gateway logs, to be the default of the thread that runs the simulation.
    pub fn subscriber(&self) -> impl Subscriber + Send + Sync + use<> {
        use tracing_subscriber::layer::SubscriberExt;
        Registry::default().with(LogLayer(self.clone()))
    }
}

impl Inner {
    fn name(&mut self, name: &str) -> Arc<str> {
        if let Some(known) = self.names.get(name) {
            return Arc::clone(known);
        }
        let shared: Arc<str> = name.into();
        self.names.insert(name.to_owned(), Arc::clone(&shared));
        shared
    }
}

/// Hears the log lines of the core, each with the simulated host that wrote it.
struct LogLayer(Recorder);

/// The simulated host that a span belongs to; turmoil opens one for each host.
struct Host(String);

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for LogLayer {
    fn enabled(&self, metadata: &tracing::Metadata<'_>, _: Context<'_, S>) -> bool {
        let target = metadata.target();
        if metadata.is_span() {
            return metadata.name() == "node";
        }
        target.starts_with("switchyard") && *metadata.level() <= Level::DEBUG
    }

    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        if let (Some(span), Some(name)) = (context.span(id), fields.others.remove("name")) {
            span.extensions_mut().insert(Host(name));
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let host = context.event_scope(event).and_then(|scope| {
            scope
                .from_root()
                .find_map(|span| span.extensions().get::<Host>().map(|host| host.0.clone()))
        });
        let host = host.unwrap_or_else(|| "world".to_owned());
        if fields.message == "session ended" {
            let cause = fields.others.remove("cause").unwrap_or_default();
            self.0.record(&host, What::SessionClosed { cause: cause.into() });
            return;
        }
        let mut text = fields.message;
        for (key, value) in &fields.others {
            let _ = write!(text, " {key}={value}");
        }
        let level = event.metadata().level().as_str().to_ascii_lowercase();
        self.0.record(&host, What::Log { level: level.into(), text: text.into() });
    }
}

#[derive(Default)]
struct Fields {
    message: String,
    others: BTreeMap<&'static str, String>,
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            value.clone_into(&mut self.message);
        } else {
            self.others.insert(field.name(), value.to_owned());
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.record_str(field, &format!("{value:?}"));
    }
}

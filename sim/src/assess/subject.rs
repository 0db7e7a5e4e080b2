//! What is assessed: a route of a gateway file, and clients with a user's settings.

use std::{
    collections::BTreeMap,
    fmt, fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use switchyard::config::{self, Environment, Model, Source, suggest};

use crate::client::{ConsumerSettings, Library, ProducerSettings, Properties, Role};

/// Settings that only hold for the clusters that a user has: those of a rehearsal need no login.
const LEFT_OUT: &[&str] = &["security.", "sasl.", "ssl."];

/// What a user wants to know something about.
#[derive(Clone, Debug)]
pub struct Request {
    /// The gateway's configuration.
    pub gateway: PathBuf,
    /// Which route; the default is the first.
    pub route: Option<String>,
    /// Where it would be moved; the default is the first domain that it can be pointed at.
    pub to: Option<String>,
    /// The producers' settings.
    pub producer: Option<PathBuf>,
    /// The consumers' settings.
    pub consumer: Option<PathBuf>,
    /// The clients' library.
    pub library: Library,
    /// Records a second of one producer.
    pub rate: u32,
    /// Bytes of a record.
    pub record_bytes: u32,
}

/// What is assessed.
#[derive(Clone, Debug)]
pub struct Subject {
    /// The gateway's file, as the user named it.
    pub origin: String,
    /// The same, from anywhere.
    pub file: PathBuf,
    /// What it says.
    pub model: Arc<Model>,
    /// The route.
    pub route: String,
    /// Its domain.
    pub from: String,
    /// Where it can be moved.
    pub to: Option<String>,
    /// The clients' library.
    pub library: Library,
    /// What holds for producers.
    pub producer: Properties,
    /// What holds for consumers.
    pub consumer: Properties,
    /// Records a second of one producer.
    pub rate: u32,
    /// Bytes of a record.
    pub record_bytes: u32,
    /// What was left out or understood differently.
    pub notes: Vec<String>,
}

/// Every fault of the files.
#[derive(Debug)]
pub struct SubjectError(Vec<String>);

impl fmt::Display for SubjectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}

impl std::error::Error for SubjectError {}

impl Subject {
    /// Reads the files.
    ///
    /// # Errors
    /// Every fault of all of them.
    pub fn read(request: &Request) -> Result<Self, SubjectError> {
        let mut faults = Vec::new();
        let origin = request.gateway.display().to_string();
        let source = Source::File(request.gateway.clone());
        let model = match config::load(&source, &Environment::default()) {
            Ok(loaded) => Some(loaded.model),
            Err(error @ config::LoadError::Source(_)) => {
                faults
                    .push(format!("{error}\n  remedy: name the file that the gateway is run with"));
                None
            }
            Err(error) => {
                faults.push(error.to_string());
                None
            }
        };
        let library = request.library;
        let producer =
            properties(library, Role::Producer, request.producer.as_deref(), &mut faults);
        let consumer =
            properties(library, Role::Consumer, request.consumer.as_deref(), &mut faults);
        let place = model.as_ref().and_then(|model| place(model, request, &origin, &mut faults));
        let file = fs::canonicalize(&request.gateway).unwrap_or_else(|_| request.gateway.clone());
        match (model, producer, consumer, place) {
            (Some(model), Some(producer), Some(consumer), Some((route, from, to)))
                if faults.is_empty() =>
            {
                let notes = notes([&producer, &consumer], to.is_some());
                Ok(Self {
                    origin,
                    file,
                    model,
                    route,
                    from,
                    to,
                    library,
                    producer,
                    consumer,
                    rate: request.rate,
                    record_bytes: request.record_bytes,
                    notes,
                })
            }
            _ => Err(SubjectError(faults)),
        }
    }

    /// The clients' settings as a scenario takes them.
    pub fn settings(&self, role: Role) -> BTreeMap<String, String> {
        let own = match role {
            Role::Producer => &self.producer,
            Role::Consumer => &self.consumer,
        };
        let kept = own.pairs().filter(|(name, _)| !is_left_out(name));
        // What tells clients of a production system apart is given to each of the rehearsal.
        let ids = ["bootstrap.servers", "transactional.id", "group.instance.id"];
        kept.filter(|(name, _)| !ids.contains(name))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect()
    }

    /// Whether its clients are told apart by this setting.
    pub fn has(&self, role: Role, name: &str) -> bool {
        let own = match role {
            Role::Producer => &self.producer,
            Role::Consumer => &self.consumer,
        };
        own.pairs().any(|(given, value)| given == name && !value.is_empty())
    }
}

fn is_left_out(name: &str) -> bool {
    LEFT_OUT.iter().any(|prefix| name.starts_with(prefix))
}

fn notes(properties: [&Properties; 2], has_target: bool) -> Vec<String> {
    let mut notes = Vec::new();
    let names = properties.iter().flat_map(|it| it.pairs()).map(|(name, _)| name);
    let mut left_out: Vec<_> = names.filter(|name| is_left_out(name)).collect();
    left_out.sort_unstable();
    left_out.dedup();
    if !left_out.is_empty() {
        notes.push(format!(
            "without an effect here, because the clusters of a rehearsal need no login: {}",
            left_out.join(", ")
        ));
    }
    if !has_target {
        notes.push(
            "the route can be pointed at no other streaming domain: an outage lasts until the region is back".to_owned(),
        );
    }
    notes
}

fn properties(
    library: Library,
    role: Role,
    file: Option<&Path>,
    faults: &mut Vec<String>,
) -> Option<Properties> {
    let text = match file.map(fs::read_to_string) {
        None => String::new(),
        Some(Ok(text)) => text,
        Some(Err(error)) => {
            let file = file.unwrap_or(Path::new("")).display();
            let remedy = "name a file with the client's properties";
            faults.push(format!("{file}: cannot be read: {error}\n  remedy: {remedy}"));
            return None;
        }
    };
    let parsed = Properties::parse(library, role, &text).and_then(|parsed| {
        // Where clients connect is the rehearsal's business; a group has to have a name.
        let own = [("bootstrap.servers", "route:1"), ("group.id", "consumers")];
        let own = own.into_iter().filter(|(name, _)| role == Role::Consumer || *name != "group.id");
        let pairs: Vec<_> = own.chain(parsed.pairs()).collect();
        // Logins have no effect here, so what the models do not know of them is no fault.
        let effective = pairs.iter().filter(|(name, _)| !is_left_out(name)).copied();
        let effective = Properties::new(library, role, effective)?;
        let checked = match role {
            Role::Producer => ProducerSettings::new(&effective).map(|_| ()),
            Role::Consumer => ConsumerSettings::new(&effective).map(|_| ()),
        };
        let parsed = Properties::new(library, role, pairs)?;
        checked.map(|()| parsed).map_err(|fault| vec![fault])
    });
    match parsed {
        Ok(parsed) => Some(parsed),
        Err(wrong) => {
            let file = file.map_or_else(|| "defaults".to_owned(), |it| it.display().to_string());
            let other = match library {
                Library::Java => "librdkafka",
                Library::Librdkafka => "java",
            };
            let remedy =
                format!("correct it as the library would want it, or write `--library {other}`");
            faults.extend(wrong.iter().map(|fault| format!("{file}: {fault}\n  remedy: {remedy}")));
            None
        }
    }
}

/// The route, its domain, and where it can be moved.
fn place(
    model: &Model,
    request: &Request,
    origin: &str,
    faults: &mut Vec<String>,
) -> Option<(String, String, Option<String>)> {
    let names = || model.routes.keys().map(|name| &**name);
    let name = request.route.as_deref().or_else(|| names().next())?;
    let Some(route) = model.routes.get(name) else {
        let remedy = suggest::nearest(name, names()).map_or_else(
            || format!("write `--route` with {}", suggest::alternatives(names())),
            |near| format!("did you mean `{near}`?"),
        );
        faults.push(format!("{origin}: routes: there is no route `{name}`\n  remedy: {remedy}"));
        return None;
    };
    let from = route.target.domain.to_string();
    let others = || {
        let eligible = route.eligible().map(|(domain, _)| &**domain);
        eligible.filter(|domain| *domain != from)
    };
    if let Some(to) = request.to.as_deref().filter(|to| !others().any(|other| other == *to)) {
        let remedy = match others().next() {
            Some(_) => format!("write `--to` with {}", suggest::alternatives(others())),
            None => "leave out `--to`: there is no other domain".to_owned(),
        };
        let problem = format!("the route `{name}` cannot be moved from `{from}` to `{to}`");
        faults.push(format!("{origin}: routes: {problem}\n  remedy: {remedy}"));
        return None;
    }
    let to = request.to.clone().or_else(|| others().next().map(str::to_owned));
    Some((name.to_owned(), from, to))
}

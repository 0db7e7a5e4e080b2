//! Text → a tree of values, and where each of them stands.
//!
//! Two readers look at the text. serde_yaml makes the values but keeps no positions and stops at the first
//! doubled key; so the events of saphyr-parser are walked first, for positions, for all doubled keys at
//! once, and for what must be refused before anything is built: depth, and aliases that multiply.

use std::collections::BTreeMap;

use saphyr_parser::{Event, Marker, Parser, ScanError};
use serde_json::Value;

use super::findings::{Findings, Path, Position, Positions, quoted};

/// Largest file that is read.
pub(super) const BYTES_MAX: usize = 1024 * 1024;
/// Most values a file may have once its aliases are expanded.
const NODES_MAX: usize = 100_000;
/// Deepest nesting; the deepest section that exists is at 8.
const DEPTH_MAX: usize = 32;

/// The key under which the whole configuration may stand.
pub(super) const ROOT_KEY: &str = "gateway";

/// Reads the text into the gateway's section. `None`: nothing could be read, and the findings say why.
pub(super) fn read(text: &str, findings: &mut Findings) -> Option<Value> {
    let too_large = "split the gateway's routes over several gateways";
    let (value, positions) = parse(text, too_large, findings)?;
    gateway_section(value, positions, findings)
}

/// Reads the text into values and their positions. `None`: nothing could be read, and the findings say why.
pub(super) fn parse(
    text: &str,
    too_large: &str,
    findings: &mut Findings,
) -> Option<(Value, Positions)> {
    if text.len() > BYTES_MAX {
        let problem = format!("is larger than {} KiB", BYTES_MAX / 1024);
        findings.fault(&Path::root(), problem, too_large);
        return None;
    }
    let mut walk = Walk::new(findings);
    if let Err(stop) = walk.events(text) {
        findings.fault_at(stop.position, &stop.path, stop.problem, stop.remedy);
        return None;
    }
    let positions = walk.positions;

    let value = match serde_yaml::from_str::<Value>(text) {
        Ok(value) => value,
        Err(error) => {
            let position = error
                .location()
                .map(|location| Position { line: location.line(), column: location.column() });
            let problem = format!("is not YAML that can be read: {error}");
            findings.fault_at(position, &Path::root(), problem, "write plain keys and values");
            return None;
        }
    };
    Some((value, positions))
}

/// Strips the optional root key, from the values and from the positions.
fn gateway_section(value: Value, positions: Positions, findings: &mut Findings) -> Option<Value> {
    let Value::Object(mut top) = value else {
        let empty = value.is_null();
        let problem = if empty { "is empty" } else { "is not a set of keys and values" };
        findings.fault(&Path::root(), problem, "write `streamingDomains:` and `routes:`");
        return None;
    };
    if let Some(key) = ["apiVersion", "kind"].into_iter().find(|key| top.contains_key(*key)) {
        findings.locate_by(positions);
        findings.fault(
            &Path::root().key(key),
            "is a key of a Kubernetes resource, not of a gateway's configuration",
            "take `streamingDomains` and `routes` from below its `spec` and write only those",
        );
        return None;
    }
    let Some(section) = top.remove(ROOT_KEY) else {
        findings.locate_by(positions);
        return Some(Value::Object(top));
    };
    let below =
        |(path, position): (&Path, &Position)| Some((path.strip_root(ROOT_KEY)?, *position));
    let stripped = Positions(positions.0.iter().filter_map(below).collect());
    findings.locate_by(positions);
    for key in top.keys() {
        let remedy = format!("move it below `{ROOT_KEY}:`, or write the file without that root");
        findings.fault(&Path::root().foreign_key(key), "stands beside the root", remedy);
    }
    findings.locate_by(stripped);
    match section {
        Value::Object(_) => Some(section),
        _ => {
            let problem = format!("`{ROOT_KEY}` is not a set of keys and values");
            findings.fault(
                &Path::root(),
                problem,
                "write `streamingDomains:` and `routes:` below it",
            );
            None
        }
    }
}

/// Why the walk ended before the end of the text.
struct Stop {
    position: Option<Position>,
    path: Path,
    problem: String,
    remedy: String,
}

impl Stop {
    fn new(mark: Marker, path: Path, problem: impl Into<String>, remedy: &str) -> Self {
        let position = Some(position(mark));
        Self { position, path, problem: problem.into(), remedy: remedy.to_owned() }
    }
}

impl From<ScanError> for Stop {
    fn from(error: ScanError) -> Self {
        let problem = format!("is not valid YAML: {}", error.info());
        let remedy = "look at the indentation, quotes and brackets here and on the line above";
        Self::new(*error.marker(), Path::root(), problem, remedy)
    }
}

fn position(mark: Marker) -> Position {
    Position { line: mark.line(), column: mark.col() + 1 }
}

/// One pass over the events of a document.
struct Walk<'f> {
    findings: &'f mut Findings,
    positions: Positions,
    open: Vec<Collection>,
    documents: usize,
    /// Values so far, those behind aliases counted as if they were written out.
    nodes: usize,
    /// What an alias to each anchor adds to `nodes`.
    anchor_nodes: BTreeMap<usize, usize>,
}

/// A list or mapping whose end has not been seen.
struct Collection {
    path: Path,
    anchor: usize,
    nodes_before: usize,
    place: Place,
}

/// Where in a collection the next value goes.
enum Place {
    Item { next: usize },
    Key { seen: BTreeMap<String, Position> },
    Value { seen: BTreeMap<String, Position>, path: Path },
}

impl<'f> Walk<'f> {
    fn new(findings: &'f mut Findings) -> Self {
        Self {
            findings,
            positions: Positions::default(),
            open: Vec::new(),
            documents: 0,
            nodes: 0,
            anchor_nodes: BTreeMap::new(),
        }
    }

    fn events(&mut self, text: &str) -> Result<(), Stop> {
        for event in Parser::new_from_str(text) {
            let (event, span) = event?;
            self.event(&event, span.start)?;
        }
        Ok(())
    }

    fn event(&mut self, event: &Event<'_>, mark: Marker) -> Result<(), Stop> {
        match event {
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => {}
            Event::DocumentStart(_) => {
                self.documents += 1;
                if self.documents > 1 {
                    let remedy = "keep one document; remove what follows `---`";
                    return Err(Stop::new(mark, Path::root(), "holds several documents", remedy));
                }
            }
            Event::Scalar(text, _, anchor, _) => {
                self.scalar(text, *anchor, mark)?;
            }
            Event::Alias(anchor) => {
                let path = self.place(mark)?;
                // An anchor that is still open has no size yet: the alias would hold itself.
                let Some(nodes) = self.anchor_nodes.get(anchor).copied() else {
                    let remedy = "write the value out";
                    return Err(Stop::new(mark, path, "is an alias that contains itself", remedy));
                };
                self.count(nodes, mark)?;
            }
            Event::SequenceStart(anchor, _) => {
                self.collection(*anchor, Place::Item { next: 0 }, mark)?;
            }
            Event::MappingStart(anchor, _) => {
                self.collection(*anchor, Place::Key { seen: BTreeMap::new() }, mark)?;
            }
            Event::SequenceEnd | Event::MappingEnd => {
                if let Some(closed) = self.open.pop()
                    && closed.anchor != 0
                {
                    self.anchor_nodes.insert(closed.anchor, self.nodes - closed.nodes_before);
                }
            }
        }
        Ok(())
    }

    fn scalar(&mut self, text: &str, anchor: usize, mark: Marker) -> Result<(), Stop> {
        self.count(1, mark)?;
        if anchor != 0 {
            self.anchor_nodes.insert(anchor, 1);
        }
        let Some(Collection { path, place, .. }) = self.open.last_mut() else {
            return Ok(()); // The document is a single word; the values' reader refuses it.
        };
        let Place::Key { seen } = place else {
            return self.place(mark).map(drop);
        };
        let mut seen = std::mem::take(seen);
        let here = position(mark);
        let path = path.foreign_key(text);
        match seen.get(text) {
            None => {
                seen.insert(text.to_owned(), here);
                self.positions.0.insert(path.clone(), here);
            }
            Some(first) => {
                let problem = format!("the key stands already on line {}", first.line);
                let remedy = format!("keep one {}", quoted(text));
                self.findings.fault_at(Some(here), &path, problem, remedy);
            }
        }
        *place = Place::Value { seen, path };
        Ok(())
    }

    fn collection(&mut self, anchor: usize, place: Place, mark: Marker) -> Result<(), Stop> {
        let path = self.place(mark)?;
        if self.open.len() >= DEPTH_MAX {
            let problem = format!("is nested more than {DEPTH_MAX} levels deep");
            return Err(Stop::new(mark, Path::root(), problem, "remove the inner levels"));
        }
        let nodes_before = self.nodes;
        self.count(1, mark)?;
        self.open.push(Collection { path, anchor, nodes_before, place });
        Ok(())
    }

    /// The path of the value that starts here; the collection around it moves on to its next place.
    fn place(&mut self, mark: Marker) -> Result<Path, Stop> {
        let Some(around) = self.open.last_mut() else {
            return Ok(Path::root());
        };
        match &mut around.place {
            Place::Item { next } => {
                let path = around.path.index(*next);
                *next += 1;
                self.positions.0.insert(path.clone(), position(mark));
                Ok(path)
            }
            Place::Value { seen, path } => {
                let path = std::mem::take(path);
                around.place = Place::Key { seen: std::mem::take(seen) };
                Ok(path)
            }
            Place::Key { .. } => {
                let path = around.path.clone();
                Err(Stop::new(mark, path, "a key is not a plain word", "write `key: value`"))
            }
        }
    }

    fn count(&mut self, nodes: usize, mark: Marker) -> Result<(), Stop> {
        self.nodes = self.nodes.saturating_add(nodes);
        if self.nodes > NODES_MAX {
            let problem = format!("has more than {NODES_MAX} values, aliases written out");
            return Err(Stop::new(mark, Path::root(), problem, "use fewer aliases"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(text: &str) -> String {
        let mut findings = Findings::default();
        let value = read(text, &mut findings);
        match findings.into_result("f") {
            Ok(_) => format!("{value:?}"),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn read_with_and_without_root_gives_the_same_section() {
        let plain = "name: a\nroutes: [1, 2]\n";
        let rooted = "gateway:\n  name: a\n  routes: [1, 2]\n";
        assert_eq!(faults(plain), faults(rooted));
    }

    #[test]
    fn read_position_of_an_item_is_found_below_the_root_key() {
        let mut findings = Findings::default();
        read("gateway:\n  routes:\n  - name: a\n    port: 1\n", &mut findings);
        let route = Path::root().key("routes").index(0);
        assert_eq!(findings.line(&route.key("port")), Some(4));
        // A missing key is shown where its section begins.
        assert_eq!(findings.line(&route.key("endpoint")), Some(3));
    }

    #[test]
    fn read_doubled_keys_are_all_reported() {
        insta::assert_snapshot!(faults("a: 1\nb: {c: 1, c: 2}\na: 2\n"), @r"
        f:2:11: b.c: the key stands already on line 2
          remedy: keep one `c`
        f:3:1: a: the key stands already on line 1
          remedy: keep one `a`
        ");
    }

    /// Nine levels of ten aliases are a gigabyte of values in a few hundred bytes of text.
    #[test]
    fn read_aliases_that_multiply_are_refused_before_they_are_built() {
        use std::fmt::Write;
        let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for level in 1..9 {
            let below = vec![format!("*a{}", level - 1); 10].join(", ");
            writeln!(text, "a{level}: &a{level} [{below}]").expect("writing to a string");
        }
        assert!(faults(&text).contains("has more than 100000 values"), "{}", faults(&text));
    }

    #[test]
    fn read_hostile_text_is_refused() {
        assert!(faults(&"[".repeat(5000)).contains("remedy"));
        assert!(faults("a: &x [*x]\n").contains("contains itself"));
        assert!(faults("a: 1\n---\nb: 1\n").contains("several documents"));
        assert!(faults("? [a]\n: 1\n").contains("not a plain word"));
        assert!(faults("").contains("is empty"));
        assert!(faults("just words").contains("not a set of keys"));
        assert!(faults("a: 'open").contains("not valid YAML"));
        assert!(faults("gateway: 5").contains("`gateway` is not a set"));
        assert!(faults("gateway: {}\nroutes: []").contains("stands beside the root"));
        assert!(faults(&" ".repeat(BYTES_MAX + 1)).contains("larger than 1024 KiB"));
    }

    #[test]
    fn read_kubernetes_resource_is_recognised() {
        let text = "apiVersion: platform.confluent.io/v1beta1\nkind: Gateway\nspec: {}\n";
        assert!(faults(text).contains("Kubernetes resource"));
    }
}

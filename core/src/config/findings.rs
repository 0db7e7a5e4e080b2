//! What is wrong with a configuration, and what is worth knowing about a valid one.
//!
//! A check never stops at the first fault: everything that looks at the file writes into one
//! [`Findings`], which knows where each path stands in the text.

use std::{collections::BTreeMap, fmt};

use serde::Serialize;

/// The way from the root of the gateway's section to a value: `routes[1].streamingDomain.name`.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Path(Vec<Segment>);

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Segment {
    Key(String),
    Index(usize),
}

impl Path {
    /// The file as a whole.
    pub fn root() -> Self {
        Self::default()
    }

    /// The path of a value below this one; several keys may be given, joined by dots.
    #[must_use]
    pub fn key(&self, keys: &str) -> Self {
        let mut path = self.clone();
        path.0.extend(keys.split('.').map(|key| Segment::Key(key.to_owned())));
        path
    }

    /// As [`Self::key`] for a key that the file chose, and that may hold dots.
    #[must_use]
    pub fn foreign_key(&self, key: &str) -> Self {
        let mut path = self.clone();
        path.0.push(Segment::Key(key.to_owned()));
        path
    }

    /// The path of an item of the list that stands here.
    #[must_use]
    pub fn index(&self, index: usize) -> Self {
        let mut path = self.clone();
        path.0.push(Segment::Index(index));
        path
    }

    fn parent(&self) -> Option<Self> {
        let (_, parents) = self.0.split_last()?;
        Some(Self(parents.to_vec()))
    }

    /// Without its first key, when that is `key`.
    pub(super) fn strip_root(&self, key: &str) -> Option<Self> {
        match self.0.split_first() {
            Some((Segment::Key(first), rest)) if first == key => Some(Self(rest.to_vec())),
            _ => None,
        }
    }

    fn is_within(&self, outer: &Self) -> bool {
        self.0.starts_with(&outer.0)
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, segment) in self.0.iter().enumerate() {
            match segment {
                Segment::Index(index) => write!(f, "[{index}]")?,
                Segment::Key(key) => {
                    let dot = if position == 0 { "" } else { "." };
                    write!(f, "{dot}{}", printable(key))?;
                }
            }
        }
        Ok(())
    }
}

/// Where something stands in the text; both count from 1, columns in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Position {
    /// Line.
    pub line: usize,
    /// Column.
    pub column: usize,
}

/// Positions of all values of a file.
#[derive(Debug, Default)]
pub(super) struct Positions(pub(super) BTreeMap<Path, Position>);

impl Positions {
    /// Where the path stands, or the nearest thing above it that has a position: a key that is missing,
    /// or a value that came in by an alias, is shown at the section that lacks or holds it.
    fn nearest(&self, path: &Path) -> Option<Position> {
        let mut path = path.clone();
        loop {
            if let Some(position) = self.0.get(&path) {
                return Some(*position);
            }
            path = path.parent()?;
        }
    }
}

/// One thing that keeps a configuration from being used.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Fault {
    /// `None` where the fault does not stand in the text.
    #[serde(flatten)]
    pub position: Option<Position>,
    /// `routes[1].streamingDomain.name`; empty for the file as a whole.
    pub path: String,
    /// What is wrong.
    pub problem: String,
    /// What to write instead.
    pub remedy: String,
}

/// Something that a valid configuration leaves to a default, or that has a price.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Notice {
    /// `None` where the cause does not stand in the text.
    #[serde(flatten)]
    pub position: Option<Position>,
    /// What it is about; empty for the file as a whole.
    pub path: String,
    /// What was decided and what follows from it.
    pub message: String,
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)
    }
}

/// Every fault of one configuration, in the order of its lines.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct ConfigError {
    /// File name, or what stands for it.
    pub origin: String,
    /// At least one.
    pub faults: Vec<Fault>,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, fault) in self.faults.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            write!(f, "{}:", self.origin)?;
            if let Some(Position { line, column }) = fault.position {
                write!(f, "{line}:{column}:")?;
            }
            if !fault.path.is_empty() {
                write!(f, " {}:", fault.path)?;
            }
            write!(f, " {}\n  remedy: {}", fault.problem, fault.remedy)?;
        }
        Ok(())
    }
}

/// Collects faults and notices while a file is looked at.
#[derive(Debug, Default)]
pub struct Findings {
    positions: Positions,
    faults: Vec<(Path, Fault)>,
    notices: Vec<Notice>,
}

impl Findings {
    /// From now on paths are looked up here.
    pub(super) fn locate_by(&mut self, positions: Positions) {
        self.positions = positions;
    }

    /// Reports a fault.
    pub fn fault(&mut self, path: &Path, problem: impl Into<String>, remedy: impl Into<String>) {
        self.fault_at(self.positions.nearest(path), path, problem, remedy);
    }

    /// Reports a fault at a position of its own.
    pub fn fault_at(
        &mut self,
        position: Option<Position>,
        path: &Path,
        problem: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        let (problem, remedy) = (problem.into(), remedy.into());
        let fault = Fault { position, path: path.to_string(), problem, remedy };
        self.faults.push((path.clone(), fault));
    }

    /// Notes what is worth knowing about a file without faults.
    pub fn notice(&mut self, path: &Path, message: impl Into<String>) {
        let position = self.positions.nearest(path);
        self.notices.push(Notice { position, path: path.to_string(), message: message.into() });
    }

    /// The line of a path, to point at it in the text of another fault.
    pub fn line(&self, path: &Path) -> Option<usize> {
        self.positions.nearest(path).map(|position| position.line)
    }

    /// Whether something at or below this path is already at fault, so that what follows from it need
    /// not be reported as well.
    pub fn is_faulty(&self, path: &Path) -> bool {
        self.faults.iter().any(|(faulty, _)| faulty.is_within(path))
    }

    /// Whether anything was reported.
    pub fn has_faults(&self) -> bool {
        !self.faults.is_empty()
    }

    /// The notices of a file without faults, or its faults; both in the order of the lines.
    pub fn into_result(mut self, origin: &str) -> Result<Vec<Notice>, ConfigError> {
        if self.faults.is_empty() {
            self.notices.sort();
            self.notices.dedup();
            return Ok(self.notices);
        }
        let mut faults: Vec<Fault> = self.faults.into_iter().map(|(_, fault)| fault).collect();
        faults.sort();
        faults.dedup();
        Err(ConfigError { origin: origin.to_owned(), faults })
    }
}

/// Longest piece of a file that is repeated in a message.
const SHOWN_CHARACTERS_MAX: usize = 60;

/// A value of the file as it may be shown: in backticks, on one line, bounded, and without what may be
/// a password in an address.
pub fn quoted(value: &str) -> String {
    let shown = match value.rsplit_once('@') {
        Some((_, host)) => format!("…@{host}"),
        None => value.to_owned(),
    };
    format!("`{}`", printable(&shown))
}

/// On one line, without control characters, bounded.
fn printable(text: &str) -> String {
    let mut shown: String = text
        .chars()
        .take(SHOWN_CHARACTERS_MAX)
        .map(|character| if character.is_control() { '\u{fffd}' } else { character })
        .collect();
    if text.chars().count() > SHOWN_CHARACTERS_MAX {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_faults_are_ordered_by_line_and_shown_with_remedy() {
        let mut findings = Findings::default();
        let early = Path::root().key("name");
        let late = Path::root().key("routes").index(1).key("streamingDomain.name");
        let mut positions = Positions::default();
        positions.0.insert(early.clone(), Position { line: 1, column: 1 });
        positions.0.insert(late.parent().expect("has one"), Position { line: 9, column: 3 });
        findings.locate_by(positions);
        findings.fault(&late, "is missing", "write it");
        findings.fault(&early, "is empty", "give one");

        let error = findings.into_result("gateway.yaml").expect_err("two faults");
        insta::assert_snapshot!(error, @r"
        gateway.yaml:1:1: name: is empty
          remedy: give one
        gateway.yaml:9:3: routes[1].streamingDomain.name: is missing
          remedy: write it
        ");
    }

    /// An endpoint with a password in it must not reach a log by way of an error.
    #[test]
    fn quoted_user_information_is_hidden() {
        assert_eq!(quoted("me:secret@host:9092"), "`…@host:9092`");
        assert_eq!(quoted("two\nlines"), "`two\u{fffd}lines`");
        assert_eq!(quoted(&"x".repeat(100)).chars().count(), SHOWN_CHARACTERS_MAX + 3);
    }

    #[test]
    fn is_faulty_holds_for_what_encloses_the_fault_only() {
        let mut findings = Findings::default();
        let routes = Path::root().key("routes");
        findings.fault(&routes.index(1).key("endpoint"), "p", "r");
        assert!(findings.is_faulty(&routes.index(1)));
        assert!(!findings.is_faulty(&routes.index(0)));
    }
}

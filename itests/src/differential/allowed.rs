//! Fields in which targets may differ. Everything else must agree.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::value::{Difference, Value};

/// What two targets were asked and said, for a rule to look at.
pub struct Scene<'a> {
    /// The API's name.
    pub api: &'a str,
    /// Its version.
    pub version: i16,
    /// The request, as the first target got it.
    pub request: &'a Value,
    /// What the first said.
    pub left: &'a Value,
    /// What the other said.
    pub right: &'a Value,
}

/// When a difference is allowed.
#[derive(Clone, Copy)]
pub enum Rule {
    /// Always.
    Any,
    /// When both have something there, neither null nor empty: the words may differ.
    Words,
    /// When this holds.
    When(fn(&Scene<'_>, &Difference) -> bool),
    /// The array is a set, whose elements are told apart by the fields that are named, in any order.
    Unordered(&'static [&'static str]),
}

/// One line of a table of allowed differences.
pub struct Allowance {
    /// The API, or `*`.
    pub api: &'static str,
    /// The path without indexes, such as `Topics[].ErrorMessage`; after `**.`, the end of any path.
    pub path: &'static str,
    /// When.
    pub rule: Rule,
    /// Why this is no fault of either.
    pub reason: &'static str,
}

impl Allowance {
    /// An array that is a set: a broker goes through a hash map there, or through what names hash to.
    pub const fn set(api: &'static str, path: &'static str, keys: &'static [&'static str]) -> Self {
        let reason = "a broker goes through a hash map here";
        Self { api, path, rule: Rule::Unordered(keys), reason }
    }

    /// A field that always may differ.
    pub const fn any(api: &'static str, path: &'static str, reason: &'static str) -> Self {
        Self { api, path, rule: Rule::Any, reason }
    }

    /// A field that may differ when something holds.
    pub const fn when(
        api: &'static str,
        path: &'static str,
        condition: fn(&Scene<'_>, &Difference) -> bool,
        reason: &'static str,
    ) -> Self {
        Self { api, path, rule: Rule::When(condition), reason }
    }

    fn is_of(&self, api: &str, pattern: &str) -> bool {
        let path = match self.path.strip_prefix("**.") {
            Some(end) => pattern
                .strip_suffix(end)
                .is_some_and(|start| start.is_empty() || start.ends_with('.')),
            None => self.path == pattern,
        };
        path && (self.api == "*" || self.api == api)
    }

    fn covers(&self, scene: &Scene<'_>, difference: &Difference) -> bool {
        match self.rule {
            Rule::Any => true,
            Rule::Words => [&difference.left, &difference.right].into_iter().all(|value| {
                value.as_ref().and_then(Value::text).is_some_and(|text| !text.is_empty())
            }),
            Rule::When(condition) => condition(scene, difference),
            Rule::Unordered(_) => false,
        }
    }
}

/// A table of allowed differences that counts what is used.
pub struct Allowances {
    table: Vec<&'static Allowance>,
    used: Vec<AtomicUsize>,
}

impl Allowances {
    /// Nothing of the table has been used yet.
    pub fn new(table: &'static [Allowance]) -> Self {
        Self::of(&[table])
    }

    /// One table of several.
    pub fn of(tables: &[&'static [Allowance]]) -> Self {
        let table: Vec<_> = tables.iter().copied().flatten().collect();
        Self { used: table.iter().map(|_| AtomicUsize::new(0)).collect(), table }
    }

    /// Entries that no difference has needed: they allow what does not happen.
    pub fn unused(&self) -> impl Iterator<Item = &'static Allowance> {
        let unused = self.used.iter().map(|used| used.load(Ordering::Relaxed) == 0);
        self.table.iter().zip(unused).filter(|(_, unused)| *unused).map(|(entry, _)| *entry)
    }

    fn count(&self, index: usize) {
        self.used[index].fetch_add(1, Ordering::Relaxed);
    }

    /// Whether some entry allows it.
    pub(super) fn allow(&self, scene: &Scene<'_>, difference: &Difference) -> bool {
        let pattern = difference.pattern();
        let entry = self
            .table
            .iter()
            .position(|entry| entry.is_of(scene.api, &pattern) && entry.covers(scene, difference));
        if let Some(index) = entry {
            self.count(index);
        }
        entry.is_some()
    }

    /// What tells the elements of a set apart.
    pub(super) fn keys(&self, api: &str, pattern: &str) -> Option<&'static [&'static str]> {
        self.table.iter().filter(|entry| entry.is_of(api, pattern)).find_map(|entry| {
            match entry.rule {
                Rule::Unordered(keys) => Some(keys),
                _ => None,
            }
        })
    }

    /// Puts the elements of sets in order.
    pub(super) fn sort(&self, api: &str, answer: &mut Value) {
        self.sort_at(api, String::new(), answer);
    }

    fn sort_at(&self, api: &str, pattern: String, value: &mut Value) {
        match value {
            Value::Array(elements) => {
                for element in elements.iter_mut() {
                    self.sort_at(api, format!("{pattern}[]"), element);
                }
                let rules = self.table.iter().enumerate();
                for (index, entry) in rules.filter(|(_, entry)| entry.is_of(api, &pattern)) {
                    if let Rule::Unordered(keys) = entry.rule {
                        elements.sort_by_key(|element| element.key(keys));
                        // Whether they came in another order is chance.
                        if elements.len() > 1 {
                            self.count(index);
                        }
                    }
                }
            }
            Value::Struct(fields) => {
                for (name, value) in fields {
                    let dot = if pattern.is_empty() { "" } else { "." };
                    self.sort_at(api, format!("{pattern}{dot}{name}"), value);
                }
            }
            _ => {}
        }
    }
}

//! What was compared, when and where. It is kept as JSON; a later run replaces its own scenarios and leaves the others.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::compare::{Agreement, Row};
use crate::{Result, version::Version};

/// Names of the files in the folder of results.
const JSON: &str = "validation.json";
const MARKDOWN: &str = "validation.md";
const HTML: &str = "validation.html";

/// The newest comparison of every scenario.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// By the scenario's name, with that of the variant behind a slash.
    pub comparisons: BTreeMap<String, Comparison>,
}

/// One scenario, or one variant of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// The scenario's name.
    pub scenario: String,
    /// What it is about.
    pub about: String,
    /// What long times were divided by.
    pub time_scale: u32,
    /// Of the rehearsals.
    pub seeds: Vec<u64>,
    /// Figure by figure.
    pub rows: Vec<Row>,
    /// Documented differences that did not come up.
    pub unneeded: Vec<String>,
    /// Brokers of each cluster of the play.
    pub brokers: BTreeMap<String, usize>,
    /// Kafka's version in each cluster.
    pub kafka: BTreeMap<String, String>,
    /// What could not be as in the scenario.
    pub remarks: Vec<String>,
    /// How long all rehearsals took together, in milliseconds.
    pub rehearsed_ms: u64,
    /// How long the play took, with starting and stopping everything.
    pub played_ms: u64,
    /// How late one timer in a hundred was during the play.
    pub late_ms: u64,
    /// When it ended: `2026-11-26T12:30:00Z`.
    pub date: String,
    /// Of the gateway and the clients: `switchyard`, `java`, `librdkafka`.
    pub versions: BTreeMap<String, String>,
    /// Processors that the machine has.
    pub cores: usize,
    /// Memory that it has, in MiB; 0 where it does not tell.
    pub memory_mib: u64,
}

impl Comparison {
    /// An empty one with what is known of this machine and moment.
    pub fn here_and_now() -> Self {
        let (_, librdkafka) = rdkafka::util::get_rdkafka_version();
        let versions = [
            ("switchyard", env!("CARGO_PKG_VERSION").to_owned()),
            ("java", Version::under_test().map(|it| it.to_string()).unwrap_or_default()),
            ("librdkafka", librdkafka),
        ];
        let now = jiff::Timestamp::now().as_second();
        Self {
            date: jiff::Timestamp::from_second(now).map(|now| now.to_string()).unwrap_or_default(),
            versions: versions.map(|(name, version)| (name.to_owned(), version)).into(),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            memory_mib: memory_mib(),
            ..Self::default()
        }
    }

    /// Whether both worlds agree about everything, or differ as documented.
    pub fn passes(&self) -> bool {
        !self.rows.is_empty() && self.rows.iter().all(|row| row.agreement.passes())
    }

    /// Rows of this kind of outcome.
    pub fn count(&self, agreement: Agreement) -> usize {
        self.rows.iter().filter(|row| row.agreement == agreement).count()
    }
}

impl Report {
    /// What earlier runs have left in a folder; nothing where there was none.
    ///
    /// # Errors
    /// When there is a file that cannot be read, or that is from another version of this program.
    pub fn load(folder: &Path) -> Result<Self> {
        let path = folder.join(JSON);
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(format!("{}: {error}", path.display()).into()),
        };
        serde_json::from_slice(&text)
            .map_err(|error| format!("{}: {error}; remove the file", path.display()).into())
    }

    /// Puts a comparison in place of an older one.
    pub fn put(&mut self, comparison: Comparison) {
        self.comparisons.insert(comparison.scenario.clone(), comparison);
    }

    /// Forgets variants of a file that it does not have any more. `names` are those that it has.
    pub fn forget_others(&mut self, file: &str, names: &[&str]) {
        let of_file = |name: &str| name.split('/').next() == Some(file);
        self.comparisons.retain(|name, _| !of_file(name) || names.contains(&name.as_str()));
    }

    /// Whether every comparison passes; `false` where there is none.
    pub fn passes(&self) -> bool {
        !self.comparisons.is_empty() && self.comparisons.values().all(Comparison::passes)
    }

    /// Writes JSON, Markdown and the page.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn save(&self, folder: &Path) -> Result<()> {
        fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        write(&folder.join(JSON), &format!("{:#}\n", serde_json::to_value(self)?))?;
        write(&folder.join(MARKDOWN), &super::markdown::document(self))?;
        write(&folder.join(HTML), &super::html::page(self))
    }
}

/// Where the page of a folder is, for messages.
pub fn page(folder: &Path) -> PathBuf {
    folder.join(HTML)
}

/// Writes a file as a whole, so that whoever reads meanwhile has the old or the new one.
pub(super) fn write(path: &Path, text: &str) -> Result<()> {
    let failed = |error: io::Error| format!("{} cannot be written: {error}", path.display());
    let half = path.with_extension("new");
    fs::write(&half, text).map_err(failed)?;
    Ok(fs::rename(&half, path).map_err(failed)?)
}

fn memory_mib() -> u64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches("kB").trim().parse::<u64>().ok());
    kib.unwrap_or(0) / 1024
}

#[cfg(test)]
pub(super) mod tests {
    use switchyard_sim::scenario::validation::{Difference, Subject, Validation};
    use switchyard_sim::scenario::values::Bounds;

    use super::*;
    use crate::validation::{compare, sample::Sample};

    /// A comparison in which one figure differs, and one differs as documented.
    pub(in crate::validation) fn comparison(name: &str) -> Comparison {
        let mut simulated = Sample::default();
        for (figure, ..) in switchyard_sim::scenario::validation::COMPARED {
            simulated.figures.insert((*figure).to_owned(), 0);
        }
        simulated.figures.insert("rto".to_owned(), 10_020);
        let mut measured = simulated.clone();
        measured.figures.insert("rto".to_owned(), 11_300);
        measured.figures.insert("repeated".to_owned(), 7);
        measured.figures.insert("lost".to_owned(), 3);
        measured.witnesses.insert("lost".to_owned(), "checkout-1 #7 <is> gone".to_owned());
        simulated.marks.insert("fence-held".to_owned());
        measured.marks.insert("fence-held".to_owned());
        let difference = Difference {
            subject: Subject::Figure("repeated".to_owned()),
            measured: Bounds { min: 0, max: 10 },
            reason: "MirrorMaker 2 translates offsets conservatively.".to_owned(),
        };
        let validation = Validation { differences: vec![difference], ..Validation::default() };
        Comparison {
            scenario: name.to_owned(),
            about: "Requests wait.".to_owned(),
            time_scale: 3,
            seeds: vec![1, 2],
            rows: compare::rows(&validation, &["fence-held".to_owned()], &[simulated], &measured),
            brokers: [("east".to_owned(), 3), ("west".to_owned(), 1)].into(),
            remarks: vec!["west has 1 broker instead of 3".to_owned()],
            rehearsed_ms: 2_500,
            played_ms: 61_000,
            late_ms: 3,
            date: "2026-11-26T12:30:00Z".to_owned(),
            kafka: ["east", "west"].map(|name| (name.to_owned(), "4.1.1".to_owned())).into(),
            versions: [("java".to_owned(), "4.1.1".to_owned())].into(),
            cores: 2,
            memory_mib: 24_000,
            unneeded: Vec::new(),
        }
    }

    /// A run of one scenario must not lose the results of the others.
    #[test]
    fn a_later_run_replaces_its_own_scenarios_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut report = Report::load(folder.path()).expect("nothing yet");
        for name in ["fence/hold", "fence/error", "planned"] {
            report.put(comparison(name));
        }
        report.save(folder.path()).expect("written");
        let mut report = Report::load(folder.path()).expect("what was written");
        let newer = Comparison { time_scale: 5, ..comparison("fence/hold") };
        report.put(newer);
        report.forget_others("fence", &["fence/hold"]);
        report.save(folder.path()).expect("written");
        let report = Report::load(folder.path()).expect("what was written");
        let names: Vec<_> = report.comparisons.keys().map(String::as_str).collect();
        assert_eq!(names, ["fence/hold", "planned"]);
        assert_eq!(report.comparisons["fence/hold"].time_scale, 5);
        assert_eq!(report.comparisons["planned"], comparison("planned"));
        assert!(page(folder.path()).exists());
    }

    #[test]
    fn a_comparison_passes_when_every_row_does() {
        let mut own = comparison("fence/hold");
        assert!(!own.passes());
        assert_eq!(own.count(Agreement::Documented), 1);
        own.rows.retain(|row| row.agreement.passes());
        assert!(own.passes());
        assert!(!Comparison::default().passes(), "nothing was compared");
        assert!(!Report::default().passes(), "nothing was compared");
    }
}

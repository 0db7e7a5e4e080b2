//! Arguments that name a scenario, and what they lead to.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use serde_json::Value;
use switchyard::config::suggest;

use super::{Failure, values};
use crate::{
    rehearsal,
    report::Outcome,
    scenario::{self, Scenario},
};

#[derive(clap::Args)]
pub(super) struct ScenarioArgs {
    /// Scenario file.
    pub(super) file: PathBuf,
    /// Only this variant of it.
    #[arg(long, value_name = "NAME")]
    pub(super) variant: Option<String>,
    /// Puts a value in place of the file's, by path; may be repeated.
    #[arg(long = "set", value_name = "PATH=VALUE", value_parser = values::assignment)]
    pub(super) set: Vec<(String, Value)>,
}

/// How the scenario is to be taken.
#[derive(clap::Args)]
pub(super) struct Taken {
    /// As it is held against real Kafka: with the times and values of its section `validation`, and MirrorMaker 2 as mirror.
    #[arg(long)]
    pub(super) as_validated: bool,
}

impl Taken {
    /// The scenario so taken, or each of its variants.
    pub(super) fn load(&self, args: &ScenarioArgs) -> Result<Vec<Arc<Scenario>>, Failure> {
        if !self.as_validated {
            return args.load();
        }
        let scenarios = scenario::load_for_validation(&args.file, &args.set)?;
        let scenarios = scenarios.iter().map(|scenario| scenario.as_validated(None)).collect();
        chosen(scenarios, args.variant.as_deref())
    }

    /// As [`ScenarioArgs::rehearse`].
    pub(super) fn rehearse(
        &self,
        args: &ScenarioArgs,
        scenario: &Arc<Scenario>,
        seed: u64,
    ) -> Result<Outcome, Failure> {
        let mut outcome = args.rehearse(scenario, seed)?;
        if self.as_validated {
            outcome.replay.push_str(" --as-validated");
        }
        Ok(outcome)
    }
}

impl ScenarioArgs {
    /// The scenario, or each of its variants.
    pub(super) fn load(&self) -> Result<Vec<Arc<Scenario>>, Failure> {
        chosen(scenario::load(&self.file, &self.set)?, self.variant.as_deref())
    }

    /// The one that is meant.
    pub(super) fn load_one(&self) -> Result<Arc<Scenario>, Failure> {
        self.only(self.load()?)
    }

    /// The one of those that were loaded, where there must be one.
    pub(super) fn only(&self, mut scenarios: Vec<Arc<Scenario>>) -> Result<Arc<Scenario>, Failure> {
        if scenarios.len() > 1 {
            let names: Vec<_> = scenarios.iter().filter_map(|it| variant_of(&it.name)).collect();
            let error = format!("`{}` has {} variants", self.file.display(), names.len());
            let remedy =
                format!("write `--variant` with {}", suggest::alternatives(names.into_iter()));
            return Err(Failure::bad_input(error, remedy));
        }
        scenarios.pop().ok_or_else(|| Failure::at_run_time("the file has no scenario"))
    }

    /// Rehearses one of the scenarios; the outcome names the command that replays it from here.
    pub(super) fn rehearse(&self, scenario: &Arc<Scenario>, seed: u64) -> Result<Outcome, Failure> {
        let replay = command("replay", &self.file, variant_of(&scenario.name), &self.set, seed);
        match rehearsal::run(scenario, seed) {
            Ok(outcome) => Ok(Outcome { replay, ..outcome }),
            Err(error) => {
                let error = format!("{} seed {seed}: {error}", scenario.name);
                Err(Failure {
                    remedy: format!("see where: {replay}"),
                    ..Failure::at_run_time(error)
                })
            }
        }
    }
}

fn chosen(scenarios: Vec<Scenario>, variant: Option<&str>) -> Result<Vec<Arc<Scenario>>, Failure> {
    let Some(variant) = variant else {
        return Ok(scenarios.into_iter().map(Arc::new).collect());
    };
    let names: Vec<String> =
        scenarios.iter().filter_map(|it| variant_of(&it.name)).map(str::to_owned).collect();
    match scenarios.into_iter().find(|it| variant_of(&it.name) == Some(variant)) {
        Some(scenario) => Ok(vec![Arc::new(scenario)]),
        None if names.is_empty() => {
            let error = format!("there is no variant `{variant}`: the scenario has none");
            Err(Failure::bad_input(error, "leave out `--variant`"))
        }
        None => {
            let known = names.iter().map(String::as_str);
            let remedy = match suggest::nearest(variant, known.clone()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("write {}", suggest::alternatives(known)),
            };
            Err(Failure::bad_input(format!("there is no variant `{variant}`"), remedy))
        }
    }
}

/// The part of a scenario's name that names a variant.
pub(super) fn variant_of(name: &str) -> Option<&str> {
    name.split_once('/').map(|(_, variant)| variant)
}

/// A command that does something with the same run.
pub(super) fn command(
    subcommand: &str,
    file: &Path,
    variant: Option<&str>,
    set: &[(String, Value)],
    seed: u64,
) -> String {
    let mut command =
        format!("switchyard-sim {subcommand} {}", quoted(&file.display().to_string()));
    if let Some(variant) = variant {
        command.push_str(" --variant ");
        command.push_str(variant);
    }
    for (path, value) in set {
        command.push_str(" --set ");
        command.push_str(&quoted(&format!("{path}={}", shown(value))));
    }
    command + &format!(" --seed {seed}")
}

/// A value as `--set` takes it.
pub(super) fn shown(value: &Value) -> String {
    match value {
        // What would be read as something else than text keeps its quotes.
        Value::String(text) if values::yaml(text).as_ref() == Some(value) => text.clone(),
        other => other.to_string(),
    }
}

/// An argument as a shell takes it.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,@%+".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// A command that cannot be pasted into a shell is no way to see a run again.
    #[test]
    fn command_can_be_pasted_into_a_shell() {
        let set = [
            ("producers[0].rate".to_owned(), json!(5)),
            ("clusters.east.kafka".to_owned(), json!("3.9")),
            ("about".to_owned(), json!("it's")),
        ];
        assert_eq!(
            command("replay", Path::new("s.yaml"), Some("hold"), &set, 3),
            "switchyard-sim replay s.yaml --variant hold --set 'producers[0].rate=5' \
             --set 'clusters.east.kafka=\"3.9\"' --set 'about=it'\\''s' --seed 3"
        );
        for (path, value) in &set {
            let text = format!("{path}={}", shown(value));
            assert_eq!(values::assignment(&text).as_ref(), Ok(&(path.clone(), value.clone())));
        }
    }
}

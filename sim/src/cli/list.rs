//! `switchyard-sim list`

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{Failure, say, scenario::variant_of};
use crate::scenario::{self, Scenario};

/// Lists the scenarios of a folder, each with what it is about and its variants.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  switchyard-sim list
  switchyard-sim list my-scenarios")]
pub(super) struct Args {
    /// Folder with scenario files.
    #[arg(default_value = "scenarios")]
    folder: PathBuf,
}

pub(super) fn run(args: Args) -> Result<(), Failure> {
    let files = files(&args.folder)?;
    let mut faults = Vec::new();
    for file in &files {
        match scenario::load(file, &[]) {
            Ok(scenarios) => show(file, &scenarios),
            Err(error) => faults.push(error.to_string()),
        }
    }
    if faults.is_empty() { Ok(()) } else { Err(Failure::bad_input(faults.join("\n"), "")) }
}

/// Files that hold scenarios, in the order of their names.
fn files(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let entries = fs::read_dir(folder).map_err(|error| {
        let error = format!("`{}` cannot be listed: {error}", folder.display());
        Failure::bad_input(error, "name a folder with scenario files")
    })?;
    let is_scenario =
        |path: &PathBuf| path.extension().is_some_and(|ending| ending == "yaml" || ending == "yml");
    let paths = entries.filter_map(|entry| entry.ok().map(|entry| entry.path()));
    let mut files: Vec<_> = paths.filter(is_scenario).collect();
    files.sort();
    if files.is_empty() {
        let error = format!("`{}` holds no scenario", folder.display());
        return Err(Failure::bad_input(error, "name a folder with files that end in `.yaml`"));
    }
    Ok(files)
}

fn show(file: &Path, scenarios: &[Scenario]) {
    say(&format!("{}\n    {}\n", file.display(), first_sentence(&about(file))));
    let variants = scenarios.iter().filter_map(|it| Some((variant_of(&it.name)?, &it.about)));
    for (name, about) in variants {
        say(&format!("      --variant {name:<12} {}\n", first_sentence(about)));
    }
}

/// What the file says of itself: its variants have texts of their own.
fn about(file: &Path) -> String {
    let text = fs::read_to_string(file).unwrap_or_default();
    let about =
        super::values::yaml(&text).and_then(|file| file["about"].as_str().map(str::to_owned));
    about.unwrap_or_default()
}

/// Up to the first full stop that ends a sentence.
fn first_sentence(text: &str) -> &str {
    let text = text.trim();
    text.find(". ").map_or(text, |end| &text[..=end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_sentence_ends_at_a_full_stop_before_a_space() {
        assert_eq!(first_sentence("Version 3.9 goes. Then more."), "Version 3.9 goes.");
        assert_eq!(first_sentence("  One only.\n"), "One only.");
    }
}

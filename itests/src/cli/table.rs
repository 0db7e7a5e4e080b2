//! `switchyard-itests table`

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{Failure, OUT, say};
use crate::validation::{markdown, readme, report::Report};

/// Prints the newest results as one table, or puts it into the README.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  switchyard-itests table
  switchyard-itests table --readme")]
pub(super) struct Args {
    /// Where `validate` has left its results.
    #[arg(long, value_name = "FOLDER", default_value = OUT)]
    out: PathBuf,
    /// Puts the table between its two marks in this file [default: README.md].
    #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = "README.md")]
    readme: Option<PathBuf>,
}

pub(super) fn run(args: Args) -> Result<(), Failure> {
    let report = Report::load(&args.out).map_err(|error| Failure::bad_input(error, ""))?;
    if report.comparisons.is_empty() {
        let error = format!("there are no results in {}", args.out.display());
        return Err(Failure::bad_input(error, "run `switchyard-itests validate`"));
    }
    match args.readme {
        Some(file) => put(&file, &report),
        None => {
            say(&markdown::overview(&report));
            Ok(())
        }
    }
}

/// Puts the table into a file that has a place for it.
pub(super) fn put(file: &Path, report: &Report) -> Result<(), Failure> {
    let text = fs::read_to_string(file).map_err(|error| {
        let error = format!("{} cannot be read: {error}", file.display());
        Failure::bad_input(error, "run this where README.md is, or name a file")
    })?;
    let text = readme::with_table(&text, report).ok_or_else(|| {
        let error = format!("{} has no place for the table", file.display());
        Failure::bad_input(
            error,
            format!("write the lines `{}` and `{}`", readme::BEGIN, readme::END),
        )
    })?;
    fs::write(file, text).map_err(|error| {
        Failure::at_run_time(format!("{} cannot be written: {error}", file.display()))
    })?;
    say(&format!("{} has the newest table\n", file.display()));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_results_are_bad_input_with_a_remedy() {
        let folder = tempfile::tempdir().expect("a folder");
        let args = Args { out: folder.path().to_owned(), readme: None };
        let failure = run(args).expect_err("there is nothing");
        assert_eq!(failure.code, super::super::BAD_INPUT);
        assert!(failure.remedy.contains("validate"));
    }
}

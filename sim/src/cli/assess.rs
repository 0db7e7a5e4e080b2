//! `switchyard-sim assess`

use std::path::PathBuf;

use super::{Failure, interrupt::Interrupt, progress::Progress, say, write_file};
use crate::{
    assess::{self, Assessment, Event, REACTIONS, Request, Subject, measure},
    client::Library,
};

/// Says what outages and switchovers would cost with a gateway file and client settings.
#[derive(clap::Args)]
#[command(after_help = "\
Rehearses an outage, a planned switchover and a restart of the gateway with reaction times from 5 s to 10 min, and says from \
which one on records are lost, duplicated or refused, groups rebalance or clients stop, and which setting would help. The \
files are those that production uses.

Examples:
  switchyard-sim assess gateway.yaml
  switchyard-sim assess gateway.yaml --producer producer.properties --consumer consumer.properties
  switchyard-sim assess gateway.yaml --library librdkafka --rate 50 --record-bytes 1000 --html assessment.html")]
pub(super) struct Args {
    /// The gateway's configuration file.
    #[arg(value_name = "GATEWAY")]
    gateway: PathBuf,
    /// The producers' properties.
    #[arg(long, value_name = "FILE")]
    producer: Option<PathBuf>,
    /// The consumers' properties.
    #[arg(long, value_name = "FILE")]
    consumer: Option<PathBuf>,
    /// Whose properties these are.
    #[arg(long, value_enum, default_value = "java")]
    library: LibraryName,
    /// Route that the clients use; the default is the first.
    #[arg(long, value_name = "NAME")]
    route: Option<String>,
    /// Streaming domain that it would be moved to; the default is the first other one.
    #[arg(long, value_name = "NAME")]
    to: Option<String>,
    /// Records a second of one producer.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rate: u32,
    /// Bytes of a record.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(32..=1_000_000))]
    record_bytes: u32,
    /// Runs of each event and reaction time; the worst counts.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=1000))]
    seeds: u64,
    /// Writes the result as a page.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Writes the result as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum LibraryName {
    Java,
    Librdkafka,
}

pub(super) fn run(args: Args) -> Result<(), Failure> {
    let request = Request {
        gateway: args.gateway,
        route: args.route,
        to: args.to,
        producer: args.producer,
        consumer: args.consumer,
        library: match args.library {
            LibraryName::Java => Library::Java,
            LibraryName::Librdkafka => Library::Librdkafka,
        },
        rate: args.rate,
        record_bytes: args.record_bytes,
    };
    let subject = Subject::read(&request).map_err(|error| Failure::bad_input(error, ""))?;
    let interrupt = Interrupt::listen();
    let mut progress = Progress::new(Event::ALL.len() * REACTIONS.len());
    let mut done = 0;
    let assessment = Assessment::make(&subject, REACTIONS, |event, seconds| {
        if interrupt.is_set() {
            return None;
        }
        let what = format!("{event:?} {}", assess::span(seconds)).to_lowercase();
        progress.show(done, &what);
        done += 1;
        // Beyond what was planned, thresholds are looked for.
        progress.set_total(done.max(Event::ALL.len() * REACTIONS.len()));
        Some(measure(&subject, event, seconds, args.seeds))
    });
    progress.clear();
    if interrupt.is_set() {
        say("Interrupted; what is known so far:\n\n");
    }
    say(&assess::text(&subject, &assessment));
    if let Some(file) = &args.html {
        write_file(file, &assess::page(&subject, &assessment))?;
    }
    if let Some(file) = &args.json {
        write_file(file, &format!("{:#}\n", assessment.json(&subject)))?;
    }
    let failed = assessment.samples.values().any(|sample| sample.error.is_some());
    if failed || interrupt.is_set() { Err(Failure::not_as_expected()) } else { Ok(()) }
}

//! One comparison of rehearsals with real Kafka in every run of the tests; `switchyard-itests validate` does them all.

use std::{path::Path, sync::Arc, time::Duration};

use switchyard_itests::{
    itest_within, play,
    validation::{show, validate},
};
use switchyard_sim::scenario;

/// Seeds of the rehearsals.
const SEEDS: [u64; 3] = [1, 2, 3];
/// Shorter than what the file says: the test is to cost half a minute of timeline.
const TIME_SCALE: u32 = 3;
/// How long all of it may take.
const TIME_MAX: Duration = Duration::from_mins(8);
/// Plays that it may take: on a machine that others use as well, one may be held up for a moment.
const PLAYS_MAX: usize = 3;

/// Whoever believes a rehearsal of a fence has to find the same on real Kafka.
#[test]
fn a_hold_comes_to_the_same_in_rehearsals_and_on_real_kafka() {
    itest_within(TIME_MAX, async {
        let file =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios/fence-error-or-hold.yaml");
        let all = scenario::load_for_validation(&file, &[]).map_err(|error| error.to_string())?;
        let hold = all.iter().find(|scenario| scenario.name == "fence-error-or-hold/hold");
        let hold = hold.ok_or("the variant is gone")?.as_validated(Some(TIME_SCALE));
        let hold = Arc::new(hold);
        let mut told = String::new();
        for _ in 0..PLAYS_MAX {
            let validated = validate(&hold, TIME_SCALE, &SEEDS, play::play).await?;
            let text = show::text(&validated.comparison);
            println!("{text}");
            if validated.comparison.passes() {
                return Ok(());
            }
            told.push_str(&text);
        }
        Err(format!("{PLAYS_MAX} plays, and none is as it was rehearsed:\n{told}").into())
    });
}

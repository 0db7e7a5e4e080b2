//! A line on stderr that says how far a command has come.

#![expect(clippy::disallowed_types, reason = "people wait in real time")]

use std::{
    fmt::Write as _,
    io::{IsTerminal as _, Write as _, stderr},
    time::{Duration, Instant},
};

/// Columns of the bar.
const WIDTH: usize = 30;
/// How often a line is written where it cannot be drawn over.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// Shows progress as a bar on a terminal, elsewhere as a line now and then.
pub(super) struct Progress {
    total: usize,
    began: Instant,
    in_place: bool,
    told: Instant,
}

impl Progress {
    pub(super) fn new(total: usize) -> Self {
        let now = Instant::now();
        Self { total, began: now, in_place: stderr().is_terminal(), told: now }
    }

    /// More, or less, is to be done than was known.
    pub(super) fn set_total(&mut self, total: usize) {
        self.total = total;
    }

    /// So much is done; `note` says what of it is remarkable, or what comes next.
    pub(super) fn show(&mut self, done: usize, note: &str) {
        let line = line(done, self.total, self.began.elapsed(), note);
        let mut err = stderr().lock();
        // Nothing depends on somebody watching.
        let _ = if self.in_place {
            write!(err, "\r\x1b[K{line}")
        } else if self.told.elapsed() >= LINE_EVERY {
            self.told = Instant::now();
            writeln!(err, "{line}")
        } else {
            Ok(())
        };
        let _ = err.flush();
    }

    /// Makes room for what is printed next.
    pub(super) fn clear(&self) {
        if self.in_place {
            let _ = write!(stderr(), "\r\x1b[K");
        }
    }
}

fn line(done: usize, total: usize, elapsed: Duration, note: &str) -> String {
    let filled = (done * WIDTH).checked_div(total).unwrap_or(WIDTH).min(WIDTH);
    let mut line = format!("[{}{}] {done}/{total}", "=".repeat(filled), " ".repeat(WIDTH - filled));
    if (1..total).contains(&done) {
        #[expect(clippy::cast_precision_loss, reason = "an estimate")]
        let left = elapsed.as_secs_f64() / done as f64 * (total - done) as f64;
        let _ = write!(line, ", {left:.0} s left");
    }
    if !note.is_empty() {
        let _ = write!(line, ", {note}");
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_says_how_much_is_done_and_how_long_it_takes() {
        let after = |done| line(done, 10, Duration::from_secs(6), "1 failing");
        assert_eq!(after(0), "[                              ] 0/10, 1 failing");
        assert_eq!(after(3), "[=========                     ] 3/10, 14 s left, 1 failing");
        assert_eq!(after(10), "[==============================] 10/10, 1 failing");
        assert_eq!(line(0, 0, Duration::ZERO, ""), "[==============================] 0/0");
    }
}

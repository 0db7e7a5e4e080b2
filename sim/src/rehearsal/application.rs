//! The applications that use the model clients: they hand records over at a rate, in transactions or not, and poll.

mod consuming;
mod producing;

pub(super) use consuming::Consuming;
pub(super) use producing::Producing;

use crate::{
    client::{Event, Input, Output},
    cluster::Time,
};

/// A client with its application.
pub(super) trait Application: Send + 'static {
    /// Does what the application has to do by now.
    fn handle_time(&mut self, now: Time);

    /// Something has happened to the client.
    fn handle_input(&mut self, now: Time, input: Input);

    /// The application hears of something.
    fn handle_event(&mut self, now: Time, event: Event);

    /// What the client wants done.
    fn poll_output(&mut self) -> Option<Output>;

    /// When [`Self::handle_time`] is to be called at the latest.
    fn deadline(&self) -> Option<Time>;
}

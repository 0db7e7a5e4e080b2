//! Requests and answers of the administrative APIs, as transcripts and at random.

mod admin;
mod kafka39;
mod oddities;
mod random;
mod story;

pub(in super::super) use story::{Heard, Story, text, topic};

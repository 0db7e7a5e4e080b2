//! Many rehearsals instead of one.
//!
//! ```text
//!  seeds × settings ─▶ sweep ─▶ rows (JSON lines) ─▶ table
//!  one failing run  ─▶ shrink ─▶ a smaller scenario that fails the same check
//! ```
//! A rehearsal is confined to its thread, so several run side by side; what is told of them comes in a fixed order.

pub mod row;
pub mod seeds;
pub mod shrink;
pub mod sweep;
pub mod table;

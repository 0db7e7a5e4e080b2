//! Where the answers through the gateway may differ from those of the broker itself, once addresses are told apart from
//! everything else.

use super::allowed::{Allowance, Rule};

/// What the native view changes.
pub const NATIVE: &[Allowance] = &[];

/// What the neutral view changes.
pub const NEUTRAL: &[Allowance] = &[];

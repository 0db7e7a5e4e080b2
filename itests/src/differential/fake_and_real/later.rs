//! Where brokers later than Kafka 4.1, which the fake one is like, may differ from it.

use super::super::allowed::Allowance;

/// Every difference that is one between Kafka 4.1 and a later one.
pub(super) const ALLOWED: &[Allowance] = &[];

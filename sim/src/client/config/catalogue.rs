//! What a catalogue of properties is made of.

/// Largest `int` of the clients.
pub(super) const INT_MAX: i64 = i32::MAX as i64;
/// No upper bound.
pub(super) const MAX: i64 = i64::MAX;
/// No lower bound.
pub(super) const MIN: i64 = i64::MIN;

/// Known to producers, to consumers.
pub(super) type Roles = (bool, bool);
/// Of both.
pub(super) const BOTH: Roles = (true, true);
/// Of producers alone.
pub(super) const PRODUCER: Roles = (true, false);
/// Of consumers alone.
pub(super) const CONSUMER: Roles = (false, true);

/// One property.
pub(super) struct Property {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    /// As text; empty: unset.
    pub(super) default: &'static str,
    pub(super) roles: Roles,
}

/// What values a property takes.
pub(super) enum Kind {
    Int {
        min: i64,
        max: i64,
    },
    Flag,
    /// One of these, in either case.
    Choice(&'static [&'static str]),
    Text,
}

pub(super) const fn int(
    name: &'static str,
    default: &'static str,
    min: i64,
    max: i64,
    roles: Roles,
) -> Property {
    Property { name, kind: Kind::Int { min, max }, default, roles }
}

pub(super) const fn flag(name: &'static str, default: &'static str, roles: Roles) -> Property {
    Property { name, kind: Kind::Flag, default, roles }
}

pub(super) const fn choice(
    name: &'static str,
    default: &'static str,
    values: &'static [&'static str],
    roles: Roles,
) -> Property {
    Property { name, kind: Kind::Choice(values), default, roles }
}

pub(super) const fn text(name: &'static str, default: &'static str, roles: Roles) -> Property {
    Property { name, kind: Kind::Text, default, roles }
}

//! Values of settings: their types and what is allowed.

use kafka_protocol::ResponseError;

use super::super::controller::Refusal;

/// The type of a setting, by Kafka's own numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Kind {
    /// Of a name that nobody knows.
    Unknown = 0,
    Boolean = 1,
    Text = 2,
    Int = 3,
    Short = 4,
    Long = 5,
    Double = 6,
    List = 7,
    Class = 8,
}

/// What values a setting may have besides what its type says.
#[derive(Clone, Copy, Debug)]
pub(super) enum Allowed {
    AtLeast(i64),
    Between(i32, i32),
    OneOf(&'static [&'static str]),
    /// Each element of a list.
    Members(&'static [&'static str]),
}

/// Checks a value; gives it back as Kafka would show it. The texts are Kafka's.
pub(super) fn check(
    name: &str,
    kind: Kind,
    allowed: Option<Allowed>,
    value: &str,
) -> Result<String, Refusal> {
    let value = value.trim();
    let shown = match kind {
        Kind::Boolean => match value.to_ascii_lowercase().as_str() {
            truth @ ("true" | "false") => truth.to_owned(),
            _ => return wrong(name, value, "Expected value to be either true or false"),
        },
        Kind::Int => number(name, value, value.parse::<i32>().ok(), "INT")?,
        Kind::Short => number(name, value, value.parse::<i16>().ok(), "SHORT")?,
        Kind::Long => number(name, value, value.parse::<i64>().ok(), "LONG")?,
        Kind::Double => {
            let parsed = value.parse::<f64>().ok().map(|number| format!("{number:?}"));
            number(name, value, parsed, "DOUBLE")?
        }
        Kind::List | Kind::Text | Kind::Class | Kind::Unknown => value.to_owned(),
    };
    match allowed {
        Some(Allowed::AtLeast(least))
            if shown.parse::<i64>().is_ok_and(|number| number < least) =>
        {
            return wrong(name, &shown, &format!("Value must be at least {least}"));
        }
        Some(Allowed::Between(least, most)) => {
            let number = shown.parse::<f64>().unwrap_or_default();
            if number < f64::from(least) {
                return wrong(name, &shown, &format!("Value must be at least {least}"));
            }
            if number > f64::from(most) {
                return wrong(name, &shown, &format!("Value must be no more than {most}"));
            }
        }
        Some(Allowed::OneOf(names)) => one_of(name, &shown, names)?,
        Some(Allowed::Members(names)) => {
            for member in shown.split(',').map(str::trim) {
                one_of(name, member, names)?;
            }
        }
        Some(Allowed::AtLeast(_)) | None => {}
    }
    Ok(shown)
}

fn number<T: ToString>(
    name: &str,
    value: &str,
    parsed: Option<T>,
    kind: &str,
) -> Result<String, Refusal> {
    match parsed {
        Some(number) => Ok(number.to_string()),
        None => wrong(name, value, &format!("Not a number of type {kind}")),
    }
}

fn one_of(name: &str, value: &str, names: &[&str]) -> Result<(), Refusal> {
    if names.contains(&value) {
        return Ok(());
    }
    wrong(name, value, &format!("String must be one of: {}", names.join(", ")))
}

fn wrong<T>(name: &str, value: &str, fault: &str) -> Result<T, Refusal> {
    let text = format!("Invalid value {value} for configuration {name}: {fault}");
    Err(Refusal::new(ResponseError::InvalidConfig, text))
}

//! The amount that a Kubernetes quantity says.

use serde_json::Value;

use crate::k8s::api::IntOrText;

/// In one whole.
const NANOS: u128 = 1_000_000_000;

/// What an API server makes of more, in wholes.
const MOST: u128 = i64::MAX as u128;

/// Whole bytes, rounded up; none for what is no quantity.
pub(super) fn bytes(quantity: &IntOrText) -> Option<u64> {
    let (wholes, nanos) = match quantity {
        IntOrText::Int(number) => return u64::try_from(*number).ok(),
        IntOrText::Text(text) => read(text)?,
    };
    u64::try_from(wholes + u128::from(nanos > 0)).ok()
}

/// As an API server stores it, in billionths, rounded up; none for what is no quantity.
pub(super) fn nanos(quantity: &Value) -> Option<u128> {
    let (wholes, nanos) = match quantity {
        Value::Number(number) => read(&number.to_string())?,
        Value::String(text) => read(text)?,
        _ => return None,
    };
    Some((wholes.min(MOST) * NANOS + nanos).min(MOST * NANOS))
}

/// Wholes and billionths.
fn read(text: &str) -> Option<(u128, u128)> {
    let text = text.strip_prefix('+').unwrap_or(text);
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, suffix) = text.split_at(digits);
    let (times, divided) = factor(suffix)?;
    let (whole, part) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && part.is_empty() || part.contains('.') || whole.len() + part.len() > 19 {
        return None;
    }
    let scale = 10_u128.pow(u32::try_from(part.len()).ok()?);
    let value: u128 = format!("{whole}{part}").parse().ok()?;
    // At most 10^19 · 10^18.
    let value = value.checked_mul(times)?;
    let divided = scale * divided;
    let (wholes, rest) = (value / divided, value % divided);
    // `rest` is less than 10^28.
    Some((wholes, (rest * NANOS).div_ceil(divided)))
}

/// What a suffix multiplies with and divides by.
fn factor(suffix: &str) -> Option<(u128, u128)> {
    const DECIMAL: [&str; 7] = ["", "k", "M", "G", "T", "P", "E"];
    const BINARY: [&str; 7] = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
    let power = |names: [&str; 7]| (0_u32..).zip(names).find(|(_, name)| *name == suffix).map(|(power, _)| power);
    if let Some(power) = power(DECIMAL) {
        return Some((1000_u128.pow(power), 1));
    }
    if let Some(power) = power(BINARY) {
        return Some((1024_u128.pow(power), 1));
    }
    if let Some(divided) = [("m", 1000), ("u", 1_000_000), ("n", 1_000_000_000)].into_iter().find(|(n, _)| *n == suffix)
    {
        return Some((1, divided.1));
    }
    let exponent: u32 = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
    (exponent <= 18).then(|| (10_u128.pow(exponent), 1))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn quantities() {
        let text = |text: &str| bytes(&IntOrText::Text(text.to_owned()));
        for (quantity, want) in [
            ("256Mi", Some(256 << 20)),
            ("1.5Gi", Some(3 << 29)),
            ("128974848", Some(128_974_848)),
            ("129e6", Some(129_000_000)),
            ("129M", Some(129_000_000)),
            ("123456m", Some(124)),
            (".5Ki", Some(512)),
            ("+1k", Some(1000)),
            ("", None),
            ("Mi", None),
            ("1.2.3", None),
            ("-1", None),
            ("1 Mi", None),
            ("1Xi", None),
            ("99999999999E", None),
        ] {
            assert_eq!(text(quantity), want, "{quantity:?}");
        }
        assert_eq!(bytes(&IntOrText::Int(7)), Some(7));
        assert_eq!(bytes(&IntOrText::Int(-7)), None);
    }
    /// What an API server makes of what people write.
    #[test]
    fn amounts() {
        for (written, stored) in [
            (json!("1000m"), json!("1")),
            (json!(1), json!("1")),
            (json!("0.5"), json!("500m")),
            (json!("1.5Gi"), json!("1536Mi")),
            (json!("0.1n"), json!("1n")),
            (json!("1e3"), json!("1k")),
            (json!("99E"), json!("9223372036854775807")),
        ] {
            assert!(nanos(&written).is_some() && nanos(&written) == nanos(&stored), "{written}");
        }
        for (one, other) in [(json!("1"), json!("1001m")), (json!("100m"), json!("1")), (json!("1Mi"), json!("1M"))] {
            assert_ne!(nanos(&one), nanos(&other), "{one}");
        }
        assert_eq!([json!("much"), json!(true), json!(-1)].map(|value| nanos(&value)), [None; 3]);
    }
}

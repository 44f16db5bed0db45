//! Bytes of a Kubernetes quantity.

use crate::k8s::api::IntOrText;

/// Whole bytes, rounded up; none for what is no quantity.
pub(super) fn bytes(quantity: &IntOrText) -> Option<u64> {
    let text = match quantity {
        IntOrText::Int(number) => return u64::try_from(*number).ok(),
        IntOrText::Text(text) => text.strip_prefix('+').unwrap_or(text),
    };
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, suffix) = text.split_at(digits);
    let (times, divided) = factor(suffix)?;
    let (whole, part) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && part.is_empty() || part.contains('.') || whole.len() + part.len() > 18 {
        return None;
    }
    let scale = 10_u128.pow(u32::try_from(part.len()).ok()?);
    let value: u128 = format!("{whole}{part}").parse().ok()?;
    u64::try_from(value.checked_mul(times)?.div_ceil(scale * divided)).ok()
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
}

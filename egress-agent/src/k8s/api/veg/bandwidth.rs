//! `spec.bandwidth`.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use crate::k8s::api::schema::{IntOrText, Unknown};

/// Rate limits of one gateway Pod; a number is Mbit/s, a string a number or a quantity in bit/s.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Bandwidth {
    /// Into the cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "rate")]
    pub ingress: Option<IntOrText>,
    /// Out of the cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "rate")]
    pub egress: Option<IntOrText>,
    /// What this build does not know.
    #[serde(flatten)]
    #[schemars(skip)]
    pub other: Unknown,
}

/// Highest rate: its bit/s fit 63 bits.
const MOST: u64 = i64::MAX as u64 / 1_000_000;

fn rate(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "x-kubernetes-int-or-string": true,
        "anyOf": [{"type": "integer"}, {"type": "string"}],
        "maxLength": 32,
        "pattern": r"^([0-9]+|([0-9]+(\.[0-9]+)?|\.[0-9]+)(M|Mi|G|Gi))$",
        "minimum": 0,
        "maximum": MOST,
    })
}

/// Whole Mbit/s, rounded up so that a limit is never none; zero is none.
pub(crate) fn mbps(rate: &IntOrText) -> Result<u64, String> {
    let right = "write Mbit/s as a number, or bit/s with the unit M, Mi, G or Gi, such as 1.5G";
    let wrong = || format!("{rate} is no rate; {right}");
    let text = match rate {
        IntOrText::Int(number) => return u64::try_from(*number).ok().filter(|rate| *rate <= MOST).ok_or_else(wrong),
        IntOrText::Text(text) => text.as_str(),
    };
    let units = [("Mi", 1 << 20), ("Gi", 1 << 30), ("M", 1_000_000), ("G", 1_000_000_000)];
    let (digits, unit) = units
        .into_iter()
        .find_map(|(name, unit)| text.strip_suffix(name).map(|digits| (digits, unit)))
        .unwrap_or((text, 1_000_000_u128));
    let (whole, part) = digits.split_once('.').unwrap_or((digits, "0"));
    let only_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    // A plain number has no point, a point stands between digits or before some, and 18 digits are exact here.
    let plain = digits == text && digits.contains('.');
    let fits = whole.len() <= 18 && part.len() <= 18;
    if plain || digits.is_empty() || part.is_empty() || !fits || !only_digits(whole) || !only_digits(part) {
        return Err(wrong());
    }
    let scale = 10_u128.pow(u32::try_from(part.len()).map_err(|_| wrong())?);
    let number = |text: &str| if text.is_empty() { Ok(0) } else { text.parse::<u128>().map_err(|_| wrong()) };
    let bits = (number(whole)? * scale + number(part)?) * unit;
    let mbps = bits.div_ceil(scale * 1_000_000);
    u64::try_from(mbps).ok().filter(|rate| *rate <= MOST).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As Kube-OVN reads them; the first three were seen there.
    #[test]
    fn rates() {
        let text = |text: &str| mbps(&IntOrText::Text(text.to_owned()));
        for (rate, want) in [
            ("0.5M", 1),
            ("1Mi", 2),
            ("1.5G", 1500),
            ("100", 100),
            ("100M", 100),
            (".5G", 500),
            ("1Gi", 1074),
            ("0", 0),
            ("0.0M", 0),
            ("1.000001M", 2),
            ("9223372036854", MOST),
        ] {
            assert_eq!(text(rate), Ok(want), "{rate}");
        }
        assert_eq!(mbps(&IntOrText::Int(100)), Ok(100));
        for wrong in ["", "-1", "1.5", "M", "1.M", "1k", "1e3", "1 M", "+1M", "9223372036855", "9223372037G", "१M"] {
            assert!(text(wrong).is_err(), "{wrong}");
        }
        assert!(mbps(&IntOrText::Int(-1)).is_err());
        assert!(text("99999999999999999999G").unwrap_err().contains("write Mbit/s"));
    }
}

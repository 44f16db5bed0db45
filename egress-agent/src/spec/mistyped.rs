//! What is wrong with a value of another type, in the words of people who write YAML.

/// `invalid type: string "2", expected i64` becomes `is the text "2"; there must be a whole number: write 2 without quotes`.
pub(super) fn mistyped(reason: &str) -> String {
    let parts = reason.strip_prefix("invalid type: ").and_then(|reason| reason.rsplit_once(", expected "));
    let Some((found, wanted)) = parts else { return reason.to_owned() };
    let (kind, value) = match found.split_once(['`', '"']) {
        Some((kind, value)) => (kind.trim_end(), value.trim_end_matches(['`', '"'])),
        None => (found, ""),
    };
    let is = match kind {
        "string" => format!("the text \"{value}\""),
        "integer" | "floating point" => format!("the number {value}"),
        "boolean" => value.to_owned(),
        "sequence" => "a list".to_owned(),
        "map" => "a mapping".to_owned(),
        _ => found.to_owned(),
    };
    let number = wanted.len() <= 5 && wanted.starts_with(['i', 'u']);
    let must = match wanted {
        _ if number => "a whole number",
        "a boolean" => "true or false",
        "a string" => "a text",
        "a sequence" => "a list",
        "a map" => "a mapping",
        // The name of a type.
        _ if wanted.starts_with("struct ") || wanted.starts_with(char::is_uppercase) => "a mapping",
        other => other,
    };
    // YAML reads 1, yes and n as a number and booleans, and "2" as a text.
    let right = match kind {
        "string" if number && value.parse::<i64>().is_ok() => format!(": write {value} without quotes"),
        "string" if wanted == "a boolean" && ["true", "false"].contains(&value) => {
            format!(": write {value} without quotes")
        }
        "integer" | "floating point" | "boolean" if wanted == "a string" => format!(": write \"{value}\" in quotes"),
        _ => String::new(),
    };
    format!("is {is}; there must be {must}{right}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_plain_words() {
        for (reason, want) in [
            (
                r#"invalid type: string "2", expected i64"#,
                r#"is the text "2"; there must be a whole number: write 2 without quotes"#,
            ),
            (
                r#"invalid type: string "two, expected", expected u32"#,
                r#"is the text "two, expected"; there must be a whole number"#,
            ),
            (
                "invalid type: integer `1`, expected a string",
                r#"is the number 1; there must be a text: write "1" in quotes"#,
            ),
            (
                "invalid type: boolean `true`, expected a string",
                r#"is true; there must be a text: write "true" in quotes"#,
            ),
            (
                r#"invalid type: string "true", expected a boolean"#,
                r#"is the text "true"; there must be true or false: write true without quotes"#,
            ),
            ("invalid type: map, expected a sequence", "is a mapping; there must be a list"),
            ("invalid type: sequence, expected a map", "is a list; there must be a mapping"),
            ("invalid type: sequence, expected struct Policy", "is a list; there must be a mapping"),
            ("invalid type: floating point `1.5`, expected i64", "is the number 1.5; there must be a whole number"),
            ("invalid type: unit value, expected a string", "is unit value; there must be a text"),
            ("missing field `spec`", "missing field `spec`"),
        ] {
            assert_eq!(mistyped(reason), want);
        }
    }
}

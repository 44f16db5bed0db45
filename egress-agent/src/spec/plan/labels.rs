//! Keys, values and operators that a label selector can have.

use k8s_openapi::api::core::v1::NodeSelectorRequirement;

use crate::{
    k8s::api::NodeTerm,
    spec::report::{At, Report},
};

/// The longest name and value, and the longest prefix of a key.
const LONGEST: (usize, usize) = (63, 253);

/// Checks a pair of `matchLabels`; `field` is its path.
pub(super) fn pair(field: &str, key: &str, value: &str, at: &At, report: &mut Report) {
    let field = format!("{field}[{key}]");
    for wrong in [wrong_key(key), wrong_value(value)].into_iter().flatten() {
        report.error(at, &field, wrong);
    }
}

/// Checks the key and the values of a requirement of `matchExpressions`; `field` is its path.
pub(super) fn words(field: &str, key: &str, values: Option<&Vec<String>>, at: &At, report: &mut Report) {
    if let Some(wrong) = wrong_key(key) {
        report.error(at, &format!("{field}.key"), wrong);
    }
    for (i, value) in values.into_iter().flatten().enumerate() {
        if let Some(wrong) = wrong_value(value) {
            report.error(at, &format!("{field}.values[{i}]"), wrong);
        }
    }
}

/// Why no label can have this key.
pub(super) fn wrong_key(key: &str) -> Option<String> {
    let (prefix, name) = key.split_once('/').map_or((None, key), |(prefix, name)| (Some(prefix), name));
    let domain = |prefix: &str| {
        let part = |part: &str| {
            is_word(part) && part.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-')
        };
        prefix.len() <= LONGEST.1 && prefix.split('.').all(part)
    };
    if is_word(name) && name.len() <= LONGEST.0 && prefix.is_none_or(domain) {
        return None;
    }
    Some(format!(
        "{key:?} can be the key of no label; write up to {} letters, digits, -, _ and ., with a letter or digit at both ends, \
         as in app or example.com/app",
        LONGEST.0
    ))
}

/// Why no label can have this value.
pub(super) fn wrong_value(value: &str) -> Option<String> {
    if value.is_empty() || is_word(value) && value.len() <= LONGEST.0 {
        return None;
    }
    Some(format!(
        "{value:?} can be the value of no label; write up to {} letters, digits, -, _ and ., with a letter or digit at both ends",
        LONGEST.0
    ))
}

fn is_word(text: &str) -> bool {
    let ends = [text.bytes().next(), text.bytes().last()];
    ends.into_iter().all(|end| end.is_some_and(|c| c.is_ascii_alphanumeric()))
        && text.bytes().all(|c| c.is_ascii_alphanumeric() || b"-_.".contains(&c))
}

/// Checks `spec.nodeSelector`.
pub(super) fn node_terms(terms: &[NodeTerm], at: &At, report: &mut Report) {
    for (i, term) in terms.iter().enumerate() {
        let field = format!("spec.nodeSelector[{i}]");
        // Kubernetes takes a term without requirements for one that no node meets, and the Pods would wait for ever.
        if term.match_labels.is_empty() && term.match_expressions.is_empty() && term.match_fields.is_empty() {
            let reason = "is empty and matches no node; give matchLabels, matchExpressions or matchFields";
            report.error(at, &field, reason);
        }
        for (key, value) in &term.match_labels {
            pair(&format!("{field}.matchLabels"), key, value, at, report);
        }
        for (j, requirement) in term.match_expressions.iter().enumerate() {
            let field = format!("{field}.matchExpressions[{j}]");
            words(&field, &requirement.key, requirement.values.as_ref(), at, report);
            node_requirement(&field, requirement, at, report);
        }
        for (j, requirement) in term.match_fields.iter().enumerate() {
            let field = format!("{field}.matchFields[{j}]");
            if requirement.key != "metadata.name" {
                let reason = format!("{:?} is no field to choose nodes by; write metadata.name", requirement.key);
                report.error(at, &format!("{field}.key"), reason);
            }
            let values = requirement.values.as_ref().map_or(0, Vec::len);
            if !matches!(requirement.operator.as_str(), "In" | "NotIn") || values != 1 {
                report.error(at, &field, "matches a field by In or NotIn with one value");
            }
        }
    }
}

fn node_requirement(field: &str, requirement: &NodeSelectorRequirement, at: &At, report: &mut Report) {
    let numbers = requirement.values.iter().flatten().filter(|_| matches!(requirement.operator.as_str(), "Gt" | "Lt"));
    for (i, value) in numbers.enumerate() {
        if wrong_value(value).is_none() && value.parse::<i64>().is_err() {
            report.error(at, &format!("{field}.values[{i}]"), format!("{value:?} is no whole number"));
        }
    }
    let values = requirement.values.as_ref().map_or(0, Vec::len);
    let wrong = match requirement.operator.as_str() {
        "In" | "NotIn" if values == 0 => "needs values",
        "Exists" | "DoesNotExist" if values > 0 => "takes no values",
        "Gt" | "Lt" if values != 1 => "needs one value",
        "In" | "NotIn" | "Exists" | "DoesNotExist" | "Gt" | "Lt" => return,
        other => {
            let reason = format!("{other:?} is unknown; write In, NotIn, Exists, DoesNotExist, Gt or Lt");
            return report.error(at, &format!("{field}.operator"), reason);
        }
    };
    report.error(at, &format!("{field}.values"), format!("{} {wrong}", requirement.operator));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_labels_can_be() {
        let (longest, long) = ("a".repeat(63), "a".repeat(64));
        for key in ["a", "A_b.c-1", "kubernetes.io/os", "a-b.example/X", &longest] {
            assert_eq!(wrong_key(key), None, "{key}");
        }
        for key in [
            "",
            "a b",
            "/a",
            "a/",
            "a/b/c",
            "-a",
            "a.",
            "Example.com/a",
            "a..b/c",
            &long,
            &format!("{}/a", "a".repeat(254)),
        ] {
            assert!(wrong_key(key).is_some(), "{key}");
        }
        for value in ["", "a", "1.2_B-c", &longest] {
            assert_eq!(wrong_value(value), None, "{value}");
        }
        for value in ["a b", "a/b", "-", "ä", &long] {
            assert!(wrong_value(value).is_some(), "{value}");
        }
    }
}

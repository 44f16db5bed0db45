//! What the API server refuses of an object by the schema of its definition, which is the only place where bounds stand.

use regex::Regex;
use serde_json::Value;

use super::api::schema::{LABEL_SELECTOR, PORT_SPAN, ROUTED_BY_BGP};

/// Path and reason of everything in `value` that the schema does not allow. Types are those of the Rust type that reads it.
pub(crate) fn refused(schema: &Value, value: &Value, path: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    look(schema, value, path, &mut found);
    found
}

fn look(schema: &Value, value: &Value, path: &str, found: &mut Vec<(String, String)>) {
    let here = |reason: String| (path.to_owned(), reason);
    found.extend(wrong(schema, value).into_iter().map(here));
    found.extend(broken(schema, value).into_iter().map(here));
    match value {
        Value::Object(fields) => {
            for name in texts(&schema["required"]).filter(|name| !fields.contains_key(*name)) {
                found.push((format!("{path}.{name}"), "is missing; it must be given".to_owned()));
            }
            for (name, value) in fields {
                let known = schema["properties"].get(name).or_else(|| schema.get("additionalProperties"));
                if let Some(schema) = known {
                    look(schema, value, &format!("{path}.{name}"), found);
                }
            }
        }
        Value::Array(items) => {
            let is_set = schema["x-kubernetes-list-type"] == "set";
            for (i, item) in items.iter().enumerate() {
                let path = format!("{path}[{i}]");
                look(&schema["items"], item, &path, found);
                if is_set && items.iter().take(i).any(|before| before == item) {
                    found.push((path, format!("{item} is listed twice; each is listed once")));
                }
            }
        }
        _ => {}
    }
}

/// What is wrong with a value itself.
fn wrong(schema: &Value, value: &Value) -> Vec<String> {
    let bound = |name: &str| schema.get(name).and_then(Value::as_f64);
    let mut wrong = Vec::new();
    match value {
        Value::Number(number) => {
            let (least, most) = (bound("minimum"), bound("maximum"));
            let number = number.as_f64().unwrap_or(f64::NAN);
            if least.is_some_and(|least| number < least) || most.is_some_and(|most| number > most) {
                let least = least.map(|least| format!("{least} or more"));
                let most = most.map(|most| format!("{most} or less"));
                let right: Vec<String> = least.into_iter().chain(most).collect();
                wrong.push(format!("{value} must be {}", right.join(" and ")));
            }
        }
        Value::String(text) => {
            let known: Vec<&str> = texts(&schema["enum"]).collect();
            if !known.is_empty() && !known.contains(&text.as_str()) {
                wrong.push(format!("{value} is unknown; write {}", known.join(" or ")));
            }
            if let Some(pattern) = schema["pattern"].as_str()
                && !Regex::new(pattern).is_ok_and(|pattern| pattern.is_match(text))
            {
                wrong.push(format!("{value} must match {pattern}"));
            }
            let has = format!("has {} characters", text.chars().count());
            wrong.extend(length(&has, text.chars().count(), bound("minLength"), bound("maxLength")));
        }
        Value::Array(items) => {
            let has = format!("has {} entries", items.len());
            wrong.extend(length(&has, items.len(), None, bound("maxItems")));
        }
        _ => {}
    }
    wrong
}

fn length(has: &str, length: usize, least: Option<f64>, most: Option<f64>) -> Option<String> {
    #[expect(clippy::cast_precision_loss, reason = "no text or list of a manifest has 2^52 parts")]
    let length = length as f64;
    match (least, most) {
        (Some(least), _) if length < least => Some(format!("{has}; there must be {least} or more")),
        (_, Some(most)) if length > most => Some(format!("{has}; there may be {most} at most")),
        _ => None,
    }
}

/// Messages of the rules that do not hold. Those rules that the plan of a gateway checks itself are not known here.
fn broken(schema: &Value, value: &Value) -> Vec<String> {
    let rules = schema.get("x-kubernetes-validations").and_then(Value::as_array).into_iter().flatten();
    let broken = rules.filter(|rule| RULES.iter().any(|(known, holds)| rule["rule"] == **known && !holds(value)));
    broken.filter_map(|rule| rule["message"].as_str().map(str::to_owned)).collect()
}

/// A rule in CEL and the same here.
type Rule = (&'static str, fn(&Value) -> bool);

const RULES: [Rule; 3] = [
    (LABEL_SELECTOR, |it| it.get("matchLabels").is_some() || it.get("matchExpressions").is_some()),
    (ROUTED_BY_BGP, |it| {
        let given = |name: &str| it.get(name).and_then(Value::as_str).is_some_and(|name| !name.is_empty());
        !given("evpnConf") || given("bgpConf")
    }),
    // Without one of the two it is another mistake.
    (PORT_SPAN, |it| it["start"].as_i64().zip(it["end"].as_i64()).is_none_or(|(start, end)| start <= end)),
];

fn texts(list: &Value) -> impl Iterator<Item = &str> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str)
}

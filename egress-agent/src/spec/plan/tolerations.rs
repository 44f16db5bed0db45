//! What a toleration can say (`ValidateTolerations` of Kubernetes 1.36): else the API server would refuse the Deployment.

use k8s_openapi::api::core::v1::Toleration;

use super::labels::{wrong_key, wrong_value};
use crate::spec::report::{At, Report};

const EFFECTS: [&str; 4] = ["", "NoSchedule", "PreferNoSchedule", "NoExecute"];

/// Checks `spec.tolerations`.
pub(super) fn check(tolerations: &[Toleration], at: &At, report: &mut Report) {
    for (i, toleration) in tolerations.iter().enumerate() {
        for (field, wrong) in wrong(toleration) {
            report.error(at, &format!("spec.tolerations[{i}].{field}"), wrong);
        }
    }
}

fn wrong(toleration: &Toleration) -> Vec<(&'static str, String)> {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let [key, operator, value, effect] =
        [&toleration.key, &toleration.operator, &toleration.value, &toleration.effect].map(text);
    let mut wrong = Vec::new();
    if !key.is_empty() {
        wrong.extend(wrong_key(&key).map(|why| ("key", why)));
    }
    match operator.as_str() {
        "" | "Equal" if key.is_empty() => {
            wrong.push(("operator", "without a key, which means every key, it must be Exists".to_owned()));
        }
        "" | "Equal" => wrong.extend(wrong_value(&value).map(|why| ("value", why))),
        "Exists" if !value.is_empty() => wrong.push(("value", "must be empty: Exists takes no value".to_owned())),
        "Exists" => {}
        // Only with a feature gate, so the API server decides.
        "Lt" | "Gt" => {}
        other => wrong.push(("operator", format!("{other:?} is unknown; write Equal or Exists"))),
    }
    if !EFFECTS.contains(&effect.as_str()) {
        let why = format!("{effect:?} is unknown; write {}, or leave it out for all of them", EFFECTS[1..].join(", "));
        wrong.push(("effect", why));
    }
    if toleration.toleration_seconds.is_some() && effect != "NoExecute" {
        wrong.push(("tolerationSeconds", "needs effect: NoExecute".to_owned()));
    }
    wrong
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn what_a_toleration_can_say() {
        let fields = |toleration: Value| -> Vec<&str> {
            let toleration = serde_json::from_value(toleration).unwrap();
            wrong(&toleration).into_iter().map(|(field, _)| field).collect()
        };
        for right in [
            json!({"operator": "Exists"}),
            json!({"key": "", "operator": "Exists", "value": ""}),
            json!({"key": "example.com/x", "effect": "NoSchedule"}),
            json!({"key": "a", "operator": "Equal", "value": "b", "effect": "NoExecute", "tolerationSeconds": 3}),
        ] {
            assert_eq!(fields(right.clone()), [""; 0], "{right}");
        }
        for (got, want) in [
            (json!({}), "operator"),
            (json!({"key": "", "operator": "Equal"}), "operator"),
            (json!({"key": "a b", "operator": "Exists"}), "key"),
            (json!({"key": "a", "value": "b c"}), "value"),
            (json!({"key": "a", "operator": "Exists", "value": "b"}), "value"),
            (json!({"key": "a", "operator": "exists"}), "operator"),
            (json!({"key": "a", "effect": "Sometimes"}), "effect"),
            (json!({"key": "a", "tolerationSeconds": 3}), "tolerationSeconds"),
        ] {
            assert_eq!(fields(got.clone()), [want], "{got}");
        }
    }
}

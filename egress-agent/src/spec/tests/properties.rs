//! What holds for every input.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

/// The samples, each document as JSON (which is YAML too).
fn samples() -> Vec<Value> {
    let texts = [CLUSTER, GATEWAY1, PROFILE];
    texts.iter().flat_map(|text| documents::documents(text)).filter_map(|document| document.value().unwrap()).collect()
}

fn text(documents: &[Value]) -> String {
    documents.iter().map(|document| format!("---\n{document}\n")).collect()
}

fn paths(value: &Value, path: &str, into: &mut Vec<String>) {
    into.push(path.to_owned());
    match value {
        Value::Object(map) => {
            map.iter().for_each(|(key, v)| paths(v, &format!("{path}/{}", key.replace('/', "~1")), into))
        }
        Value::Array(items) => items.iter().zip(0..).for_each(|(v, i)| paths(v, &format!("{path}/{i}"), into)),
        _ => {}
    }
}

fn odd_value() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(json!(null)),
        Just(json!({})),
        Just(json!([])),
        Just(json!([null])),
        Just(json!({"a": [1, {"b": null}]})),
        any::<bool>().prop_map(|b| json!(b)),
        any::<i64>().prop_map(|n| json!(n)),
        any::<f64>().prop_map(|n| json!(n)),
        ".{0,12}".prop_map(|text| json!(text)),
        proptest::sample::select(vec![
            "",
            ",",
            "0.0.0.0/0",
            "::/0",
            "255.255.255.255/32",
            "10.0.0.0/31",
            "::1,::2",
            "1.2.3.4",
            "ovn-default",
            "default/gateway1",
            "a.b",
            "..",
            "In",
        ])
        .prop_map(|text| json!(text)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn order_of_documents_does_not_matter(documents in Just(samples()).prop_shuffle(), cut in 0_usize..12) {
        let (a, b) = documents.split_at(cut.min(documents.len()));
        let files = [("a", &*text(a)), ("b", &*text(b))];
        let mut got = run(&files, None, &single(), &Flags::default()).unwrap();
        let all = text(&samples());
        let mut want = run(&[("c", &*all)], None, &single(), &Flags::default()).unwrap();
        prop_assert_eq!(got.warnings.len(), want.warnings.len());
        got.warnings.clear();
        want.warnings.clear();
        prop_assert_eq!(got, want);
    }

    #[test]
    fn no_edit_of_a_field_panics(edits in prop::collection::vec((any::<prop::sample::Index>(), odd_value()), 1..4)) {
        let mut all = Value::Array(samples());
        for (which, value) in edits {
            let mut known = Vec::new();
            paths(&all, "", &mut known);
            if let Some(place) = all.pointer_mut(which.get::<String>(&known)) {
                *place = value;
            }
        }
        let all = all.as_array().map(|documents| text(documents)).unwrap_or_default();
        for interfaces in [single(), dual(), Observed::default()] {
            // A refusal says why.
            if let Err(SpecErrors(errors)) = run(&[("a", &*all)], None, &interfaces, &Flags::default()) {
                prop_assert!(!errors.is_empty() && errors.iter().all(|e| !e.reason.is_empty()));
            }
        }
    }

    #[test]
    fn no_edit_of_the_text_panics(at in any::<prop::sample::Index>(), length in 0_usize..8, with in ".{0,6}") {
        let mut text: Vec<char> = GATEWAY1.chars().collect();
        let start = at.index(text.len());
        let end = (start + length).min(text.len());
        text.splice(start..end, with.chars());
        let text: String = text.into_iter().collect();
        drop(run(&[("a", &*text), ("c", CLUSTER)], None, &single(), &Flags::default()));
    }
}

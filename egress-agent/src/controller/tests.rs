//! The controller's decisions, without a cluster.

mod bounds;
mod cluster;
mod manifests;
mod plan;
mod pools;
mod recorded;
mod render;
mod said;
mod select;
mod specs;
mod state;
mod waits;
mod world;

use std::{fs, path::PathBuf};

use serde_json::Value;

use crate::spec::{self, Objects, Source};

/// What was recorded from Kube-OVN: tests/fixtures/kube-ovn/README.md.
pub(super) fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/kube-ovn").join(name)
}

pub(super) fn text(name: &str) -> String {
    let path = fixture(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The objects of texts; a later object takes the place of an earlier one of the same name.
pub(super) fn objects(texts: &[&str]) -> Objects {
    let mut all: Vec<Value> = Vec::new();
    for text in texts {
        for value in spec::manifest::values(text).unwrap() {
            let same =
                |old: &Value| old["kind"] == value["kind"] && old["metadata"]["name"] == value["metadata"]["name"];
            all.retain(|old| !same(old));
            all.push(value);
        }
    }
    let sources: Vec<Source> =
        all.iter().map(|value| Source { name: "f".to_owned(), text: value.to_string() }).collect();
    spec::parse(&sources).unwrap()
}

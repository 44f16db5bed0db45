//! What an image is made of, as an SPDX 2.3 document: the crates that are linked into the program, and Debian's packages.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::{Package, digest};

/// The crates that a program is linked from, out of `cargo metadata --format-version 1`: name, version, licence.
pub fn crates(metadata: &Value, program: &str) -> Result<Vec<(String, String, String)>> {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let id = |value: &Value| value["id"].as_str().unwrap_or_default().to_owned();
    let packages: BTreeMap<_, _> = list(&metadata["packages"]).into_iter().map(|it| (id(&it), it)).collect();
    let nodes: BTreeMap<_, _> = list(&metadata["resolve"]["nodes"]).into_iter().map(|it| (id(&it), it)).collect();
    let root = packages.iter().find(|(_, it)| it["name"] == program).map(|(id, _)| id.clone());
    let mut open = vec![root.with_context(|| format!("cargo's metadata has no {program}"))?];
    let mut seen = BTreeSet::new();
    while let Some(next) = open.pop() {
        if !seen.insert(next.clone()) {
            continue;
        }
        for dependency in nodes.get(&next).map(|node| list(&node["deps"])).unwrap_or_default() {
            // Neither tests nor build scripts end up in the program.
            let linked = list(&dependency["dep_kinds"]).iter().any(|it| it["kind"].is_null());
            let target = dependency["pkg"].as_str().unwrap_or_default().to_owned();
            let macros = packages.get(&target).is_some_and(is_macro);
            if linked && !macros {
                open.push(target);
            }
        }
    }
    let text = |value: &Value| value.as_str().unwrap_or("NOASSERTION").to_owned();
    let used = packages.iter().filter(|(id, _)| seen.contains(*id));
    let mut found: Vec<_> =
        used.map(|(_, it)| (text(&it["name"]), text(&it["version"]), text(&it["license"]))).collect();
    found.sort();
    Ok(found)
}

fn is_macro(package: &Value) -> bool {
    let targets = package["targets"].as_array().into_iter().flatten();
    targets.flat_map(|target| target["kind"].as_array().into_iter().flatten()).any(|kind| kind == "proc-macro")
}

/// The document. It is of 1970 like the files: the same image has the same document.
pub fn document(name: &str, crates: &[(String, String, String)], packages: &[Package]) -> Value {
    let reference = |kind: &str, name: &str, version: &str| {
        let plain = |c: char| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' };
        format!("SPDXRef-{kind}-{}", format!("{name}-{version}").replace(|c| plain(c) != c, "-"))
    };
    let entry = |kind: &str, name: &str, version: &str, licence: &str, locator: String| {
        json!({
            "SPDXID": reference(kind, name, version),
            "name": name,
            "versionInfo": version,
            "downloadLocation": "NOASSERTION",
            "filesAnalyzed": false,
            // Crates of old write `MIT/Apache-2.0`.
            "licenseDeclared": licence.replace('/', " OR "),
            "externalRefs": [{"referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl", "referenceLocator": locator}],
        })
    };
    let linked = crates
        .iter()
        .map(|(name, version, licence)| entry("Crate", name, version, licence, format!("pkg:cargo/{name}@{version}")));
    let unpacked = packages.iter().map(|package| {
        let locator = format!("pkg:deb/debian/{}@{}?arch=amd64", package.name, package.version.replace('+', "%2B"));
        entry("Debian", &package.name, &package.version, "NOASSERTION", locator)
    });
    let parts: Vec<_> = linked.chain(unpacked).collect();
    let described = parts.iter().map(|part| {
        json!({"spdxElementId": "SPDXRef-DOCUMENT", "relationshipType": "DESCRIBES", "relatedSpdxElement": part["SPDXID"]})
    });
    let described: Vec<_> = described.collect();
    let own = digest(json!(parts).to_string().as_bytes());
    json!({
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": name,
        "documentNamespace": format!("https://egress-ebpf.dev/spdx/{}", own.trim_start_matches("sha256:")),
        "creationInfo": {"created": "1970-01-01T00:00:00Z", "creators": ["Tool: cargo xtask image"]},
        "packages": parts,
        "relationships": described,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_linked_is_listed() {
        let package = |id: &str, kind: &str| json!({"id": id, "name": id, "version": "1.0.0", "license": "MIT/Apache-2.0", "targets": [{"kind": [kind]}]});
        let dependency = |id: &str, kind: Value| json!({"pkg": id, "dep_kinds": [{"kind": kind}]});
        let metadata = json!({
            "packages": [package("agent", "bin"), package("used", "lib"), package("derive", "proc-macro"), package("tests", "lib"), package("other", "lib")],
            "resolve": {"nodes": [
                {"id": "agent", "deps": [dependency("used", Value::Null), dependency("derive", Value::Null), dependency("tests", json!("dev"))]},
                {"id": "used", "deps": []}, {"id": "other", "deps": []},
            ]},
        });
        let crates = crates(&metadata, "agent").unwrap();
        assert_eq!(crates.iter().map(|it| it.0.as_str()).collect::<Vec<_>>(), ["agent", "used"]);
        let document = document("agent", &crates, &[]);
        assert_eq!(document["packages"][1]["licenseDeclared"], "MIT OR Apache-2.0");
        assert_eq!(document["packages"][1]["externalRefs"][0]["referenceLocator"], "pkg:cargo/used@1.0.0");
        assert_eq!(document["relationships"].as_array().unwrap().len(), 2);
    }
}

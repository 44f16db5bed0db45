//! What the definition itself refuses, and with which words.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::stage::{fed, gateway, with};
use super::{skip_api, stage};

/// A spec with one mistake, and what the API server says to it.
fn cases() -> Vec<(Value, &'static str)> {
    let spec = |spec: Value| {
        let mut all = gateway("x");
        all["spec"] = spec;
        all
    };
    let with = |field: &str, value: Value| with("x", field, value);
    let two = |mut gateway: Value| {
        gateway["spec"]["replicas"] = json!(2);
        gateway
    };
    let pool = |side: &str| {
        let mut gateway = with(&format!("{side}IPs"), json!(["10.0.0.1"]));
        gateway["spec"][format!("{side}IPPool")] = json!("pool");
        gateway
    };
    let ports = json!({"conntrack": {"log": {"filters": {"include": [{"original": {"sourcePorts": [{"start": 2, "end": 1}]}}]}}}});
    vec![
        (spec(json!({"externalSubnet": "ext"})), "Each VPC Egress Gateway MUST have at least one policy or selector"),
        (spec(json!({"selectors": [{}]})), "spec.externalSubnet: Required value"),
        (with("replicas", json!(11)), "spec.replicas: Invalid value"),
        (with("replicas", json!(-1)), "spec.replicas: Invalid value"),
        (with("prefix", json!("A-")), "spec.prefix: Invalid value"),
        (with("trafficPolicy", json!("Near")), "spec.trafficPolicy: Unsupported value"),
        (with("podAntiAffinity", json!("No")), "spec.podAntiAffinity: Unsupported value"),
        (with("policies", json!([{"snat": true}])), "Each policy MUST have at least one ipBlocks or subnets"),
        (
            with("policies", json!([{"ipBlocks": ["10.0.0.0/33"]}])),
            "must be a CIDR such as 10.18.0.0/16, or an address",
        ),
        (with("policies", json!([{"ipBlocks": ["10.0.0.0/8", "10.0.0.0/8"]}])), "Duplicate value"),
        (with("selectors", json!([{"namespaceSelector": {}}])), "Each namespace selector MUST have at least one"),
        (with("selectors", json!([{"podSelector": {}}])), "Each pod selector MUST have at least one"),
        (with("externalIPs", json!(["foo"])), "must be an IPv4 address, an IPv6 address, or both as v4,v6"),
        (with("internalIPs", json!(["10.0.0.1,fd00::1,fd00::2"])), "must be an IPv4 address, an IPv6 address, or both"),
        (
            two(with("externalIPs", json!(["172.17.0.11"]))),
            "Size of External IPs MUST be equal to or greater than Replicas",
        ),
        (
            two(with("internalIPs", json!(["10.16.0.11"]))),
            "Size of Internal IPs MUST be equal to or greater than Replicas",
        ),
        (pool("internal"), "Internal IPs and Internal IPPool are mutually exclusive"),
        (pool("external"), "External IPs and External IPPool are mutually exclusive"),
        (with("nodeSelector", json!([{}])), "an empty node selector matches no node"),
        (with("evpnConf", json!("e")), "evpnConf needs a bgpConf"),
        (with("bfd", json!({"multiplier": 256})), "spec.bfd.multiplier: Invalid value"),
        (with("bandwidth", json!({"ingress": "10"})), ""),
        (with("bandwidth", json!({"ingress": "ten"})), "spec.bandwidth.ingress"),
        (with("observability", ports), "start must not be greater than end"),
    ]
}

#[test]
fn every_rule_refuses_and_says_why() -> Result<()> {
    if skip_api() {
        return Ok(());
    }
    let mut held = stage()?;
    let stage = held.get()?;
    let mut cases = cases();
    for (number, (gateway, _)) in cases.iter_mut().enumerate() {
        gateway["metadata"]["name"] = json!(format!("rule-{number}"));
    }
    let text = cases.iter().map(|(gateway, _)| gateway.to_string()).collect::<Vec<_>>().join("\n---\n");
    let (_, taken, refused) = fed(stage.api.kubectl().args(["create", "--dry-run=server", "-f", "-"]), &text)?;
    for (gateway, want) in &cases {
        let name = gateway["metadata"]["name"].as_str().context("name")?;
        if want.is_empty() {
            ensure!(taken.contains(&format!("/{name} created")), "{gateway}: {refused}");
            continue;
        }
        // A complaint goes on to the next one, some in several lines.
        let said = refused.split("VpcEgressGateway.kubeovn.io \"").find(|said| said.starts_with(&format!("{name}\"")));
        let said = said.with_context(|| format!("{gateway} was taken: {refused}"))?;
        ensure!(said.contains(want), "{gateway}: {said}");
    }
    Ok(())
}

#[test]
fn a_prefix_stays_what_it_was() -> Result<()> {
    if skip_api() {
        return Ok(());
    }
    let mut held = stage()?;
    let stage = held.get()?;
    stage.apply(&with("prefixed", "prefix", json!("a-")))?;
    stage.apply(&gateway("bare"))?;
    for gateway in [with("prefixed", "prefix", json!("b-")), gateway("prefixed"), with("bare", "prefix", json!("a-"))] {
        let error = stage.apply(&gateway).err().with_context(|| format!("{gateway} was taken"))?.to_string();
        ensure!(error.contains("prefix is immutable: the Deployment is called by it"), "{error}");
    }
    Ok(())
}

/// What another release has more is kept, wherever it stands, and named in a condition.
#[test]
fn fields_of_another_release_are_kept_and_named() -> Result<()> {
    if skip_api() {
        return Ok(());
    }
    let mut held = stage()?;
    let stage = held.get()?;
    let mut future = with("future", "colour", json!({"a": [1]}));
    future["spec"]["policies"] = json!([{"ipBlocks": ["10.9.0.0/16"], "shade": "dark"}]);
    future["spec"]["bfd"] = json!({"hue": 1});
    stage.apply(&future)?;
    let told = stage.condition("future", "FullyServed", "FieldsNotServed")?;
    let stored = stage.get("veg future")?;
    ensure!(stored["spec"]["colour"]["a"][0] == 1 && stored["spec"]["policies"][0]["shade"] == "dark", "{stored}");
    for field in ["spec.colour", "spec.policies[0].shade", "spec.bfd.hue"] {
        ensure!(
            told["message"].as_str().is_some_and(|it| it.contains(&format!("{field}: is no known field"))),
            "{told}"
        );
    }
    stage.patch("veg future", "status", &json!({"status": {"later": 7}}))?;
    stage.patch("veg future", "", &json!({"spec": {"replicas": 2}}))?;
    stage.condition("future", "Ready", "Processing")?;
    ensure!(stage.get("veg future")?["status"]["later"] == 7, "a field of the status is gone");
    Ok(())
}

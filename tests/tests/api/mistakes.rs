//! What the controller refuses: which object, which field, what would be right.

use anyhow::{Context, Result, ensure};
use egress_tests::eventually;
use serde_json::{Value, json};

use super::stage::{PATIENCE, condition, with};
use super::{skip_api, stage};

const WRONG: &[(&str, &str, &str)] = &[
    ("vpc", "\"nope\"", "spec.vpc: Vpc nope is not in the cluster; known: ovn-cluster"),
    ("internalSubnet", "\"nope\"", "spec.internalSubnet: Subnet \"nope\" is not in the cluster; known: "),
    (
        "internalSubnet",
        "\"of-vpc1\"",
        "spec.internalSubnet: Subnet of-vpc1 belongs to Vpc vpc1, the gateway to ovn-cluster",
    ),
    ("externalSubnet", "\"nope\"", "spec.externalSubnet: Subnet \"nope\" is not in the cluster; known: "),
    ("externalSubnet", "\"ovn-default\"", "spec.externalSubnet: Subnet ovn-default is the internal one too"),
    (
        "externalSubnet",
        "\"ext-nodot\"",
        "Subnet ext-nodot, spec.provider: \"nodot\" names no NetworkAttachmentDefinition; write <name>.<namespace>",
    ),
    (
        "externalSubnet",
        "\"ext-nonad\"",
        "NetworkAttachmentDefinition default/nonad is not in the cluster; known: default/eth1",
    ),
    ("policies", r#"[{"subnets": ["nope"]}]"#, "spec.policies[0].subnets[0]: Subnet \"nope\" is not in the cluster"),
    ("policies", r#"[{"ipBlocks": []}]"#, "spec.policies[0]: has neither ipBlocks nor subnets"),
    (
        "policies",
        r#"[{"ipBlocks": ["fd00::/64"]}]"#,
        "spec.policies[0].ipBlocks[0]: fd00::/64 is IPv6, a family with no gateway",
    ),
    (
        "selectors",
        r#"[{"podSelector": {"matchExpressions": [{"key": "a", "operator": "Foo"}]}}]"#,
        "spec.selectors[0].podSelector.matchExpressions[0].operator: \"Foo\" is unknown",
    ),
    ("externalIPs", r#"["192.0.2.1"]"#, "spec.externalIPs[0]: 192.0.2.1 is outside Subnet ext (172.17.0.0/16)"),
    ("internalIPs", r#"["192.0.2.1"]"#, "spec.internalIPs[0]: 192.0.2.1 is outside Subnet ovn-default (10.16.0.0/16)"),
    ("internalIPPool", "\"nope\"", "spec.internalIPPool: IPPool nope is not in the cluster; known: pool"),
    (
        "internalIPPool",
        "\"pool\"",
        "subnet \"of-vpc1\" of internal IPPool \"pool\" does not match internal subnet \"ovn-default\"",
    ),
    (
        "externalIPPool",
        "\"pool\"",
        "subnet \"of-vpc1\" of external IPPool \"pool\" does not match external subnet \"ext\"",
    ),
    ("bgpConf", "\"nope\"", "spec.bgpConf: BgpConf nope is not in the cluster"),
    ("bfd", r#"{"enabled": true}"#, "BFD is not enabled on Vpc ovn-cluster"),
    ("resources", r#"{"limits": {"memory": "1Mi"}}"#, "spec.resources.limits.memory: "),
];

#[test]
fn every_mistake_is_named_and_makes_nothing() -> Result<()> {
    if skip_api() {
        return Ok(());
    }
    let mut held = stage()?;
    let stage = held.get()?;
    // Sixteen million flows.
    let mut list = vec![json!({
        "apiVersion": "egress-ebpf.dev/v1alpha1",
        "kind": "EgressGatewayProfile",
        "metadata": {"name": "big", "namespace": "default"},
        "spec": {"maxFlows": 1 << 24},
    })];
    for (number, (field, value, _)) in WRONG.iter().enumerate() {
        let mut gateway = with(&format!("wrong-{number}"), field, serde_json::from_str(value)?);
        if *field == "resources" {
            gateway["metadata"]["annotations"] = json!({"egress-ebpf.dev/profile": "big"});
        }
        list.push(gateway);
    }
    stage.apply(&json!({"apiVersion": "v1", "kind": "List", "items": list}))?;
    let mut gateways = Value::Null;
    let refused = |gateways: &Value, number: usize| {
        let all = gateways["items"].as_array();
        let gateway = all.and_then(|all| all.iter().find(|it| it["metadata"]["name"] == format!("wrong-{number}")));
        gateway.is_some_and(|gateway| condition(gateway, "Validated")["status"] == "False")
    };
    let all = eventually("every gateway is refused", PATIENCE, || {
        gateways = stage.get("veg")?;
        Ok((0..WRONG.len()).all(|number| refused(&gateways, number)))
    });
    all.with_context(|| {
        let taken: Vec<_> =
            (0..WRONG.len()).filter(|number| !refused(&gateways, *number)).map(|number| WRONG[number]).collect();
        format!("taken: {taken:?}")
    })?;
    let deployments = stage.kubectl("get deployments,configmaps -o name")?;
    for (number, (field, value, want)) in WRONG.iter().enumerate() {
        let name = format!("wrong-{number}");
        let all = gateways["items"].as_array().context("items")?;
        let gateway = all.iter().find(|it| it["metadata"]["name"] == *name).context("gateway")?;
        let (ready, valid) = (condition(gateway, "Ready"), condition(gateway, "Validated"));
        for told in [&ready, &valid] {
            ensure!(told["message"].as_str().is_some_and(|it| it.contains(want)), "{field}: {value}: {told}");
            ensure!(told["observedGeneration"] == gateway["metadata"]["generation"], "{told}");
        }
        ensure!(ready["reason"] == "ReconcileWorkloadFailed" && gateway["status"]["ready"] == false, "{ready}");
        let reason = if *field == "bfd" { "VpcBfdPortNotEnabled" } else { "InvalidSpec" };
        ensure!(valid["reason"] == reason, "{valid}");
        ensure!(!deployments.contains(&name), "{name} has objects: {deployments}");
    }
    Ok(())
}

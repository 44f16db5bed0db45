//! Specs that are wrong or nearly so: what Kube-OVN said to each was recorded, and what we say.

use kube::core::cel::Validator;
use serde_json::{Value, json};

use super::{objects, text};
use crate::{
    controller::{Settings, render::render},
    k8s::crd::VEG_SPEC,
};

/// What the specs name beside the base.
const MORE: &str = "
{apiVersion: kubeovn.io/v1, kind: Subnet, metadata: {name: ext-noprov}, spec: {provider: nodot, cidrBlock: 172.18.0.0/16, gateway: 172.18.0.1}}
---
{apiVersion: kubeovn.io/v1, kind: Subnet, metadata: {name: ext-nonad}, spec: {provider: nonad.default, cidrBlock: 172.18.0.0/16, gateway: 172.18.0.1}}
---
{apiVersion: kubeovn.io/v1, kind: IPPool, metadata: {name: pool-int}, spec: {subnet: ovn-default, ips: [10.16.60.1..10.16.60.9]}}
---
{apiVersion: kubeovn.io/v1, kind: IPPool, metadata: {name: pool-sub1}, spec: {subnet: subnet1, ips: [10.17.60.1..10.17.60.9]}}
---
{apiVersion: kubeovn.io/v1, kind: Vpc, metadata: {name: vpc1}}
---
{apiVersion: kubeovn.io/v1, kind: Subnet, metadata: {name: v1a}, spec: {vpc: vpc1, cidrBlock: 192.168.0.0/24}}
";

/// What Kube-OVN takes and passes over, or its supervisor ends at, and our definition refuses.
const RULED_OUT: [(&str, &str); 2] = [
    ("evpn-without-bgp", "spec: evpnConf needs a bgpConf"),
    ("bfd-multiplier-256", "spec.bfd.multiplier: 256 must be 1 or more and 255 or less"),
];

/// What Kube-OVN takes, and makes a gateway of that does not do what it says or never gets ready, and our words for it.
const REFUSED: &[(&str, &str)] = &[
    ("policy-ipblocks-empty", "spec.policies[0]: has neither ipBlocks nor subnets"),
    ("policy-bad-cidr", "spec.policies[0].ipBlocks[0]: \"not-a-cidr\" is no CIDR"),
    ("policy-bad-mask", "spec.policies[0].ipBlocks[0]: \"10.0.0.0/33\" is no CIDR"),
    ("policy-range", "spec.policies[0].ipBlocks[0]: \"10.0.0.1-10.0.0.5\" is no CIDR"),
    ("policy-subnet-unknown", "spec.policies[0].subnets[0]: Subnet \"nope\" is not in the files"),
    ("selector-bad-operator", "spec.selectors[0].podSelector.matchExpressions[0].operator: \"Foo\" is unknown"),
    ("external-subnet-unknown", "spec.externalSubnet: Subnet \"nope\" is not in the files"),
    ("external-subnet-is-overlay", "spec.externalSubnet: Subnet ovn-default is the internal one too"),
    ("external-subnet-provider-no-dot", "spec.provider: \"nodot\" names no NetworkAttachmentDefinition"),
    ("external-subnet-nad-missing", "NetworkAttachmentDefinition default/nonad is not in the files"),
    ("internal-subnet-unknown", "spec.internalSubnet: Subnet \"nope\" is not in the files"),
    ("internal-subnet-other-vpc", "spec.internalSubnet: Subnet v1a belongs to Vpc vpc1, the gateway to ovn-cluster"),
    ("vpc-unknown", "spec.vpc: Vpc nope is not in the files"),
    ("external-ip-outside-cidr", "spec.externalIPs[0]: 192.0.2.1 is outside Subnet macvlan"),
    ("external-ip-garbage", "spec.externalIPs[0]: \"foo\" is no IP address"),
    ("internal-pool-unknown", "spec.internalIPPool: IPPool nope is not in the files"),
    (
        "internal-pool-wrong-subnet",
        "subnet \"subnet1\" of internal IPPool \"pool-sub1\" does not match internal subnet \"ovn-default\"",
    ),
    ("external-pool-wrong-subnet", "of external IPPool \"pool-int\" does not match external subnet \"macvlan\""),
    ("bgp-unknown", "spec.bgpConf: BgpConf nope is not in the files"),
    ("nodeselector-empty-entry", "spec.nodeSelector[0]: is empty and matches no node"),
];

/// What Kubernetes refuses, or cannot schedule, and we pass on.
const KUBERNETES: [&str; 6] = [
    "selector-namespace-empty-matchlabels",
    "selector-bad-label-value",
    "resources-request-over-limit",
    "tolerations-bad",
    "nodeselector-bad-operator",
    "nodeselector-no-match",
];

fn ours(name: &str, spec: &Value) -> Result<(), String> {
    let gateway =
        json!({"apiVersion": "kubeovn.io/v1", "kind": "VpcEgressGateway", "metadata": {"name": name}, "spec": spec});
    let objects = objects(&[&text("base.yaml"), MORE, &gateway.to_string()]);
    render(&objects, &Settings::default()).map(drop).map_err(|errors| errors.to_string())
}

#[test]
fn every_recorded_spec() {
    let all: Vec<Value> = serde_json::from_str(&text("specs.json")).unwrap();
    assert_eq!(all.len(), 61);
    let mut taken = 0;
    for recorded in all {
        let (name, spec) = (recorded["name"].as_str().unwrap(), &recorded["spec"]);
        let rules = Validator::new().validate(&VEG_SPEC, spec, None);
        match REFUSED.iter().chain(&RULED_OUT).find(|(known, _)| *known == name) {
            Some((_, want)) => {
                assert_eq!(recorded["applied"], true, "{name}");
                let error = ours(name, spec).expect_err(name);
                assert!(error.contains(want), "{name}: {error}");
            }
            None if recorded["completed"] == true => {
                taken += 1;
                if let Err(error) = ours(name, spec) {
                    panic!("{name}: {error}");
                }
                assert!(rules.is_ok(), "{name}: {rules:?}");
            }
            None => assert!(recorded["applied"] == false || KUBERNETES.contains(&name), "{name}"),
        }
    }
    assert_eq!(taken, 12);
}

//! Where gateway Pods get their addresses from: pools, lists, and the families that these have.

use serde_json::{Value, json};

use super::{objects, text};
use crate::controller::{Settings, render::render};

const OUTSIDE: &str = "eth1.default.kubernetes.io/routes";

/// The recorded cluster with a dual-stack Subnet outside, and a gateway of this spec.
fn rendered(edit: impl Fn(&mut Value), ips: &Value) -> Result<Value, String> {
    let outside = json!({"apiVersion": "kubeovn.io/v1", "kind": "Subnet", "metadata": {"name": "macvlan"}, "spec": {
        "provider": "eth1.default", "cidrBlock": "172.17.0.0/16,fd00:172:17::/112", "gateway": "172.17.0.1,fd00:172:17::1",
    }});
    let inside = json!({"apiVersion": "kubeovn.io/v1", "kind": "Subnet", "metadata": {"name": "ovn-default"}, "spec": {
        "vpc": "ovn-cluster", "cidrBlock": "10.16.0.0/16,fd00:10:16::/112", "gateway": "10.16.0.1,fd00:10:16::1",
    }});
    let pool = json!({"apiVersion": "kubeovn.io/v1", "kind": "IPPool", "metadata": {"name": "p"}, "spec": {
        "subnet": "ovn-default", "ips": ips,
    }});
    let mut gateway = json!({"apiVersion": "kubeovn.io/v1", "kind": "VpcEgressGateway", "metadata": {"name": "g"}, "spec": {
        "replicas": 2, "internalSubnet": "ovn-default", "externalSubnet": "macvlan",
        "policies": [{"snat": true, "ipBlocks": ["10.18.0.0/16"]}],
    }});
    edit(&mut gateway["spec"]);
    let texts = [text("base.yaml"), outside.to_string(), inside.to_string(), pool.to_string(), gateway.to_string()];
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let (list, _) = render(&objects(&texts), &Settings::default()).map_err(|errors| errors.to_string())?;
    Ok(list["items"][1]["spec"]["template"]["metadata"]["annotations"].clone())
}

/// A default route of a family in which the Pod has no address cannot be set: it would never start.
#[test]
fn default_routes_are_of_families_with_an_address_outside() {
    let both = rendered(|_| {}, &json!([])).unwrap();
    let v4 = r#"{"dst":"0.0.0.0/0","gw":"172.17.0.1"}"#;
    assert_eq!(both[OUTSIDE], format!(r#"[{v4},{{"dst":"::/0","gw":"fd00:172:17::1"}}]"#));
    let one = rendered(|spec| spec["externalIPs"] = json!(["172.17.0.11", "172.17.0.12"]), &json!([])).unwrap();
    assert_eq!(one[OUTSIDE], format!("[{v4}]"));
}

#[test]
fn a_pool_has_addresses_for_all_pods() {
    let pool = |ips: Value| rendered(|spec| spec["internalIPPool"] = json!("p"), &ips);
    for good in [
        json!(["10.16.1.1..10.16.1.2"]),
        json!(["10.16.1.0/30", "fd00:10:16::10..fd00:10:16::1f"]),
        json!(["10.16.1.1", "10.16.1.9"]),
    ] {
        pool(good).unwrap();
    }
    for (bad, want) in [
        (json!(["10.16.1.1"]), "spec.internalIPPool: IPPool p has 1 IPv4 addresses for 2 replicas; add some"),
        (json!(["10.16.1.0/24", "fd00:10:16::10"]), "IPPool p has 1 IPv6 addresses for 2 replicas"),
        (json!(["10.16.1.0/24", "foo"]), "IPPool p, spec.ips[1]: \"foo\" is no address, range or CIDR"),
        (json!(["10.16.1.9..10.16.1.1"]), "spec.ips[0]: \"10.16.1.9..10.16.1.1\" is no address, range or CIDR"),
        (json!(["10.77.0.0/24"]), "spec.ips[0]: 10.77.0.0/24 is outside Subnet ovn-default"),
        (json!([]), "no address family has a gateway: IPPool p has no IPv4 address"),
    ] {
        let error = pool(bad).unwrap_err();
        assert!(error.contains(want), "{error}");
    }
}

/// What a pool lacks is said of the policy, before a Pod says so.
#[test]
fn a_family_that_a_pool_lacks_has_no_gateway() {
    let error = rendered(
        |spec| {
            spec["internalIPPool"] = json!("p");
            spec["policies"][0]["ipBlocks"] = json!(["10.18.0.0/16", "fd00:18::/64"]);
        },
        &json!(["10.16.1.0/24"]),
    )
    .unwrap_err();
    let want =
        "spec.policies[0].ipBlocks[1]: fd00:18::/64 is IPv6, a family with no gateway: IPPool p has no IPv6 address";
    assert!(error.contains(want), "{error}");
}

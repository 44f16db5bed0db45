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
    let v6 = "fd00:10:16::10..fd00:10:16::1f";
    for good in [
        json!(["10.16.1.1..10.16.1.2", v6]),
        json!(["10.16.1.0/30", v6]),
        json!(["10.16.1.1", "10.16.1.9", "fd00:10:16::10", "fd00:10:16::12"]),
        // What is outside of the Subnet is not used.
        json!(["10.15.255.0..10.16.0.50", "fd00::/16"]),
    ] {
        pool(good).unwrap();
    }
    let few = "replicas; each Pod gets one of every family that the Subnet has";
    for (bad, want) in [
        (
            json!(["10.16.1.1", v6]),
            &*format!(
                "spec.internalIPPool: IPPool p has 1 IPv4 addresses of Subnet ovn-default (10.16.0.0/16,fd00:10:16::/112) for 2 {few}"
            ),
        ),
        (json!(["10.16.1.0/24", "fd00:10:16::10"]), "IPPool p has 1 IPv6 addresses of"),
        (json!(["10.16.1.1", "10.16.1.1", v6]), "IPPool p has 1 IPv4 addresses of"),
        (
            json!(["10.16.1.0/24", "fd00:10:16::10", "fd00:10:16::10..fd00:10:16::10"]),
            "IPPool p has 1 IPv6 addresses of",
        ),
        (json!(["10.16.1.0/24"]), "IPPool p has 0 IPv6 addresses of"),
        (json!(["10.77.0.0/24", v6]), "IPPool p has 0 IPv4 addresses of"),
        (json!(["10.16.1.0/24", v6, "foo"]), "IPPool p, spec.ips[2]: \"foo\" is no address, range or CIDR"),
        (json!(["10.16.1.9..10.16.1.1", v6]), "spec.ips[0]: \"10.16.1.9..10.16.1.1\" is no address, range or CIDR"),
    ] {
        let error = pool(bad).unwrap_err();
        assert!(error.contains(want), "{error}");
    }
}

#[test]
fn every_entry_of_a_list_has_the_same_families() {
    let listed = |ips: Value| rendered(|spec| spec["externalIPs"] = ips.clone(), &json!([]));
    listed(json!(["172.17.0.11,fd00:172:17::11", "172.17.0.12,fd00:172:17::12"])).unwrap();
    for mixed in [json!(["172.17.0.11", "fd00:172:17::11"]), json!(["172.17.0.11,fd00:172:17::11", "fd00:172:17::12"])]
    {
        let error = listed(mixed).unwrap_err();
        assert!(error.contains("spec.externalIPs[1]: fd00:172:17::1"), "{error}");
        assert!(error.contains("has other address families than 172.17.0.11"), "{error}");
    }
}

/// Inside, any address will do: Kube-OVN gives Pods one of the family that the list lacks.
#[test]
fn only_the_list_of_egress_addresses_says_which_families_are_served() {
    let with = |list: &'static str, ips: Value| {
        rendered(
            |spec| {
                spec[list] = ips.clone();
                spec["policies"][0]["ipBlocks"] = json!(["10.18.0.0/16", "fd00:18::/64"]);
            },
            &json!([]),
        )
    };
    with("internalIPs", json!(["10.16.0.12", "10.16.0.13"])).unwrap();
    let error = with("externalIPs", json!(["172.17.0.11", "172.17.0.12"])).unwrap_err();
    let want = "spec.policies[0].ipBlocks[1]: fd00:18::/64 is IPv6, a family with no gateway: externalIPs lists no IPv6 address";
    assert!(error.contains(want), "{error}");
}

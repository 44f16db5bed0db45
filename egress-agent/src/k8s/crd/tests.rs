//! The definitions are those in manifests/, and what Kube-OVN's users and tools know.

use kube::core::cel::Validator;

use super::*;

fn veg() -> Value {
    all().into_iter().find(|(name, _)| name == "kubeovn.io/vpc-egress-gateways.yaml").unwrap().1
}

fn spec() -> Value {
    schema("vpc-egress-gateways").unwrap().pointer("/properties/spec").unwrap().clone()
}

#[test]
fn files_are_current() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../manifests/crd");
    let mut names: Vec<String> = Vec::new();
    for (name, crd) in all() {
        let text = fs::read_to_string(folder.join(&name)).unwrap_or_default();
        assert!(!text.contains("[`"), "{name}: a link of rustdoc in a description");
        assert!(text == yaml(&crd).unwrap(), "manifests/crd/{name} is not current: run cargo xtask crd");
        names.push(name);
    }
    names.sort();
    let mut found: Vec<String> = Vec::new();
    for group in ["egress-ebpf.dev", "kubeovn.io"] {
        let listed = fs::read_to_string(folder.join(group).join("kustomization.yaml")).unwrap();
        for entry in fs::read_dir(folder.join(group)).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            if name != "kustomization.yaml" {
                assert!(listed.contains(&format!("  - {name}\n")), "{group}: {name} is not in kustomization.yaml");
                found.push(format!("{group}/{name}"));
            }
        }
    }
    found.sort();
    assert_eq!(found, names);
}

/// The API server takes structural schemas only.
#[test]
fn schemas_are_structural() {
    fn look(schema: &Value, at: &str) {
        for field in ["$ref", "nullable", "title", "oneOf", "definitions", "uniqueItems", "const"] {
            assert!(schema.get(field).is_none(), "{at} has {field}");
        }
        let int_or_string = schema.get("x-kubernetes-int-or-string").is_some();
        assert!(schema["type"].is_string() || int_or_string, "{at} has no type: {schema}");
        assert!(int_or_string || schema.get("anyOf").is_none(), "{at}");
        let both = schema.get("properties").is_some() && schema.get("additionalProperties").is_some();
        assert!(!both, "{at}");
        for (name, below) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
            look(below, &format!("{at}.{name}"));
        }
        for field in ["items", "additionalProperties"] {
            if let Some(below) = schema.get(field) {
                look(below, &format!("{at}[]"));
            }
        }
    }
    for (name, crd) in all() {
        look(crd.pointer("/spec/versions/0/schema/openAPIV3Schema").unwrap(), &name);
    }
}

/// What another release of Kube-OVN has more is stored, wherever it stands.
#[test]
fn unknown_fields_are_stored() {
    fn look(schema: &Value, at: &str) -> usize {
        let open = schema["x-kubernetes-preserve-unknown-fields"] == true;
        assert!(open || schema.get("properties").is_none(), "{at}");
        let properties = schema.get("properties").and_then(Value::as_object).into_iter().flatten();
        let below = properties.map(|(name, below)| look(below, &format!("{at}.{name}"))).sum::<usize>();
        let items = ["items", "additionalProperties"].iter().filter_map(|field| schema.get(*field));
        usize::from(open) + below + items.map(|below| look(below, &format!("{at}[]"))).sum::<usize>()
    }
    for (name, crd) in all().iter().filter(|(name, _)| name.starts_with("kubeovn.io/")) {
        let schema = crd.pointer("/spec/versions/0/schema/openAPIV3Schema/properties").unwrap();
        let open = look(&schema["spec"], "spec") + schema.get("status").map_or(0, |status| look(status, "status"));
        assert!(open > 0 && (name != "kubeovn.io/vpc-egress-gateways.yaml" || open > 20), "{name}: {open}");
    }
}

/// What `kubectl get veg` and `-o wide` print above Kube-OVN's documents' examples.
#[test]
fn columns_are_those_of_the_documents() {
    let columns = veg().pointer("/spec/versions/0/additionalPrinterColumns").unwrap().clone();
    let header = |wide: bool| {
        let shown = columns.as_array().unwrap().iter().filter(|c| wide || c.get("priority").is_none_or(|p| p == 0));
        let names = shown.map(|column| column["name"].as_str().unwrap().to_uppercase());
        ["NAME".to_owned()].into_iter().chain(names).collect::<Vec<_>>().join("|")
    };
    assert_eq!(header(false), "NAME|VPC|REPLICAS|BFD ENABLED|EXTERNAL SUBNET|PHASE|READY|AGE");
    assert_eq!(
        header(true),
        "NAME|VPC|REPLICAS|BFD ENABLED|EXTERNAL SUBNET|PHASE|READY|INTERNAL IPS|EXTERNAL IPS|WORKING NODES|AGE"
    );
    let paths: Vec<&str> = columns.as_array().unwrap().iter().map(|c| c["jsonPath"].as_str().unwrap()).collect();
    assert_eq!(
        paths,
        [
            ".spec.vpc",
            ".spec.replicas",
            ".spec.bfd.enabled",
            ".spec.externalSubnet",
            ".status.phase",
            ".status.ready",
            ".status.internalIPs",
            ".status.externalIPs",
            ".status.workload.nodes",
            ".metadata.creationTimestamp"
        ]
    );
}

#[test]
fn names_and_subresources_are_kube_ovns() {
    let veg = veg();
    let names = json!({
        "kind": "VpcEgressGateway",
        "listKind": "VpcEgressGatewayList",
        "plural": "vpc-egress-gateways",
        "singular": "vpc-egress-gateway",
        "shortNames": ["vpc-egress-gw", "veg"],
    });
    assert_eq!(veg["spec"]["names"], names);
    assert_eq!(veg["spec"]["scope"], "Namespaced");
    let scale = json!({
        "specReplicasPath": ".spec.replicas",
        "statusReplicasPath": ".status.replicas",
        "labelSelectorPath": ".status.labelSelector",
    });
    let subresources = veg.pointer("/spec/versions/0/subresources").unwrap();
    assert_eq!(subresources["scale"], scale);
    assert_eq!(subresources["status"], json!({}));
    assert_eq!(spec()["required"], json!(["externalSubnet"]));
}

/// Kube-OVN's defaults, and two more: `vpc` and `bfd`, which Kube-OVN's documents show in columns that would stay empty.
#[test]
fn defaults() {
    fn collect(schema: &Value, at: &str, found: &mut Vec<String>) {
        if let Some(default) = schema.get("default") {
            found.push(format!("{at} {default}"));
        }
        for (name, below) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
            collect(below, &format!("{at}.{name}"), found);
        }
        if let Some(items) = schema.get("items") {
            collect(items, &format!("{at}[]"), found);
        }
    }
    let mut found = Vec::new();
    collect(&schema("vpc-egress-gateways").unwrap(), "", &mut found);
    found.sort();
    assert_eq!(
        found,
        [
            ".spec.bfd {}",
            ".spec.bfd.enabled false",
            ".spec.bfd.minRX 1000",
            ".spec.bfd.minTX 1000",
            ".spec.bfd.multiplier 3",
            ".spec.observability.conntrack.log.enabled false",
            ".spec.observability.conntrack.metrics.enabled false",
            ".spec.observability.interfaceMetrics.enabled false",
            ".spec.podAntiAffinity \"Required\"",
            ".spec.policies[].snat false",
            ".spec.replicas 1",
            ".spec.trafficPolicy \"Cluster\"",
            ".spec.vpc \"ovn-cluster\"",
            ".status.phase \"Pending\"",
            ".status.ready false",
        ]
    );
}

/// Messages of the rules that do not hold for a spec, with the API server's defaults.
fn broken(spec: &Value, old: Option<&Value>) -> Vec<String> {
    let errors = Validator::new().validate(&self::spec(), spec, old).err().map(|errors| errors.into_vec());
    errors.into_iter().flatten().map(|error| error.message).collect()
}

fn with(field: &str, value: Value) -> Value {
    let mut spec = json!({"externalSubnet": "macvlan", "policies": [{"ipBlocks": ["10.18.0.0/16"]}]});
    spec[field] = value;
    spec
}

/// A spec for each rule, which does not hold while all else is right in the recorded cluster, and what is said.
pub(crate) fn broken_specs() -> Vec<(Value, &'static str)> {
    let two = |mut spec: Value| {
        spec["replicas"] = json!(2);
        spec
    };
    let pooled = |side: &str, address: &str| {
        let mut spec = with(&format!("{side}IPs"), json!([address]));
        spec[format!("{side}IPPool")] = json!("pool");
        spec
    };
    let ports = json!({"conntrack": {"log": {"filters": {"include": [{"original": {"sourcePorts": [{"start": 2, "end": 1}]}}]}}}});
    vec![
        (json!({"externalSubnet": "macvlan"}), "MUST have at least one policy or selector"),
        (
            json!({"externalSubnet": "macvlan", "policies": [], "selectors": []}),
            "MUST have at least one policy or selector",
        ),
        (with("policies", json!([{"snat": true}])), "Each policy MUST have at least one ipBlocks or subnets"),
        (with("policies", json!([{"ipBlocks": ["10.0.0.0/33"]}])), "must be a CIDR"),
        (with("policies", json!([{"ipBlocks": ["10.0.0.1-10.0.0.5"]}])), "must be a CIDR"),
        (with("selectors", json!([{"namespaceSelector": {}}])), "Each namespace selector MUST have"),
        (with("selectors", json!([{"podSelector": {}}])), "Each pod selector MUST have"),
        (with("externalIPs", json!(["foo"])), "must be an IPv4 address"),
        (with("internalIPs", json!(["10.16.0.11,fd00::1,fd00::2"])), "must be an IPv4 address"),
        (with("nodeSelector", json!([{}])), "matches no node"),
        (with("evpnConf", json!("e")), "needs a bgpConf"),
        (with("observability", ports), "start must not be greater than end"),
        (
            two(with("externalIPs", json!(["172.17.0.11"]))),
            "Size of External IPs MUST be equal to or greater than Replicas",
        ),
        (
            two(with("internalIPs", json!(["10.16.0.11"]))),
            "Size of Internal IPs MUST be equal to or greater than Replicas",
        ),
        (pooled("internal", "10.16.0.11"), "Internal IPs and Internal IPPool are mutually exclusive"),
        (pooled("external", "172.17.0.11"), "External IPs and External IPPool are mutually exclusive"),
    ]
}

/// Each rule refuses something, and says so; that it takes what is right shows in what was recorded.
#[test]
fn rules() {
    fn messages(schema: &Value) -> Vec<String> {
        let below = match schema {
            Value::Object(fields) => fields.values().flat_map(messages).collect(),
            Value::Array(items) => items.iter().flat_map(messages).collect(),
            _ => Vec::new(),
        };
        let own = schema.get("x-kubernetes-validations").and_then(Value::as_array).into_iter().flatten();
        own.map(|rule| rule["message"].as_str().unwrap().to_owned()).chain(below).collect()
    }
    let cases = broken_specs();
    for (spec, want) in &cases {
        let got = broken(spec, None);
        assert!(got.len() == 1 && got[0].contains(want), "{spec}: {got:?}");
    }
    // Needs an earlier spec.
    let mutable = |message: &String| !message.starts_with("prefix is immutable");
    for message in messages(&spec()).iter().filter(|message| mutable(message)) {
        assert!(cases.iter().any(|(_, want)| message.contains(want)), "no case for {message:?}");
    }
    for side in ["internal", "external"] {
        assert_eq!(broken(&with(&format!("{side}IPs"), json!(["172.17.0.11,fd00::1"])), None), [""; 0]);
    }
    let (prefixed, bare) = (with("prefix", json!("a-")), with("replicas", json!(1)));
    for (new, old) in [(&prefixed, &bare), (&bare, &prefixed), (&with("prefix", json!("b-")), &prefixed)] {
        assert!(broken(new, Some(old))[0].starts_with("prefix is immutable"), "{new} {old}");
    }
    assert_eq!(broken(&prefixed, Some(&prefixed)), [""; 0]);
}

#[test]
fn what_kube_ovn_stored_and_served_holds() {
    for (file, object) in crate::k8s::api::tests::recorded() {
        if object["kind"] == "VpcEgressGateway" {
            assert_eq!(broken(&object["spec"], None), [""; 0], "{file}");
        }
    }
}

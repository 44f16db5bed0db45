//! The Deployment of a gateway. What a running gateway can take over by itself (policies, selectors, addresses of Pods,
//! the profile) is not in it, so that an edit of those makes no new Pods.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde_json::{Map, Value, json};

use super::{Compat, Settings, container, names};
use crate::{
    k8s::api::{Bandwidth, IntOrText, NodeTerm, VpcEgressGateway, VpcEgressGatewaySpec, mbps},
    spec::{
        addr::Family,
        plan::cluster::{Network, Resolved},
    },
};

/// Annotation of what we apply: a hash of it, so that a field which is gone is noticed.
pub const APPLIED: &str = "egress-ebpf.dev/applied";

/// The Deployment.
pub(super) fn build(gateway: &VpcEgressGateway, resolved: &Resolved, settings: &Settings) -> Value {
    let spec = &gateway.spec;
    let labels = labels(gateway);
    let mut pod = json!({
        "automountServiceAccountToken": false,
        "enableServiceLinks": false,
        "terminationGracePeriodSeconds": 30,
        "securityContext": {"seccompProfile": {"type": "RuntimeDefault"}},
        "affinity": affinity(spec, &labels),
        "initContainers": [container::prepare(spec, settings)],
        "containers": [container::gateway(spec, &resolved.profile, settings)],
        "volumes": container::volumes(&names::config(gateway)),
    });
    if !spec.tolerations.is_empty() {
        pod["tolerations"] = json!(spec.tolerations);
    }
    let mut deployment = json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata(gateway, &names::deployment(gateway)),
        "spec": {
            "replicas": spec.replicas.unwrap_or(1),
            "selector": {"matchLabels": labels},
            // Never more Pods than the addresses of the VEG are for.
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1, "maxSurge": 0}},
            "template": {
                "metadata": {"labels": labels, "annotations": annotations(spec, resolved, settings.compat)},
                "spec": pod,
            },
        },
    });
    // Who owns it is none of its content: `render` knows no owner, and says the same.
    let hash = names::hash(
        json!([names::deployment(gateway), deployment["metadata"]["labels"], deployment["spec"]])
            .to_string()
            .as_bytes(),
    );
    deployment["metadata"]["annotations"] = json!({APPLIED: &hash[..12]});
    deployment
}

fn labels(gateway: &VpcEgressGateway) -> Map<String, Value> {
    names::labels(gateway).into_iter().map(|(k, v)| (k.to_owned(), v.into())).collect()
}

/// Name, labels and owner of what belongs to a gateway.
pub(super) fn metadata(gateway: &VpcEgressGateway, name: &str) -> Value {
    let mut metadata = json!({"name": name, "namespace": names::namespace(gateway), "labels": labels(gateway)});
    // Manifests that were never applied have no UID, and nothing can be owned by them.
    if let Some(uid) = &gateway.metadata.uid {
        metadata["ownerReferences"] = json!([{
            "apiVersion": "kubeovn.io/v1",
            "kind": "VpcEgressGateway",
            "name": names::name(gateway),
            "uid": uid,
        }]);
    }
    metadata
}

/// What Multus and Kube-OVN's CNI shall do for the Pod.
fn annotations(spec: &VpcEgressGatewaySpec, resolved: &Resolved, compat: Compat) -> Map<String, Value> {
    let provider = &resolved.provider;
    let mut routes: Vec<IpNet> = resolved.bfd_peers.iter().map(|peer| IpNet::from(*peer)).collect();
    if compat == Compat::KubeOvn {
        routes.extend(&resolved.routes);
    }
    // A route of a family without an address cannot be set, and the Pod would not start.
    let outside: Vec<IpNet> = resolved.outside.iter().copied().map(everything).collect();
    let bandwidth = |direction: fn(&Bandwidth) -> &Option<IntOrText>| {
        let rate = spec.bandwidth.as_ref().and_then(|bandwidth| direction(bandwidth).as_ref());
        rate.and_then(|rate| mbps(rate).ok()).filter(|rate| *rate > 0).map(|rate| rate.to_string())
    };
    let pool = |pool: &str, addresses: &[String]| {
        let list = if pool.is_empty() { addresses.join(";") } else { pool.to_owned() };
        (!list.is_empty()).then_some(list)
    };
    let all = [
        ("k8s.v1.cni.cncf.io/networks".to_owned(), Some(resolved.attachment.clone())),
        ("ovn.kubernetes.io/logical_switch".to_owned(), Some(resolved.internal.name.clone())),
        ("ovn.kubernetes.io/ip_pool".to_owned(), pool(&spec.internal_ip_pool, &spec.internal_ips)),
        (format!("{provider}.kubernetes.io/ip_pool"), pool(&spec.external_ip_pool, &spec.external_ips)),
        ("ovn.kubernetes.io/routes".to_owned(), routes_by(&routes, &resolved.internal)),
        (format!("{provider}.kubernetes.io/routes"), routes_by(&outside, &resolved.external)),
        // What comes into the cluster leaves the Pod's eth0, and the other way round.
        ("ovn.kubernetes.io/egress_rate".to_owned(), bandwidth(|b| &b.ingress)),
        ("ovn.kubernetes.io/ingress_rate".to_owned(), bandwidth(|b| &b.egress)),
    ];
    all.into_iter().filter_map(|(name, value)| Some((name, Value::String(value?)))).collect()
}

/// `0.0.0.0/0` or `::/0`.
fn everything(family: Family) -> IpNet {
    match family {
        Family::V4 => Ipv4Net::default().into(),
        Family::V6 => Ipv6Net::default().into(),
    }
}

/// Routes as Kube-OVN's CNI reads them, by destination as a text.
fn routes_by(nets: &[IpNet], network: &Network) -> Option<String> {
    let gateway = |net: &IpNet| -> Option<IpAddr> { network.gateways[Family::of_net(*net)] };
    let mut routes: Vec<(String, String)> =
        nets.iter().filter_map(|net| Some((net.to_string(), gateway(net)?.to_string()))).collect();
    routes.sort();
    let routes: Vec<String> = routes.iter().map(|(dst, gw)| format!(r#"{{"dst":"{dst}","gw":"{gw}"}}"#)).collect();
    (!routes.is_empty()).then(|| format!("[{}]", routes.join(",")))
}

fn affinity(spec: &VpcEgressGatewaySpec, labels: &Map<String, Value>) -> Value {
    let term = json!({"labelSelector": {"matchLabels": labels}, "topologyKey": "kubernetes.io/hostname"});
    let apart = if spec.pod_anti_affinity == "Preferred" {
        json!({"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 100, "podAffinityTerm": term}]})
    } else {
        json!({"requiredDuringSchedulingIgnoredDuringExecution": [term]})
    };
    let mut affinity = json!({"podAntiAffinity": apart});
    let terms: Vec<Value> = spec.node_selector.iter().map(node_term).collect();
    if !terms.is_empty() {
        affinity["nodeAffinity"] =
            json!({"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}});
    }
    affinity
}

/// A term of a node affinity has no labels of its own: each becomes an expression, by name.
fn node_term(term: &NodeTerm) -> Value {
    let labels = term.match_labels.iter().map(|(key, value)| json!({"key": key, "operator": "In", "values": [value]}));
    let expressions: Vec<Value> = term.match_expressions.iter().map(|e| json!(e)).chain(labels).collect();
    let mut result = Map::new();
    if !expressions.is_empty() {
        result.insert("matchExpressions".to_owned(), expressions.into());
    }
    if !term.match_fields.is_empty() {
        result.insert("matchFields".to_owned(), json!(term.match_fields));
    }
    Value::Object(result)
}

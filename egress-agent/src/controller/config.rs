//! The ConfigMap of a gateway: what `egress-agent gateway` reads, in the form of manifests.
//!
//! `selectors` of the VpcEgressGateway in it is `[{}]`, and the Pods in it are exactly those that are selected: who is, and
//! by which of several gateways, only the controller can know.

use std::{collections::BTreeMap, net::IpAddr};

use serde_json::{Map, Value, json};

use super::{deployment::metadata, names};
use crate::{
    k8s::api::{PROFILE_ANNOTATION, VpcEgressGateway},
    spec::{
        Objects,
        plan::cluster::{Network, Resolved},
    },
};

/// Most bytes that a ConfigMap holds, with room for its own names. etcd's limit is 1.5 MiB, Kubernetes' 1 MiB of data.
const MOST: usize = (1 << 20) - (4 << 10);

/// Annotation of a gateway Pod: the hash of its configuration. A change makes the kubelet look at the mount at once.
pub const CONFIG_ANNOTATION: &str = "egress-ebpf.dev/config";

/// The ConfigMap, or why there can be none.
pub(super) fn build(
    gateway: &VpcEgressGateway,
    resolved: &Resolved,
    objects: &Objects,
    selected: &BTreeMap<String, Vec<IpAddr>>,
) -> Result<Value, String> {
    let text = documents(gateway, resolved, objects).map_err(|error| error.to_string())?;
    let pods = pods(selected).to_string();
    if text.len() + pods.len() > MOST {
        return Err(format!(
            "{} Pods are selected, more than a ConfigMap holds; select fewer, or divide them between gateways",
            selected.len()
        ));
    }
    let mut map = json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata(gateway, &names::config(gateway)),
        "data": {"gateway.yaml": text, "pods.json": pods},
    });
    map["metadata"]["annotations"] = json!({CONFIG_ANNOTATION: hash(&map)});
    Ok(map)
}

/// Hash of a configuration.
fn hash(map: &Value) -> String {
    names::hash(map["data"].to_string().as_bytes())[..12].to_owned()
}

fn documents(
    gateway: &VpcEgressGateway,
    resolved: &Resolved,
    objects: &Objects,
) -> Result<String, serde_saphyr::ser::Error> {
    let vpc = json!({"apiVersion": "kubeovn.io/v1", "kind": "Vpc", "metadata": {"name": resolved.vpc}});
    let mut documents = vec![trimmed(gateway, resolved), vpc];
    if let Some(profile) = resolved.profile.name.as_ref().and_then(|name| objects.profiles.get(name)) {
        documents.push(object(
            "egress-ebpf.dev/v1alpha1",
            "EgressGatewayProfile",
            &profile.object.metadata,
            &json!(profile.object.spec),
        ));
    }
    if let Some(attachment) = objects.attachments.get(&resolved.attachment) {
        let spec = json!(attachment.object.spec);
        documents.push(object("k8s.cni.cncf.io/v1", "NetworkAttachmentDefinition", &attachment.object.metadata, &spec));
    }
    // In their order of use; each once.
    let policies = gateway.spec.policies.iter().flat_map(|policy| &policy.subnets);
    let mut names: Vec<&String> = Vec::new();
    for name in [&resolved.internal.name, &resolved.external.name].into_iter().chain(policies) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    for name in names {
        if let Some(subnet) = objects.subnets.get(name) {
            let spec = &subnet.object.spec;
            // With the gateway that a Subnet has which names none.
            let own = [&resolved.internal, &resolved.external].into_iter().find(|network| network.name == *name);
            let gateway = own.map_or_else(|| spec.gateway.clone(), Network::gateway);
            let read =
                json!({"vpc": spec.vpc, "provider": spec.provider, "cidrBlock": spec.cidr_block, "gateway": gateway});
            documents.push(object("kubeovn.io/v1", "Subnet", &subnet.object.metadata, &without_empty(read)));
        }
    }
    let texts: Vec<String> = documents.iter().map(serde_saphyr::to_string).collect::<Result<_, _>>()?;
    Ok(texts.join("---\n"))
}

/// The VpcEgressGateway with what a gateway reads of it.
fn trimmed(gateway: &VpcEgressGateway, resolved: &Resolved) -> Value {
    let spec = &gateway.spec;
    let selectors = if spec.selectors.is_empty() { json!([]) } else { json!([{}]) };
    let read = json!({
        "vpc": resolved.vpc,
        "internalSubnet": resolved.internal.name,
        "externalSubnet": resolved.external.name,
        "internalIPs": spec.internal_ips,
        "externalIPs": spec.external_ips,
        "selectors": selectors,
        "policies": spec.policies,
    });
    let mut metadata = gateway.metadata.clone();
    let profile = resolved.profile.name.as_ref().map(|name| (PROFILE_ANNOTATION.to_owned(), name.clone()));
    metadata.annotations = profile.map(|pair| [pair].into());
    object("kubeovn.io/v1", "VpcEgressGateway", &metadata, &without_empty(read))
}

fn object(
    api_version: &str,
    kind: &str,
    metadata: &k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta,
    spec: &Value,
) -> Value {
    let meta = json!({
        "name": metadata.name.as_deref().unwrap_or_default(),
        "namespace": metadata.namespace.as_deref().unwrap_or_default(),
        "annotations": if kind == "VpcEgressGateway" { json!(metadata.annotations) } else { Value::Null },
    });
    json!({"apiVersion": api_version, "kind": kind, "metadata": without_empty(meta), "spec": spec})
}

fn without_empty(mut value: Value) -> Value {
    if let Some(fields) = value.as_object_mut() {
        fields.retain(|_, value| {
            !value.is_null() && *value != json!("") && *value != json!([]) && *value != Value::Object(Map::new())
        });
    }
    value
}

/// A PodList: its items need no kind each.
fn pods(selected: &BTreeMap<String, Vec<IpAddr>>) -> Value {
    let items: Vec<Value> = selected
        .iter()
        .map(|(key, addresses)| {
            let (namespace, name) = key.split_once('/').unwrap_or(("default", key));
            let ips: Vec<Value> = addresses.iter().map(|ip| json!({"ip": ip.to_string()})).collect();
            json!({"metadata": {"namespace": namespace, "name": name}, "status": {"podIPs": ips}})
        })
        .collect();
    json!({"apiVersion": "v1", "kind": "PodList", "items": items})
}

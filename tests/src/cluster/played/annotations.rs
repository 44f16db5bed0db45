//! The annotations by which Pods, Kube-OVN and Multus speak to each other.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde::Deserialize;

/// Networks that a Pod is attached to beside its first one.
pub(super) const NETWORKS: &str = "k8s.v1.cni.cncf.io/networks";
/// What came of it.
pub(super) const NETWORK_STATUS: &str = "k8s.v1.cni.cncf.io/network-status";
/// The provider of the first interface.
pub(super) const OVN: &str = "ovn";

/// A Pod's annotations.
pub(super) type Annotations = BTreeMap<String, String>;

/// Kube-OVN's annotation about a provider's interface: `ovn.kubernetes.io/ip_address`.
pub(super) fn key(provider: &str, name: &str) -> String {
    format!("{provider}.kubernetes.io/{name}")
}

/// The value of such an annotation; an empty one is none.
pub(super) fn value<'a>(annotations: &'a Annotations, provider: &str, name: &str) -> Option<&'a str> {
    annotations.get(&key(provider, name)).map(String::as_str).filter(|value| !value.is_empty())
}

/// One entry of [`NETWORKS`].
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Attachment {
    /// Of the NetworkAttachmentDefinition.
    pub(super) name: String,
    /// Of the NetworkAttachmentDefinition; the Pod's if it is empty.
    #[serde(default)]
    pub(super) namespace: String,
    /// In the Pod.
    #[serde(default)]
    pub(super) interface: String,
    /// Wanted for the interface.
    #[serde(default)]
    pub(super) mac: Option<String>,
}

/// The entries of [`NETWORKS`], in either of its forms: JSON, or `namespace/name@interface, …`.
pub(super) fn attachments(annotations: &Annotations, namespace: &str) -> Result<Vec<Attachment>> {
    let text = annotations.get(NETWORKS).map_or("", |text| text.trim());
    let mut found: Vec<Attachment> = if text.starts_with('[') {
        serde_json::from_str(text).with_context(|| format!("{NETWORKS}: {text}"))?
    } else {
        text.split(',').map(str::trim).filter(|entry| !entry.is_empty()).map(short).collect()
    };
    for (number, entry) in (1..).zip(&mut found) {
        if entry.namespace.is_empty() {
            entry.namespace = namespace.to_owned();
        }
        if entry.interface.is_empty() {
            entry.interface = format!("net{number}");
        }
    }
    Ok(found)
}

fn short(entry: &str) -> Attachment {
    let (path, interface) = entry.split_once('@').unwrap_or((entry, ""));
    let (namespace, name) = path.split_once('/').unwrap_or(("", path));
    Attachment { name: name.to_owned(), namespace: namespace.to_owned(), interface: interface.to_owned(), mac: None }
}

/// A comma-separated list.
pub(super) fn list(text: &str) -> Vec<&str> {
    text.split(',').map(str::trim).filter(|item| !item.is_empty()).collect()
}

/// A route that a Pod asks for.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Route {
    /// The default route where there is none.
    #[serde(default)]
    pub(super) dst: String,
    /// Next hop.
    pub(super) gw: String,
}

/// `<provider>.kubernetes.io/routes`.
pub(super) fn routes(annotations: &Annotations, provider: &str) -> Result<Vec<Route>> {
    let Some(text) = value(annotations, provider, "routes") else { return Ok(Vec::new()) };
    let mut routes: Vec<Route> =
        serde_json::from_str(text).with_context(|| format!("{}: {text}", key(provider, "routes")))?;
    for route in routes.iter_mut().filter(|route| route.dst.is_empty()) {
        (if route.gw.contains(':') { "::/0" } else { "0.0.0.0/0" }).clone_into(&mut route.dst);
    }
    Ok(routes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Annotations {
        Annotations::from([(NETWORKS.to_owned(), text.to_owned())])
    }

    #[test]
    fn both_forms_of_networks() {
        let short = attachments(&of("underlay-ext, other/a@eth9"), "ns1").unwrap();
        let json =
            attachments(&of(r#"[{"name":"underlay-ext"},{"name":"a","namespace":"other","interface":"eth9"}]"#), "ns1");
        assert_eq!(short, json.unwrap());
        assert_eq!((short[0].namespace.as_str(), short[0].interface.as_str()), ("ns1", "net1"));
        assert_eq!((short[1].namespace.as_str(), short[1].interface.as_str()), ("other", "eth9"));
        assert!(attachments(&of("[{]"), "ns1").is_err());
        assert_eq!(attachments(&Annotations::new(), "ns1").unwrap(), []);
    }

    #[test]
    fn a_route_without_destination_is_the_default_one() {
        let text = r#"[{"gw":"172.17.0.1"},{"gw":"fd00::1"},{"dst":"10.17.0.0/16","gw":"10.16.0.1"}]"#;
        let annotations = Annotations::from([(key(OVN, "routes"), text.to_owned())]);
        let routes = routes(&annotations, OVN).unwrap();
        let destinations: Vec<_> = routes.iter().map(|route| route.dst.as_str()).collect();
        assert_eq!(destinations, ["0.0.0.0/0", "::/0", "10.17.0.0/16"]);
    }
}

//! Names and labels, as Kube-OVN gives them.

use sha2::{Digest as _, Sha256};

use crate::k8s::api::{GATEWAY_LABEL, VpcEgressGateway};

/// Value of the label `app` of gateways.
pub(super) const APP: &str = "vpc-egress-gateway";

/// What the ConfigMap's name has more than the Deployment's.
pub(super) const CONFIG: &str = "-egress";

/// Longest value of a label.
const LABEL: usize = 63;

/// The Deployment's name.
pub(super) fn deployment(gateway: &VpcEgressGateway) -> String {
    format!("{}{}", gateway.spec.prefix, name(gateway))
}

/// The ConfigMap's name.
pub(super) fn config(gateway: &VpcEgressGateway) -> String {
    format!("{}{CONFIG}", deployment(gateway))
}

/// Whether Kubernetes takes this as the name of an object (RFC 1123).
pub(super) fn is_name(name: &str) -> bool {
    let letter = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit();
    name.split('.').all(|part| {
        let ends = [part.bytes().next(), part.bytes().last()];
        ends.into_iter().all(|end| end.is_some_and(letter)) && part.bytes().all(|c| letter(c) || c == b'-')
    })
}

/// Name of the gateway.
pub(super) fn name(gateway: &VpcEgressGateway) -> &str {
    gateway.metadata.name.as_deref().unwrap_or_default()
}

/// Namespace of the gateway and of all that belongs to it.
pub(super) fn namespace(gateway: &VpcEgressGateway) -> &str {
    gateway.metadata.namespace.as_deref().unwrap_or("default")
}

/// Labels of the Deployment and its Pods, and its selector.
pub(super) fn labels(gateway: &VpcEgressGateway) -> [(&'static str, String); 2] {
    [("app", APP.to_owned()), (GATEWAY_LABEL, label_value(name(gateway)))]
}

/// `status.labelSelector`.
pub(super) fn label_selector(gateway: &VpcEgressGateway) -> String {
    labels(gateway).map(|(name, value)| format!("{name}={value}")).join(",")
}

/// A name as the value of a label: a long one ends in a part of its hash.
pub(super) fn label_value(name: &str) -> String {
    if name.len() <= LABEL {
        return name.to_owned();
    }
    let head: String = name.chars().take(LABEL - 9).collect();
    format!("{head}-{}", &hash(name.as_bytes())[..8])
}

/// SHA-256 in hexadecimal.
pub(super) fn hash(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_objects() {
        for (name, right) in [
            ("egw-gateway1", true),
            ("a.b-1", true),
            ("1", true),
            ("", false),
            ("a..b", false),
            ("-a", false),
            ("a-", false),
            ("A", false),
            ("a_b", false),
            ("\u{e9}", false),
        ] {
            assert_eq!(is_name(name), right, "{name}");
        }
    }

    #[test]
    fn long_names_end_in_their_hash() {
        assert_eq!(label_value("gateway1"), "gateway1");
        let long = "a".repeat(64);
        let value = label_value(&long);
        assert_eq!((value.len(), &value[..55]), (63, &*format!("{}-", "a".repeat(54))));
        assert_ne!(value, label_value(&"a".repeat(65)));
        // The start of Kube-OVN's name for OVN objects of default/gateway1.
        assert!(hash(b"default/gateway1").starts_with("8ca38ae7da18"));
    }
}

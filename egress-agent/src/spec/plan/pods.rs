//! `spec.selectors`: the addresses of the Pods that they match.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use k8s_openapi::{api::core::v1::Pod, apimachinery::pkg::apis::meta::v1::LabelSelector};
use kube::core::{Expression, Selector, SelectorExt as _};

use super::{Families, labels, subnets};
use crate::{
    k8s::api::{
        GATEWAY_LABEL, IP_ADDRESS_ANNOTATION, LOGICAL_ROUTER_ANNOTATION, NAMESPACE_NAME_LABEL, VpcEgressGatewaySpec,
    },
    spec::{
        addr::{Family, ip},
        objects::Objects,
        report::{At, Report},
    },
};

pub(crate) type Labels = BTreeMap<String, String>;

/// One entry; an absent selector matches everything.
#[derive(Clone, Debug)]
pub(crate) struct Compiled {
    namespaces: Selector,
    pods: Selector,
}

/// Addresses of the Pods that any entry matches, in the families that the gateway serves.
pub(super) fn selected(
    objects: &Objects,
    spec: &VpcEgressGatewaySpec,
    families: Option<&Families>,
    at: &At,
    report: &mut Report,
) -> BTreeSet<IpAddr> {
    let selectors = compile_all(spec, at, report);
    let vpc = subnets::vpc_name(spec);
    let mut selected = BTreeSet::new();
    let mut passed_over = BTreeMap::new();
    for pod in objects.pods.values().filter(|pod| matches(objects, &selectors, vpc, &pod.object)) {
        for addr in addresses(&pod.object, &pod.at(), report) {
            let family = Family::of(addr);
            match families.and_then(|families| families.missing(family)) {
                Some(why) => passed_over.entry(why).or_insert_with(Vec::new).push(addr),
                None => drop(selected.insert(addr)),
            }
        }
    }
    for (why, addresses) in passed_over {
        let (one, many) = (addresses.first().map(ToString::to_string).unwrap_or_default(), addresses.len());
        let reason =
            format!("{many} addresses of selected Pods, such as {one}, are of a family with no gateway: {why}");
        report.warn(at, "spec.selectors", reason);
    }
    selected
}

/// The selectors of a gateway.
pub(crate) fn compile_all(spec: &VpcEgressGatewaySpec, at: &At, report: &mut Report) -> Vec<Compiled> {
    spec.selectors
        .iter()
        .enumerate()
        .map(|(i, entry)| {
            let mut compile = |name: &str, selector: Option<&LabelSelector>| {
                selector
                    .map_or_else(Selector::default, |s| compile(&format!("spec.selectors[{i}].{name}"), s, at, report))
            };
            let namespaces = compile("namespaceSelector", entry.namespace_selector.as_ref());
            Compiled { namespaces, pods: compile("podSelector", entry.pod_selector.as_ref()) }
        })
        .collect()
}

fn compile(field: &str, selector: &LabelSelector, at: &At, report: &mut Report) -> Selector {
    for (key, value) in selector.match_labels.iter().flatten() {
        labels::pair(&format!("{field}.matchLabels"), key, value, at, report);
    }
    let mut compiled: Selector = selector.match_labels.clone().unwrap_or_default().into_iter().collect();
    for (i, requirement) in selector.match_expressions.iter().flatten().enumerate() {
        let field = format!("{field}.matchExpressions[{i}]");
        let values = requirement.values.as_ref().map_or(0, Vec::len);
        labels::words(&field, &requirement.key, requirement.values.as_ref(), at, report);
        match requirement.operator.as_str() {
            "In" | "NotIn" if values == 0 => {
                report.error(at, &format!("{field}.values"), format!("{} needs values", requirement.operator));
            }
            "Exists" | "DoesNotExist" if values > 0 => {
                report.error(at, &format!("{field}.values"), format!("{} takes no values", requirement.operator));
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" => match Expression::try_from(requirement.clone()) {
                Ok(expression) => drop(compiled.extend(expression)),
                Err(error) => report.error(at, &field, error.to_string()),
            },
            other => {
                let reason = format!("{other:?} is unknown; write In, NotIn, Exists or DoesNotExist");
                report.error(at, &format!("{field}.operator"), reason);
            }
        }
    }
    compiled
}

fn matches(objects: &Objects, selectors: &[Compiled], vpc: &str, pod: &Pod) -> bool {
    let none = Labels::new();
    let labels = pod.metadata.labels.as_ref().unwrap_or(&none);
    // A gateway that steered its own packets to itself would loop.
    if labels.contains_key(GATEWAY_LABEL) || annotation(pod, LOGICAL_ROUTER_ANNOTATION).is_some_and(|of| of != vpc) {
        return false;
    }
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let mut namespace_labels = objects
        .namespaces
        .get(namespace)
        .and_then(|namespace| namespace.object.metadata.labels.clone())
        .unwrap_or_default();
    // The API server sets it, a file may lack it.
    namespace_labels.insert(NAMESPACE_NAME_LABEL.to_owned(), namespace.to_owned());
    selectors.iter().any(|entry| entry.matches(&namespace_labels, labels))
}

impl Compiled {
    /// Whether it selects a Pod with these labels in a Namespace with those.
    pub(crate) fn matches(&self, namespace: &Labels, pod: &Labels) -> bool {
        self.namespaces.matches(namespace) && self.pods.matches(pod)
    }
}

pub(crate) fn annotation<'a>(pod: &'a Pod, name: &str) -> Option<&'a str> {
    pod.metadata.annotations.as_ref()?.get(name).map(String::as_str).filter(|text| !text.is_empty())
}

/// `status.podIPs`, else `status.podIP`, else the annotation of Kube-OVN.
pub(crate) fn addresses(pod: &Pod, at: &At, report: &mut Report) -> Vec<IpAddr> {
    let status = pod.status.as_ref();
    let phase = status.and_then(|status| status.phase.as_deref()).unwrap_or_default();
    if pod.spec.as_ref().is_some_and(|spec| spec.host_network == Some(true)) {
        report.warn(at, "spec.hostNetwork", "the Pod uses its node's address and is not selected");
        return Vec::new();
    }
    if matches!(phase, "Succeeded" | "Failed") {
        report.warn(at, "status.phase", format!("the Pod is {phase} and is not selected"));
        return Vec::new();
    }
    let ips = status.and_then(|status| status.pod_ips.as_ref()).into_iter().flatten();
    let ips: Vec<&str> = ips.map(|entry| entry.ip.as_str()).filter(|ip| !ip.is_empty()).collect();
    let (field, texts) = if !ips.is_empty() {
        ("status.podIPs".to_owned(), ips)
    } else if let Some(ip) = status.and_then(|status| status.pod_ip.as_deref()).filter(|ip| !ip.is_empty()) {
        ("status.podIP".to_owned(), vec![ip])
    } else if let Some(text) = annotation(pod, IP_ADDRESS_ANNOTATION) {
        (format!("metadata.annotations[{IP_ADDRESS_ANNOTATION}]"), text.split(',').map(str::trim).collect())
    } else {
        let reason = format!("the Pod has no address yet and is not selected (nor has it {IP_ADDRESS_ANNOTATION})");
        report.warn(at, "status.podIPs", reason);
        return Vec::new();
    };
    texts.into_iter().filter_map(|text| ip(text).map_err(|reason| report.error(at, &field, reason)).ok()).collect()
}

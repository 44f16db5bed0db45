//! Status and conditions of a VpcEgressGateway: Kube-OVN's types and reasons where it has them, and three more types.

use std::{collections::BTreeMap, net::IpAddr};

use super::{
    claims::{Other, Shared},
    names,
    plan::Failure,
    workload::Pods,
};
use crate::{
    k8s::api::{Condition, VpcEgressGateway, VpcEgressGatewayStatus, Workload},
    spec::{Problem, SpecErrors, plan::cluster::NO_BFD_PORT},
};

/// Types of conditions.
pub(super) mod kind {
    /// Whether the spec, and everything that it names, is right.
    pub(crate) const VALIDATED: &str = "Validated";
    /// Whether every field that is set is served.
    pub(crate) const FULLY_SERVED: &str = "FullyServed";
    /// Whether the selectors have the Pods that they match.
    pub(crate) const SELECTORS_EFFECTIVE: &str = "SelectorsEffective";
    /// Whether traffic passes.
    pub(crate) const READY: &str = "Ready";
}

/// What is known about a gateway, for its status.
pub(super) struct Facts<'a> {
    pub(super) gateway: &'a VpcEgressGateway,
    /// What is wrong with the spec.
    pub(super) errors: Option<&'a SpecErrors>,
    /// Its objects' name is another's.
    pub(super) taken: bool,
    /// Fields that are not served, and what that means.
    pub(super) not_served: &'a [(String, String)],
    /// What else a valid one's owner should know.
    pub(super) warnings: &'a [Problem],
    /// Pods that another gateway has.
    pub(super) lost: &'a BTreeMap<String, String>,
    /// Why the Pods' addresses cannot be given to the gateway.
    pub(super) unwritable: Option<&'a str>,
    pub(super) pods: &'a Pods,
    /// Why the objects could not be written.
    pub(super) failure: Option<&'a Failure>,
    /// Whether the Deployment is as it shall be.
    pub(super) rolled_out: bool,
    /// The Deployment's name, if there is one.
    pub(super) deployment: Option<&'a str>,
    /// RFC 3339.
    pub(super) now: &'a str,
}

/// The status; equal to the one before where nothing changed.
pub(super) fn build(facts: &Facts<'_>) -> VpcEgressGatewayStatus {
    let replicas = facts.gateway.spec.replicas.unwrap_or(1);
    let ready = ready(facts, replicas);
    let complete = ready.0;
    let old = facts.gateway.status.as_ref();
    let conditions = [validated(facts), served(facts), effective(facts), (kind::READY, ready)];
    let join = |ips: &[IpAddr]| ips.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    let rows = &facts.pods.rows;
    let mut nodes: Vec<String> = rows.iter().map(|row| row.node.clone()).collect();
    nodes.sort();
    nodes.dedup();
    VpcEgressGatewayStatus {
        replicas: Some(i64::try_from(facts.pods.count).unwrap_or(i64::MAX)),
        label_selector: names::label_selector(facts.gateway),
        ready: complete,
        phase: if complete { "Completed" } else { "Processing" }.to_owned(),
        internal_ips: rows.iter().map(|row| join(&row.internal)).collect(),
        external_ips: rows.iter().map(|row| join(&row.external)).collect(),
        conditions: conditions.map(|condition| keep(condition, old, facts)).to_vec(),
        workload: facts.deployment.map(|name| Workload {
            api_version: "apps/v1".to_owned(),
            kind: "Deployment".to_owned(),
            name: name.to_owned(),
            nodes,
            ..Workload::default()
        }),
        ..VpcEgressGatewayStatus::default()
    }
}

/// Whether it holds, in one word why, and for people.
type Said = (bool, &'static str, String);

fn validated(facts: &Facts<'_>) -> (&'static str, Said) {
    let said = match facts.errors {
        None => match facts.failure.filter(|failure| failure.taken) {
            Some(failure) => (false, "NameTaken", failure.told.clone()),
            None => (true, "Valid", told(facts.warnings)),
        },
        Some(errors) if facts.taken => (false, "NameTaken", told(&errors.0)),
        Some(errors) if errors.0.iter().all(|error| error.reason.starts_with(NO_BFD_PORT)) => {
            (false, "VpcBfdPortNotEnabled", told(&errors.0))
        }
        Some(errors) => (false, "InvalidSpec", told(&errors.0)),
    };
    (kind::VALIDATED, said)
}

fn served(facts: &Facts<'_>) -> (&'static str, Said) {
    let fields: Vec<String> = facts.not_served.iter().map(|(field, meaning)| format!("{field}: {meaning}")).collect();
    let said = if fields.is_empty() {
        (true, "AllFieldsServed", String::new())
    } else {
        (false, "FieldsNotServed", format!("not served yet: {}", fields.join("; ")))
    };
    (kind::FULLY_SERVED, said)
}

/// What there is to say about Pods that another gateway has.
pub(super) fn lost(pods: &BTreeMap<String, String>) -> Option<String> {
    let (pod, winner) = pods.iter().next()?;
    let others = match pods.len() {
        1 => String::new(),
        2 => "; 1 more Pod leaves by another gateway".to_owned(),
        many => format!("; {} more Pods leave by other gateways", many - 1),
    };
    Some(format!(
        "Pod {pod} leaves by VpcEgressGateway {winner}, which selects it, too: the oldest valid one has it{others}"
    ))
}

/// What there is to say about addresses that another gateway lists, too. Kube-OVN gives an address of a Subnet to the
/// Pod that asks first, and knows nothing of two Subnets on one network.
pub(super) fn shared(gateway: &str, addresses: &Shared) -> Vec<Problem> {
    let told = addresses.iter().map(|((field, ip), other)| {
        let Other { gateway: other, subnet } = other;
        let reason = match subnet {
            None => format!(
                "{ip} is listed by VpcEgressGateway {other}, too: one Pod only can have it, and the other waits; list another in \
                 one of them"
            ),
            Some(subnet) => format!(
                "{ip} is listed by VpcEgressGateway {other}, too, and is also in its Subnet {subnet}: if that is the same network, \
                 two Pods have one address there; list another in one of them"
            ),
        };
        problem(gateway, field, reason)
    });
    told.collect()
}

/// About a field of a gateway.
pub(super) fn problem(gateway: &str, field: &str, reason: String) -> Problem {
    Problem { origin: None, object: Some(format!("VpcEgressGateway {gateway}")), field: Some(field.to_owned()), reason }
}

fn effective(facts: &Facts<'_>) -> (&'static str, Said) {
    let said = match (facts.unwritable, lost(facts.lost)) {
        (Some(reason), _) => (false, "TooManyPods", reason.to_owned()),
        (None, Some(message)) => (false, "PodsSelectedByOther", message),
        (None, None) => (true, "NoConflict", String::new()),
    };
    (kind::SELECTORS_EFFECTIVE, said)
}

fn ready(facts: &Facts<'_>, replicas: i64) -> Said {
    let (namespace, name) = (names::namespace(facts.gateway), names::name(facts.gateway));
    if let Some(errors) = facts.errors {
        let running = if facts.deployment.is_some() { "; the last valid state is kept" } else { "" };
        return (false, "ReconcileWorkloadFailed", format!("{}{running}", told(&errors.0)));
    }
    if let Some(failure) = facts.failure {
        return (false, "ReconcileWorkloadFailed", failure.told.clone());
    }
    let Some(deployment) = facts.deployment else {
        return (false, "Processing", format!("Started reconciling VpcEgressGateway {namespace}/{name}"));
    };
    let working = facts.pods.rows.iter().filter(|row| row.ready).count();
    if facts.rolled_out && i64::try_from(working).is_ok_and(|working| working >= replicas) {
        return (true, "ReconcileSuccess", format!("VpcEgressGateway {namespace}/{name} reconciled successfully"));
    }
    if facts.rolled_out && !facts.pods.waiting.is_empty() {
        return (false, "WorkloadNetworkNotReady", facts.pods.waiting.join("; "));
    }
    // Kube-OVN's words, and what it keeps to itself.
    let waiting: String = facts.pods.waiting.iter().map(|pod| format!("; {pod}")).collect();
    (false, "Processing", format!("Waiting for Deployment {deployment} to be ready{waiting}"))
}

/// All mistakes, or warnings, in one line; those of the VEG itself by field, others with their object.
pub(super) fn told(problems: &[Problem]) -> String {
    let told = |problem: &Problem| {
        let object = problem.object.as_deref().filter(|object| !object.starts_with("VpcEgressGateway "));
        let place: Vec<&str> = [object, problem.field.as_deref()].into_iter().flatten().collect();
        if place.is_empty() { problem.reason.clone() } else { format!("{}: {}", place.join(", "), problem.reason) }
    };
    problems.iter().map(told).collect::<Vec<_>>().join("; ")
}

/// A condition with its times: `lastTransitionTime` moves with `status` only, `lastUpdateTime` with anything.
fn keep(
    (kind, (holds, reason, message)): (&str, Said),
    old: Option<&VpcEgressGatewayStatus>,
    facts: &Facts<'_>,
) -> Condition {
    let status = if holds { "True" } else { "False" };
    let old = old.and_then(|old| old.conditions.iter().find(|condition| condition.type_ == kind));
    let same_status = old.filter(|old| old.status == status && !old.last_transition_time.is_empty());
    let mut condition = Condition {
        type_: kind.to_owned(),
        status: status.to_owned(),
        reason: reason.to_owned(),
        message,
        observed_generation: facts.gateway.metadata.generation,
        last_transition_time: same_status.map_or(facts.now, |old| &old.last_transition_time).to_owned(),
        ..Condition::default()
    };
    let unchanged = same_status.filter(|old| {
        (&*old.reason, &old.message, old.observed_generation)
            == (reason, &condition.message, condition.observed_generation)
    });
    condition.last_update_time = unchanged.map_or(facts.now, |old| &old.last_update_time).to_owned();
    condition
}

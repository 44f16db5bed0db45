//! What is to be written for one gateway.

use std::{collections::BTreeMap, net::IpAddr};

use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{ConfigMap, Pod},
};
use serde_json::{Value, json};

use super::{
    Settings,
    applied::{covers, foreign, is_applied, is_last_applied},
    claims::Shared,
    config, container, deployment, names, ovn,
    select::Selected,
    status::{self, Facts},
    workload::{self, Nodes, rolled_out},
};
use crate::{
    k8s::{
        api::{Condition, VpcEgressGateway, VpcEgressGatewaySpec, VpcEgressGatewayStatus, schema::unknown_fields},
        crd::VEG_SPEC,
    },
    spec::{
        Located, Objects, Problem, SpecErrors,
        addr::Family,
        objects::key,
        plan::{
            cluster::{Resolved, resolve},
            fields::{Reader, not_served},
        },
        report::Report,
    },
};

/// What is known when a gateway is planned.
pub struct Input<'a> {
    /// The gateway and what it names.
    pub objects: &'a Objects,
    /// The gateway itself.
    pub gateway: &'a Located<VpcEgressGateway>,
    /// Pods that leave by it.
    pub selected: Selected,
    /// Pods that it selects and another gateway has, with that one.
    pub lost: BTreeMap<String, String>,
    /// Addresses that another gateway lists, too, by the field that lists them, with that one.
    pub shared: Shared,
    /// Why the name of its objects is another's, if it is.
    pub taken: Option<String>,
    /// Deployments that it owns.
    pub deployments: &'a [&'a Deployment],
    /// The ConfigMap of its name that it owns.
    pub config: Option<&'a ConfigMap>,
    /// Its Pods.
    pub pods: &'a [&'a Pod],
    /// The Nodes.
    pub nodes: &'a Nodes,
    /// What the last writes failed by.
    pub failure: Option<&'a Failure>,
    /// The controller's settings.
    pub settings: &'a Settings,
    /// RFC 3339.
    pub now: &'a str,
}

impl Input<'_> {
    /// What its Deployment shall be called.
    #[must_use]
    pub fn deployment_name(&self) -> String {
        names::deployment(&self.gateway.object)
    }
}

/// Why objects of a gateway could not be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// In one line.
    pub told: String,
    /// Their name is another's, one without our label, which is not watched: it is tried again until that one is gone.
    pub taken: bool,
}

/// Something to tell a person once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// `Warning` instead of `Normal`.
    pub warning: bool,
    /// One word, as of the condition.
    pub reason: String,
    /// For people.
    pub note: String,
}

/// What is to be written. What is none, or empty, is right already.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// To be applied before the Deployment: its Pods mount it.
    pub config: Option<Value>,
    /// What is in the ConfigMap and not ours, as a merge patch that removes it, after `config`: an apply leaves others' keys.
    pub foreign: Option<Value>,
    /// To be applied.
    pub deployment: Option<Value>,
    /// Deployments of ours that have another name now, to be deleted.
    pub remove: Vec<String>,
    /// Gateway Pods whose configuration changed and the annotation that says so.
    pub touch: Vec<(String, String)>,
    /// Rows of OVN that steer Pods to the gateway: after its Pods are there, before the status tells of them.
    pub ovn: Vec<ovn::Row>,
    /// To be applied to the status.
    pub status: Option<VpcEgressGatewayStatus>,
    /// To be told.
    pub events: Vec<Event>,
}

/// The objects of a gateway, whatever there is already.
pub(super) struct Wanted {
    pub(super) resolved: Resolved,
    pub(super) deployment: Value,
    /// Or why there cannot be one.
    pub(super) config: Result<Value, String>,
}

/// What a gateway needs, or everything that is wrong with it.
pub(super) fn wanted(
    objects: &Objects,
    gateway: &Located<VpcEgressGateway>,
    selected: &Selected,
    settings: &Settings,
) -> Result<Wanted, SpecErrors> {
    let mut resolved = check(objects, gateway)?;
    let warnings = passed_over(&resolved, selected, &gateway.object);
    resolved.warnings.extend(warnings);
    let serves = |ip: &IpAddr| resolved.serves(Family::of(*ip));
    let served: Selected = selected
        .iter()
        .map(|(pod, ips)| (pod.clone(), ips.iter().copied().filter(serves).collect::<Vec<_>>()))
        .filter(|(_, ips)| !ips.is_empty())
        .collect();
    let deployment = deployment::build(&gateway.object, &resolved, settings);
    let config = config::build(&gateway.object, &resolved, objects, &served);
    Ok(Wanted { resolved, deployment, config })
}

/// Families that selected Pods have and the gateway does not serve. In words that do not change with every Pod that comes.
fn passed_over(resolved: &Resolved, selected: &Selected, gateway: &VpcEgressGateway) -> Vec<Problem> {
    let has = |family| selected.values().flatten().any(|ip| Family::of(*ip) == family);
    let told = |family: Family| {
        let why = resolved.missing[family].as_ref().filter(|_| has(family))?;
        let reason = format!(
            "selected Pods have {family} addresses, a family with no gateway: {why}; what they send by {family} is not served"
        );
        Some(status::problem(&key(gateway), "spec.selectors", reason))
    };
    Family::ALL.into_iter().filter_map(told).collect()
}

/// What a gateway's names mean, if all of it is right.
pub(super) fn check(objects: &Objects, gateway: &Located<VpcEgressGateway>) -> Result<Resolved, SpecErrors> {
    let resolved = resolve(objects, gateway)?;
    let mut report = Report::default();
    if let Some(reason) = container::too_small(&gateway.object.spec, &resolved.profile) {
        report.error(&gateway.at(), "spec.resources.limits.memory", reason);
    }
    let name = names::config(&gateway.object);
    if name.len() > 253 {
        let reason = format!("{name} is too long for the name of an object; use a shorter name or prefix");
        report.error(&gateway.at(), "metadata.name", reason);
    }
    let name = names::deployment(&gateway.object);
    if !names::is_name(&name) {
        let field = if gateway.object.spec.prefix.is_empty() { "metadata.name" } else { "spec.prefix" };
        let reason = format!(
            "{name:?} cannot be the name of a Deployment; write lower-case letters, digits, - and ., and a letter or digit at both ends"
        );
        report.error(&gateway.at(), field, reason);
    }
    report.finish(Some(()))?;
    Ok(resolved)
}

/// What is to be done for one gateway. A spec that is wrong changes nothing but the status.
#[must_use]
pub fn plan(input: &Input<'_>) -> Plan {
    let gateway = &input.gateway.object;
    let name = names::deployment(gateway);
    let wanted = match &input.taken {
        Some(reason) => Err(SpecErrors(vec![Problem {
            origin: None,
            object: None,
            field: Some("metadata.name".to_owned()),
            reason: reason.clone(),
        }])),
        None => wanted(input.objects, input.gateway, &input.selected, input.settings),
    };
    let live = input.deployments.iter().find(|d| d.metadata.name.as_deref() == Some(&name)).copied();
    let mut plan = Plan::default();
    let pods = workload::pods(input.pods, input.nodes);
    let replicas = gateway.spec.replicas.unwrap_or(1);
    let mut unwritable = None;
    let mut complete = false;
    if let Ok(wanted) = &wanted {
        match &wanted.config {
            Ok(config) => {
                let same = input.config.is_some_and(|live| covers(&json!(live), config));
                plan.foreign = input.config.and_then(|live| foreign(live, config));
                // Both together, so that who adds his key each time is answered ever more rarely, too.
                plan.config = (!same || plan.foreign.is_some()).then(|| config.clone());
                plan.touch = touch(config, input.pods);
            }
            Err(reason) => unwritable = Some(reason.as_str()),
        }
        complete = live.is_some_and(|live| is_last_applied(live, &wanted.deployment) && rolled_out(live, replicas));
        let applied = live.is_some_and(|live| is_applied(live, &wanted.deployment));
        // Its Pods cannot start without the configuration.
        if !applied && (wanted.config.is_ok() || input.config.is_some()) {
            plan.deployment = Some(wanted.deployment.clone());
        }
        // Those before carry the traffic until the new one can.
        if complete {
            let names = input.deployments.iter().filter_map(|d| d.metadata.name.clone());
            plan.remove = names.filter(|d| *d != name).collect();
        }
        plan.ovn = ovn::rows(&wanted.resolved, &pods);
    }
    let not_served = unserved(&gateway.spec);
    let shared = status::shared(&key(gateway), &input.shared);
    let warnings: Vec<Problem> =
        wanted.iter().flat_map(|wanted| &wanted.resolved.warnings).chain(&shared).cloned().collect();
    let status = status::build(&Facts {
        gateway,
        errors: wanted.as_ref().err(),
        taken: input.taken.is_some(),
        not_served: &not_served,
        warnings: &warnings,
        lost: &input.lost,
        unwritable,
        pods: &pods,
        failure: input.failure,
        rolled_out: complete,
        deployment: live.or_else(|| input.deployments.first().copied()).and_then(|live| live.metadata.name.as_deref()),
        now: input.now,
    });
    plan.events = events(gateway.status.as_ref(), &status);
    if !says(gateway.status.as_ref(), &status) {
        plan.status = Some(status);
    }
    plan
}

/// Everything that is wrong with a gateway, in one line.
pub fn mistakes(input: &Input<'_>) -> Result<(), String> {
    match &input.taken {
        Some(reason) => Err(reason.clone()),
        None => check(input.objects, input.gateway).map(drop).map_err(|errors| status::told(&errors.0)),
    }
}

/// Fields that are set and do nothing yet, with what that means, and fields that nobody knows.
pub(super) fn unserved(spec: &VpcEgressGatewaySpec) -> Vec<(String, String)> {
    let known = not_served(spec, Reader::Controller).into_iter();
    let known = known.map(|(field, meaning)| (field.to_owned(), meaning.to_owned()));
    let unknown = unknown_fields(&VEG_SPEC, &json!(spec), "spec").into_iter();
    known.chain(unknown.map(|field| (field, "is no known field".to_owned()))).collect()
}

/// Pods that have not been told of this configuration.
fn touch(config: &Value, pods: &[&Pod]) -> Vec<(String, String)> {
    let hash = config["metadata"]["annotations"][config::CONFIG_ANNOTATION].as_str().unwrap_or_default();
    let told = |pod: &Pod| {
        let annotations = pod.metadata.annotations.as_ref();
        annotations.and_then(|annotations| annotations.get(config::CONFIG_ANNOTATION)).is_some_and(|told| told == hash)
    };
    let living = pods.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none() && !told(pod));
    let mut touch: Vec<_> = living.filter_map(|pod| Some((pod.metadata.name.clone()?, hash.to_owned()))).collect();
    touch.sort();
    touch
}

/// Whether a status says all that the new one says; others' conditions may be in it.
fn says(old: Option<&VpcEgressGatewayStatus>, new: &VpcEgressGatewayStatus) -> bool {
    let Some(old) = old else { return false };
    let ours = |condition: &&Condition| new.conditions.iter().any(|new| new.type_ == condition.type_);
    let mut old = old.clone();
    let mut conditions: Vec<Condition> = old.conditions.iter().filter(ours).cloned().collect();
    conditions.sort_by_key(|condition| new.conditions.iter().position(|new| new.type_ == condition.type_));
    old.conditions = conditions;
    old == VpcEgressGatewayStatus { other: old.other.clone(), ..new.clone() }
}

/// A condition that changed its status or reason is told of.
fn events(old: Option<&VpcEgressGatewayStatus>, new: &VpcEgressGatewayStatus) -> Vec<Event> {
    let before = |kind: &str| old.and_then(|old| old.conditions.iter().find(|condition| condition.type_ == kind));
    let changed = |condition: &&Condition| match before(&condition.type_) {
        Some(old) => (&old.status, &old.reason) != (&condition.status, &condition.reason),
        // That nothing is wrong from the start is no news.
        None => condition.type_ == status::kind::READY || condition.status == "False",
    };
    let event = |condition: &Condition| Event {
        warning: condition.status == "False" && condition.reason != "Processing",
        reason: condition.reason.clone(),
        note: if condition.message.is_empty() { condition.type_.clone() } else { condition.message.clone() },
    };
    new.conditions.iter().filter(changed).map(event).collect()
}

//! What a gateway needs of the kernel beside the BPF programs. `plan` decides, [`run`] acts; `doctor` prints the same
//! plan.

use super::{
    Error, Failure, Netlink, Step, apply,
    neigh::{self, Neighbour},
    observe,
    route::{self, Route},
    rule::{self, Rule},
    sysctl,
};
use crate::spec::{desired::Desired, observed::Observed};

#[cfg(test)]
mod tests;

/// What the kernel has at the moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Current {
    /// Settings that the gateway wants.
    pub sysctls: sysctl::Values,
    /// All rules.
    pub rules: Vec<Rule>,
    /// Routes of the tables `main` and 1000.
    pub routes: Vec<Route>,
    /// All neighbours.
    pub neighbours: Vec<Neighbour>,
}

impl Current {
    /// Read it.
    ///
    /// # Errors
    /// The kernel refuses a dump.
    pub async fn read(nl: &Netlink, desired: &Desired, observed: &Observed) -> Result<Self, Error> {
        Ok(Self {
            sysctls: sysctl::values(&sysctl::wanted(desired)),
            rules: rule::list(nl).await?,
            routes: route::list(nl, observed).await?,
            neighbours: neigh::list(nl, observed).await?,
        })
    }
}

/// Everything that has to hold, in the order in which it is set; only the interfaces while one of them is missing, so
/// that nothing is torn down meanwhile. Routes of policy CIDRs are [`route::policy_steps`].
#[must_use]
pub fn plan(desired: &Desired, observed: &Observed, current: &Current) -> Vec<Step> {
    let mut steps: Vec<Step> =
        [&desired.internal, &desired.external].iter().map(|side| interface(&side.interface, observed)).collect();
    if [&desired.internal, &desired.external].iter().any(|side| observed.link(&side.interface).is_none()) {
        return steps;
    }
    steps.extend(sysctl::wanted(desired).into_iter().map(|s| s.step(&current.sysctls)));
    // The way back exists before a rule points at it: a lookup in an empty table goes on to the main one.
    steps.extend(route::default_steps(desired, observed, &current.routes));
    steps.extend(rule::steps(&rule::wanted(desired, observed), &current.rules));
    steps.extend(neigh::steps(&neigh::wanted(desired, observed), &current.neighbours));
    steps
}

fn interface(name: &str, observed: &Observed) -> Step {
    let (ok, detail, fix) = match observed.link(name) {
        None => (false, "does not exist".to_owned(), "name the interface with --internal or --external".to_owned()),
        Some(link) if !link.up => (false, "is down".to_owned(), format!("ip link set {name} up")),
        Some(link) => (true, format!("is up, index {}, MTU {}", link.index, link.mtu), String::new()),
    };
    Step { name: format!("interface {name}"), ok, required: true, detail, fix, action: None }
}

/// What [`run`] did.
#[derive(Debug)]
pub struct Report {
    /// All steps as they stand afterwards.
    pub steps: Vec<Step>,
    /// Names of the steps that were done.
    pub done: Vec<String>,
    /// What could not be done.
    pub failures: Vec<Failure>,
}

impl Report {
    /// Steps that do not hold.
    pub fn open(&self) -> impl Iterator<Item = &Step> {
        self.steps.iter().filter(|s| !s.ok)
    }
}

/// Set what lacks, as far as the process may, and look again. Forwarding is turned on only `with_forwarding`.
///
/// # Errors
/// The kernel refuses a dump. What it refuses to set is in the report.
pub async fn run(nl: &Netlink, desired: &Desired, with_forwarding: bool) -> Result<Report, Error> {
    let mut report =
        Report { steps: look(nl, desired, with_forwarding).await?, done: Vec::new(), failures: Vec::new() };
    // Twice: turning IPv6 forwarding on takes away default routes of router advertisements, whose place is free then.
    for _ in 0..2 {
        if !report.failures.is_empty() || report.steps.iter().all(|s| s.action.is_none()) {
            break;
        }
        report.failures = apply(nl, &report.steps).await;
        let todo = report.steps.iter().filter(|s| s.action.is_some()).map(|s| &s.name);
        report.done.extend(todo.filter(|name| report.failures.iter().all(|f| f.step != **name)).cloned());
        report.steps = look(nl, desired, with_forwarding).await?;
    }
    Ok(report)
}

async fn look(nl: &Netlink, desired: &Desired, with_forwarding: bool) -> Result<Vec<Step>, Error> {
    let observed = observe(nl).await?;
    let current = Current::read(nl, desired, &observed).await?;
    let mut steps = plan(desired, &observed, &current);
    steps.retain(|step| with_forwarding || !step.turns_forwarding_on());
    Ok(steps)
}

//! One thing that has to hold, and how it is brought about.

use serde::Serialize;

use super::{
    Error, Netlink,
    neigh::{self, Neighbour},
    route::{self, Route},
    rule::{self, Rule},
    sysctl::{self, Sysctl},
};

/// One thing that a gateway needs, as `prepare` does it and `doctor` shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Step {
    /// Stable name, such as `rule 1002 IPv4 iif net1`.
    pub name: String,
    /// It holds already.
    pub ok: bool,
    /// Packets may not pass without it; otherwise it is advice.
    pub required: bool,
    /// What was found.
    pub detail: String,
    /// What a person would type or do; empty if nothing.
    pub fix: String,
    /// What [`apply`] does. `None`: it holds, or it is somebody else's and left alone.
    #[serde(skip)]
    pub action: Option<Action>,
}

impl Step {
    /// Whether it lets the kernel forward what it does not forward yet.
    #[must_use]
    pub fn turns_forwarding_on(&self) -> bool {
        matches!(&self.action, Some(Action::Sysctl(setting)) if setting.forwards())
    }
}

/// A change that the agent may make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Write a setting.
    Sysctl(Sysctl),
    /// Change a policy routing rule.
    Rule(Change, Rule),
    /// Change a route.
    Route(Change, Route),
    /// Change a neighbour.
    Neighbour(Change, Neighbour),
}

/// Kind of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It was missing.
    Add,
    /// An own object has the right place and the wrong content.
    Replace,
    /// An own object that is not wanted any more.
    Delete,
}

impl Change {
    /// Word of the `ip` command.
    #[must_use]
    pub const fn verb(self) -> &'static str {
        match self {
            Self::Add => "add",
            Self::Replace => "replace",
            Self::Delete => "del",
        }
    }
}

/// A step that could not be done.
#[derive(Debug, thiserror::Error)]
#[error("{step}: {error}; to do it by hand: {fix}")]
pub struct Failure {
    /// [`Step::name`].
    pub step: String,
    /// [`Step::fix`].
    pub fix: String,
    /// What was tried and the kernel's answer.
    pub error: Error,
}

impl Failure {
    /// The process lacks the rights for it: not the configuration's fault.
    #[must_use]
    pub fn denied(&self) -> bool {
        self.error.denied()
    }
}

/// Do what the steps ask for, in their order. A failure stops nothing; all of them are returned.
pub async fn apply(nl: &Netlink, steps: &[Step]) -> Vec<Failure> {
    let mut failures = Vec::new();
    for step in steps {
        let done = match &step.action {
            None => continue,
            Some(Action::Sysctl(s)) => sysctl::write(&s.path, &s.value),
            Some(Action::Rule(change, rule)) => rule::apply(nl, *change, rule).await,
            Some(Action::Route(change, route)) => route::apply(nl, *change, route).await,
            Some(Action::Neighbour(change, neighbour)) => neigh::apply(nl, *change, neighbour).await,
        };
        match done {
            Ok(()) => tracing::info!(step = step.name, "set"),
            Err(error) => failures.push(Failure { step: step.name.clone(), fix: step.fix.clone(), error }),
        }
    }
    failures
}

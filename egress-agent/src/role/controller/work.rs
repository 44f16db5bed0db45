//! What is done about the gateways that something changed for.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use anyhow::{Error, Result, anyhow};
use futures_util::{StreamExt as _, stream};
use k8s_openapi::{
    api::{apps::v1::Deployment, core::v1::ConfigMap},
    jiff::Timestamp,
};
use serde_json::Value;
use tokio::time::{Instant, timeout};
use tracing::{error, info, warn};

use super::{
    Mode,
    calm::{Apply, Calm},
    health::Health,
};
use crate::{
    controller::{APPLIED, Failure, Input, Plan, Settings, config::CONFIG_ANNOTATION, mistakes, plan, state::State},
    k8s::{
        api::VpcEgressGateway,
        write::{Taken, Writer},
    },
};

/// Kube-OVN's finalizer on a gateway that it reconciles.
const KUBE_OVN_FINALIZER: &str = "kubeovn.io/kube-ovn-controller";
/// Gateways that are written at once.
const AT_ONCE: usize = 16;
/// Gateways that are looked at before the news are: an edit that concerns all must not keep a Pod waiting.
const SOME: usize = 64;
/// How long everything that is written for one gateway may take: the API server answers or it is tried again.
pub(super) const WRITE: Duration = Duration::from_secs(30);
const CONFIG_MAP: &str = "ConfigMap";
const DEPLOYMENT: &str = "Deployment";
/// Waits after a write that failed, the first and the longest.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(20));

pub(super) struct Work {
    pub(super) state: State,
    mode: Mode,
    writer: Writer,
    settings: Settings,
    health: Arc<Health>,
    /// When a gateway is tried again, and how long it waited.
    retry: BTreeMap<String, (Instant, Duration)>,
    /// Of objects that others change back.
    calm: Calm,
    /// What was said about gateways that are left alone: once.
    told: BTreeMap<String, String>,
}

/// A gateway with its plan.
struct Planned {
    key: String,
    gateway: VpcEgressGateway,
    plan: Plan,
    live: Live,
}

/// What came of a plan.
#[derive(Default)]
struct Written {
    /// Kinds that were applied.
    applied: Vec<&'static str>,
    /// Why objects could not be written.
    failed: Vec<Error>,
    /// Why the status could not.
    status: Option<Error>,
}

impl Written {
    /// Notes what applying came to; whether it was done.
    fn note(&mut self, kind: &'static str, result: Result<()>) -> bool {
        match result {
            Ok(()) => self.applied.push(kind),
            Err(error) => self.failed.push(error),
        }
        self.applied.contains(&kind)
    }

    /// Why objects could not be written.
    fn failure(&self) -> Option<Failure> {
        let told: Vec<String> = self.failed.iter().map(|error| format!("{error:#}")).collect();
        let taken = self.failed.iter().any(Error::is::<Taken>);
        (!told.is_empty()).then(|| Failure { told: told.join("; "), taken })
    }
}

/// UIDs of the objects that a gateway has.
#[derive(Default)]
struct Live {
    deployment: Option<String>,
    config: Option<String>,
}

impl Work {
    pub(super) fn new(mode: Mode, writer: Writer, settings: Settings, health: Arc<Health>) -> Self {
        let (retry, told) = (BTreeMap::new(), BTreeMap::new());
        Self { state: State::new(), mode, writer, settings, health, retry, calm: Calm::default(), told }
    }

    /// When something is to be tried again.
    pub(super) fn due(&self) -> Option<Instant> {
        self.retry.values().map(|(at, _)| *at).chain(self.calm.due()).min()
    }

    pub(super) fn retry_due(&mut self) {
        let now = Instant::now();
        for (key, _) in self.retry.iter().filter(|(_, (at, _))| *at <= now) {
            self.state.again(key);
        }
        self.calm.take_due(now).iter().for_each(|key| self.state.again(key));
        // The wait is kept until a write succeeds.
        for (at, _) in self.retry.values_mut().filter(|(at, _)| *at <= now) {
            *at = now + RETRY.1;
        }
    }

    pub(super) async fn reconcile(&mut self) {
        if self.mode == Mode::Observe {
            return self.observe();
        }
        self.round().await;
    }

    /// Whether there is more to do.
    pub(super) fn pending(&self) -> bool {
        self.state.is_dirty()
    }

    /// Writes what differs for some gateways. What failed before and is right now is looked at once more, for its status.
    async fn round(&mut self) {
        let (writer, health) = (&self.writer.clone(), &Arc::clone(&self.health));
        let writes = self.planned().await.into_iter().map(|one| async move {
            let written = if one.plan == Plan::default() {
                // It is as it shall be, whoever has seen to that.
                Written::default()
            } else {
                let late = || anyhow!("the API server took longer than {} s", WRITE.as_secs());
                let late = |_| Written { failed: vec![late()], ..Written::default() };
                timeout(WRITE, write(writer, &one)).await.unwrap_or_else(late)
            };
            health.turn();
            (one, written)
        });
        let done: Vec<_> = stream::iter(writes).buffer_unordered(AT_ONCE).collect().await;
        for (one, written) in done {
            self.applied(&one, &written.applied);
            let key = one.key;
            let failure = written.failure();
            for error in written.failed.iter().chain(&written.status) {
                error!("{key}: {error:#}");
            }
            if failure.is_none() && written.status.is_none() {
                self.retry.remove(&key);
            } else {
                let waited = self.retry.get(&key).map_or(RETRY.0 / 2, |(_, waited)| *waited);
                let wait = (waited * 2).min(RETRY.1);
                self.retry.insert(key.clone(), (Instant::now() + wait, wait));
            }
            self.state.failed(&key, failure);
        }
    }

    /// Notes what was applied to objects that were there, and says whose somebody changes back.
    fn applied(&mut self, one: &Planned, kinds: &[&str]) {
        let now = Instant::now();
        for apply in one.live.applies(&one.plan).into_iter().filter(|apply| kinds.contains(&apply.kind)) {
            let kind = apply.kind;
            if let Some(wait) = self.calm.applied(&one.key, apply, now) {
                let seconds = wait.as_secs();
                warn!("{}: somebody changes its {kind} after each apply; the next is in {seconds} s", one.key);
            }
        }
    }

    /// Plans every gateway that something changed for.
    async fn planned(&mut self) -> Vec<Planned> {
        let now = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        let mut planned = Vec::new();
        for key in self.state.take_some(SOME) {
            let Some(gateway) = self.state.gateway(&key).cloned() else {
                self.retry.remove(&key);
                self.told.remove(&key);
                self.calm.forget(&key);
                continue;
            };
            if gateway.metadata.finalizers.iter().flatten().any(|finalizer| finalizer == KUBE_OVN_FINALIZER) {
                self.refuse(&key, &gateway).await;
                continue;
            }
            let done = self.state.with_input(&key, &self.settings, &now, |input| (plan(input), Live::of(input)));
            if let Some((mut plan, live)) = done {
                for apply in live.applies(&plan) {
                    if !self.calm.allows(&key, &apply, Instant::now()) {
                        match apply.kind {
                            CONFIG_MAP => (plan.config, plan.foreign) = (None, None),
                            _ => plan.deployment = None,
                        }
                    }
                }
                planned.push(Planned { key, gateway, plan, live });
            }
        }
        planned
    }

    /// A gateway that Kube-OVN reconciles is left alone, and this is said once.
    async fn refuse(&mut self, key: &str, gateway: &VpcEgressGateway) {
        let note =
            format!("left alone: it has Kube-OVN's finalizer {KUBE_OVN_FINALIZER}; its controller reconciles it");
        if self.news(key, gateway, &note) {
            warn!("{key}: {note}");
            self.writer.tell(gateway, true, "OwnedByKubeOvn", &note).await;
        }
    }

    /// Nothing is written, neither objects nor a status: Kube-OVN's controller does. What it takes and a gateway of ours
    /// refuses is in the log.
    fn observe(&mut self) {
        for key in self.state.take_dirty() {
            let wrong = self.state.with_input(&key, &self.settings, "", |input| mistakes(input).err());
            let (Some(wrong), Some(gateway)) = (wrong, self.state.gateway(&key).cloned()) else {
                self.told.remove(&key);
                continue;
            };
            let note = "left to Kube-OVN's controller (mode observe)";
            let note = wrong.as_ref().map_or_else(|| note.to_owned(), |wrong| format!("{note}; wrong in it: {wrong}"));
            if self.news(&key, &gateway, &note) {
                if wrong.is_some() { warn!("{key}: {note}") } else { info!("{key}: {note}") }
            }
        }
    }

    /// Whether this was not said about the gateway yet.
    fn news(&mut self, key: &str, gateway: &VpcEgressGateway, note: &str) -> bool {
        let said = format!("{} {note}", gateway.metadata.uid.as_deref().unwrap_or_default());
        self.told.insert(key.to_owned(), said.clone()) != Some(said)
    }
}

impl Live {
    fn of(input: &Input<'_>) -> Self {
        let name = input.deployment_name();
        let deployment = input.deployments.iter().find(|live| live.metadata.name.as_ref() == Some(&name));
        Self {
            deployment: deployment.and_then(|live| live.metadata.uid.clone()),
            config: input.config.and_then(|live| live.metadata.uid.clone()),
        }
    }

    /// What a plan applies to objects that are there already.
    fn applies(&self, plan: &Plan) -> Vec<Apply> {
        let apply = |kind, uid: &Option<String>, object: &Option<Value>, hash: &str| {
            let hash = object.as_ref()?["metadata"]["annotations"][hash].as_str()?;
            Some(Apply { kind, uid: uid.clone()?, hash: hash.to_owned() })
        };
        let config = apply(CONFIG_MAP, &self.config, &plan.config, CONFIG_ANNOTATION);
        let deployment = apply(DEPLOYMENT, &self.deployment, &plan.deployment, APPLIED);
        config.into_iter().chain(deployment).collect()
    }
}

/// Writes a plan: objects and status each as far as they can be written. The status of a gateway whose objects cannot be
/// written says how it is.
async fn write(writer: &Writer, one: &Planned) -> Written {
    let mut written = objects(writer, one).await;
    if let Some(new) = &one.plan.status {
        written.status = writer.status(&one.gateway, new).await.err();
    }
    for event in &one.plan.events {
        writer.tell(&one.gateway, event.warning, &event.reason, &event.note).await;
    }
    written
}

/// Writes the objects of a plan, in the order in which they need each other. One that is refused keeps no other from being
/// written that does not need it.
async fn objects(writer: &Writer, Planned { gateway, plan, live, .. }: &Planned) -> Written {
    let namespace = gateway.metadata.namespace.as_deref().unwrap_or("default");
    let uid = gateway.metadata.uid.as_deref().unwrap_or_default();
    let mut written = Written::default();
    let mut configured = true;
    if let Some(config) = &plan.config {
        let result = writer.apply::<ConfigMap>(namespace, config, uid, live.config.as_deref()).await;
        configured = written.note(CONFIG_MAP, result);
        if let Some(foreign) = plan.foreign.as_ref().filter(|_| configured) {
            let name = config["metadata"]["name"].as_str().unwrap_or_default();
            written.failed.extend(writer.merge::<ConfigMap>(namespace, name, foreign).await.err());
        }
    }
    // Running Pods before the Deployment, which they do not need. One that is told too early is not told again.
    for (pod, hash) in plan.touch.iter().filter(|_| configured) {
        written.failed.extend(writer.annotate(namespace, pod, CONFIG_ANNOTATION, hash).await.err());
    }
    // New Pods need a configuration, if only the one before.
    if let Some(deployment) = plan.deployment.as_ref().filter(|_| configured || live.config.is_some()) {
        let result = writer.apply::<Deployment>(namespace, deployment, uid, live.deployment.as_deref()).await;
        written.note(DEPLOYMENT, result);
    }
    // The place of OVN's rows, as soon as there are any.
    if let Some(row) = plan.ovn.first() {
        match *row {}
    }
    for name in &plan.remove {
        written.failed.extend(writer.delete::<Deployment>(namespace, name).await.err());
    }
    written
}

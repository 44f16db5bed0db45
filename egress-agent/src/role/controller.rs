//! `egress-agent controller`: watches, plans what changed, and writes it while it is the leader.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context, Result, bail};
use futures_util::{StreamExt as _, stream};
use k8s_openapi::{
    api::{
        apps::v1::Deployment,
        core::v1::{ConfigMap, Namespace, Pod},
    },
    jiff::Timestamp,
};
use kube::{
    Api, Client,
    api::{ListParams, PartialObjectMeta},
};
use kube_lease_manager::LeaseManagerBuilder;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc::{UnboundedSender, unbounded_channel},
    time::{Instant, sleep_until},
};
use tracing::{error, info, warn};

use crate::{
    controller::{Event, Plan, Settings, plan, state::State},
    k8s::{
        api::{
            BgpConf, EgressGatewayProfile, EvpnConf, GATEWAY_LABEL, IPPool, NetworkAttachmentDefinition, Subnet, Vpc,
            VpcEgressGateway,
        },
        watch::{News, Scope, watch},
        write::{Owned, Writer},
    },
};

/// Who makes the gateways' Deployments.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Mode {
    /// This controller.
    Managed,
    /// Kube-OVN's; this one only looks.
    Observe,
}

/// What the command line says.
#[derive(Clone, Debug)]
pub struct Options {
    /// None: as the cluster is found.
    pub mode: Option<Mode>,
    /// About gateways.
    pub settings: Settings,
    /// Namespace of the Lease.
    pub namespace: String,
    /// Name of this replica.
    pub identity: String,
}

/// Kube-OVN's finalizer on a gateway that it reconciles.
const KUBE_OVN_FINALIZER: &str = "kubeovn.io/kube-ovn-controller";
/// Name of Kube-OVN's Deployment.
const KUBE_OVN: &str = "kube-ovn-controller";
/// Name of our Lease.
const LEASE: &str = "egress-gateway-controller";
/// Gateways that are written at once.
const AT_ONCE: usize = 16;
/// How long to wait for the Lease to be given back.
const RELEASE: Duration = Duration::from_secs(3);
/// Waits after a write that failed, the first and the longest.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(20));

/// Runs until SIGTERM or SIGINT, or until another is the leader.
pub fn run(options: &Options) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.context("start the runtime")?.block_on(serve(options))
}

async fn serve(options: &Options) -> Result<()> {
    let mut stop = signal(SignalKind::terminate()).context("SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("SIGINT")?;
    let client = Client::try_default().await.context("find the API server")?;
    let mode = match options.mode {
        Some(mode) => mode,
        None => find_mode(&client).await?,
    };
    info!(?mode, identity = options.identity, "starting");
    let (sender, mut news) = unbounded_channel();
    let mut unlisted = watch_all(&client, &sender);
    let lease = LeaseManagerBuilder::new(client.clone(), LEASE)
        .with_namespace(&options.namespace)
        .with_identity(&options.identity)
        .with_duration(15)
        .with_grace(5);
    let lease = lease.build().await.with_context(|| format!("Lease {}/{LEASE}", options.namespace))?;
    let (mut leading, held) = lease.watch().await;
    let mut work = Work {
        state: State::new(),
        writer: Writer::new(client, &options.identity),
        settings: options.settings.clone(),
        retry: BTreeMap::new(),
        refused: BTreeMap::new(),
    };
    let mut leader = *leading.borrow_and_update();
    loop {
        let due = work.retry.values().map(|(at, _)| *at).min();
        tokio::select! {
            _ = stop.recv() => break,
            _ = interrupt.recv() => break,
            Some(first) = news.recv() => {
                let mut next = Some(first);
                // Many changes of one gateway are one.
                while let Some(news_of) = next {
                    match news_of {
                        News::Change(change) => change(&mut work.state),
                        News::Listed(kind) => {
                            unlisted.retain(|one| *one != kind);
                            if unlisted.is_empty() {
                                info!("every kind is listed");
                            }
                        }
                    }
                    next = news.try_recv().ok();
                }
            }
            changed = leading.changed() => {
                changed.context("leader election ended")?;
                let now = *leading.borrow_and_update();
                if leader && !now {
                    bail!("another replica is the leader now");
                }
                if now && !leader {
                    info!("leading");
                    work.state.all_again();
                }
                leader = now;
            }
            () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => work.retry_due(),
        }
        if unlisted.is_empty() && leader && mode == Mode::Managed {
            work.reconcile().await;
        }
    }
    // So that another replica need not wait until it runs out.
    drop(leading);
    let released = tokio::time::timeout(RELEASE, held).await;
    info!(released = released.is_ok(), "ending; gateways go on");
    Ok(())
}

/// Observe where Kube-OVN's controller runs: it cannot be told to leave gateways alone.
async fn find_mode(client: &Client) -> Result<Mode> {
    let api: Api<PartialObjectMeta<Deployment>> = Api::all(client.clone());
    let named = ListParams::default().fields(&format!("metadata.name={KUBE_OVN}"));
    let found = api.list_metadata(&named).await.context("look for Kube-OVN's controller; or say --mode")?;
    Ok(if found.items.is_empty() { Mode::Managed } else { Mode::Observe })
}

/// Starts all watches; the kinds that are not listed yet.
fn watch_all(client: &Client, news: &UnboundedSender<News>) -> Vec<String> {
    let all = Scope::default();
    let optional = Scope { optional: true, ..all };
    let ours = Scope { label: Some(GATEWAY_LABEL), ..all };
    vec![
        watch::<VpcEgressGateway>(client, all, news.clone()),
        watch::<Vpc>(client, all, news.clone()),
        watch::<Subnet>(client, all, news.clone()),
        watch::<NetworkAttachmentDefinition>(client, all, news.clone()),
        watch::<Namespace>(client, all, news.clone()),
        watch::<Pod>(client, all, news.clone()),
        watch::<Deployment>(client, ours, news.clone()),
        watch::<ConfigMap>(client, ours, news.clone()),
        watch::<EgressGatewayProfile>(client, optional, news.clone()),
        watch::<IPPool>(client, optional, news.clone()),
        watch::<BgpConf>(client, optional, news.clone()),
        watch::<EvpnConf>(client, optional, news.clone()),
    ]
}

struct Work {
    state: State,
    writer: Writer,
    settings: Settings,
    /// When a gateway is tried again, and how long it waited.
    retry: BTreeMap<String, (Instant, Duration)>,
    /// Gateways that are Kube-OVN's, by UID: told once.
    refused: BTreeMap<String, Option<String>>,
}

/// A gateway with its plan.
struct Planned {
    key: String,
    gateway: VpcEgressGateway,
    plan: Plan,
    owned: Owned,
}

impl Work {
    fn retry_due(&mut self) {
        let now = Instant::now();
        for (key, _) in self.retry.iter().filter(|(_, (at, _))| *at <= now) {
            self.state.again(key);
        }
        // The wait is kept until a write succeeds.
        for (at, _) in self.retry.values_mut().filter(|(at, _)| *at <= now) {
            *at = now + RETRY.1;
        }
    }

    async fn reconcile(&mut self) {
        let planned = self.planned().await;
        let writer = &self.writer;
        let writes = planned.into_iter().filter(|one| one.plan != Plan::default()).map(|one| async move {
            let namespace = one.gateway.metadata.namespace.as_deref().unwrap_or("default");
            let objects = writer.objects(namespace, &one.plan, one.owned).await;
            // Also the status of a gateway whose objects cannot be written says how it is.
            let status = writer.status(&one.gateway, &one.plan).await;
            (one.key.clone(), objects, status)
        });
        let done: Vec<_> = stream::iter(writes).buffer_unordered(AT_ONCE).collect().await;
        for (key, objects, status) in done {
            let failure = objects.as_ref().err().map(|error| format!("{error:#}"));
            let written = objects.is_ok() && status.is_ok();
            for error in [objects.err(), status.err()].into_iter().flatten() {
                error!("{key}: {error:#}");
            }
            if written {
                self.retry.remove(&key);
            } else {
                let waited = self.retry.get(&key).map_or(RETRY.0 / 2, |(_, waited)| *waited);
                let wait = (waited * 2).min(RETRY.1);
                self.retry.insert(key.clone(), (Instant::now() + wait, wait));
            }
            self.state.failed(&key, failure);
        }
    }

    /// Plans every gateway that something changed for.
    async fn planned(&mut self) -> Vec<Planned> {
        let now = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        let mut planned = Vec::new();
        for key in self.state.take_dirty() {
            let Some(gateway) = self.state.gateway(&key).cloned() else {
                self.retry.remove(&key);
                continue;
            };
            if gateway.metadata.finalizers.iter().flatten().any(|finalizer| finalizer == KUBE_OVN_FINALIZER) {
                self.refuse(&key, &gateway).await;
                continue;
            }
            let done = self.state.with_input(&key, &self.settings, &now, |input| {
                (plan(input), Owned { deployment: !input.deployments.is_empty(), config: input.config.is_some() })
            });
            if let Some((plan, owned)) = done {
                planned.push(Planned { key, gateway, plan, owned });
            }
        }
        planned
    }

    /// A gateway that Kube-OVN reconciles is left alone, and this is said once.
    async fn refuse(&mut self, key: &str, gateway: &VpcEgressGateway) {
        let uid = gateway.metadata.uid.clone();
        if self.refused.insert(key.to_owned(), uid.clone()) == Some(uid) {
            return;
        }
        let note =
            format!("left alone: it has Kube-OVN's finalizer {KUBE_OVN_FINALIZER}; its controller reconciles it");
        warn!("{key}: {note}");
        self.writer.tell(gateway, &Event { warning: true, reason: "OwnedByKubeOvn".to_owned(), note }).await;
    }
}

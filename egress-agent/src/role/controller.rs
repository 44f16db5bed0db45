//! `egress-agent controller`: watches, plans what changed, and writes it while it is the leader.

mod calm;
mod health;
mod mode;
mod work;

#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use anyhow::{Context, Result, bail};
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{ConfigMap, Namespace, Node, Pod},
};
use kube::Client;
use kube_lease_manager::LeaseManagerBuilder;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::{
        mpsc::{UnboundedSender, unbounded_channel},
        watch::Receiver,
    },
    time::{Instant, interval, sleep_until},
};
use tracing::info;

pub use self::mode::Mode;
use self::{health::Health, work::Work};
use crate::{
    controller::{Settings, state::State},
    k8s::{
        api::{
            BgpConf, EgressGatewayProfile, EvpnConf, GATEWAY_LABEL, IPPool, NetworkAttachmentDefinition, Subnet, Vpc,
            VpcEgressGateway,
        },
        watch::{News, Scope, watch},
        write::Writer,
    },
};

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
    /// Port of `/healthz` and `/readyz`; none: they are not served.
    pub health_port: Option<u16>,
}

/// Name of our Lease.
const LEASE: &str = "egress-gateway-controller";
/// How long to wait for the Lease to be given back.
const RELEASE: Duration = Duration::from_secs(3);
/// How often the loop turns although nothing happens, so that its health can be told.
const TURN: Duration = Duration::from_secs(10);

/// Runs until SIGTERM or SIGINT, or until another is the leader.
pub fn run(options: &Options) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.context("start the runtime")?.block_on(serve(options))
}

async fn serve(options: &Options) -> Result<()> {
    let mut stop = signal(SignalKind::terminate()).context("SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("SIGINT")?;
    let health = Arc::new(Health::new());
    if let Some(port) = options.health_port {
        health::serve(Arc::clone(&health), port).await.with_context(|| format!("--health-port {port}"))?;
    }
    let client = Client::try_default().await.context("find the API server")?;
    let (mode, why) = mode::find(&client, options.mode).await?;
    health.mode(mode);
    info!(?mode, why, identity = options.identity, "starting: {}", mode.does());
    let (sender, mut news) = unbounded_channel();
    let mut unlisted = watch_all(&client, &sender);
    let lease = LeaseManagerBuilder::new(client.clone(), LEASE)
        .with_namespace(&options.namespace)
        .with_identity(&options.identity)
        .with_duration(15)
        .with_grace(5);
    let lease = lease.build().await.with_context(|| format!("Lease {}/{LEASE}", options.namespace))?;
    let (mut leading, held) = lease.watch().await;
    let writer = Writer::new(client, &options.identity);
    let mut work = Work::new(mode, writer, options.settings.clone(), Arc::clone(&health));
    let mut leader = *leading.borrow_and_update();
    health.leads(leader);
    let mut turn = interval(TURN);
    loop {
        health.turn();
        let due = work.due();
        let works = leader && unlisted.is_empty();
        tokio::select! {
            // News before what is left to do.
            biased;
            _ = stop.recv() => break,
            _ = interrupt.recv() => break,
            _ = turn.tick() => {}
            changed = leading.changed() => {
                changed.context("leader election ended")?;
                let now = *leading.borrow_and_update();
                if leader && !now {
                    bail!(LOST);
                }
                if now && !leader {
                    info!("leading");
                    work.state.all_again();
                }
                leader = now;
                health.leads(leader);
            }
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
                                health.listed();
                            }
                        }
                    }
                    next = news.try_recv().ok();
                }
            }
            () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => work.retry_due(),
            () = std::future::ready(()), if works && work.pending() => {}
        }
        if unlisted.is_empty() && leader {
            // What waits for the API server must not keep the process from ending, nor from giving way to another leader.
            tokio::select! {
                () = work.reconcile() => {}
                _ = stop.recv() => break,
                _ = interrupt.recv() => break,
                () = lost(leading.clone()) => bail!(LOST),
            }
        }
    }
    // So that another replica need not wait until it runs out.
    drop(leading);
    let released = tokio::time::timeout(RELEASE, held).await;
    info!(released = released.is_ok(), "ending; gateways go on");
    Ok(())
}

const LOST: &str = "another replica is the leader now";

/// Returns when this replica leads no more.
async fn lost(mut leading: Receiver<bool>) {
    // An error says that nobody elects any more.
    let _ = leading.wait_for(|leads| !leads).await;
}

/// Starts all watches; the kinds that are not listed yet.
fn watch_all(client: &Client, news: &UnboundedSender<News<State>>) -> Vec<String> {
    let all = Scope::default();
    let optional = Scope { optional: true, ..all };
    let ours = Scope { label: Some(GATEWAY_LABEL), ..all };
    vec![
        watch::<VpcEgressGateway, _>(client, all, news.clone()),
        watch::<Vpc, _>(client, all, news.clone()),
        watch::<Subnet, _>(client, all, news.clone()),
        watch::<NetworkAttachmentDefinition, _>(client, all, news.clone()),
        watch::<Namespace, _>(client, all, news.clone()),
        watch::<Pod, _>(client, all, news.clone()),
        watch::<Node, _>(client, all, news.clone()),
        watch::<Deployment, _>(client, ours, news.clone()),
        watch::<ConfigMap, _>(client, ours, news.clone()),
        watch::<EgressGatewayProfile, _>(client, optional, news.clone()),
        watch::<IPPool, _>(client, optional, news.clone()),
        watch::<BgpConf, _>(client, optional, news.clone()),
        watch::<EvpnConf, _>(client, optional, news.clone()),
    ]
}

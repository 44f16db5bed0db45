//! How the controller does with many gateways and Pods, against an API server alone: Pods are objects on a Node without a kubelet.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::{ApiResource, DynamicObject, GroupVersionKind};
use kube::{Api, Client, Config};
use serde_json::json;
use tokio::time::sleep;

use super::Parts;
use super::api::{ApiServer, CONTROLLER};

/// Requests that make the objects, at once.
const AT_ONCE: usize = 32;
/// Pods whose label is changed, one after the other.
const CHANGES: usize = 20;
const PATIENCE: Duration = Duration::from_secs(600);
/// From a Pod's label to the desired state, also on a slow machine.
const SOON: Duration = Duration::from_secs(2);
/// The controller's memory at most, bytes.
const MEMORY: u64 = 512 << 20;
/// A look at the state, while it is waited for.
const LOOK: Duration = Duration::from_millis(2);

/// How much is made, and how long it is looked at.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// VpcEgressGateways.
    pub gateways: usize,
    /// Pods that they select.
    pub pods: usize,
    /// After so long without a request the controller is at rest: an unoptimised build plans for some of it.
    pub rest: Duration,
    /// How long nothing is changed then.
    pub idle: Duration,
}

/// Makes them, measures, and says what it found; an error if the controller is slow, large or busy without need.
pub fn run(parts: Parts, size: Size) -> Result<()> {
    ensure!(size.gateways >= 2 && size.pods >= CHANGES, "at least 2 gateways and {CHANGES} Pods");
    let api = ApiServer::start(parts, &[CONTROLLER])?;
    api.furnish()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("start the runtime")?;
    runtime.block_on(measure(&api, size))
}

async fn measure(api: &ApiServer, Size { gateways, pods, rest, idle }: Size) -> Result<()> {
    let config = Kubeconfig::read_from(api.kubeconfig()).context("read the kubeconfig")?;
    let config = Config::from_custom_kubeconfig(config, &KubeConfigOptions::default()).await.context("kubeconfig")?;
    let client = Client::try_from(config).context("a client")?;
    let begin = Instant::now();
    populate(&client, gateways, pods).await?;
    println!("{gateways} gateways and {pods} Pods made in {:.1} s", begin.elapsed().as_secs_f64());
    let begin = Instant::now();
    let controller = api.controller("controller", CONTROLLER, &["--namespace=egress-system", "--mode=managed"])?;
    let configs: Api<ConfigMap> = Api::namespaced(client.clone(), "default");
    wait(|| async {
        let all = configs.list(&ListParams::default()).await?;
        sleep(Duration::from_millis(500)).await;
        let selected = |config: &ConfigMap| {
            config.data.as_ref().and_then(|data| data.get("pods.json")).map_or(0, |it| it.matches("podIPs").count())
        };
        Ok(all.items.iter().map(selected).sum::<usize>() == pods)
    })
    .await?;
    println!("from the controller's start to all ConfigMaps: {:.1} s", begin.elapsed().as_secs_f64());
    quiet(api, rest).await?;

    let all_pods: Api<Pod> = Api::namespaced(client, "default");
    let mut times = Vec::new();
    for change in 0..CHANGES {
        let number = change * (pods / CHANGES);
        let to = (number + 1) % gateways;
        let begin = Instant::now();
        let label = json!({"metadata": {"labels": {"of": name(to)}}});
        all_pods.patch(&format!("p-{number}"), &PatchParams::default(), &Patch::Merge(&label)).await?;
        let address = address(number);
        wait(|| async {
            let config = configs.get(&format!("{}-egress", name(to))).await?;
            let there = config
                .data
                .as_ref()
                .and_then(|data| data.get("pods.json"))
                .is_some_and(|it| it.contains(&format!("\"{address}\"")));
            sleep(if there { Duration::ZERO } else { LOOK }).await;
            Ok(there)
        })
        .await?;
        times.push(begin.elapsed());
        sleep(Duration::from_millis(200)).await;
    }
    times.sort();
    let millis = |time: Duration| time.as_secs_f64() * 1000.0;
    println!(
        "from a Pod's label to the desired state, {CHANGES} changes: median {:.0} ms, most {:.0} ms",
        millis(times[CHANGES / 2]),
        millis(times[CHANGES - 1])
    );

    quiet(api, rest).await?;
    let before = api.requests(CONTROLLER)?.len();
    sleep(idle).await;
    let (watches, others): (Vec<_>, Vec<_>) =
        api.requests(CONTROLLER)?.into_iter().skip(before).partition(|it| it.starts_with("watch"));
    println!(
        "in {} s without a change: {} requests but for the Lease, {} watches begun anew",
        idle.as_secs(),
        others.len(),
        watches.len()
    );
    let memory = controller.memory()?;
    println!("the controller's memory: {} MiB", memory >> 20);
    ensure!(others.is_empty(), "it asks or writes without need: {others:?}");
    let slowest = times[CHANGES - 1];
    ensure!(slowest < SOON, "a Pod's label took {slowest:?} to the desired state; it must be less than {SOON:?}");
    ensure!(memory < MEMORY, "it has {memory} bytes of memory; it must be less than {MEMORY}");
    Ok(())
}

async fn populate(client: &Client, gateways: usize, pods: usize) -> Result<()> {
    let kind = GroupVersionKind::gvk("kubeovn.io", "v1", "VpcEgressGateway");
    let kind = ApiResource::from_gvk_with_plural(&kind, "vpc-egress-gateways");
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), "default", &kind);
    let make = |number: usize| {
        let api = api.clone();
        async move {
            let object: DynamicObject = serde_json::from_value(json!({
                "apiVersion": "kubeovn.io/v1",
                "kind": "VpcEgressGateway",
                "metadata": {"name": name(number)},
                "spec": {
                    "internalSubnet": "ovn-default",
                    "externalSubnet": "ext",
                    "selectors": [{"podSelector": {"matchLabels": {"of": name(number)}}}],
                },
            }))?;
            api.create(&PostParams::default(), &object).await.context("make a gateway").map(drop)
        }
    };
    stream::iter((0..gateways).map(make)).buffer_unordered(AT_ONCE).try_collect::<()>().await?;
    let api: Api<Pod> = Api::namespaced(client.clone(), "default");
    let make = |number: usize| {
        let api = api.clone();
        async move {
            let pod: Pod = serde_json::from_value(json!({
                "metadata": {"name": format!("p-{number}"), "labels": {"of": name(number % gateways)}},
                "spec": {"nodeName": "node1", "containers": [{"name": "c", "image": "i"}]},
            }))?;
            api.create(&PostParams::default(), &pod).await.context("make a Pod")?;
            let ip = address(number);
            let status = json!({"status": {"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}]}});
            let patch = Patch::Merge(&status);
            api.patch_status(&format!("p-{number}"), &PatchParams::default(), &patch)
                .await
                .context("a Pod's status")
                .map(drop)
        }
    };
    stream::iter((0..pods).map(make)).buffer_unordered(AT_ONCE).try_collect::<()>().await
}

fn name(gateway: usize) -> String {
    format!("v-{gateway}")
}

/// In 10.16.0.0/16, from 10.16.1.0 on.
fn address(pod: usize) -> String {
    format!("10.16.{}.{}", 1 + pod / 250, 1 + pod % 250)
}

/// Returns when nothing was asked or written for so long.
async fn quiet(api: &ApiServer, rest: Duration) -> Result<()> {
    let mut before = usize::MAX;
    wait(|| {
        let now = api.requests(CONTROLLER);
        let same = now.as_ref().is_ok_and(|now| now.len() == before);
        before = now.as_ref().map_or(before, Vec::len);
        async move {
            now?;
            sleep(rest).await;
            Ok(same)
        }
    })
    .await
}

async fn wait<F: Future<Output = Result<bool>>>(mut done: impl FnMut() -> F) -> Result<()> {
    let begin = Instant::now();
    while !done().await? {
        ensure!(begin.elapsed() < PATIENCE, "not within {} s", PATIENCE.as_secs());
    }
    Ok(())
}

//! Of Kube-OVN's CNI and Multus: a plugin that makes a Pod's interfaces with the addresses that stand in its annotations.

mod conf;
mod eth0;
mod network;
mod record;

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, Patch, PatchParams};
use kube::{Client, ResourceExt};
use serde_json::json;

use self::conf::Conf;
use self::network::Network;
use self::record::Record;
use super::annotations::{Annotations, NETWORK_STATUS, OVN, attachments, key, value};

/// How long addresses may take to stand in the annotations.
const PATIENCE: Duration = Duration::from_secs(20);

/// What the container runtime says by its environment.
struct Call {
    container: String,
    namespace: PathBuf,
    interface: String,
    arguments: BTreeMap<String, String>,
}

impl Call {
    fn read() -> Result<Self> {
        let variable = |name: &str| std::env::var(name).with_context(|| format!("{name} is not set"));
        let arguments = std::env::var("CNI_ARGS").unwrap_or_default();
        let pair = |pair: &str| pair.split_once('=').map(|(key, value)| (key.to_owned(), value.to_owned()));
        Ok(Self {
            container: variable("CNI_CONTAINERID")?,
            namespace: std::env::var("CNI_NETNS").unwrap_or_default().into(),
            interface: variable("CNI_IFNAME")?,
            arguments: arguments.split(';').filter_map(pair).collect(),
        })
    }

    fn argument(&self, name: &str) -> Result<&str> {
        self.arguments.get(name).map(String::as_str).with_context(|| format!("CNI_ARGS has no {name}"))
    }

    /// The Node's end of the Pod's first interface.
    fn host_interface(&self) -> String {
        format!("{}_h", &self.container[..self.container.len().min(12)])
    }
}

/// Whether this process was started as a CNI plugin.
pub fn is_called() -> bool {
    std::env::var_os("CNI_COMMAND").is_some()
}

/// Does what `CNI_COMMAND` says; the result, or the error, goes to standard output.
pub fn run() -> std::process::ExitCode {
    match answer() {
        Ok(result) => {
            println!("{result}");
            std::process::ExitCode::SUCCESS
        }
        Err(error) => {
            println!("{}", json!({"cniVersion": "1.0.0", "code": 100, "msg": format!("{error:#}")}));
            std::process::ExitCode::FAILURE
        }
    }
}

fn answer() -> Result<String> {
    let command = std::env::var("CNI_COMMAND").context("CNI_COMMAND is not set")?;
    if command == "VERSION" {
        let versions = ["0.3.0", "0.3.1", "0.4.0", "1.0.0"];
        return Ok(json!({"cniVersion": "1.0.0", "supportedVersions": versions}).to_string());
    }
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text).context("read the configuration")?;
    let conf: Conf = serde_json::from_str(&text).context("the configuration")?;
    match command.as_str() {
        "ADD" => {
            let call = Call::read()?;
            let record = Record::create(&call.container)?;
            let result = super::block_on(add(&conf, &call, &record));
            if result.is_err() {
                del(&call, &record);
            }
            result.map(|result| result.to_string())
        }
        "DEL" => {
            let call = Call::read()?;
            if let Some(record) = Record::open(&call.container) {
                del(&call, &record);
            }
            Ok(String::new())
        }
        _ => Ok(String::new()),
    }
}

async fn add(conf: &Conf, call: &Call, record: &Record) -> Result<serde_json::Value> {
    let client = super::client(&conf.kubeconfig).await?;
    let (namespace, name) = (call.argument("K8S_POD_NAMESPACE")?, call.argument("K8S_POD_NAME")?);
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let pod = pods.get(name).await.with_context(|| format!("Pod {namespace}/{name}"))?;
    let networks = networks(&client, conf, namespace, &pod).await?;
    let annotations = allocated(&pods, call, name, &networks).await?;
    let first = eth0::Port { pod: name, namespace, call, mtu: conf.mtu };
    let result = first.make(&annotations)?;
    let mut status = vec![network::status(&conf.name, &call.interface, &result, true)];
    for network in &networks {
        let result = network.make(call, &annotations, record)?;
        status.push(network::status(&network.name(), &network.attachment.interface, &result, false));
    }
    first.wait_until_installed()?;
    let status = serde_json::to_string_pretty(&status).context("the status")?;
    let patch = Patch::Merge(json!({"metadata": {"annotations": {NETWORK_STATUS: status}}}));
    pods.patch(name, &PatchParams::default(), &patch).await.context("write the network status")?;
    Ok(result)
}

async fn networks(client: &Client, conf: &Conf, namespace: &str, pod: &Pod) -> Result<Vec<Network>> {
    let mut networks = Vec::new();
    for attachment in attachments(pod.annotations(), namespace)? {
        networks.push(Network::find(client, conf, attachment).await?);
    }
    Ok(networks)
}

/// The Pod's annotations, once it has all of its addresses.
async fn allocated(pods: &Api<Pod>, call: &Call, name: &str, networks: &[Network]) -> Result<Annotations> {
    let providers: Vec<_> = [OVN].into_iter().chain(networks.iter().filter_map(|it| it.provider.as_deref())).collect();
    let start = Instant::now();
    loop {
        let pod = pods.get(name).await.with_context(|| format!("Pod {name}"))?;
        let uid = pod.uid().unwrap_or_default();
        ensure!(call.argument("K8S_POD_UID").is_ok_and(|wanted| wanted == uid), "Pod {name} was replaced by {uid}");
        let annotations = pod.metadata.annotations.unwrap_or_default();
        let missing = providers.iter().find(|provider| value(&annotations, provider, "allocated") != Some("true"));
        let Some(missing) = missing else { return Ok(annotations) };
        if start.elapsed() >= PATIENCE {
            bail!("annotation {} is not \"true\" after {PATIENCE:?}", key(missing, "allocated"));
        }
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
}

/// Undoes whatever was done; what is gone already is fine.
fn del(call: &Call, record: &Record) {
    eth0::unmake(&call.host_interface());
    record.networks().iter().rev().for_each(|(conf, interface)| {
        if let Err(error) = network::delegate("DEL", conf, interface) {
            eprintln!("{error:#}");
        }
    });
    record.remove();
}

/// Runs a program with its words.
fn program(words: &[&str]) -> Result<String> {
    let (program, arguments) = words.split_first().context("empty command")?;
    let mut command = Command::new(program);
    let output = command.args(arguments).output().with_context(|| format!("start {program}"))?;
    ensure!(output.status.success(), "{}: {}", words.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs lines of `ip` in the Pod's network namespace.
fn ip_inside(call: &Call, lines: &[String]) -> Result<()> {
    use std::io::Write as _;
    let mut command = Command::new("nsenter");
    command.arg(format!("--net={}", call.namespace.display())).args(["ip", "-batch", "-"]);
    command
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::piped());
    let mut child = command.spawn().context("start ip")?;
    if let Some(mut pipe) = child.stdin.take() {
        pipe.write_all(lines.join("\n").as_bytes()).context("hand lines to ip")?;
    }
    let output = child.wait_with_output().context("wait for ip")?;
    ensure!(output.status.success(), "ip {lines:?}: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(())
}

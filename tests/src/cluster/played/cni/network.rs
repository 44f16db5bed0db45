//! A network that a Pod is attached to beside its first one: the plugin of its NetworkAttachmentDefinition runs, with the addresses of the annotations.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use kube::Client;
use kube::api::{Api, ApiResource, DynamicObject};
use kube::core::GroupVersionKind;
use serde_json::{Value, json};

use super::super::annotations::{Annotations, Attachment};
use super::conf::Conf;
use super::eth0::{addresses, route_lines};
use super::record::Record;
use super::{Call, ip_inside};

/// A network to attach to.
pub(super) struct Network {
    pub(super) attachment: Attachment,
    /// What its plugin is told.
    conf: Value,
    /// Where its addresses come from, if from Kube-OVN.
    pub(super) provider: Option<String>,
}

impl Network {
    /// Reads the definition.
    pub(super) async fn find(client: &Client, conf: &Conf, attachment: Attachment) -> Result<Self> {
        let kind = GroupVersionKind::gvk("k8s.cni.cncf.io", "v1", "NetworkAttachmentDefinition");
        let kind = ApiResource::from_gvk_with_plural(&kind, "network-attachment-definitions");
        let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), &attachment.namespace, &kind);
        let name = format!("NetworkAttachmentDefinition {}/{}", attachment.namespace, attachment.name);
        let object = api.get(&attachment.name).await.with_context(|| name.clone())?;
        let text = object.data["spec"]["config"].as_str().with_context(|| format!("{name} has no spec.config"))?;
        Self::read(serde_json::from_str(text).with_context(|| format!("{name}: spec.config"))?, conf, attachment)
    }

    fn read(mut definition: Value, conf: &Conf, attachment: Attachment) -> Result<Self> {
        let own = format!("{}.{}", attachment.name, attachment.namespace);
        // A list of plugins: the first makes the interface.
        if let Some(first) = definition["plugins"].get(0).cloned() {
            definition = first;
        }
        let provider = |of: &Value| of["provider"].as_str().unwrap_or(&own).to_owned();
        let kind = definition["type"].as_str().with_context(|| format!("{own}: no plugin named in `type`"))?;
        let (mut plugin, provider) = if kind == "kube-ovn" {
            // Its own way is a port of an underlay switch of OVN; here the external cable is at hand.
            (json!({"type": "macvlan", "master": conf.external, "mode": "bridge"}), Some(provider(&definition)))
        } else if definition["ipam"]["type"] == "kube-ovn" {
            let provider = provider(&definition["ipam"]);
            (definition, Some(provider))
        } else {
            (definition, None)
        };
        plugin["cniVersion"] = json!("1.0.0");
        plugin["name"] = json!(attachment.name);
        if let Some(mac) = &attachment.mac {
            plugin["runtimeConfig"] = json!({"mac": mac});
        }
        Ok(Self { attachment, conf: plugin, provider })
    }

    /// As Multus calls it.
    pub(super) fn name(&self) -> String {
        format!("{}/{}", self.attachment.namespace, self.attachment.name)
    }

    /// Attaches the Pod; the plugin's result.
    pub(super) fn make(&self, call: &Call, annotations: &Annotations, record: &Record) -> Result<Value> {
        let mut conf = self.conf.clone();
        if let Some(provider) = &self.provider {
            let addresses = addresses(annotations, provider)?.into_iter().map(|address| json!({"address": address}));
            conf["ipam"] = json!({"type": "static", "addresses": addresses.collect::<Vec<_>>()});
        }
        record.add(&conf, &self.attachment.interface)?;
        let result = delegate("ADD", &conf, &self.attachment.interface)?;
        if let Some(provider) = &self.provider {
            let lines = route_lines(annotations, provider, &self.attachment.interface)?;
            if !lines.is_empty() {
                ip_inside(call, &lines)?;
            }
        }
        Ok(result)
    }
}

/// Runs the plugin that a configuration names.
pub(super) fn delegate(command: &str, conf: &Value, interface: &str) -> Result<Value> {
    let kind = conf["type"].as_str().context("no plugin named in `type`")?;
    let path = std::env::var("CNI_PATH").context("CNI_PATH is not set")?;
    let program = path.split(':').map(|folder| Path::new(folder).join(kind)).find(|path| path.is_file());
    let program = program.with_context(|| format!("no CNI plugin {kind} in {path}"))?;
    let mut run = Command::new(program);
    run.env("CNI_COMMAND", command).env("CNI_IFNAME", interface);
    let mut child = run.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let child = child.as_mut().map_err(|error| anyhow::anyhow!("start {kind}: {error}"))?;
    if let Some(mut pipe) = child.stdin.take() {
        pipe.write_all(conf.to_string().as_bytes()).context("hand the configuration to the plugin")?;
    }
    let mut said = String::new();
    if let Some(mut pipe) = child.stdout.take() {
        std::io::Read::read_to_string(&mut pipe, &mut said).context("read the plugin's result")?;
    }
    ensure!(child.wait().context("wait for the plugin")?.success(), "{kind} {command} {interface}: {}", said.trim());
    Ok(serde_json::from_str(&said).unwrap_or(Value::Null))
}

/// An entry of the network status, as Multus writes it.
pub(super) fn status(name: &str, interface: &str, result: &Value, default: bool) -> Value {
    let interfaces = result["interfaces"].as_array().into_iter().flatten();
    let mac = interfaces.filter(|it| it["name"] == interface).find_map(|it| it["mac"].as_str()).unwrap_or_default();
    let ips = result["ips"].as_array().into_iter().flatten().filter_map(|it| it["address"].as_str());
    let ips: Vec<_> = ips.map(|address| address.split('/').next().unwrap_or_default()).collect();
    json!({"name": name, "interface": interface, "ips": ips, "mac": mac, "default": default, "dns": {}})
}

//! A cluster with one gateway, in memory.

use std::collections::BTreeMap;

use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{ConfigMap, Pod},
};
use serde_json::{Value, json};

use super::{objects, text};
use crate::{
    controller::{Input, Plan, Settings, plan, select::Index},
    k8s::api::VpcEgressGateway,
    spec::Objects,
};

pub(super) const NOW: &str = "2026-11-27T01:00:00Z";
pub(super) const LATER: &str = "2026-11-27T02:00:00Z";

/// A cluster with one gateway, as far as the controller looks at it.
pub(super) struct World {
    pub(super) objects: Objects,
    pub(super) deployments: Vec<Deployment>,
    pub(super) config: Option<ConfigMap>,
    pub(super) pods: Vec<Pod>,
    pub(super) index: Index,
    pub(super) taken: Option<String>,
    pub(super) nodes: BTreeMap<String, bool>,
}

impl World {
    /// The gateway of Kube-OVN's documents, with one change of its spec.
    pub(super) fn new(edit: impl Fn(&mut Value)) -> Self {
        let input = text("01-seed000-single/input.yaml");
        let mut gateway = crate::spec::manifest::values(&input).unwrap().remove(0);
        gateway["metadata"]["uid"] = json!("u-1");
        gateway["metadata"]["generation"] = json!(1);
        edit(&mut gateway);
        let objects = objects(&[&text("base.yaml"), &gateway.to_string()]);
        let nodes = ["node1", "node2"].map(|name| (name.to_owned(), true)).into();
        let (deployments, pods, index) = (Vec::new(), Vec::new(), Index::default());
        let mut world = Self { objects, deployments, config: None, pods, index, taken: None, nodes };
        world.index.gateway(&world.gateway().clone());
        world
    }

    pub(super) fn gateway(&self) -> &VpcEgressGateway {
        &self.objects.gateways["default/gateway1"].object
    }

    pub(super) fn gateway_mut(&mut self) -> &mut VpcEgressGateway {
        &mut self.objects.gateways.get_mut("default/gateway1").unwrap().object
    }

    pub(super) fn plan(&self, now: &str) -> Plan {
        let settings = Settings::default();
        plan(&Input {
            objects: &self.objects,
            gateway: &self.objects.gateways["default/gateway1"],
            selected: self.index.selected("default/gateway1"),
            lost: self.index.lost("default/gateway1"),
            shared: [].into(),
            taken: self.taken.clone(),
            nodes: &self.nodes,
            deployments: &self.deployments.iter().collect::<Vec<_>>(),
            config: self.config.as_ref(),
            pods: &self.pods.iter().collect::<Vec<_>>(),
            failure: None,
            settings: &settings,
            now,
        })
    }

    /// Writes everything, as the API server and its controllers would.
    pub(super) fn apply(&mut self, now: &str) -> Plan {
        let plan = self.plan(now);
        for patch in plan.config.iter().chain(&plan.foreign) {
            let mut stored = self.config.as_ref().map(|config| json!(config)).unwrap_or_default();
            merge(&mut stored, patch);
            self.config = Some(serde_json::from_value(stored).unwrap());
        }
        if let Some(deployment) = &plan.deployment {
            let mut deployment: Deployment = serde_json::from_value(deployment.clone()).unwrap();
            let replicas = deployment.spec.as_ref().unwrap().replicas.unwrap();
            deployment.metadata.generation = Some(1);
            deployment.status = serde_json::from_value(json!({
                "observedGeneration": 1, "replicas": replicas, "updatedReplicas": replicas, "availableReplicas": replicas,
            }))
            .unwrap();
            self.deployments.retain(|old| old.metadata.name != deployment.metadata.name);
            self.deployments.push(deployment);
        }
        self.deployments.retain(|deployment| !plan.remove.contains(deployment.metadata.name.as_ref().unwrap()));
        for (pod, hash) in &plan.touch {
            let pod = self.pods.iter_mut().find(|p| p.metadata.name.as_ref() == Some(pod)).unwrap();
            pod.metadata.annotations.as_mut().unwrap().insert("egress-ebpf.dev/config".to_owned(), hash.clone());
        }
        if let Some(status) = &plan.status {
            self.gateway_mut().status = Some(status.clone());
        }
        plan
    }

    /// Applies until nothing is left to do.
    pub(super) fn settle(&mut self, now: &str) {
        for _ in 0..4 {
            if self.apply(now) == Plan::default() {
                return;
            }
        }
        panic!("does not settle: {:?}", self.plan(now));
    }

    pub(super) fn ready(&self) -> (&str, &str, String) {
        let status = self.gateway().status.as_ref().unwrap();
        let ready = status.conditions.iter().find(|condition| condition.type_ == "Ready").unwrap();
        (&status.phase, &ready.reason, ready.message.clone())
    }

    pub(super) fn condition(&self, kind: &str) -> (String, String, String) {
        let status = self.gateway().status.as_ref().unwrap();
        let found = status.conditions.iter().find(|condition| condition.type_ == kind).unwrap();
        (found.status.clone(), found.reason.clone(), found.message.clone())
    }
}

/// As the API server merges a patch; what it does not name stays.
fn merge(stored: &mut Value, patch: &Value) {
    let Value::Object(fields) = patch else { return *stored = patch.clone() };
    if !stored.is_object() {
        *stored = json!({});
    }
    for (name, value) in fields {
        if value.is_null() {
            stored.as_object_mut().unwrap().remove(name);
        } else {
            merge(&mut stored[name], value);
        }
    }
}

pub(super) fn gateway_pod(name: &str, ip: &str, external: &str, node: &str) -> Pod {
    let networks = json!([{"name": "kube-ovn", "ips": [ip]}, {"name": "default/eth1", "ips": [external]}]).to_string();
    serde_json::from_value(json!({
        "metadata": {"namespace": "default", "name": name, "annotations": {
            "k8s.v1.cni.cncf.io/networks": "default/eth1", "k8s.v1.cni.cncf.io/network-status": networks,
        }},
        "spec": {"nodeName": node, "containers": []},
        "status": {
            "phase": "Running",
            "podIPs": [{"ip": ip}],
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    }))
    .unwrap()
}

pub(super) fn client(name: &str) -> Pod {
    serde_json::from_value(json!({
        "metadata": {"namespace": "ns1", "name": name},
        "status": {"phase": "Running", "podIPs": [{"ip": "10.17.0.9"}]},
    }))
    .unwrap()
}

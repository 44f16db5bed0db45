//! manifests/, as the API server takes them.

use anyhow::{Context, Result, ensure};
use egress_tests::cluster::api::CONTROLLER;
use egress_tests::cluster::gateway::installation;
use egress_tests::cluster::output;
use serde_json::json;

use super::stage::{fed, feed, manifests};
use super::{skip_api, stage};

#[test]
fn overlays_and_samples_are_taken() -> Result<()> {
    if skip_api() {
        return Ok(());
    }
    let mut held = stage()?;
    let stage = held.get()?;
    for (overlay, writes) in [("standalone", true), ("beside-kube-ovn", false)] {
        let folder = manifests("overlays").join(overlay);
        let text = output(stage.api.kubectl().arg("kustomize").arg(&folder))?;
        ensure!(text.contains("--mode=observe") != writes && text.contains("-managed") == writes, "{text}");
        ensure!(
            text.contains("vpc-egress-gateways.kubeovn.io") == writes,
            "{overlay} defines, or does not, Kube-OVN's kinds"
        );
        let said = feed(
            stage.api.kubectl().args(["apply", "--server-side", "--dry-run=server", "--force-conflicts", "-f", "-"]),
            &text,
        )?;
        ensure!(said.contains("deployment.apps/egress-gateway-controller serverside-applied"), "{said}");
    }
    for sample in ["gateway1", "gateway2-dual-stack", "macvlan-gateway1", "vpc1-gateway2-bfd", "bgp-evpn", "profile"] {
        let text =
            std::fs::read_to_string(manifests("samples").join(format!("{sample}.yaml"))).context("read a sample")?;
        feed(stage.api.kubectl().args(["apply", "--server-side", "--dry-run=server", "-f", "-"]), &text)?;
    }
    Ok(())
}

#[test]
fn standalone_replaces_no_definition_of_another_manager() -> Result<()> {
    if skip_api() {
        return Ok(());
    }
    let mut held = stage()?;
    let stage = held.get()?;
    let definition = "crd evpn-confs.kubeovn.io";
    // As if Kube-OVN had defined it.
    let theirs = json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "evpn-confs.kubeovn.io"},
        "spec": {
            "group": "kubeovn.io",
            "scope": "Cluster",
            "names": {"plural": "evpn-confs", "singular": "evpn-conf", "kind": "EvpnConf", "listKind": "EvpnConfList"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object"}}}],
        },
    });
    let ours = stage.get(definition)?["spec"].clone();
    // Kube-OVN's install.sh applies client-side. The last is what was ours before our manager had a name.
    for (theirs_by, manager) in [
        (&["--server-side", "--force-conflicts", "--field-manager=kube-ovn"][..], "kube-ovn"),
        (&[], "kubectl-client-side-apply"),
        (&["--server-side", "--force-conflicts"], "kubectl"),
    ] {
        let mut apply = stage.api.kubectl();
        feed(apply.arg("apply").args(theirs_by).args(["-f", "-"]), &theirs.to_string())?;
        let before = stage.get(definition)?;
        ensure!(before["spec"] != ours, "{manager} changed nothing");
        let (taken, _, said) = fed(stage.api.kubectl().args(installation()), "")?;
        let conflict = said.contains(&format!("conflict with \"{manager}\""));
        ensure!(!taken && (conflict || said.contains(&format!("conflicts with \"{manager}\""))), "{said}");
        ensure!(stage.get(definition)?["spec"] == before["spec"], "the definition was replaced");
        output(stage.api.kubectl().args(installation()).arg("--force-conflicts"))?;
        ensure!(stage.get(definition)?["spec"] == ours, "after {manager}: not put back");
    }
    Ok(())
}

/// Nothing that it needs is forbidden: everything in this binary ran with these rights. Nothing that it does not need is allowed.
#[test]
fn rights_are_enough_and_no_more() -> Result<()> {
    if skip_api() {
        return Ok(());
    }
    let mut held = stage()?;
    let stage = held.get()?;
    let may = |words: &str| -> Result<bool> {
        let (_, said, _) =
            fed(stage.api.kubectl().args(["auth", "can-i", "--as", CONTROLLER]).args(words.split(' ')), "")?;
        Ok(said.trim() == "yes")
    };
    for yes in [
        "watch pods",
        "patch deployments.apps",
        "patch vpc-egress-gateways.kubeovn.io --subresource=status",
        "list nodes",
    ] {
        ensure!(may(yes)?, "{yes}");
    }
    for no in [
        "get secrets",
        "list secrets",
        "delete configmaps",
        "delete pods",
        "create pods",
        "create pods --subresource=exec",
        "patch vpc-egress-gateways.kubeovn.io",
        "update deployments.apps",
        "patch nodes",
        "create leases.coordination.k8s.io",
        "impersonate users",
        "patch clusterroles.rbac.authorization.k8s.io",
    ] {
        ensure!(!may(no)?, "{no}");
    }
    let log = stage.controller.log()?;
    ensure!(!log.contains("forbidden"), "{log}");
    Ok(())
}

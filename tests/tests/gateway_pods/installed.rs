//! The overlay is what people install, and it takes nothing over.

use anyhow::{Result, ensure};
use egress_tests::cluster::gateway::installation;
use egress_tests::cluster::output;

use super::site::Site;
use crate::{shared, skip_cluster};

#[test]
fn a_definition_of_another_manager_stays_as_it_is() -> Result<()> {
    if skip_cluster() {
        return Ok(());
    }
    let shared = shared()?;
    let site = Site::bare(shared.cluster()?)?;
    // As Kube-OVN's chart would have defined it, installed by Helm.
    let column = r#"{"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "ippools.kubeovn.io"},
        "spec": {"group": "kubeovn.io", "scope": "Cluster", "names": {"plural": "ippools", "singular": "ippool", "kind": "IPPool", "shortNames": ["ippool"]},
        "versions": [{"name": "v1", "served": true, "storage": true, "subresources": {"status": {}},
        "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}},
        "additionalPrinterColumns": [{"name": "Theirs", "type": "string", "jsonPath": ".spec.theirs"}]}]}}"#;
    let theirs = std::env::temp_dir().join(format!("egress-theirs-{}.json", std::process::id()));
    std::fs::write(&theirs, column)?;
    let mut apply = site.cluster().kubectl();
    apply.args(["apply", "--server-side", "--field-manager=helm", "--force-conflicts", "-f"]).arg(&theirs);
    let applied = output(&mut apply);
    std::fs::remove_file(&theirs)?;
    applied?;
    let columns = "jsonpath={.spec.versions[0].additionalPrinterColumns[*].name}";
    let get = || site.kubectl(&["get", "crd", "ippools.kubeovn.io", "-o", columns]);
    ensure!(get()? == "Theirs", "{}", get()?);

    let refused = site.cluster().kubectl().args(installation()).output()?;
    let (said, words) = (String::from_utf8_lossy(&refused.stdout), String::from_utf8_lossy(&refused.stderr));
    let columns = get()?;
    // Put back before anything is demanded: other tests use the cluster.
    output(site.cluster().kubectl().args(installation()).arg("--force-conflicts"))?;
    ensure!(!refused.status.success() && words.contains("conflict with \"helm\""), "not refused: {words}");
    ensure!(columns == "Theirs", "replaced: {columns}");
    ensure!(said.contains("vpc-egress-gateways.kubeovn.io serverside-applied"), "the rest was not applied: {said}");
    Ok(())
}

#[test]
fn the_controller_runs_twice_and_one_leads() -> Result<()> {
    if skip_cluster() {
        return Ok(());
    }
    let shared = shared()?;
    let site = Site::bare(shared.cluster()?)?;
    let lease = ["--namespace=egress-system", "get", "lease", "egress-gateway-controller", "-o"];
    let holder = site.kubectl(&[&lease[..], &["jsonpath={.spec.holderIdentity}"]].concat())?;
    let pods = site.kubectl(&["--namespace=egress-system", "get", "pods", "-l", "app=egress-gateway-controller"])?;
    ensure!(pods.matches("1/1").count() == 2, "{pods}");
    ensure!(!holder.is_empty() && pods.contains(&holder), "{holder} leads, Pods are\n{pods}");
    let can = |what: &[&str]| -> Result<String> {
        let who = "--as=system:serviceaccount:egress-system:egress-gateway-controller";
        let mut command = site.cluster().kubectl();
        // `no` is a failure of kubectl.
        let said = command.args(["auth", "can-i", who]).args(what).output()?;
        Ok(String::from_utf8_lossy(&said.stdout).trim().to_owned())
    };
    ensure!(can(&["list", "pods", "-A"])? == "yes", "it cannot list Pods");
    ensure!(can(&["get", "secrets", "-A"])? == "no", "it may read Secrets");
    Ok(())
}

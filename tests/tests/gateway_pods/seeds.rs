//! What people type and see, as Kube-OVN's documents show it.

use anyhow::{Result, ensure};
use egress_tests::cluster::example::GATEWAY;

use super::site::{Example, Site};
use crate::{shared, skip_cluster};

/// A line of kubectl's tables, by cells: columns are two or more blanks apart, and headers have single blanks in them.
fn cells(line: &str) -> Vec<&str> {
    line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect()
}

const HEADER: &str = "NAME  VPC  REPLICAS  BFD ENABLED  EXTERNAL SUBNET  PHASE  READY  AGE";
const WIDE: &str =
    "NAME  VPC  REPLICAS  BFD ENABLED  EXTERNAL SUBNET  PHASE  READY  INTERNAL IPS  EXTERNAL IPS  WORKING NODES  AGE";

/// Header and row of `kubectl get veg gateway1`, without the age.
fn row(site: &Site<'_>, more: &[&str], header: &str) -> Result<Vec<String>> {
    let text = site.kubectl(&[&["get", "veg", "gateway1"], more].concat())?;
    let lines: Vec<_> = text.lines().collect();
    ensure!(lines.len() == 2 && cells(lines[0]) == cells(header), "{text}");
    let mut row = cells(lines[1]);
    ensure!(row.len() == cells(header).len(), "{text}");
    row.pop();
    Ok(row.into_iter().map(ToOwned::to_owned).collect())
}

#[test]
fn seed_000_is_seen_as_its_document_shows_it() -> Result<()> {
    if skip_cluster() {
        return Ok(());
    }
    let shared = shared()?;
    let example = Example::start(shared.cluster()?, 1)?;
    let (site, gateway) = (&example.site, example.site.gateway()?);
    let short = row(site, &[], HEADER)?;
    ensure!(short == ["gateway1", "ovn-cluster", "1", "false", "underlay-ext", "Completed", "true"], "{short:?}");
    let wide = row(site, &["-o", "wide"], WIDE)?;
    let pod = gateway.pod()?;
    ensure!(wide[..7] == short, "{wide:?}");
    // The document's Subnet ovn-default is of IPv4; the cluster's has both families, and so has the Pod.
    let inside = pod.internal.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    ensure!(
        wide[7..] == [format!("[\"{inside}\"]"), "[\"172.17.0.11\"]".into(), format!("[\"{}\"]", pod.node)],
        "{wide:?}"
    );
    let label = "ovn.kubernetes.io/vpc-egress-gateway=gateway1";
    let deployment = site.kubectl(&["get", "deployment", "-n", "default", "-l", label])?;
    let lines: Vec<_> = deployment.lines().map(cells).collect();
    ensure!(lines[0] == ["NAME", "READY", "UP-TO-DATE", "AVAILABLE", "AGE"], "{deployment}");
    ensure!(lines[1][..4] == ["gateway1", "1/1", "1", "1"], "{deployment}");

    // Rules and routes: ours say who made them.
    let without_origin = |text: String| -> Vec<String> {
        text.lines()
            .map(|line| line.trim_end().trim_end_matches("proto 233").replace('\t', " ").trim_end().to_owned())
            .collect()
    };
    let v4 = &pod.internal[0];
    let rules = without_origin(gateway.exec(&pod.name, &["ip", "rule", "show"])?);
    let wanted = [
        "0: from all lookup local".to_owned(),
        "1001: from all iif eth0 lookup default".to_owned(),
        "1002: from all iif net1 lookup 1000".to_owned(),
        format!("1003: from {v4} iif lo lookup 1000"),
        "1004: from 172.17.0.11 iif lo lookup default".to_owned(),
        "32766: from all lookup main".to_owned(),
        "32767: from all lookup default".to_owned(),
    ];
    ensure!(rules == wanted, "{rules:#?}");
    let routes = without_origin(gateway.exec(&pod.name, &["ip", "route", "show"])?);
    let wanted = [
        "default via 172.17.0.1 dev net1".to_owned(),
        format!("10.16.0.0/16 dev eth0 proto kernel scope link src {v4}"),
        "10.17.0.0/16 via 10.16.0.1 dev eth0".to_owned(),
        "10.18.0.0/16 via 10.16.0.1 dev eth0".to_owned(),
        "172.17.0.0/16 dev net1 proto kernel scope link src 172.17.0.11".to_owned(),
    ];
    ensure!(routes == wanted, "{routes:#?}");
    let routes = without_origin(gateway.exec(&pod.name, &["ip", "route", "show", "table", "1000"])?);
    ensure!(routes == ["default via 10.16.0.1 dev eth0"], "{routes:#?}");

    example.clients.leave_by(&["172.17.0.11"]).map(drop)
}

#[test]
fn seed_002_is_seen_and_scaled_as_its_document_shows_it() -> Result<()> {
    if skip_cluster() {
        return Ok(());
    }
    let shared = shared()?;
    let site = Site::with_sample(shared.cluster()?, "samples/macvlan-gateway1.yaml", GATEWAY)?;
    let gateway = site.gateway()?;
    gateway.wait_until_complete(1)?;
    let first = gateway.pod()?;
    let short = row(&site, &[], HEADER)?;
    ensure!(short == ["gateway1", "ovn-cluster", "1", "false", "macvlan1", "Completed", "true"], "{short:?}");
    let said = site.kubectl(&["scale", "veg", "gateway1", "--replicas=2"])?;
    ensure!(said == "vpcegressgateway.kubeovn.io/gateway1 scaled\n", "{said}");
    gateway.wait_until_complete(2)?;
    let short = row(&site, &[], HEADER)?;
    ensure!(short == ["gateway1", "ovn-cluster", "2", "false", "macvlan1", "Completed", "true"], "{short:?}");
    let pods = gateway.pods()?;
    ensure!(pods.len() == 2 && pods.iter().any(|pod| pod.uid == first.uid), "the first was replaced: {pods:?}");
    ensure!(pods[0].node != pods[1].node, "both on {}", pods[0].node);
    site.kubectl(&["scale", "veg", "gateway1", "--replicas=0"])?;
    gateway.wait_until_complete(0).and_then(|()| {
        let short = row(&site, &[], HEADER)?;
        ensure!(short[2] == "0", "{short:?}");
        Ok(())
    })
}

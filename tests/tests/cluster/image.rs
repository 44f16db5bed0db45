//! The agent's image runs as a container with a root that cannot be written.

use anyhow::{Result, ensure};
use egress_tests::cluster::{AGENT_IMAGE, output};

use super::pods::Pods;
use crate::{shared, skip_cluster};

#[test]
fn the_image_has_the_agent_and_ip() -> Result<()> {
    if skip_cluster() {
        return Ok(());
    }
    let shared = shared()?;
    // `ip monitor` stays, and shows that what it is linked with is there.
    let manifest = format!(
        "{{apiVersion: v1, kind: Pod, metadata: {{name: agent}}, spec: {{terminationGracePeriodSeconds: 0, containers: [{{name: c, image: \"{AGENT_IMAGE}\", \
         imagePullPolicy: Never, command: [ip, monitor, link], securityContext: {{readOnlyRootFilesystem: true}}}}]}}}}"
    );
    let pods = Pods::of(shared.cluster()?, "image", &manifest)?;
    let run = |words: &[&str]| output(pods.kubectl().args(["exec", "agent", "--"]).args(words));
    ensure!(run(&["ip", "rule", "show"])?.contains("lookup main"), "ip rule");
    ensure!(run(&["egress-agent", "--help"])?.contains("gateway"), "egress-agent --help");
    let sbom: serde_json::Value =
        serde_json::from_slice(&std::fs::read(shared.cluster()?.images().join("egress-agent.spdx.json"))?)?;
    let listed = |name: &str| sbom["packages"].as_array().is_some_and(|all| all.iter().any(|it| it["name"] == name));
    for name in ["egress-agent", "aya", "iproute2", "libc6"] {
        ensure!(listed(name), "{name} is not in the SBOM");
    }
    ensure!(!listed("proptest"), "what only tests use is in the SBOM");
    Ok(())
}

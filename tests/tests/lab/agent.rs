//! The handling of an agent process, with a script in its place.

use std::path::Path;

use anyhow::Result;
use egress_tests::gateway::{Agent, AgentOptions};
use egress_tests::traffic::PATIENCE;
use egress_tests::{Family, Lab, LabConfig, Need, skip};
use serde_json::json;

const NEEDS: &[Need] = &[Need::Root, Need::Tool("ip")];
const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/lab/stand-in-agent.sh");

fn small_lab() -> Result<Lab> {
    Lab::build(LabConfig::default().families(&[Family::V4]))
}

fn options(file: &Path) -> AgentOptions {
    AgentOptions::files([file]).with("--forward", "neigh").binary(SCRIPT)
}

#[test]
fn start_ask_kill_restart_terminate_detach() -> Result<()> {
    if skip(NEEDS) {
        return Ok(());
    }
    let lab = small_lab()?;
    let file = lab.write_file("good.yaml", "kind: List\n")?;
    let mut agent = Agent::start(&lab, options(&file))?;
    let expected =
        format!("gateway --netns {} --file {} --forward neigh", lab.gateway.ns.path().display(), file.display());
    assert!(agent.stderr().contains(&expected), "{}", agent.stderr());
    assert_eq!(agent.ask("flows")?, json!([{"command": "flows"}]));
    agent.wait_for_line(PATIENCE, |line| line == "later")?;
    assert!(agent.restart().is_err(), "it still runs");
    let first = agent.pid();
    agent.kill9()?;
    agent.restart()?;
    assert_ne!(agent.pid(), first);
    assert_eq!(agent.terminate()?.code(), Some(0));
    let mark = lab.folder().join("detached");
    assert!(!mark.exists());
    drop(agent);
    assert!(mark.exists(), "it was not detached");
    Ok(())
}

#[test]
fn a_refusal_has_its_code_and_words() -> Result<()> {
    if skip(NEEDS) {
        return Ok(());
    }
    let lab = small_lab()?;
    let refusal = Agent::refused(&lab, options(&lab.write_file("bad.yaml", "")?))?;
    assert_eq!(refusal.code, Some(1));
    assert!(refusal.stderr.contains("bad.yaml: empty"), "{}", refusal.stderr);
    assert!(Agent::start(&lab, options(&lab.write_file("bad.yaml", "")?)).is_err());
    assert!(Agent::refused(&lab, options(&lab.write_file("good.yaml", "")?)).is_err());
    Ok(())
}

#[test]
fn as_in_a_pod_three_capabilities_and_the_right_namespace_are_left() -> Result<()> {
    if skip(NEEDS) {
        return Ok(());
    }
    let lab = small_lab()?;
    let agent = Agent::start(&lab, options(&lab.write_file("good.yaml", "")?).as_pod())?;
    let status = std::fs::read_to_string(format!("/proc/{}/status", agent.pid()))?;
    for set in ["CapPrm", "CapEff", "CapBnd"] {
        let line = format!("{set}:\t{:016x}", (1_u64 << 12) | (1 << 38) | (1 << 39));
        assert!(status.contains(&line), "no {line:?} in {status}");
    }
    assert!(!agent.stderr().contains("--netns"));
    let own = std::fs::read_link(format!("/proc/{}/ns/net", agent.pid()))?;
    let gateways = lab.gateway.ns.run(|| std::fs::read_link("/proc/thread-self/ns/net"))??;
    assert_eq!(own, gateways);
    Ok(())
}

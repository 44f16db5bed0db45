//! Every protocol and family through the wire.

use anyhow::Result;

use egress_tests::gateway::{Agent, AgentOptions};
use egress_tests::lab::RealChecksums;
use egress_tests::{Family, Lab, LabConfig, Need, skip};

use crate::lab::{ensure_from, exchange_all};

#[test]
fn smoke() -> Result<()> {
    if skip(&[Need::Root, Need::Tool("ip"), Need::Agent]) {
        return Ok(());
    }
    let lab = Lab::build(LabConfig::default().checksums(RealChecksums::AT_RECEIVERS))?;
    let files = ["cluster.yaml", "gateway2-dual-stack.yaml"].map(|f| format!("{}/../manifests/samples/{f}", env!("CARGO_MANIFEST_DIR")));
    let agent = Agent::start(&lab, AgentOptions::files(files))?;
    eprintln!("{}", agent.stderr());
    eprintln!("{}", serde_json::to_string_pretty(&agent.ask("doctor")?)?);
    for family in Family::BOTH {
        let r = exchange_all(lab.client("pod1")?, &lab.server, family);
        eprintln!("{r:?}");
        eprintln!("{}", serde_json::to_string_pretty(&agent.ask("stats")?)?);
        eprintln!("{}", serde_json::to_string(&agent.ask("flows")?)?);
        ensure_from(&r?, lab.gateway.addr(family))?;
    }
    Ok(())
}

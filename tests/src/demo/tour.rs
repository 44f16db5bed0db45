//! One gateway: the lab comes up, traffic passes, the captures are judged.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Instant;

use anyhow::{Result, ensure};
use ipnet::IpNet;

use super::eyes::Eyes;
use super::report::Report;
use super::traffic::{Exchange, exchange};
use super::{SAMPLES, Scene, look, with_log};
use crate::gateway::{Agent, AgentOptions};
use crate::lab::addresses::no_snat_networks;
use crate::lab::{Client, RealChecksums};
use crate::{Family, Lab, LabConfig};

pub(super) const TITLE: &str =
    "An egress gateway on eBPF: real traffic through real kernel programs, in a small network of namespaces";

pub(super) const WELCOME: &str = "
client1   10.17.0.9  --+                                        +-- router 172.17.0.1 -- server 203.0.113.10
client2   10.17.0.10 --+-- overlay -- eth0 [gateway] net1 ------+
bystander 10.18.0.5  --+             10.16.0.12  172.17.0.11, 172.17.0.12

10.17.0.0/16 leaves under an egress address; 10.18.0.0/16 is the block with `snat: false`. All that is shown is checked:
a wrong address, a leak or a wrong checksum ends this with an error. Whatever it makes is removed at the end.
";

/// The second egress address of each family, beside the one that every lab has.
const MORE_EGRESS: [&str; 2] = ["172.17.0.12/16", "fd00:172:17::12/64"];

/// The lab's plan with the clients' names as `cluster.yaml` has them.
pub(super) fn plan(families: &[Family]) -> Result<LabConfig> {
    let mut config = LabConfig::default().families(families);
    config.clients =
        vec![Client::new("client1", 17, 9), Client::new("client2", 17, 10), Client::new("bystander", 18, 5)];
    for address in MORE_EGRESS {
        config = config.egress(address.parse()?);
    }
    Ok(config)
}

/// The manifests of a scene.
pub(super) fn options(scene: &Scene) -> AgentOptions {
    AgentOptions::files([format!("{SAMPLES}/cluster.yaml"), format!("{SAMPLES}/{}", scene.manifest)])
        .with("--veg", scene.veg)
}

/// Shows a gateway at work; `inside` also looks into it.
pub(super) fn show(report: &mut Report, scene: &Scene, inside: bool) -> Result<()> {
    report.heading(scene.heading)?;
    let start = Instant::now();
    let no_snat = no_snat_networks();
    let lab = Lab::build(plan(scene.families)?.return_routes(&no_snat).checksums(RealChecksums::AT_RECEIVERS))?;
    let built = start.elapsed();
    let agent = Agent::start(&lab, options(scene))?;
    report.fact("manifests", &format!("manifests/samples/{}, unchanged, and cluster.yaml", scene.manifest))?;
    report.fact("gateway", &format!("{}, ready after {:.1} s", scene.veg, (start.elapsed() - built).as_secs_f32()))?;
    let shown = traffic(report, scene, &lab).and_then(|()| if inside { look::show(report, &lab) } else { Ok(()) });
    with_log(shown, scene.veg, &agent)
}

fn traffic(report: &mut Report, scene: &Scene, lab: &Lab) -> Result<()> {
    let eyes = Eyes::open(lab)?;
    let mut rows = Vec::new();
    let mut judge = Judge { egress: &lab.config.egress, chosen: BTreeMap::new() };
    for (name, client) in lab.clients() {
        for family in scene.families {
            for it in exchange(client, &lab.far, *family, &eyes.server)? {
                let snat = judge.check(&it)?;
                let [from, server, seen] = it.cells();
                rows.push([name.into(), it.protocol.into(), from, server, seen, snat.into()].to_vec());
            }
        }
    }
    report.table(&["CLIENT", "SENT", "FROM", "TO", "THE SERVER SAW", "SNAT"], &rows)?;
    eyes.close(report)
}

/// Knows which source the server may see.
struct Judge<'lab> {
    egress: &'lab [IpNet],
    /// A client keeps its egress address.
    chosen: BTreeMap<IpAddr, IpAddr>,
}

impl Judge<'_> {
    fn check(&mut self, it: &Exchange) -> Result<&'static str> {
        let (from, seen) = (it.sent_from, it.seen_from);
        if no_snat_networks().iter().any(|net| net.contains(&from.ip())) {
            ensure!(seen == from, "{from} is not to be translated, but the server saw {seen}");
            return Ok("no");
        }
        let is_egress = self.egress.iter().any(|net| net.addr() == seen.ip());
        ensure!(is_egress, "{} from {from}: the server saw {seen}, which is no egress address", it.protocol);
        let before = *self.chosen.entry(from.ip()).or_insert_with(|| seen.ip());
        ensure!(before == seen.ip(), "{} left as {before}, now as {}", from.ip(), seen.ip());
        Ok("yes")
    }
}

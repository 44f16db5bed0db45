//! Captures on all sides while traffic flows, and what they prove.

use anyhow::{Result, ensure};

use super::report::Report;
use crate::capture::{Capture, Captured, Direction};
use crate::lab::addresses::no_snat_networks;
use crate::{Lab, oracle};

/// Running captures.
#[derive(Debug)]
pub(super) struct Eyes {
    outside: Capture,
    clients: Vec<Capture>,
    /// At the server's interface.
    pub(super) server: Capture,
}

impl Eyes {
    pub(super) fn open(lab: &Lab) -> Result<Self> {
        Ok(Self {
            outside: lab.capture_external()?,
            clients: lab.clients().map(|(_, host)| Capture::start(&host.ns, "eth0")).collect::<Result<_>>()?,
            server: Capture::start(&lab.far.ns, "eth0")?,
        })
    }

    /// Ends the captures; an address that leaked or a wrong checksum is an error.
    pub(super) fn close(self, report: &mut Report) -> Result<()> {
        let outside = self.outside.stop()?;
        let leaked: Vec<_> = oracle::leaks(&outside, &no_snat_networks()).iter().map(ToString::to_string).collect();
        ensure!(leaked.is_empty(), "inside addresses were seen outside: {}", leaked.join(", "));
        ensure!(!outside.is_empty(), "the capture outside saw nothing, which proves nothing");
        let looked_at = outside.len();
        report.fact(
            "leaks",
            &format!(
                "none: {looked_at} packets looked at outside net1, no inside address but those of the no-SNAT block"
            ),
        )?;
        let at_clients: Vec<_> = self.clients.into_iter().map(Capture::stop).collect::<Result<_>>()?;
        let (clients, server) = (right(at_clients.into_iter().flatten())?, right(self.server.stop()?)?);
        report.fact("checksums", &format!("right: {server} packets at the server, {clients} answers at the clients"))
    }
}

/// Checks what was received (what was sent may be unfinished still); returns how many packets.
fn right(frames: impl IntoIterator<Item = Captured>) -> Result<usize> {
    let received: Vec<_> = frames.into_iter().filter(|it| it.direction == Direction::In).collect();
    let found = oracle::checksums(&received);
    ensure!(found.wrong.is_empty(), "wrong checksums: {}", found.wrong.join("; "));
    ensure!(found.unfinished == 0 && found.real > 0, "checksums prove nothing: {found:?}");
    Ok(found.real)
}

//! What the two ends of a flow say, one L4 packet after the other.

use egress_tests::packet::build::{self, Header};
use egress_tests::packet::transport::{self, sctp_chunk};

use super::program::{Endpoint, Flow, Side};
use super::random::Random;
use super::tcp::Tcp;

/// A packet without its IP header.
#[derive(Debug, Clone)]
pub(super) struct Said {
    pub(super) side: Side,
    pub(super) what: String,
    pub(super) l4: Vec<u8>,
}

/// How a flow talks.
#[derive(Debug, Clone)]
pub(super) enum Script {
    Tcp(Tcp),
    Udp,
    UdpLite,
    /// Echo: the next sequence number.
    Echo(u16),
    /// Another query of ICMP: its type.
    Query(u8),
    /// SCTP: the step, and the verification tags that the inside and the outside expect.
    Sctp(usize, [u32; 2]),
    /// Anything that has no ports.
    Plain,
}

/// A flow's state.
#[derive(Debug, Clone)]
pub(super) struct Talk {
    pub(super) script: Script,
    pub(super) begun: bool,
    pub(super) over: bool,
    /// Something of it has left the gateway.
    pub(super) left: bool,
    /// The last packet from inside and from outside.
    pub(super) last: [Option<(Header, Vec<u8>)>; 2],
}

impl Talk {
    pub(super) fn new(script: Script) -> Self {
        Self { script, begun: false, over: false, left: false, last: [None, None] }
    }

    /// The next packet; `None` when all is said.
    pub(super) fn next(&mut self, random: &mut Random, flow: &Flow, length: usize) -> Option<Said> {
        let data = random.bytes(length);
        let ends = (flow.pod, flow.remote);
        let side = if self.begun { random.pick(&[Side::Inside, Side::Outside]) } else { Side::Inside };
        self.begun = true;
        let (from, to) = if side == Side::Inside { ends } else { (ends.1, ends.0) };
        let said = |what: &str, l4| Some(Said { side, what: format!("{what} {length} bytes"), l4 });
        match &mut self.script {
            Script::Tcp(tcp) => tcp.next(random, ends, data),
            Script::Udp => said("udp", build::udp((from.address, from.port), (to.address, to.port), &data)),
            Script::UdpLite => {
                let coverage = random.pick(&[0, 8, 8 + (length / 2) as u16]);
                let ends = ((from.address, from.port), (to.address, to.port));
                said(&format!("udp-lite coverage {coverage}"), transport::udp_lite(ends.0, ends.1, coverage, &data))
            }
            Script::Echo(sequence) => {
                *sequence += u16::from(side == Side::Inside);
                let kind = match (from.address.is_ipv4(), side) {
                    (true, Side::Inside) => 8,
                    (true, Side::Outside) => 0,
                    (false, Side::Inside) => 128,
                    (false, Side::Outside) => 129,
                };
                said("echo", query(from, to, kind, flow.pod.port, *sequence, &data))
            }
            Script::Query(kind) => {
                let kind = *kind + u8::from(side == Side::Outside);
                let length = [12, 0, 4][usize::from((kind - 13) / 2)];
                let l4 = query(from, to, kind, flow.pod.port, 1, &[0x5a; 12][..length]);
                Some(Said { side, what: format!("query {kind}"), l4 })
            }
            Script::Sctp(step, tags) => {
                let (side, l4) = association(*step, *tags, random, flow, &data)?;
                *step += 1;
                Some(Said { side, what: format!("sctp step {step}"), l4 })
            }
            Script::Plain => said("plain", plain(flow.protocol, data)),
        }
    }
}

fn query(from: Endpoint, to: Endpoint, kind: u8, id: u16, sequence: u16, data: &[u8]) -> Vec<u8> {
    let rest = [id.to_be_bytes(), sequence.to_be_bytes()].concat();
    build::icmp(from.address, to.address, kind, 0, [rest[0], rest[1], rest[2], rest[3]], data)
}

/// At least 16 bytes; GRE wants a header that says version 0, ESP an SPI and a number, which random bytes are.
fn plain(protocol: u8, mut data: Vec<u8>) -> Vec<u8> {
    data.resize(data.len().max(16), 0x33);
    match protocol {
        47 => data[..4].copy_from_slice(&[0, 0, 8, 0]),
        // AH in front of nothing: the kernel would track what stands behind it.
        51 => data[..2].copy_from_slice(&[59, 2]),
        _ => {}
    }
    data
}

/// INIT, INIT ACK, COOKIE ECHO, COOKIE ACK, then DATA, SACK and HEARTBEAT.
fn association(step: usize, tags: [u32; 2], random: &mut Random, flow: &Flow, data: &[u8]) -> Option<(Side, Vec<u8>)> {
    let init = |tag: u32| [&tag.to_be_bytes()[..], &[0, 1, 0, 0, 0, 5, 0, 5, 0, 0, 0, 1]].concat();
    let data = [&[0, 0, 0, 1, 0, 1, 0, 1, 0, 0, 0, 0][..], data, b"!"].concat();
    let (side, chunks) = match step {
        0 => (Side::Inside, sctp_chunk(1, 0, &init(tags[0]))),
        1 => (Side::Outside, sctp_chunk(2, 0, &[&init(tags[1])[..], b"\0\x07\0\x0acookie\0\0"].concat())),
        2 => (Side::Inside, sctp_chunk(10, 0, b"cookie")),
        3 => (Side::Outside, sctp_chunk(11, 0, b"")),
        20.. => return None,
        _ => {
            let side = random.pick(&[Side::Inside, Side::Outside]);
            let sack = [0, 0, 0, 1, 0, 0, 0xff, 0xff, 0, 0, 0, 0];
            let chunks = random.pick(&[(0, 3, &data[..]), (3, 0, &sack), (4, 0, &[0, 1, 0, 8, 1, 2, 3, 4])]);
            (side, sctp_chunk(chunks.0, chunks.1, chunks.2))
        }
    };
    let (from, to) = if side == Side::Inside { (flow.pod, flow.remote) } else { (flow.remote, flow.pod) };
    // A packet carries its receiver's tag, and INIT none.
    let tag = if step == 0 { 0 } else { tags[usize::from(side == Side::Inside)] };
    Some((side, transport::sctp((from.port, to.port), tag, &chunks)))
}

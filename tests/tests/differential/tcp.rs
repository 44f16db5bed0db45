//! A TCP connection, segment by segment in an order that a conntrack believes.

use egress_tests::packet::build;

use super::program::{Endpoint, Side};
use super::random::Random;
use super::talk::Said;

const FIN: u8 = 1;
const SYN: u8 = 2;
const RST: u8 = 4;
const PSH: u8 = 8;
const ACK: u8 = 16;
const URG: u8 = 32;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    New,
    /// Its beginning was not seen.
    Middle,
    SynSent,
    SynAnswered,
    Established,
    /// This side said FIN.
    Half(Side),
    Closed,
    Reset,
}

/// A connection.
#[derive(Debug, Clone)]
pub(super) struct Tcp {
    phase: Phase,
    /// First sequence number of the inside and of the outside.
    first: [u32; 2],
    /// Their next ones.
    next: [u32; 2],
}

const OPTIONS: [&[u8]; 4] = [
    &[],
    &[2, 4, 5, 0xb4],
    &[2, 4, 5, 0xb4, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 1, 3, 3, 7],
    &[1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2],
];

impl Tcp {
    pub(super) fn new(random: &mut Random) -> Self {
        let first = [random.next() as u32, random.next() as u32];
        Self { phase: Phase::New, first, next: first }
    }

    /// In the middle.
    pub(super) fn middle(random: &mut Random) -> Self {
        Self { phase: Phase::Middle, ..Self::new(random) }
    }

    /// Between SYN and its answer.
    pub(super) fn answer(random: &mut Random) -> Self {
        Self { phase: Phase::SynSent, ..Self::new(random) }
    }

    /// The next segment; `None` when all is said.
    pub(super) fn next(&mut self, random: &mut Random, ends: (Endpoint, Endpoint), data: Vec<u8>) -> Option<Said> {
        use Side::{Inside, Outside};
        let dice = random.below(100);
        let side = random.pick(&[Inside, Outside]);
        let (side, flags, with_data) = match (self.phase, dice) {
            (Phase::New, _) => (Inside, SYN, false),
            (Phase::Middle, 0..20) => (Inside, FIN | ACK, false),
            (Phase::Middle, 20..40) => (Inside, RST | ACK, false),
            (Phase::Middle, _) => (Inside, ACK, true),
            (Phase::SynSent, 0..10) => (Inside, SYN, false),
            (Phase::SynSent, 10..15) => (Outside, RST | ACK, false),
            (Phase::SynSent, _) => (Outside, SYN | ACK, false),
            (Phase::SynAnswered, 0..10) => (Outside, SYN | ACK, false),
            (Phase::SynAnswered, _) => (Inside, ACK, false),
            (Phase::Established, 0..8) => (side, FIN | ACK, false),
            (Phase::Established, 8..11) => (side, RST | ACK, false),
            (Phase::Established, 11..25) => (side, ACK, false),
            (Phase::Established, 25..30) => (side, PSH | ACK | URG, true),
            (Phase::Established, _) => (side, PSH | ACK, true),
            (Phase::Half(closed), 0..30) => (closed, ACK, false),
            (Phase::Half(Inside), 30..60) => (Outside, ACK, true),
            (Phase::Half(Outside), 30..60) => (Inside, ACK, true),
            (Phase::Half(Inside), _) => (Outside, FIN | ACK, false),
            (Phase::Half(Outside), _) => (Inside, FIN | ACK, false),
            (Phase::Closed, 0..60) => (side, ACK, false),
            (Phase::Closed | Phase::Reset, _) => return None,
        };
        self.phase = match (self.phase, flags) {
            (Phase::New, _) => Phase::SynSent,
            (Phase::Middle, ACK) => Phase::Established,
            (Phase::Middle, _) => Phase::Reset,
            (_, flags) if flags & RST != 0 => Phase::Reset,
            (Phase::SynSent, flags) if flags & ACK != 0 => Phase::SynAnswered,
            (Phase::SynAnswered, ACK) => Phase::Established,
            (Phase::Established, flags) if flags & FIN != 0 => Phase::Half(side),
            (Phase::Half(_), flags) if flags & FIN != 0 => Phase::Closed,
            (phase, _) => phase,
        };
        let options = if flags & SYN != 0 { random.pick(&OPTIONS) } else { random.pick(&[OPTIONS[0], OPTIONS[3]]) };
        let data = if with_data { data } else { Vec::new() };
        Some(self.segment(side, flags, options, &data, ends))
    }

    fn segment(
        &mut self,
        side: Side,
        flags: u8,
        options: &[u8],
        data: &[u8],
        (pod, remote): (Endpoint, Endpoint),
    ) -> Said {
        let own = usize::from(side == Side::Outside);
        let (from, to) = if side == Side::Inside { (pod, remote) } else { (remote, pod) };
        let acknowledged = if flags & ACK != 0 { self.next[1 - own] } else { 0 };
        let sequence = if flags & SYN != 0 { self.first[own] } else { self.next[own] };
        let counts = data.len() as u32 + u32::from(flags & (SYN | FIN) != 0);
        self.next[own] = sequence.wrapping_add(counts);
        let payload = [options, data].concat();
        let l4 =
            build::tcp((from.address, from.port), (to.address, to.port), (sequence, acknowledged), flags, &payload);
        Said { side, what: format!("tcp flags {flags:#x} {} bytes", data.len()), l4: with_offset(l4, options.len()) }
    }
}

/// Says how long the options are.
fn with_offset(mut segment: Vec<u8>, options: usize) -> Vec<u8> {
    let old = u16::from_be_bytes([segment[12], segment[13]]);
    segment[12] = (((20 + options) / 4) << 4) as u8;
    let new = u16::from_be_bytes([segment[12], segment[13]]);
    super::rename::carry(&mut segment, 16, egress_tests::packet::proto::TCP, old, new);
    segment
}

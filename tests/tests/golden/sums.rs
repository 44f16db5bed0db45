//! Checksums that come out as zero, before or behind the gateway. UDP sends all ones then (RFC 768), the others a zero.

use anyhow::{Result, ensure};
use egress_tests::Family;
use egress_tests::packet::{build, proto, transport};

use super::bench::{Bench, Mode, Way};
use super::errors::Error;
use super::shape::{Ends, Shape, icmp_of};
use super::talk::Talk;
use super::{every, on_a_bench};

/// A protocol, where its checksum is, what a zero is sent as, and a packet with this word of payload.
#[derive(Clone, Copy)]
struct Summed {
    name: &'static str,
    protocol: u8,
    at: usize,
    zero: u16,
    make: fn(Ends, [u8; 2]) -> Vec<u8>,
}

const BASIC: [Summed; 2] = [
    Summed {
        name: "UDP",
        protocol: proto::UDP,
        at: 6,
        zero: 0xffff,
        make: |it, word| build::udp(it.from, it.to, &[&word[..], b"odd"].concat()),
    },
    Summed {
        name: "TCP",
        protocol: proto::TCP,
        at: 16,
        zero: 0,
        make: |it, word| build::tcp(it.from, it.to, (1, 2), 0x10, &[&word[..], b"odd"].concat()),
    },
];
const MORE: [Summed; 2] = [
    Summed {
        name: "UDP-Lite",
        protocol: proto::UDP_LITE,
        at: 6,
        zero: 0xffff,
        make: |it, word| transport::udp_lite(it.from, it.to, 10, &[&word[..], b"odd"].concat()),
    },
    Summed {
        name: "DCCP",
        protocol: proto::DCCP,
        at: 6,
        zero: 0,
        make: |it, word| transport::dccp(it.from, it.to, 2, 0, &[&word[..], b"odd"].concat()),
    },
];
const ECHO: Summed = Summed {
    name: "echo",
    protocol: 0,
    at: 2,
    zero: 0,
    make: |it, word| {
        let v4 = it.from.0.is_ipv4();
        // Whoever has the identifier is the Pod's side; the other one has 0.
        let reply = it.from.1 == 0;
        let kind = if v4 { [8, 0][usize::from(reply)] } else { 128 + u8::from(reply) };
        let [high, low] = (it.from.1 | it.to.1).to_be_bytes();
        build::icmp(it.from.0, it.to.0, kind, 0, [high, low, 0, 1], &[&word[..], b"odd"].concat())
    },
};

impl Summed {
    /// The packet whose checksum is zero between these ends: what was missing to all ones is put into the payload.
    fn zero_between(self, ends: Ends) -> Result<Shape> {
        let at = self.at;
        let missing = (self.make)(ends, [0, 0])[at..at + 2].try_into()?;
        let made = (self.make)(ends, missing)[at..at + 2].try_into()?;
        ensure!(u16::from_be_bytes(made) == self.zero, "{} is not zero: {made:x?}", self.name);
        Ok(self.shape(ends, missing))
    }

    fn shape(self, ends: Ends, word: [u8; 2]) -> Shape {
        let protocol = if self.protocol == 0 { icmp_of(ends) } else { self.protocol };
        Shape::new(&format!("{} with {word:x?}", self.name), protocol, move |it| (self.make)(it, word))
    }
}

fn zeros(bench: &Bench<'_>, family: Family, rows: &[Summed]) -> Result<()> {
    every(rows, |summed| {
        let mut talk = Talk::new(bench, family, 4200, if summed.protocol == 0 { 0 } else { 443 })?;
        talk.out(&summed.shape(talk.inside, [1, 2]))?;
        let outside = talk.outside()?;
        for ends in [talk.inside, outside] {
            talk.go(Way::Out, &summed.zero_between(ends)?)?;
            talk.go(Way::In, &summed.zero_between(ends.back())?)?;
        }
        Ok(())
    })
}

const MODES: &[Mode] = &[Mode::Peer, Mode::Stack];

#[test]
fn a_zero_sum_is_sent_as_its_protocol_wants() -> Result<()> {
    on_a_bench(MODES, |bench, family| zeros(bench, family, &[BASIC[0], BASIC[1], ECHO]))
}

#[test]
fn a_zero_sum_of_other_protocols_too() -> Result<()> {
    on_a_bench(MODES, |bench, family| zeros(bench, family, &MORE))
}

/// The quoted packet's checksum follows the same rules as the packet's.
#[test]
fn a_zero_sum_within_a_quote_too() -> Result<()> {
    on_a_bench(MODES, |bench, family| {
        let v4 = family == Family::V4;
        every([BASIC[0], BASIC[1], MORE[0], MORE[1], ECHO], |summed| {
            let mut talk = Talk::new(bench, family, 4201, if summed.protocol == 0 { 0 } else { 443 })?;
            talk.out(&summed.shape(talk.inside, [1, 2]))?;
            for ends in [talk.inside, talk.outside()?] {
                let sent = Error::unreachable(v4, &summed.zero_between(ends)?);
                talk.error(Way::In, bench.lab.router.addr(family), &sent)?;
                let came = Error::unreachable(v4, &summed.zero_between(ends.back())?);
                talk.error(Way::Out, talk.inside.from.0, &came)?;
            }
            Ok(())
        })
    })
}

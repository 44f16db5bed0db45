//! IPv4 options and IPv6 extension headers: carried untouched, unless they steer the packet or record its way (RFC 7126).

use anyhow::Result;
use egress_tests::packet::proto;

use super::bench::{Bench, Mode, Way};
use super::shape::{Shape, bare, data, echo, syn, tcp, udp, udp_unsummed};
use super::talk::Talk;
use super::{every, on_a_bench};
use egress_tests::Family;

/// What opens a flow, and what answers.
fn pairs(v4: bool) -> Vec<(Shape, Shape)> {
    let same = [udp(), udp_unsummed(), bare(proto::GRE)].map(|it| (it.clone(), it));
    [&same[..], &[(syn(), tcp("TCP SYN ACK", 0x12, b"")), (syn(), data()), echo(v4)]].concat()
}

/// Each changed pair passes both ways, and both ways are refused under `reason` once there is a flow, if there is one.
fn check(bench: &Bench<'_>, family: Family, rows: Vec<(String, Option<&str>, Change)>) -> Result<()> {
    let pairs = pairs(family == Family::V4);
    let all = rows.iter().flat_map(|row| pairs.iter().map(move |pair| (row, pair)));
    every(all.zip(4300_u16..), |(((name, reason, change), (out, back)), port)| {
        let mut talk = Talk::of(bench, family, port, out)?;
        let [odd_out, odd_back] = [out, back].map(|it| change(it.clone()).named(&format!("{} with {name}", it.name)));
        match reason {
            None => {
                talk.out(&odd_out)?;
                talk.back(&odd_back)?;
                talk.out(out)
            }
            Some(reason) => {
                talk.dropped(Way::Out, &odd_out, reason)?;
                talk.out(out)?;
                talk.dropped(Way::Out, &odd_out, reason)?;
                talk.dropped(Way::In, &odd_back, reason)?;
                talk.back(back)
            }
        }
    })
}

type Change = Box<dyn Fn(Shape) -> Shape>;

/// Options and the reason to drop them.
const OPTIONS: &[(&str, &[u8], Option<&str>)] = &[
    ("no operation", &[1, 1, 1, 1], None),
    ("no operation and end", &[1, 1, 1, 0], None),
    ("end and what is behind it", &[0, 131, 3, 0], None),
    ("router alert", &[148, 4, 0, 0], None),
    ("security", &[130, 11, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], None),
    ("an unknown option", &[0x99, 3, 7, 0], None),
    ("an unknown option of length 2", &[0x99, 2, 0x99, 2], None),
    ("router alert behind no operation", &[1, 1, 1, 148, 4, 0, 0, 0], None),
    ("40 bytes of no operation", &[1; 40], None),
    ("an option of 40 bytes", &FORTY, None),
    ("record route", &[7, 7, 4, 0, 0, 0, 0, 0], Some("options")),
    ("loose source route", &[131, 7, 4, 172, 17, 0, 1, 0], Some("options")),
    ("strict source route", &[137, 7, 4, 172, 17, 0, 1, 0], Some("options")),
    ("an exhausted source route", &[131, 7, 8, 172, 17, 0, 1, 0], Some("options")),
    ("timestamp", &[68, 8, 5, 0, 0, 0, 0, 0], Some("options")),
    ("a source route behind others", &[1, 148, 4, 0, 0, 0x99, 2, 131, 3, 4, 0, 0], Some("options")),
    ("a source route behind 36 bytes", &BEHIND, Some("options")),
    ("length 0", &[148, 0, 0, 0], Some("malformed")),
    ("length 1", &[148, 1, 0, 0], Some("malformed")),
    ("a length beyond the header", &[148, 5, 0, 0], Some("malformed")),
    ("a length byte beyond the header", &[1, 1, 1, 148], Some("malformed")),
];
const FORTY: [u8; 40] = {
    let mut it = [0x31; 40];
    (it[0], it[1]) = (0x99, 40);
    it
};
const BEHIND: [u8; 40] = {
    let mut it = [1; 40];
    (it[36], it[37], it[38], it[39]) = (131, 3, 4, 0);
    it
};

#[test]
fn options_are_carried_or_refused() -> Result<()> {
    on_a_bench(&[Mode::Peer, Mode::Stack], |bench, family| {
        if family == Family::V6 {
            return Ok(());
        }
        let row = |(name, options, reason): &(&str, &'static [u8], Option<&'static str>)| {
            let options = *options;
            ((*name).to_owned(), *reason, Box::new(move |it: Shape| it.options(options)) as Change)
        };
        check(bench, family, OPTIONS.iter().map(row).collect())
    })
}

/// Extension headers by their numbers.
type Chain = Vec<(u8, Vec<u8>)>;

/// Chains and the reason to drop them.
fn chains() -> Vec<(&'static str, Chain, Option<&'static str>)> {
    let padding = |number: u8| (number, vec![0, 0, 1, 4, 0, 0, 0, 0]);
    let routing = |kind: u8, left: u8| (43, vec![0, 0, kind, left, 0, 0, 0, 0]);
    let long = |number: u8| (number, [&[0, 2, 1, 20][..], &[0; 20]].concat());
    let destination = padding(60);
    let refused = Some("options");
    vec![
        ("hop-by-hop options", vec![padding(0)], None),
        ("router alert", vec![(0, vec![0, 0, 5, 2, 0, 0, 1, 0])], None),
        ("destination options", vec![destination.clone()], None),
        ("long options", vec![long(0), long(60)], None),
        ("mobility's routing header at its end", vec![routing(2, 0)], None),
        ("segment routing at its end", vec![routing(4, 0)], None),
        ("one of each", vec![padding(0), destination.clone(), routing(4, 0), destination.clone()], None),
        ("eight headers", vec![destination.clone(); 8], None),
        ("nine headers", vec![destination.clone(); 9], refused),
        ("routing header type 0", vec![routing(0, 1)], refused),
        ("routing header type 0 at its end", vec![routing(0, 0)], refused),
        ("mobility's routing header", vec![routing(2, 1)], refused),
        ("segment routing", vec![routing(4, 1)], refused),
        ("a routing header behind others", vec![padding(0), destination, routing(4, 3)], refused),
        ("a header longer than the packet", vec![(60, vec![0, 200, 1, 4, 0, 0, 0, 0])], Some("malformed")),
    ]
}

#[test]
fn extension_headers_are_carried_or_refused() -> Result<()> {
    on_a_bench(&[Mode::Peer, Mode::Stack], |bench, family| {
        if family == Family::V4 {
            return Ok(());
        }
        let row = |(name, chain, reason): (&str, Chain, _)| {
            (name.to_owned(), reason, Box::new(move |it: Shape| it.extensions(&chain)) as Change)
        };
        check(bench, family, chains().into_iter().map(row).collect())
    })
}

/// What ends a chain is judged as without one.
#[test]
fn protocols_behind_extension_headers_are_refused_as_without() -> Result<()> {
    on_a_bench(&[Mode::Peer], |bench, family| {
        if family == Family::V4 {
            return Ok(());
        }
        let talk = Talk::portless(bench, family)?;
        every([proto::ICMP, 51, 59, 89, 112, 135], |number| {
            let shape = bare(number).extensions(&[(60, vec![0, 0, 1, 4, 0, 0, 0, 0])]);
            talk.dropped(Way::Out, &shape, "protocol")
        })
    })
}

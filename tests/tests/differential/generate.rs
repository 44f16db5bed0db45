//! Makes programs.

use std::net::IpAddr;

use egress_tests::Family;
use egress_tests::lab::addresses::{FAR, SERVER};
use egress_tests::packet::proto;

use super::errors;
use super::program::{Endpoint, Flow, Kind, Program, Side, Step};
use super::random::Random;
use super::shape::Shaped;
use super::talk::{Said, Script, Talk};
use super::tcp::Tcp;
use crate::wire::{icmp, of};

/// Protocols with a checksum or a check that covers addresses: they must not be translated.
const FIXED: [&[u8]; 2] = [&[51, 58, 112], &[51, 1, 59, 89, 103, 112, 135, 139, 140]];
/// Options and extension headers that steer or record: timestamp, record route, loose and strict source route.
const STEERING: [&[u8]; 4] =
    [&[68, 8, 5, 0, 0, 0, 0, 0], &[7, 7, 4, 0, 0, 0, 0, 0], &[131, 7, 4, 10, 9, 8, 7, 0], &[137, 7, 4, 10, 9, 8, 7, 0]];

pub(super) struct Generator {
    pub(super) random: Random,
    pub(super) family: Family,
    mtu: (u32, u32),
    pub(super) flows: Vec<Flow>,
    pub(super) talks: Vec<Talk>,
    steps: Vec<Step>,
}

/// A program of so many steps.
pub(super) fn generate(seed: u64, family: Family, mtu: (u32, u32), steps: usize) -> Program {
    let (flows, talks, list) = (Vec::new(), Vec::new(), Vec::new());
    // Another one for each lab.
    let mut random = Random::new(seed.wrapping_mul(1 << 32) ^ u64::from(mtu.1) ^ u64::from(family == Family::V6));
    random.next();
    let mut generator = Generator { random, family, mtu, flows, talks, steps: list };
    while generator.steps.len() < steps {
        generator.step();
    }
    Program { family, mtu, flows: generator.flows, steps: generator.steps }
}

impl Generator {
    fn step(&mut self) {
        let live: Vec<usize> = (0..self.flows.len()).filter(|it| !self.talks[*it].over).collect();
        match self.random.below(100) {
            0..6 => errors::from_outside(self),
            6..12 => errors::from_inside(self),
            12..14 => self.unsolicited(),
            14..16 => self.not_translatable(),
            16..40 => self.open(),
            _ if live.is_empty() => self.open(),
            _ => {
                let index = self.random.pick(&live);
                self.go_on(index);
            }
        }
    }

    /// A Pod: two that are translated and one that is not.
    fn pod(&mut self) -> (IpAddr, bool) {
        let (last, untranslated) = match self.random.below(10) {
            0 => ((18, 5), true),
            1..5 => ((17, 9), false),
            _ => ((17, 10), false),
        };
        let client = egress_tests::lab::Client::new("", last.0, last.1);
        (of((client.v4, client.v6), self.family), untranslated)
    }

    /// A flow that is not there yet; few ports, so that Pods use the same.
    fn flow(&mut self, protocol: u8, ports: bool) -> Option<usize> {
        let (address, untranslated) = self.pod();
        let remote = of(self.random.pick(&[FAR, FAR, SERVER]), self.family);
        let port = if ports { 4000 + self.random.below(40) as u16 } else { 0 };
        let remote_port = match protocol {
            _ if !ports => 0,
            proto::ICMP | proto::ICMPV6 => port,
            _ => self.random.pick(&[53, 443, 7007]),
        };
        let (pod, remote) = (Endpoint { address, port }, Endpoint { address: remote, port: remote_port });
        let taken = self.flows.iter().any(|it| (it.protocol, it.pod, it.remote) == (protocol, pod, remote));
        (!taken).then(|| {
            self.flows.push(Flow { protocol, pod, remote, untranslated, unsolicited: false });
            self.flows.len() - 1
        })
    }

    fn script(&mut self, kind: Kind) -> (u8, Script) {
        let random = &mut self.random;
        match kind {
            Kind::Tcp => (proto::TCP, Script::Tcp(Tcp::new(random))),
            Kind::MidFlow => (proto::TCP, Script::Tcp(Tcp::middle(random))),
            Kind::UdpLite => (proto::UDP_LITE, Script::UdpLite),
            Kind::Echo => (icmp(self.family), Script::Echo(0)),
            Kind::Query => (proto::ICMP, Script::Query(random.pick(&[13, 15, 17]))),
            Kind::Sctp => (proto::SCTP, Script::Sctp(0, [random.next() as u32 | 1, random.next() as u32 | 1])),
            Kind::AddressOnly => (random.pick(&[47, 50, 4, 41, 253]), Script::Plain),
            _ => (proto::UDP, Script::Udp),
        }
    }

    fn open(&mut self) {
        let v4 = self.family == Family::V4;
        let all = [
            Kind::Tcp,
            Kind::Tcp,
            Kind::Tcp,
            Kind::Udp,
            Kind::Udp,
            Kind::Echo,
            Kind::UdpLite,
            Kind::Query,
            Kind::Sctp,
            Kind::AddressOnly,
            Kind::MidFlow,
        ];
        let all: Vec<Kind> = all.into_iter().filter(|it| v4 || *it != Kind::Query).collect();
        let kind = self.random.pick(&all);
        let (protocol, script) = self.script(kind);
        if let Some(index) = self.flow(protocol, kind != Kind::AddressOnly) {
            self.talks.push(Talk::new(script));
            self.go_on_as(index, Some(kind));
        }
    }

    fn go_on(&mut self, index: usize) {
        self.go_on_as(index, None);
    }

    fn go_on_as(&mut self, index: usize, kind: Option<Kind>) {
        let length = match self.random.below(10) {
            0..5 => self.random.below(40),
            5..8 => self.random.below(300),
            8 => self.random.between(900, 1100),
            _ => 0,
        };
        // On the wider link and not on the other.
        let big = self.mtu.0.max(self.mtu.1) as usize - 100 + self.random.below(60);
        // A first packet that is too big opens a flow all the same, and without ports keeps others out; the kernel forgets it.
        let may = self.talks[index].left && self.flows[index].pod.port != 0;
        let length = if may && self.random.chance(8) { big } else { length };
        let length = if self.random.chance(10) { length + 2000 } else { length };
        let Some(said) = self.talks[index].next(&mut self.random, &self.flows[index], length) else {
            self.talks[index].over = true;
            return;
        };
        let shaped = self.shaped(index, &said).odd(&mut self.random, said.side);
        let shaped = self.fitting(shaped, said.side);
        if let Some(mut shaped) = shaped {
            shaped.kinds.extend(kind);
            if kind == Some(Kind::MidFlow) {
                let ends = !said.what.contains("flags 0x10");
                self.talks[index].over = ends;
                // The two gateways do not agree on whether a packet that nobody may see opens a flow.
                if shaped.kinds.contains(&Kind::LastHop) {
                    self.talks[index].over = true;
                    return;
                }
                // Of a flow that begins with its end nothing more is said: only one of the gateways has it.
                if ends {
                    return self.say_aside(index, said.side, said.what, shaped);
                }
            }
            let reset = said.what.contains("flags 0x14");
            self.say(index, said.side, said.what, shaped);
            // The kernel forgets a flow that is refused at once, so there are no errors about one.
            if reset {
                self.talks[index].last = [None, None];
            }
        } else if kind.is_some() {
            self.talks[index].over = true;
        }
    }

    pub(super) fn shaped(&mut self, index: usize, said: &Said) -> Shaped {
        let Flow { protocol, pod, remote, .. } = self.flows[index];
        let (from, to) = if said.side == Side::Inside { (pod, remote) } else { (remote, pod) };
        Shaped::new(&mut self.random, from.address, to.address, protocol, said.l4.clone())
    }

    /// A packet that the first link carries; what is too big for the way behind it is of that kind.
    fn fitting(&self, mut shaped: Shaped, side: Side) -> Option<Shaped> {
        let length = shaped.header.packet(&shaped.l4).len() as u32;
        let (first, second) = if side == Side::Inside { self.mtu } else { (self.mtu.1, self.mtu.0) };
        if shaped.cut.as_ref().is_some_and(|it| !it.sizes.is_empty()) {
            return Some(shaped);
        }
        // A fragment header may come to it, and a tag.
        if length + 12 > first {
            return None;
        }
        if length > second {
            shaped.kinds.insert(Kind::TooBig);
        }
        (length <= second || shaped.cut.is_none()).then_some(shaped)
    }

    /// Adds the step.
    pub(super) fn say(&mut self, index: usize, side: Side, what: String, shaped: Shaped) {
        let packet = shaped.header.packet(&shaped.l4);
        let Shaped { header, l4, kinds, cut, link } = shaped;
        let stays = [Kind::LastHop, Kind::TooBig].iter().any(|it| kinds.contains(it));
        self.talks[index].left |= side == Side::Inside && !stays;
        self.talks[index].last[usize::from(side == Side::Outside)] = Some((header, l4));
        self.steps.push(Step { what, kinds, flow: index, side, packet, cut, link });
    }

    /// Adds a step that no other one follows up.
    pub(super) fn say_aside(&mut self, index: usize, side: Side, what: String, shaped: Shaped) {
        let packet = shaped.header.packet(&shaped.l4);
        let Shaped { kinds, cut, link, .. } = shaped;
        self.steps.push(Step { what, kinds, flow: index, side, packet, cut, link });
    }

    /// From outside to the egress address and a port that nobody has.
    fn unsolicited(&mut self) {
        let tcp = self.random.chance(50);
        let protocol = if tcp { proto::TCP } else { proto::UDP };
        let Some(index) = self.flow(protocol, true) else { return };
        let script = if tcp { Script::Tcp(Tcp::answer(&mut self.random)) } else { Script::Udp };
        let mut talk = Talk::new(script);
        // Of a remote port that no other flow has.
        self.flows[index].remote.port = 10_000 + index as u16;
        self.flows[index].unsolicited = true;
        self.flows[index].untranslated = false;
        talk.begun = true;
        self.talks.push(talk);
        let said = std::iter::repeat_with(|| self.talks[index].next(&mut self.random, &self.flows[index], 20));
        let Some(said) = said.take(20).flatten().find(|it| it.side == Side::Outside) else { return };
        self.talks[index].over = true;
        let mut shaped = self.shaped(index, &said);
        shaped.kinds.insert(Kind::Unsolicited);
        self.say_aside(index, Side::Outside, said.what, shaped);
    }

    /// Once, from inside.
    fn not_translatable(&mut self) {
        let v4 = self.family == Family::V4;
        let steering = self.random.chance(50);
        let protocol = if steering { proto::UDP } else { self.random.pick(FIXED[usize::from(!v4)]) };
        let Some(index) = self.flow(protocol, steering) else { return };
        let mut talk = Talk::new(if steering { Script::Udp } else { Script::Plain });
        let said = talk.next(&mut self.random, &self.flows[index], 24);
        talk.over = true;
        self.talks.push(talk);
        let Some(said) = said else { return };
        let mut shaped = self.shaped(index, &said);
        shaped.kinds.insert(Kind::NotTranslatable);
        let mut what = said.what;
        if steering && v4 {
            // The kernel writes the time into what is not translated.
            let choice = if self.flows[index].untranslated { &STEERING[1..] } else { &STEERING };
            shaped.header.options = self.random.pick(choice).to_vec();
            what += &format!(" with option {}", shaped.header.options[0]);
        } else if steering {
            let rest = [&[0, 2, 0, 1, 0, 0, 0, 0][..], &self.random.bytes(16)].concat();
            shaped.header.extensions = vec![(43, rest)];
            what += " with a routing header that is not done";
        }
        self.say_aside(index, Side::Inside, what, shaped);
    }
}

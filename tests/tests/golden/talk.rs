//! A conversation of a Pod with a server: what one step made of a packet is where the next begins.

use std::net::IpAddr;

use anyhow::{Context, Result, ensure};
use egress_tests::Family;
use egress_tests::testrun::{Ran, Verdict};

use super::bench::{Bench, TTL, Way};
use super::errors::Error;
use super::shape::{Ends, Shape, Side};

/// See the module.
pub(super) struct Talk<'b, 'lab> {
    bench: &'b Bench<'lab>,
    /// As the Pod sees it.
    pub(super) inside: Ends,
    /// As the server sees it, once the first packet is out.
    outside: Option<Ends>,
}

impl<'b, 'lab> Talk<'b, 'lab> {
    /// `pod1` with the server behind the router, not begun.
    pub(super) fn new(bench: &'b Bench<'lab>, family: Family, port: u16, to: u16) -> Result<Self> {
        let pod = (bench.pod(family)?, port);
        Ok(Self::between(bench, pod, (bench.lab.far.addr(family), to)))
    }

    /// Of others.
    pub(super) const fn between(bench: &'b Bench<'lab>, pod: Side, server: Side) -> Self {
        Self { bench, inside: Ends { from: pod, to: server }, outside: None }
    }

    /// Of a protocol without ports.
    pub(super) fn portless(bench: &'b Bench<'lab>, family: Family) -> Result<Self> {
        Self::new(bench, family, 0, 0)
    }

    /// As [`Self::new`], with as much of a port as the shape's protocol has.
    pub(super) fn of(bench: &'b Bench<'lab>, family: Family, port: u16, shape: &Shape) -> Result<Self> {
        match shape.port_at() {
            Some(0) => Self::new(bench, family, port, 443),
            Some(_) => Self::new(bench, family, port, 0),
            None => Self::portless(bench, family),
        }
    }

    /// As [`Self::of`], begun.
    pub(super) fn begun_with(bench: &'b Bench<'lab>, family: Family, port: u16, shape: &Shape) -> Result<Self> {
        let mut talk = Self::of(bench, family, port, shape)?;
        talk.out(shape)?;
        Ok(talk)
    }

    /// One that this packet began.
    pub(super) fn begun(bench: &'b Bench<'lab>, family: Family, (port, to): (u16, u16), first: &Shape) -> Result<Self> {
        let mut talk = Self::new(bench, family, port, to)?;
        talk.out(first)?;
        Ok(talk)
    }

    /// As the server sees it.
    pub(super) fn outside(&self) -> Result<Ends> {
        self.outside.context("the conversation has not begun")
    }

    /// The Pod sends; the first packet tells the egress address and port.
    pub(super) fn out(&mut self, shape: &Shape) -> Result<()> {
        self.try_out(shape).with_context(|| format!("out {}", shape.name))
    }

    fn try_out(&mut self, shape: &Shape) -> Result<()> {
        let ran = self.bench.run(Way::Out, &shape.packet(self.inside, TTL))?;
        let outside = match self.outside {
            Some(outside) => outside,
            None => self.bench.learn(shape, self.inside, &ran)?,
        };
        self.bench.ensure_sent(Way::Out, &ran, |ttl| shape.packet(outside, ttl))?;
        self.outside = Some(outside);
        Ok(())
    }

    /// A packet of the Pod was seen outside in this frame; the first one tells the egress address and port.
    pub(super) fn learn(&mut self, shape: &Shape, frame: Vec<u8>) -> Result<()> {
        if self.outside.is_none() {
            let seen = Ran { verdict: Verdict::Redirect, frame };
            self.outside = Some(self.bench.learn(shape, self.inside, &seen)?);
        }
        Ok(())
    }

    /// The server answers.
    pub(super) fn back(&self, shape: &Shape) -> Result<()> {
        let outside = self.outside()?.back();
        let context = || format!("back {}", shape.name);
        let ran = self.bench.run(Way::In, &shape.packet(outside, TTL)).with_context(context)?;
        self.bench.ensure_sent(Way::In, &ran, |ttl| shape.packet(self.inside.back(), ttl)).with_context(context)
    }

    /// Out or back.
    pub(super) fn go(&mut self, way: Way, shape: &Shape) -> Result<()> {
        match way {
            Way::Out => self.out(shape),
            Way::In => self.back(shape),
        }
    }

    /// The packet as it comes to the gateway.
    pub(super) fn arriving(&self, way: Way, shape: &Shape, ttl: u8) -> Result<Vec<u8>> {
        Ok(match way {
            Way::Out => shape.packet(self.inside, ttl),
            Way::In => shape.packet(self.outside()?.back(), ttl),
        })
    }

    /// The packet is dropped for this reason.
    pub(super) fn dropped(&self, way: Way, shape: &Shape, reason: &str) -> Result<()> {
        let packet = self.arriving(way, shape, TTL)?;
        self.bench.ensure_dropped(way, &packet, reason).with_context(|| format!("{way:?} {}", shape.name))
    }

    /// The quoted packet's ends, and the error's, before and after the gateway.
    fn error_ends(&self, way: Way, reporter: IpAddr) -> Result<[(Ends, (IpAddr, IpAddr)); 2]> {
        let (inside, outside) = (self.inside, self.outside()?);
        Ok(match way {
            Way::In => [(outside, (reporter, outside.from.0)), (inside, (reporter, inside.from.0))],
            Way::Out => {
                let server = inside.to.0;
                [(inside.back(), (reporter, server)), (outside.back(), (outside.from.0, server))]
            }
        })
    }

    /// Somebody reports an error about a packet of this conversation that went the other way.
    pub(super) fn error(&self, way: Way, reporter: IpAddr, error: &Error) -> Result<()> {
        let [(quoted, outer), (quoted_after, outer_after)] = self.error_ends(way, reporter)?;
        let context = || format!("{way:?} {}", error.name());
        let ran = self.bench.run(way, &error.packet(outer, quoted, TTL)).with_context(context)?;
        let expected = |ttl| error.packet(outer_after, quoted_after, ttl);
        self.bench.ensure_sent(way, &ran, expected).with_context(context)
    }

    /// The error is dropped for this reason.
    pub(super) fn error_dropped(&self, way: Way, reporter: IpAddr, error: &Error, reason: &str) -> Result<()> {
        let [(quoted, outer), _] = self.error_ends(way, reporter)?;
        let packet = error.packet(outer, quoted, TTL);
        self.bench.ensure_dropped(way, &packet, reason).with_context(|| format!("{way:?} {}", error.name()))
    }

    /// The port outside is the one inside.
    pub(super) fn ensure_port_kept(&self) -> Result<()> {
        let outside = self.outside()?;
        ensure!(outside.from.1 == self.inside.from.1, "{outside:?} instead of {:?}", self.inside);
        Ok(())
    }
}

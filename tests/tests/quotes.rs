//! What an ICMP error says, beside the packet that it is about.

use std::net::IpAddr;

use anyhow::{Context, Result, ensure};
use egress_tests::Family;
use egress_tests::capture::{Capture, Captured, Direction};
use egress_tests::packet::{Ip, checksum, parse_ip};
use egress_tests::traffic::PATIENCE;

/// An error's type, by family.
pub(crate) type Types = (u8, u8);
pub(crate) const UNREACHABLE: Types = (3, 1);
pub(crate) const TOO_BIG: Types = (3, 2);
pub(crate) const TIME_EXCEEDED: Types = (11, 3);

/// The quoted bytes.
pub(crate) fn quote(frame: &Captured) -> Option<&[u8]> {
    let ip = frame.ip().filter(|ip| ip.quoted.is_some())?;
    frame.packet().get(ip.l4_offset + 8..ip.length)
}

/// Whether it is an error of this type that quotes a packet between these two.
pub(crate) fn is_about(frame: &Captured, types: Types, (from, to): (IpAddr, IpAddr)) -> bool {
    let is = |ip: &Ip| ip.is_icmp(if ip.family() == Family::V4 { types.0 } else { types.1 });
    let quotes = |ip: &Ip| ip.quoted.as_ref().is_some_and(|it| (it.source, it.destination) == (from, to));
    frame.ip().is_some_and(|ip| is(ip) && quotes(ip))
}

/// Without what routers change: TTL and header checksum, or hop limit.
fn unrouted(packet: &[u8]) -> Vec<u8> {
    let mut packet = packet.to_vec();
    let fields: &[usize] = if packet.first().is_some_and(|byte| byte >> 4 == 4) { &[8, 10, 11] } else { &[7] };
    for at in fields {
        if let Some(byte) = packet.get_mut(*at) {
            *byte = 0;
        }
    }
    packet
}

/// It quotes `sent` as its sender sent it, at least its first 8 bytes behind the IP header, with a right header checksum;
/// and its own checksums are right.
pub(crate) fn ensure_quotes(frame: &Captured, sent: &[u8]) -> Result<()> {
    let quote = quote(frame).context("it quotes nothing")?;
    let (original, quoted) = (parse_ip(sent).context("what was sent")?, parse_ip(quote).context("what is quoted")?);
    ensure!(quote.len() >= original.l4_offset + 8, "it quotes {} bytes", quote.len());
    let wanted = unrouted(sent);
    let quote_unrouted = unrouted(quote);
    ensure!(
        wanted.get(..quote.len().min(wanted.len())) == Some(&*quote_unrouted),
        "quoted: {quote_unrouted:02x?}\nsent:   {wanted:02x?}"
    );
    let own = frame.checksums().context("not IP")?;
    let inner = checksum::check(&quoted, quote, false);
    ensure!(own.are_real() && inner.are_right(), "{own}, quoted {inner}");
    Ok(())
}

/// Waits for an error of this type about `sent` that comes in, and returns who sent it, and the frame.
pub(crate) fn error_about(tap: &Capture, types: Types, sent: &[u8]) -> Result<(IpAddr, Captured)> {
    let about = parse_ip(sent).context("what was sent")?;
    let about = (about.source, about.destination);
    let ours = |it: &Captured| {
        let same = |quote: &[u8]| unrouted(sent).starts_with(&unrouted(quote));
        it.direction == Direction::In && is_about(it, types, about) && quote(it).is_some_and(same)
    };
    let frame = tap.wait_for(PATIENCE, ours).or_else(|nothing| {
        // What came instead says more.
        let near = tap.so_far().into_iter().rfind(|it| it.direction == Direction::In && quote(it).is_some());
        let near = near.with_context(|| format!("{nothing:#}"))?;
        ensure_quotes(&near, sent).with_context(|| format!("another error came from {:?}", near.ip()))?;
        Ok::<_, anyhow::Error>(near)
    })?;
    ensure_quotes(&frame, sent)?;
    Ok((frame.ip().context("not IP")?.source, frame))
}

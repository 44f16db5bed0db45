//! Packets that are not plain: IPv4 options, IPv6 extension headers, fragments, protocols without ports. Reads whatever
//! [`super::parse`] reads, too.

use super::{
    Packet,
    chain::{Chain, chain},
    header::{ETHERNET, proto},
    options::acceptable,
    parse::{Kind, Parse, Parsed, header4, header6},
    transport::{Layout, bare, layout, rare_ports, segment_len, transport},
};
use crate::{
    abi::family::{Family, V4, V6},
    verdict::Drop,
};

/// No datagram ends behind this (RFC 791 §3.2, RFC 8200 §4.5).
const LONGEST: u32 = 65535;

/// Second eight bytes of a TCP segment: what begins there can replace flags that a filter saw (RFC 1858 §3).
const TCP_FLAGS_AT: u32 = 8;

/// A family whose packets can be parsed however they are made.
pub trait Deep: Parse {
    /// As [`Parse::parse`], never [`Kind::Deep`].
    fn deep<P: Packet>(packet: &P) -> Result<Parsed<Self>, Drop>
    where
        Self: Sized;
}

impl Deep for V4 {
    #[inline(always)]
    fn deep<P: Packet>(packet: &P) -> Result<Parsed<Self>, Drop> {
        let (mut parsed, way) = header4(packet)?;
        let refused = way.options != 0 && !acceptable(packet, parsed.l4, way.options)?;
        parsed.l4 += way.options;
        protocol(packet, &mut parsed, refused)?;
        Ok(parsed)
    }
}

impl Deep for V6 {
    #[inline(always)]
    fn deep<P: Packet>(packet: &P) -> Result<Parsed<Self>, Drop> {
        let mut parsed = header6(packet)?;
        let Chain { proto, l4, piece, refused } = chain(packet, parsed.proto, parsed.l4, ETHERNET + parsed.len)?;
        (parsed.proto, parsed.l4, parsed.piece) = (proto, l4, piece);
        protocol(packet, &mut parsed, refused)?;
        Ok(parsed)
    }
}

#[inline(always)]
fn protocol<F: Family, P: Packet>(packet: &P, parsed: &mut Parsed<F>, refused: bool) -> Result<(), Drop> {
    let piece = parsed.piece;
    if piece.is_fragment() && piece.at + piece.len > LONGEST {
        return Err(Drop::Malformed);
    }
    if piece.at != 0 {
        let overlaps = parsed.proto == proto::TCP && piece.at == TCP_FLAGS_AT;
        parsed.kind = if overlaps { Kind::Other(Drop::Fragment) } else { Kind::Tail };
        parsed.seen = 0;
    } else {
        let read = match (layout::<F>(parsed.proto, 0), parsed.proto) {
            (Layout::Bare, number) => {
                parsed.kind = if bare::<F>(number) { Kind::Bare } else { Kind::Other(Drop::Protocol) };
                // Of a tunnel's super-packet, at least: how long its inner headers are is not known here.
                segment_len(packet, parsed, 0);
                Ok(())
            }
            (Layout::Id(_), _) | (_, proto::TCP | proto::UDP) => transport(packet, parsed),
            _ => rare_ports(packet, parsed),
        };
        match read {
            // RFC 1858 §3: a first fragment that ends within the header hides what it is.
            Err(_) if piece.more => parsed.kind = Kind::Other(Drop::Fragment),
            Err(reason) => return Err(reason),
            Ok(()) if piece.more && matches!(parsed.kind, Kind::Error | Kind::LinkControl) => {
                parsed.kind = Kind::Other(Drop::Fragment);
            }
            Ok(()) => {}
        }
    }
    if refused {
        parsed.kind = Kind::Other(Drop::Options);
    }
    Ok(())
}

#[cfg(test)]
mod tests;

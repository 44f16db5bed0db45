//! Fragments made by hand.

use super::build::Header;

/// A packet of `header` and `payload` in pieces of at most `piece` bytes of payload (a multiple of 8), in their order.
///
/// # Panics
/// If `piece` is no multiple of 8: a mistake in the test.
pub fn fragments(header: &Header, payload: &[u8], piece: usize) -> Vec<Vec<u8>> {
    assert!(piece > 0 && piece.is_multiple_of(8), "fragments of {piece} bytes");
    let count = payload.chunks(piece).count();
    let one = |(number, bytes): (usize, &[u8])| {
        let fragment = Some(((number * piece) as u16, number + 1 < count));
        Header { fragment, dont_fragment: false, ..header.clone() }.packet(bytes)
    };
    payload.chunks(piece).enumerate().map(one).collect()
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::packet::{Fragment, parse_ip, proto};

    #[test]
    fn pieces_say_where_they_belong() {
        for (a, b) in [("10.0.0.1", "10.0.0.2"), ("fd00::1", "fd00::2")] {
            let (a, b): (IpAddr, IpAddr) = (a.parse().unwrap(), b.parse().unwrap());
            let header = Header { id: 7, ..Header::new(a, b, proto::UDP) };
            let pieces = fragments(&header, &[1; 20], 16);
            let places: Vec<_> = pieces.iter().map(|it| parse_ip(it).unwrap().fragment.unwrap()).collect();
            let place = |offset, more| Fragment { id: 7, offset, more };
            assert_eq!(places, [place(0, true), place(16, false)]);
        }
    }
}

//! Fragments through the gateway: whole and right at a real socket, whatever their order.

mod hostile;
mod orders;
mod several;
mod sockets;

use anyhow::Result;
use egress_tests::packet::build::Header;
use egress_tests::packet::fragments;
use egress_tests::{Family, Lab};

use crate::rig::stat;
use crate::talk::{Talk, Way};

/// Bytes of a fragment: they fit the overlay's MTU with either header.
const PIECE: usize = 1304;

/// The fragments of a datagram of this conversation before the gateway.
fn cut(talk: &Talk, way: Way, message: &[u8], id: u32) -> Vec<Vec<u8>> {
    let (header, datagram) = talk.parts(way, message);
    fragments(&Header { id, ..header }, &datagram, PIECE)
}

/// An order of fragments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    Straight,
    Reversed,
    Shuffled,
}

impl Order {
    const ALL: [Self; 3] = [Self::Straight, Self::Reversed, Self::Shuffled];

    fn apply<T>(self, pieces: &mut [T]) {
        match self {
            Self::Straight => {}
            Self::Reversed => pieces.reverse(),
            Self::Shuffled => {
                let mut state = 0x2545_f491_u32;
                for last in (1..pieces.len()).rev() {
                    state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    pieces.swap(last, (state >> 16) as usize % (last + 1));
                }
            }
        }
    }
}

/// How many were held and how many of those were let go.
fn held_and_released(lab: &Lab) -> Result<[u64; 2]> {
    Ok([stat(lab, "counters/fragments_held")?, stat(lab, "counters/fragments_released")?])
}

/// A number for each family, so that its datagrams differ.
const fn number(family: Family) -> u8 {
    match family {
        Family::V4 => 4,
        Family::V6 => 6,
    }
}

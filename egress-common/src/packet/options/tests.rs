use std::{vec, vec::Vec};

use proptest::prelude::*;

use super::*;
use crate::{packet::slice::Frame, testing::watched::Watched};

const REFUSED: [u8; 4] = [RECORD_ROUTE, TIMESTAMP, LOOSE_SOURCE_ROUTE, STRICT_SOURCE_ROUTE];

fn verdict(options: &[u8]) -> Result<bool, Drop> {
    let mut bytes = options.to_vec();
    acceptable(&Frame::new(&mut bytes), 0, options.len() as u32)
}

/// IANA's numbers, not the module's names.
#[test]
fn numbers() {
    assert_eq!(REFUSED, [7, 68, 131, 137]);
}

/// Every kind with every length, padded with no-operations: at least two bytes, at most what there is.
#[test]
fn every_kind_and_length() {
    for kind in 2..=255 {
        for len in 0..=255_u8 {
            let mut options = vec![1; 40];
            options[4..6].copy_from_slice(&[kind, len]);
            let want = if (2..=36).contains(&len) { Ok(!REFUSED.contains(&kind)) } else { Err(Drop::Malformed) };
            assert_eq!(verdict(&options), want, "{kind} with {len} bytes");
        }
    }
}

/// The list ends there, whatever follows; before it, everything counts.
#[test]
fn end_of_list() {
    assert_eq!(verdict(&[0, 131, 7, 4]), Ok(true));
    assert_eq!(verdict(&[1, 0, 68, 0]), Ok(true), "no length is read");
    assert_eq!(verdict(&[131, 3, 4, 0]), Ok(false));
    assert_eq!(verdict(&[131, 5, 4, 0]), Err(Drop::Malformed), "longer than the list");
    assert_eq!(verdict(&[0; 40]), Ok(true));
}

#[test]
fn no_operations_to_the_last_byte() {
    for words in 1..=10 {
        let mut options = vec![1; words * 4];
        assert_eq!(verdict(&options), Ok(true));
        *options.last_mut().unwrap() = 130;
        assert_eq!(verdict(&options), Err(Drop::Malformed), "a kind without its length");
        let last = options.len() - 2;
        options[last..].copy_from_slice(&[68, 2]);
        assert_eq!(verdict(&options), Ok(false), "the last option");
    }
}

/// A refused option is not forgotten for those behind it, and a malformed one weighs more.
#[test]
fn several() {
    let alert = [148, 4, 0, 0];
    for bad in REFUSED {
        assert_eq!(verdict(&[&[bad, 4, 5, 5][..], &alert].concat()), Ok(false));
        assert_eq!(verdict(&[&alert[..], &[bad, 4, 5, 5]].concat()), Ok(false));
        assert_eq!(verdict(&[bad, 4, 5, 5, 148, 1, 0, 0]), Err(Drop::Malformed));
    }
    assert_eq!(verdict(&[alert, alert].concat()), Ok(true));
}

#[test]
fn frame_ends_early() {
    let mut bytes = [1; 7];
    assert_eq!(acceptable(&Frame::new(&mut bytes), 0, 8), Err(Drop::Malformed));
}

/// The same, said another way.
fn expected(mut options: &[u8]) -> Result<bool, Drop> {
    let mut good = true;
    loop {
        match *options {
            [] | [0, ..] => return Ok(good),
            [1, ref rest @ ..] => options = rest,
            [kind, len, ..] if len >= 2 => {
                options = options.get(usize::from(len)..).ok_or(Drop::Malformed)?;
                good &= ![7, 68, 131, 137].contains(&kind);
            }
            _ => return Err(Drop::Malformed),
        }
    }
}

proptest! {
    #[test]
    fn any_bytes(
        words in 1_usize..=10,
        bytes in proptest::collection::vec(prop_oneof![0_u8..9, any::<u8>(), proptest::sample::select(&REFUSED[..])], 48),
    ) {
        let options = &bytes[..words * 4];
        let mut frame: Vec<u8> = bytes.clone();
        let watched = Watched::new(&mut frame, 0);
        prop_assert_eq!(acceptable(&watched, 0, options.len() as u32), expected(options));
        prop_assert!(watched.reached() <= options.len() + 1);
    }
}

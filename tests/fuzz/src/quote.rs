//! What the parser says about the packet that an ICMP error quotes.

use egress_common::packet::{
    parse::Parsed,
    quote::{Quoted, sum},
    slice::Frame,
    transport::{Layout, layout},
};

use crate::frame::{Build, IP};

/// It lies within the error, and its addresses are where the quoted header has them.
pub fn holds<F: Build + Quoted>(bytes: &mut [u8], gso_size: u32, error: &Parsed<F>) {
    let Ok(quote) = F::quote(&Frame { bytes, gso_size }, error) else { return };
    let (at, l4, end) = (quote.at as usize, quote.l4 as usize, quote.end as usize);
    assert_eq!((at, end), (error.l4 as usize + 8, IP + error.len as usize));
    // What has no ports is known by its IP header.
    let least = if layout::<F>(quote.proto, 0) == Layout::Bare { 0 } else { 8 };
    assert!(l4 >= at + F::HEADER as usize && l4 + least <= end);
    let address = |offset: u32| &bytes[at + offset as usize..][..size_of::<F::Addr>()];
    assert_eq!((quote.src.as_ref(), quote.dst.as_ref()), (address(F::SRC), address(F::DST)));
    match sum(&quote) {
        Some(Layout::Ports(sum) | Layout::Id(sum)) => assert!(sum.at as usize + 2 <= end),
        Some(Layout::Crc(at)) => assert!(at as usize + 4 <= end),
        Some(Layout::Bare) => panic!("a sum without a sum"),
        None => {}
    }
}

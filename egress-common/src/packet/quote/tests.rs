mod flows;
mod refused;
mod shapes;

use std::vec::Vec;

use super::*;
use crate::{
    packet::{deep::Deep, slice::Frame},
    testing::frame::{Build, Ip, icmp},
};

/// An error of this type that quotes these bytes, read as far as the quote.
fn quoted<F: Quoted + Deep + Build>(kind: u8, quote: &[u8]) -> Result<Quote<F>, Drop> {
    let mut frame = Ip::<F>::any(F::ICMP).sealed(icmp(kind, 0, quote), Some(2));
    // What lies behind the packet is not quoted.
    frame.extend([0xff; 80]);
    let frame = Frame::new(&mut frame);
    let error = F::deep(&frame).unwrap();
    assert_eq!(error.kind, Kind::Error);
    F::quote(&frame, &error)
}

fn unreachable<F: Quoted + Deep + Build>(quote: &[u8]) -> Result<Quote<F>, Drop> {
    quoted::<F>(if F::V6 { 1 } else { 3 }, quote)
}

fn inner<F: Build>(number: u8) -> Ip<F> {
    Ip::new(F::addr([7; 16]), F::addr([9; 16]), number)
}

/// A packet from its IP header on.
fn bytes<F: Build>(ip: &Ip<F>, payload: &[u8]) -> Vec<u8> {
    ip.frame(payload)[14..].to_vec()
}

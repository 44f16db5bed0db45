//! Any bytes, as a frame of either family.
#![no_main]

libfuzzer_sys::fuzz_target!(|frame: &[u8]| egress_fuzz::parse::check(frame));

//! An ICMP error about a packet of any fields, translated.
#![no_main]

libfuzzer_sys::fuzz_target!(|case: egress_fuzz::relay::Case| case.check());

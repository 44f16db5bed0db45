//! A packet of any fields, translated there and back.
#![no_main]

libfuzzer_sys::fuzz_target!(|case: egress_fuzz::rewrite::Case| case.check());

//! What the fuzz targets hold the product against. A check panics where something does not hold: that is libFuzzer's finding.
//!
//! A target is a file in `fuzz_targets`, its `[[bin]]`, a module here that checks, and `seeds/<target>.hex`.

pub mod body;
pub mod frame;
pub mod l4;
pub mod parse;
pub mod quote;
pub mod relay;
pub mod rewrite;
pub mod sum;
pub mod walk;

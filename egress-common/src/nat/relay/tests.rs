mod errors;
mod sums;

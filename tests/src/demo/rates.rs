//! Numbers of a comparison: pure.

use std::fmt;

use crate::spread::Spread;

/// One round: packets per second of both, measured in turns within a second or two.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Round {
    pub(super) ours: f64,
    pub(super) kernels: f64,
}

impl Round {
    fn ratio(&self) -> f64 {
        self.ours / self.kernels
    }
}

/// All rounds of a comparison.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Comparison {
    pub(super) ours: Spread,
    pub(super) kernels: Spread,
    /// Ours by the kernel's, round by round: what slows the machine down for a while slows both.
    pub(super) ratio: Spread,
    rounds: usize,
}

impl Comparison {
    pub(super) fn of(rounds: &[Round]) -> Self {
        Self {
            ours: Spread::of(rounds.iter().map(|it| it.ours)),
            kernels: Spread::of(rounds.iter().map(|it| it.kernels)),
            ratio: Spread::of(rounds.iter().map(Round::ratio)),
            rounds: rounds.len(),
        }
    }

    /// What a row of a table says: both rates and the ratio, each with its spread.
    pub(super) fn cells(&self) -> [String; 3] {
        let rate = |it: &Spread| format!("{:.2} M/s ({:.2} to {:.2})", it.median / 1e6, it.min / 1e6, it.max / 1e6);
        let ratio = format!("{:.1}x ({:.1} to {:.1})", self.ratio.median, self.ratio.min, self.ratio.max);
        [rate(&self.ours), rate(&self.kernels), ratio]
    }
}

impl fmt::Display for Comparison {
    /// A ratio only if every round agrees which is faster.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Spread { median, min, max } = self.ratio;
        let (ours, kernels) = (self.ours.median / 1e6, self.kernels.median / 1e6);
        write!(f, "ours {ours:.2} M/s, iptables MASQUERADE {kernels:.2} M/s: ")?;
        if min < 1.0 && max > 1.0 {
            return write!(f, "no clear difference ({} rounds each, from {min:.1}x to {max:.1}x)", self.rounds);
        }
        write!(f, "{median:.1}x ({} rounds each, min {min:.1}x, max {max:.1}x)", self.rounds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rounds(rates: &[(f64, f64)]) -> Comparison {
        let rounds: Vec<_> =
            rates.iter().map(|(ours, kernels)| Round { ours: ours * 1e6, kernels: kernels * 1e6 }).collect();
        Comparison::of(&rounds)
    }

    #[test]
    fn the_closing_line() {
        let three = rounds(&[(1.2, 0.6), (2.2, 1.0), (1.9, 1.0)]);
        let line = "ours 1.90 M/s, iptables MASQUERADE 1.00 M/s: 2.0x (3 rounds each, min 1.9x, max 2.2x)";
        assert_eq!(three.to_string(), line);
        assert_eq!(three.cells()[0], "1.90 M/s (1.20 to 2.20)");
    }

    #[test]
    fn no_ratio_out_of_noise() {
        let line = rounds(&[(1.2, 1.0), (0.9, 1.0), (1.1, 1.0)]).to_string();
        assert!(line.ends_with("no clear difference (3 rounds each, from 0.9x to 1.2x)"), "{line}");
    }
}

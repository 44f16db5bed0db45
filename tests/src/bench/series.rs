//! Numbers of a measure and what can be said of them: pure.

use std::collections::BTreeMap;

use serde::Serialize;

use super::peers::Peer;

/// What a number counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Unit {
    /// Smaller is better.
    #[serde(rename = "ns/packet")]
    NsPerPacket,
    /// Smaller is better.
    #[serde(rename = "us")]
    Microseconds,
    /// Larger is better.
    #[serde(rename = "1/s")]
    PerSecond,
    /// Larger is better.
    #[serde(rename = "Gbit/s")]
    GbitPerSecond,
    /// Larger is better.
    #[serde(rename = "times")]
    Times,
    /// Smaller is better.
    #[serde(rename = "B")]
    Bytes,
    /// Larger is better.
    #[serde(rename = "B/packet")]
    BytesPerPacket,
    /// Of one core; smaller is better.
    #[serde(rename = "%")]
    Percent,
    /// Smaller is better.
    #[serde(rename = "ns/flow")]
    NsPerFlow,
}

impl Unit {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::NsPerPacket => "ns/packet",
            Self::Microseconds => "µs",
            Self::PerSecond => "1/s",
            Self::GbitPerSecond => "Gbit/s",
            Self::Times => "times",
            Self::Bytes => "bytes",
            Self::BytesPerPacket => "bytes/packet",
            Self::Percent => "% of one core",
            Self::NsPerFlow => "ns/flow",
        }
    }
}

/// What a packet of a measure finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Its flow, in the CPU's caches.
    Warm,
    /// Its flow, in memory: more flows than the caches hold.
    ColdCaches,
    /// No flow: it opens one.
    Cold,
    /// Another thing is measured than packets.
    None,
}

impl State {
    pub(super) const fn text(self) -> &'static str {
        match self {
            Self::Warm => "warm: the flow exists and is in the CPU's caches",
            Self::ColdCaches => "warm table, cold caches: the flow exists, and more flows do than the caches hold",
            Self::Cold => "cold: each packet opens its flow",
            Self::None => "",
        }
    }
}

/// What a ratio must reach, and what is aimed at.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Goal {
    /// Ours by this peer's; or ours as it is.
    #[serde(skip)]
    pub against: Option<Peer>,
    /// At least, or at most where smaller is better.
    pub must: f64,
    /// Likewise.
    pub aim: f64,
    /// Whether smaller is better.
    pub at_most: bool,
}

impl Goal {
    /// How a ratio stands to it.
    pub fn verdict(&self, ratio: f64) -> &'static str {
        let reached = |bound: f64| if self.at_most { ratio <= bound } else { ratio >= bound };
        match (reached(self.must), reached(self.aim)) {
            (_, true) => "aim",
            (true, false) => "must",
            (false, false) => "missed",
        }
    }
}

/// One measure: a series of each peer, round by round.
#[derive(Debug, Clone, Serialize)]
pub struct Measure {
    /// What was measured.
    pub name: String,
    /// Of its numbers.
    pub unit: Unit,
    /// What packets find.
    pub state: State,
    /// What is to be reached.
    pub goal: Option<Goal>,
    /// By label, one number per round.
    pub series: BTreeMap<&'static str, Vec<f64>>,
    /// What else was seen, for people.
    pub notes: Vec<String>,
}

impl Measure {
    /// Whether every number of every series can be one.
    pub fn is_sane(&self) -> bool {
        !self.series.is_empty() && self.series.values().flatten().all(|it| it.is_finite() && *it > 0.0)
    }

    pub(super) fn new(name: &str, unit: Unit, goal: Option<Goal>) -> Self {
        Self { name: name.to_owned(), unit, state: State::None, goal, series: BTreeMap::new(), notes: Vec::new() }
    }

    pub(super) const fn state(mut self, state: State) -> Self {
        self.state = state;
        self
    }

    pub(super) fn add(&mut self, peer: Peer, value: f64) {
        self.series.entry(peer.label()).or_default().push(value);
    }

    /// What the goal is held against, round by round.
    pub(super) fn judged(&self) -> Option<(Goal, Vec<f64>)> {
        let goal = self.goal?;
        let values = match goal.against {
            Some(peer) => self.ratios(peer),
            None => self.series.get(Peer::Ours.label()).cloned().unwrap_or_default(),
        };
        (!values.is_empty()).then_some((goal, values))
    }

    /// Ours by the other's, round by round.
    pub(super) fn ratios(&self, other: Peer) -> Vec<f64> {
        let of = |peer: Peer| self.series.get(peer.label()).map(Vec::as_slice).unwrap_or_default();
        of(Peer::Ours).iter().zip(of(other)).map(|(ours, other)| ours / other).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spread::Spread;

    #[test]
    fn ratios_are_taken_round_by_round() {
        let mut measure = Measure::new("x", Unit::NsPerPacket, None);
        for (ours, theirs) in [(1.0, 2.0), (4.0, 4.0), (3.0, 4.0)] {
            measure.add(Peer::Ours, ours);
            measure.add(Peer::Iptables, theirs);
        }
        assert_eq!(measure.ratios(Peer::Iptables), [0.5, 1.0, 0.75]);
        assert_eq!(Spread::of(measure.ratios(Peer::Iptables)), Spread { median: 0.75, min: 0.5, max: 1.0 });
        assert!(measure.ratios(Peer::Nft).is_empty());
    }

    #[test]
    fn goals_of_both_directions() {
        let goal =
            |at_most| Goal { against: Some(Peer::Iptables), must: 0.6, aim: if at_most { 0.5 } else { 0.9 }, at_most };
        assert_eq!([0.5, 0.55, 0.61].map(|it| goal(true).verdict(it)), ["aim", "must", "missed"]);
        assert_eq!([0.9, 0.65, 0.59].map(|it| goal(false).verdict(it)), ["aim", "must", "missed"]);
    }
}

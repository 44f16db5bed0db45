//! Compares what two gateways made of a program.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::program::{Program, Side, hex};
use super::seen::{Seen, Sum};
use super::wanted::wanted;
use super::world::Outcome;

/// A difference with everything that one needs to look into it.
fn tell(program: &Program, at: usize, ours: &Outcome, kernels: &Outcome) -> String {
    let step = &program.steps[at];
    let mut text = format!("step {at}: {step}\n  flow {}\n    {}\n", program.flows[step.flow], hex(&step.packet));
    let before = program.steps[..at].iter().enumerate().filter(|(_, it)| it.flow == step.flow);
    for (at, before) in before {
        let _ = writeln!(text, "  after {at}: {before}");
    }
    for (name, outcome) in [("ours", ours), ("kernel", kernels)] {
        let _ = match outcome {
            Outcome::Unsent => writeln!(text, "  {name}: could not be sent"),
            Outcome::Seen(all) if all.is_empty() => writeln!(text, "  {name}: nothing"),
            Outcome::Seen(all) => all.iter().try_for_each(|it| writeln!(text, "  {name}: {it}")),
        };
    }
    text
}

/// Entries of the table that were used: what and why, and how often.
pub(super) type Used = BTreeMap<&'static str, (&'static str, usize)>;

/// Every difference that the table does not explain.
pub(super) fn differences(program: &Program, ours: &[Outcome], kernels: &[Outcome]) -> (Vec<String>, Used) {
    let (mut faults, mut used) = (Vec::new(), Used::new());
    for (at, (ours, kernels)) in ours.iter().zip(kernels).enumerate() {
        if ours == kernels {
            continue;
        }
        let step = &program.steps[at];
        match wanted(step, &program.flows[step.flow], ours, kernels) {
            Some(entry) => used.entry(entry.what).or_insert((entry.why, 0)).1 += 1,
            None => faults.push(tell(program, at, ours, kernels)),
        }
    }
    (faults, used)
}

/// Something that a gateway may do wrong with one packet.
pub(super) type Fault = (&'static str, fn(&mut Vec<Seen>));

/// What the comparison must see.
pub(super) const FAULTS: &[Fault] = &[
    ("lost", |all| all.clear()),
    ("sent twice", |all| all.push(all[0].clone())),
    ("another TTL", |all| all[0].packet[8] ^= 1),
    ("another identification", |all| all[0].packet[5] ^= 1),
    ("cut short", |all| all[0].packet.truncate(20)),
    ("of another port", |all| all[0].named = false),
    ("a wrong checksum", |all| all[0].checksums.1 = Sum::Wrong),
    ("to another neighbour", |all| all[0].macs.0[5] ^= 1),
    ("to the wrong side", |all| all[0].side = Side::Inside),
];

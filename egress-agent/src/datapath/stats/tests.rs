use super::*;

/// Whoever adds a reason says what it means.
#[test]
fn every_name_is_documented() {
    let docs = include_str!("../../../../docs/drops.md");
    for name in Counter::ALL.iter().map(|c| c.name()).chain(Drop::ALL.iter().map(|d| d.name())) {
        assert!(docs.contains(&format!("`{name}`")), "docs/drops.md does not say what {name} is");
    }
}

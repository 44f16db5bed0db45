//! What conditions say beside what is ready.

use serde_json::{Value, json};

use super::world::{LATER, NOW, World, client};

#[test]
fn who_lost_a_pod_is_told() {
    let mut world = World::new(|_| {});
    let mut older = world.gateway().clone();
    older.metadata.name = Some("gateway0".to_owned());
    world.index.gateway(&older);
    world.index.pod(&client("c"));
    world.index.pod(&client("d"));
    world.settle(NOW);
    let (status, reason, message) = world.condition("SelectorsEffective");
    assert_eq!((status.as_str(), reason.as_str()), ("False", "PodsSelectedByOther"));
    assert_eq!(
        message,
        "Pod ns1/c leaves by VpcEgressGateway default/gateway0, which selects it, too: the oldest valid one has it; \
         1 more Pod leaves by another gateway"
    );
    assert!(world.config.as_ref().unwrap().data.as_ref().unwrap()["pods.json"].contains("\"items\":[]"));
    world.index.without_gateway("default/gateway0");
    world.settle(LATER);
    assert_eq!(world.condition("SelectorsEffective").0, "True");
}

/// A valid gateway can have something that does nothing.
#[test]
fn what_does_nothing_is_said_of_a_valid_gateway() {
    let valid = |policies: Value| {
        let mut world = World::new(|gateway| gateway["spec"]["policies"] = policies.clone());
        world.settle(NOW);
        let (status, reason, message) = world.condition("Validated");
        assert_eq!((status.as_str(), reason.as_str()), ("True", "Valid"));
        message
    };
    assert_eq!(valid(json!([{"snat": true, "ipBlocks": ["10.18.0.0/16"]}])), "");
    let both = json!([{"snat": false, "ipBlocks": ["10.18.0.0/16"]}, {"snat": true, "ipBlocks": ["10.18.1.0/24"]}]);
    assert_eq!(
        valid(both),
        "spec.policies[1].ipBlocks[0]: 10.18.1.0/24 is not translated: 10.18.0.0/16 in spec.policies[0].ipBlocks[0] says \
         snat: false"
    );
}

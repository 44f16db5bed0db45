//! `egress-agent render`: the objects of gateways in files, without any cluster.

use serde_json::{Value, json};

use super::{
    Settings,
    claims::{self, Claims},
    plan::{unserved, wanted},
    select::Index,
    status::{self, problem},
};
use crate::spec::{Objects, Problem, SpecErrors};

/// A List of what the controller would write for every VpcEgressGateway, and what is worth knowing.
pub fn render(objects: &Objects, settings: &Settings) -> Result<(Value, Vec<Problem>), SpecErrors> {
    let (mut index, mut claims) = (Index::default(), Claims::default());
    for namespace in objects.namespaces.values() {
        index.namespace(&namespace.object);
    }
    for pod in objects.pods.values() {
        index.pod(&pod.object);
    }
    for gateway in objects.gateways.values() {
        index.gateway(&gateway.object);
        claims.put(&gateway.object);
    }
    let (mut items, mut warnings, mut errors) = (Vec::new(), objects.warnings.clone(), Vec::new());
    for (key, gateway) in &objects.gateways {
        let name = claims::object(&gateway.object);
        if let Some(other) = claims.to(&name).next().filter(|first| *first != key) {
            let reason = format!(
                "Deployment {name} is that of VpcEgressGateway {other} already; give one of them another name or prefix"
            );
            let origin = Some(gateway.origin.clone());
            errors.push(Problem { origin, ..problem(key, "metadata.name", reason) });
            continue;
        }
        if let Some(reason) = status::lost(&index.lost(key)) {
            warnings.push(problem(key, "spec.selectors", reason));
        }
        warnings.extend(status::shared(key, &claims.shared(key, objects)));
        match wanted(objects, gateway, &index.selected(key), settings) {
            Ok(wanted) => {
                warnings.extend(wanted.resolved.warnings);
                let unserved = unserved(&gateway.object.spec).into_iter();
                let unserved =
                    unserved.map(|(field, meaning)| problem(key, &field, format!("is not served: {meaning}")));
                // Unknown fields were told of when the files were read.
                warnings.extend(unserved.filter(|problem| !problem.reason.ends_with("is no known field")));
                match wanted.config {
                    Ok(config) => items.push(config),
                    Err(reason) => errors.push(problem(key, "spec.selectors", reason)),
                }
                items.push(wanted.deployment);
            }
            Err(wrong) => errors.extend(wrong.0),
        }
    }
    // The plan's own words name more.
    let told = |refused: &&Problem| errors.iter().any(|e| (&e.object, &e.field) == (&refused.object, &refused.field));
    let refused: Vec<Problem> = objects.refused.iter().filter(|refused| !told(refused)).cloned().collect();
    errors.extend(refused);
    if objects.gateways.is_empty() {
        errors.push(Problem {
            origin: None,
            object: None,
            field: None,
            reason: "the files hold no VpcEgressGateway (kubeovn.io/v1); give one with --file".to_owned(),
        });
    }
    if errors.is_empty() {
        Ok((json!({"apiVersion": "v1", "kind": "List", "items": items}), warnings))
    } else {
        Err(SpecErrors(errors))
    }
}

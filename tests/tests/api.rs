//! The API of gateways and the controller, at a real API server: rules, conditions, rights, and when nothing is written.
//!
//! The API server stands alone ([`ApiServer`]): what Deployments and kubelets would do the tests do.

mod conditions;
mod manifests;
mod mistakes;
mod owners;
mod rules;
mod scale;
mod stage;

use stage::{skip_api, stage};

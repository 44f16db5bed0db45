//! Gateway Pods on the cluster, made by the controller, which itself runs there as Pods from manifests/.

mod away;
mod edits;
mod installed;
mod like_kube_ovn;
mod nodes;
mod rolling;
mod seeds;
mod site;

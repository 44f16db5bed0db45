//! The cluster that tests share.

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result};
use egress_tests::cluster::{Cluster, Parts};
use egress_tests::system::cleanup::at_exit;
use egress_tests::{Need, skip};

static CLUSTER: Mutex<Option<Cluster>> = Mutex::new(None);

/// Whether there can be no cluster here; then it has said why.
pub(crate) fn skip_cluster() -> bool {
    skip(&[Need::Root, Need::Cluster])
}

/// The program of the machines' first process.
pub(crate) fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_cluster"))
}

/// The shared cluster, for one test at a time.
pub(crate) struct Shared(MutexGuard<'static, Option<Cluster>>);

/// Brings it up for the first test that asks.
pub(crate) fn shared() -> Result<Shared> {
    let mut guard = CLUSTER.lock().unwrap_or_else(PoisonError::into_inner);
    if guard.is_none() {
        *guard = Some(Cluster::up_for_us(Parts::find()?, program().to_owned(), &mut |what| println!("{what}"))?);
        // Nothing drops what is static.
        at_exit(|| {
            let cluster = CLUSTER.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(Err(error)) = cluster.map(Cluster::down) {
                eprintln!("{error:#}");
            }
        });
    }
    Ok(Shared(guard))
}

impl Shared {
    /// The cluster.
    pub(crate) fn cluster(&self) -> Result<&Cluster> {
        self.0.as_ref().context("the cluster is gone")
    }
}

//! Watches the API server and brings what changes, in order, to one reader.

use std::{collections::BTreeSet, fmt::Debug, time::Duration};

use futures_util::StreamExt as _;
use kube::{
    Api, Client, Resource,
    core::DeserializeGuard,
    runtime::{
        WatchStreamExt as _,
        watcher::{self, Event, watcher},
    },
};
use serde::de::DeserializeOwned;
use tokio::sync::mpsc::UnboundedSender;
use tracing::{debug, info, warn};

use super::api::{GROUP, key};

/// Waits for a definition that is missing, the first and the longest. The watcher's own begin anew with each look.
const MISSING: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(10));

/// A kind that is watched, and what becomes of it in the reader's state `S`.
pub trait Watched<S>: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static {
    /// It came, or changed.
    fn put(self, state: &mut S);
    /// It is gone.
    fn remove(key: &str, state: &mut S);
    /// All that there are, by `namespace/name`.
    fn keys(state: &S) -> BTreeSet<String>;
}

/// What a watch brings.
pub enum News<S> {
    /// Something to do to the state.
    Change(Box<dyn FnOnce(&mut S) + Send>),
    /// The first list of a kind is complete.
    Listed(String),
}

/// What to watch of a kind.
#[derive(Clone, Copy, Debug, Default)]
pub struct Scope {
    /// Only objects with this label.
    pub label: Option<&'static str>,
    /// The cluster may not know the kind.
    pub optional: bool,
}

/// Watches all objects of a kind, whose name it returns, until the reader is gone. An object that cannot be read is passed over, and told of.
pub fn watch<K: Watched<S>, S: 'static>(client: &Client, scope: Scope, news: UnboundedSender<News<S>>) -> String
where
    DeserializeGuard<K>: Resource<DynamicType = ()>,
{
    let api: Api<DeserializeGuard<K>> = Api::all(client.clone());
    let mut config = watcher::Config::default();
    if let Some(label) = scope.label {
        config = config.labels(label);
    }
    let kind = K::kind(&()).into_owned();
    let watched = kind.clone();
    tokio::spawn(async move {
        let mut stream = watcher(api, config).default_backoff().boxed();
        let (mut seen, mut listed) = (BTreeSet::new(), false);
        let mut missing = None;
        let listed_news = || News::Listed(kind.clone());
        while let Some(event) = stream.next().await {
            if matches!(event, Ok(Event::InitDone)) && missing.take().is_some() {
                info!("{}: is there now", definition::<K>());
            }
            let absent = matches!(&event, Err(error) if not_found(error));
            let sent = match event {
                Ok(Event::Init) => {
                    seen.clear();
                    Ok(())
                }
                Ok(Event::InitApply(object)) => {
                    seen.insert(key(&object));
                    put(&kind, object, &news)
                }
                Ok(Event::InitDone) => {
                    // What went away while nobody looked.
                    let seen = std::mem::take(&mut seen);
                    let change = News::Change(Box::new(move |state| {
                        for key in K::keys(state).difference(&seen) {
                            K::remove(key, state);
                        }
                    }));
                    let first = !std::mem::replace(&mut listed, true);
                    news.send(change).and_then(|()| if first { news.send(listed_news()) } else { Ok(()) })
                }
                Ok(Event::Apply(object)) => put(&kind, object, &news),
                Ok(Event::Delete(object)) => {
                    let key = key(&object);
                    news.send(News::Change(Box::new(move |state| K::remove(&key, state))))
                }
                Err(_) if absent && scope.optional => {
                    debug!("{kind}: the cluster does not know it");
                    let first = !std::mem::replace(&mut listed, true);
                    if first { news.send(listed_news()) } else { Ok(()) }
                }
                Err(_) if absent => {
                    if missing.is_none() {
                        warn!("{}", is_missing::<K>());
                    }
                    Ok(())
                }
                Err(error) => {
                    warn!("watching {kind}: {error}");
                    Ok(())
                }
            };
            if sent.is_err() {
                return;
            }
            if absent {
                let wait = missing.map_or(MISSING.0, |last: Duration| MISSING.1.min(last * 2));
                missing = Some(wait);
                tokio::time::sleep(wait).await;
            }
        }
    });
    watched
}

type Sent<S> = Result<(), tokio::sync::mpsc::error::SendError<News<S>>>;

fn put<K: Watched<S>, S: 'static>(kind: &str, object: DeserializeGuard<K>, news: &UnboundedSender<News<S>>) -> Sent<S> {
    match object.0 {
        Ok(mut object) => {
            // Half of an object's size, and nobody reads them.
            object.meta_mut().managed_fields = None;
            news.send(News::Change(Box::new(|state| object.put(state))))
        }
        Err(wrong) => {
            warn!("{kind} {}: {}", wrong.metadata.name.as_deref().unwrap_or_default(), wrong.error);
            Ok(())
        }
    }
}

/// `CustomResourceDefinition subnets.kubeovn.io`
fn definition<K: Resource<DynamicType = ()>>() -> String {
    format!("CustomResourceDefinition {}.{}", K::plural(&()), K::group(&()))
}

/// Which definition is missing, and what brings it.
fn is_missing<K: Resource<DynamicType = ()>>() -> String {
    let brings = match K::group(&()).as_ref() {
        GROUP => "apply manifests/crd/egress-ebpf.dev",
        "kubeovn.io" => "apply manifests/overlays/standalone, or install Kube-OVN",
        "k8s.cni.cncf.io" => "install Multus, or apply its CustomResourceDefinition",
        _ => return format!("the API server knows no {}; is it one of Kubernetes?", K::kind(&())),
    };
    format!(
        "{} is missing, nothing is reconciled without it: {brings}; it is looked for every {} s",
        definition::<K>(),
        MISSING.1.as_secs()
    )
}

fn not_found(error: &watcher::Error) -> bool {
    match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status)) => status.code == 404,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    use k8s_openapi::api::core::v1::Pod;
    use kube::Config;
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
        sync::mpsc::unbounded_channel,
        time::{sleep, timeout},
    };

    use super::*;
    use crate::{
        controller::state::State,
        k8s::api::{EgressGatewayProfile, NetworkAttachmentDefinition, Subnet},
    };

    /// An API server that knows no kind, and how often it was asked.
    async fn empty() -> (Client, Arc<AtomicUsize>) {
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = Client::try_from(Config::new(format!("http://{}", server.local_addr().unwrap()).parse().unwrap()));
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        tokio::spawn(async move {
            while let Ok((mut connection, _)) = server.accept().await {
                let count = Arc::clone(&count);
                tokio::spawn(async move {
                    let mut request = [0; 4096];
                    while connection.read(&mut request).await.is_ok_and(|read| read > 0) {
                        count.fetch_add(1, Ordering::Relaxed);
                        let answer = "HTTP/1.1 404 Not Found\r\ncontent-length: 19\r\n\r\n404 page not found\n";
                        if connection.write_all(answer.as_bytes()).await.is_err() {
                            return;
                        }
                    }
                });
            }
        });
        (client.unwrap(), asked)
    }

    /// Time that nothing happens in is passed over, so this does not wait.
    #[tokio::test(start_paused = true)]
    async fn a_missing_definition_is_looked_for_ever_more_rarely() {
        for optional in [false, true] {
            let (client, asked) = empty().await;
            let (sender, mut news) = unbounded_channel::<News<State>>();
            watch::<Subnet, _>(&client, Scope { optional, ..Scope::default() }, sender);
            sleep(Duration::from_secs(120)).await;
            let asked = asked.load(Ordering::Relaxed);
            assert!((2..=20).contains(&asked), "asked {asked} times in two minutes");
            let listed = timeout(Duration::from_millis(1), news.recv()).await;
            assert_eq!(matches!(listed, Ok(Some(News::Listed(_)))), optional);
            assert!(news.try_recv().is_err(), "told once");
        }
    }

    #[test]
    fn a_missing_definition_is_named_with_what_brings_it() {
        for (said, want) in [
            (is_missing::<Subnet>(), "CustomResourceDefinition subnets.kubeovn.io is missing, nothing is reconciled"),
            (
                is_missing::<Subnet>(),
                "apply manifests/overlays/standalone, or install Kube-OVN; it is looked for every 10 s",
            ),
            (is_missing::<NetworkAttachmentDefinition>(), "network-attachment-definitions.k8s.cni.cncf.io is missing"),
            (is_missing::<NetworkAttachmentDefinition>(), "install Multus"),
            (is_missing::<EgressGatewayProfile>(), "apply manifests/crd/egress-ebpf.dev"),
            (is_missing::<Pod>(), "the API server knows no Pod"),
        ] {
            assert!(said.contains(want), "{said}");
        }
    }
}

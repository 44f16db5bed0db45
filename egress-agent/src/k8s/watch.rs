//! Watches the API server and brings what changes, in order, to one reader.

use std::{collections::BTreeSet, fmt::Debug};

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
use tracing::{debug, warn};

use super::api::key;

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
        let listed_news = || News::Listed(kind.clone());
        while let Some(event) = stream.next().await {
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
                Err(error) if scope.optional && !listed && not_found(&error) => {
                    debug!("{kind}: the cluster does not know it");
                    listed = true;
                    news.send(listed_news())
                }
                Err(error) => {
                    if !(scope.optional && not_found(&error)) {
                        warn!("watching {kind}: {error}");
                    }
                    Ok(())
                }
            };
            if sent.is_err() {
                return;
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

fn not_found(error: &watcher::Error) -> bool {
    match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status)) => status.code == 404,
        _ => false,
    }
}

//! Watches of kinds that a cluster may not know: those of KEDA.
//!
//! Whether it knows them is asked every half a minute, which every hub does anyway ([`ClusterView`]). The watch begins when it
//! does, and ends when it does not any more, so that an API server without KEDA is not asked in vain.
//!
//! [`ClusterView`]: crate::autoscaling::ClusterView

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt, stream};
use k8s_openapi::NamespaceResourceScope;
use kube::Resource;
use kube::core::PartialObjectMeta;
use kube::runtime::reflector::ObjectRef;
use kube::runtime::{WatchStreamExt, watcher};
use serde::de::DeserializeOwned;

use super::{Hub, Shared, reported, scoped, taken};
use crate::apply::children::Seen;
use crate::backoff;
use crate::build::Kind;

/// How often it is asked whether the cluster knows the kind.
const PERIOD: Duration = Duration::from_secs(30);

/// The hubs that are concerned by what happens to children of a kind, while the cluster knows it.
pub(super) fn of_hubs<K>(
    shared: &Arc<Shared>,
    kind: Kind,
    ours: &watcher::Config,
) -> impl Stream<Item = ObjectRef<Hub>> + Send + 'static + use<K>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + DeserializeOwned
        + Debug
        + Send
        + 'static,
{
    let (asker, shared, ours) = (Arc::clone(shared), Arc::clone(shared), ours.clone());
    stream::repeat(())
        .then(move |()| until_known(Arc::clone(&asker)))
        .flat_map(move |()| {
            let api = scoped::<PartialObjectMeta<K>>(&shared.ctx);
            let events = watcher(api, ours.clone())
                .default_backoff()
                .take_while(|event| std::future::ready(!is_unknown(event)));
            let events = reported(kind.resource().kind, shared.metrics.clone(), events);
            let end = stream::once(ended(Arc::clone(&shared), kind)).flat_map(stream::iter);
            taken(&shared, kind, events).chain(end)
        })
}

async fn until_known(shared: Arc<Shared>) {
    loop {
        // An API server that does not answer is told by the reconciliations.
        let facts = shared.ctx.cluster.facts(&shared.ctx.client).await;
        if facts.is_ok_and(|facts| facts.keda) {
            return;
        }
        tokio::time::sleep(backoff::jittered(PERIOD)).await;
    }
}

/// The pause is as long as what is known of the cluster may be old, lest the watch is begun at once by it.
async fn ended(shared: Arc<Shared>, kind: Kind) -> Vec<ObjectRef<Hub>> {
    tracing::info!(
        kind = kind.resource().kind,
        "the cluster does not know the kind any more"
    );
    shared.ctx.children.see(kind, Seen::Ended);
    tokio::time::sleep(PERIOD).await;
    Vec::new()
}

/// Whether the API server says that there is no such kind.
fn is_unknown<T>(event: &watcher::Result<T>) -> bool {
    let Err(
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status))
        | watcher::Error::WatchError(status),
    ) = event
    else {
        return false;
    };
    status.code == 404
}

#[cfg(test)]
mod tests {
    use kube::core::Status;

    use super::*;

    #[test]
    fn only_the_word_that_there_is_no_such_kind_ends_a_watch() {
        let said = |code| Box::new(Status::failure("it is not there", "NotFound").with_code(code));
        let listing = |code| watcher::Error::InitialListFailed(kube::Error::Api(said(code)));
        let starting = |code| watcher::Error::WatchStartFailed(kube::Error::Api(said(code)));
        for error in [listing(404), starting(404), watcher::Error::WatchError(said(404))] {
            assert!(is_unknown::<()>(&Err(error)));
        }
        for error in [listing(403), starting(500), watcher::Error::NoResourceVersion] {
            assert!(!is_unknown::<()>(&Err(error)));
        }
        assert!(!is_unknown(&Ok(())));
    }
}

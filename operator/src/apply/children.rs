//! What is known of the children of all hubs without reading them: which there are, by the watches, and which were found
//! to be as built. It lets a look at a hub at rest cost no request.
//!
//! The watches bring metadata only, and of that only the version of each object is kept. Beside it stands the version at
//! which the object was last compared with what was built, a fingerprint of that, and, of workloads, what others write into
//! them. An object whose version and fingerprint are still the same needs no look; any other is read.
//!
//! This is a cache as every informer is one: it lags behind the API server by as long as an event takes, and the event
//! itself brings the next look. It is in memory alone: a process that begins reads everything once.

use std::collections::{BTreeSet, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::Value;

use crate::build::labels::{HUB_NAMESPACE, INSTANCE};
use crate::build::{Kind, Object};
use crate::validate::ValidatedHub;

/// A hub, by namespace and name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HubId {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl HubId {
    /// That of a hub.
    pub(super) fn of(hub: &ValidatedHub) -> Self {
        Self {
            namespace: hub.names.namespace().to_owned(),
            name: hub.names.hub().to_owned(),
        }
    }
}

/// What a watch tells of one kind.
#[derive(Clone, Copy, Debug)]
pub enum Seen<'a> {
    /// The watch begins (anew): every object that there is follows.
    Begin,
    /// An object that is there while the watch begins.
    Listed(&'a ObjectMeta),
    /// Every object that there is was listed.
    Complete,
    /// The watch has ended, and nobody tells what happens from now on.
    Ended,
    /// An object was made or changed.
    Changed(&'a ObjectMeta),
    /// An object is gone, or is none of ours any more.
    Gone(&'a ObjectMeta),
}

/// A fingerprint of an object as it was built: equal objects have equal ones, in one process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint(u64);

impl Fingerprint {
    /// The fingerprint of an object of a hub; `None` if it has no JSON form.
    pub(super) fn of(object: &Object, hub: &ValidatedHub) -> Option<Self> {
        let mut hasher = HashWriter(DefaultHasher::new());
        // What is applied of it is another thing then.
        hub.keeps_templates.hash(&mut hasher.0);
        serde_json::to_writer(&mut hasher, object).ok()?;
        Some(Self(hasher.0.finish()))
    }
}

/// Hashes what is written, so that nothing is encoded in memory for it.
struct HashWriter(DefaultHasher);

impl Write for HashWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// One child.
struct Child {
    hub: Arc<HubId>,
    /// Its newest version that is known of.
    version: u64,
    /// In which beginning of the watch it was there.
    epoch: u32,
    settled: Option<Settled>,
}

/// That a child was as built.
struct Settled {
    version: u64,
    built: Fingerprint,
    /// What others wrote into it, as JSON; empty where nobody asks.
    others: Box<[u8]>,
}

#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Key {
    kind: Kind,
    /// Empty for a kind without namespaces.
    namespace: Box<str>,
    name: Box<str>,
}

#[derive(Default)]
struct Watch {
    epoch: u32,
    is_complete: bool,
}

#[derive(Default)]
struct Inner {
    watches: HashMap<Kind, Watch>,
    children: HashMap<Key, Child>,
    hubs: HashMap<Arc<HubId>, BTreeSet<Key>>,
}

/// What is known of the children of all hubs.
#[derive(Default)]
pub struct Children {
    inner: Mutex<Inner>,
}

/// What is known of one kind of child of one hub.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Known {
    /// Those that are as built, each with what others wrote into it.
    pub(super) as_built: Vec<(String, Box<[u8]>)>,
    /// Those that have to be read.
    pub(super) unread: Vec<String>,
}

impl Children {
    /// Takes in what a watch tells of a kind. Returns the hubs that it concerns.
    pub fn see(&self, kind: Kind, seen: Seen<'_>) -> Vec<HubId> {
        let mut inner = self.lock();
        match seen {
            Seen::Begin => {
                let watch = inner.watches.entry(kind).or_default();
                watch.epoch = watch.epoch.wrapping_add(1);
                Vec::new()
            }
            Seen::Complete => inner.complete(kind),
            Seen::Ended => {
                inner.watches.entry(kind).or_default().is_complete = false;
                Vec::new()
            }
            Seen::Listed(meta) => inner.put(kind, meta, true),
            Seen::Changed(meta) => inner.put(kind, meta, false),
            Seen::Gone(meta) => inner.gone(kind, meta),
        }
    }

    /// What is known of the children of a kind; `None` if nobody watches it or the watch has only begun. `built` are the
    /// objects that the hub should have of it.
    pub(super) fn known(
        &self,
        kind: Kind,
        hub: &HubId,
        built: &HashMap<String, Fingerprint>,
    ) -> Option<Known> {
        let inner = self.lock();
        if !inner.watches.get(&kind)?.is_complete {
            return None;
        }
        let mut known = Known::default();
        let keys = inner.hubs.get(hub).into_iter().flatten();
        for key in keys.filter(|key| key.kind == kind) {
            let name = key.name.to_string();
            let child = inner.children.get(key);
            let settled = child.and_then(|child| {
                let settled = child.settled.as_ref()?;
                let is_same = settled.version == child.version && built.get(&name) == Some(&settled.built);
                is_same.then(|| settled.others.clone())
            });
            match settled {
                Some(others) => known.as_built.push((name, others)),
                None => known.unread.push(name),
            }
        }
        Some(known)
    }

    /// Notes that `object`, as the API server has it, is as built.
    pub(super) fn settle(&self, kind: Kind, hub: &HubId, object: &Value, built: Fingerprint) {
        let text = |path: &str| object.pointer(path).and_then(Value::as_str);
        let version = text("/metadata/resourceVersion").and_then(|version| version.parse().ok());
        let (Some(name), Some(version)) = (text("/metadata/name"), version) else {
            return;
        };
        let key = Key {
            kind,
            namespace: text("/metadata/namespace").unwrap_or_default().into(),
            name: name.into(),
        };
        let mut inner = self.lock();
        let epoch = inner
            .watches
            .get(&kind)
            .map(|watch| watch.epoch)
            .unwrap_or_default();
        let child = inner.child(key, hub, version);
        child.epoch = epoch;
        child.version = child.version.max(version);
        child.settled = Some(Settled {
            version,
            built,
            others: super::live::others(kind, object),
        });
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// The child of this key; if it was not known, one of `hub`.
    fn child(&mut self, key: Key, hub: &HubId, version: u64) -> &mut Child {
        let hubs = &mut self.hubs;
        self.children.entry(key).or_insert_with_key(|key| {
            let hub = match hubs.get_key_value(hub) {
                Some((known, _)) => Arc::clone(known),
                None => Arc::new(hub.clone()),
            };
            hubs.entry(Arc::clone(&hub)).or_default().insert(key.clone());
            Child {
                hub,
                version,
                epoch: 0,
                settled: None,
            }
        })
    }

    /// A child once known belongs to its hub until it is gone, whatever becomes of its labels and owners: their loss is
    /// what the hub has to mend.
    fn put(&mut self, kind: Kind, meta: &ObjectMeta, is_listed: bool) -> Vec<HubId> {
        let key = key_of(kind, meta);
        let mut concerned: Vec<HubId> = hubs_named_by(meta).collect();
        let epoch = self.watches.entry(kind).or_default().epoch;
        let hub = match self.children.get(&key) {
            Some(child) => HubId::clone(&child.hub),
            None => match concerned.first() {
                Some(hub) => hub.clone(),
                None => return concerned,
            },
        };
        let version = version_of(meta);
        let child = self.child(key, &hub, version.unwrap_or_default());
        child.epoch = epoch;
        match version {
            // An event can be older than what was written since. What is listed is the new beginning.
            Some(version) if is_listed || version >= child.version => child.version = version,
            Some(_) => {}
            // One that does not tell its version is read each time.
            None => child.settled = None,
        }
        if !concerned.contains(&hub) {
            concerned.push(hub);
        }
        concerned
    }

    fn gone(&mut self, kind: Kind, meta: &ObjectMeta) -> Vec<HubId> {
        let key = key_of(kind, meta);
        let mut concerned: Vec<HubId> = hubs_named_by(meta).collect();
        let Some(child) = self.children.get(&key) else {
            return concerned;
        };
        let hub = HubId::clone(&child.hub);
        // It may have been made anew since.
        if version_of(meta).is_none_or(|version| version >= child.version) {
            self.remove(&key);
        }
        if !concerned.contains(&hub) {
            concerned.push(hub);
        }
        concerned
    }

    /// Forgets what was not listed. It went while nobody watched.
    fn complete(&mut self, kind: Kind) -> Vec<HubId> {
        let watch = self.watches.entry(kind).or_default();
        watch.is_complete = true;
        let epoch = watch.epoch;
        let stale: Vec<Key> = self
            .children
            .iter()
            .filter(|(key, child)| key.kind == kind && child.epoch != epoch)
            .map(|(key, _)| key.clone())
            .collect();
        let concerned: BTreeSet<Arc<HubId>> = stale.into_iter().filter_map(|key| self.remove(&key)).collect();
        concerned.iter().map(|hub| HubId::clone(hub)).collect()
    }

    /// Forgets a child. Returns the hub that it was of.
    fn remove(&mut self, key: &Key) -> Option<Arc<HubId>> {
        let child = self.children.remove(key)?;
        if let Some(keys) = self.hubs.get_mut(&child.hub) {
            keys.remove(key);
            if keys.is_empty() {
                self.hubs.remove(&child.hub);
            }
        }
        Some(child.hub)
    }
}

fn key_of(kind: Kind, meta: &ObjectMeta) -> Key {
    Key {
        kind,
        namespace: meta.namespace.as_deref().unwrap_or_default().into(),
        name: meta.name.as_deref().unwrap_or_default().into(),
    }
}

/// Versions are numbers that grow, of one API server (KEP-5504).
fn version_of(meta: &ObjectMeta) -> Option<u64> {
    meta.resource_version.as_ref()?.parse().ok()
}

/// The hubs that an object itself names as its own: by its owner, and by its label.
fn hubs_named_by(meta: &ObjectMeta) -> impl Iterator<Item = HubId> {
    let namespace = meta.namespace.clone().or_else(|| annotation(meta, HUB_NAMESPACE));
    let owner = meta.owner_references.iter().flatten();
    let owner = owner.filter(|owner| owner.kind == "FlickrHub");
    let mut names: Vec<String> = owner.map(|owner| owner.name.clone()).collect();
    let label = meta.labels.as_ref().and_then(|labels| labels.get(INSTANCE));
    if let Some(label) = label.filter(|label| !names.contains(label)) {
        names.push(label.clone());
    }
    namespace.into_iter().flat_map(move |namespace| {
        let of = move |name| HubId {
            namespace: namespace.clone(),
            name,
        };
        names.clone().into_iter().map(of)
    })
}

fn annotation(meta: &ObjectMeta, name: &str) -> Option<String> {
    meta.annotations.as_ref()?.get(name).cloned()
}

#[cfg(test)]
mod tests;

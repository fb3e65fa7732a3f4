//! A Kubernetes API in memory: objects without controllers, and an authoriser that lets the operator do what its role says
//! and keeps account of it.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};

use crate::request::{Asked, Place};
use crate::role::Permission;

type Answer = Response<UnsyncBoxBody<Bytes, Infallible>>;

/// The API; clones share it.
#[derive(Clone)]
pub(crate) struct ApiServer {
    inner: Arc<Mutex<Inner>>,
}

struct Inner {
    role: BTreeSet<Permission>,
    objects: BTreeMap<Place, Value>,
    used: BTreeSet<Permission>,
    denied: BTreeSet<String>,
    version: u64,
}

impl ApiServer {
    /// An empty one that allows what `role` says.
    pub(crate) fn new(role: BTreeSet<Permission>) -> Self {
        let inner = Inner {
            role,
            objects: BTreeMap::new(),
            used: BTreeSet::new(),
            denied: BTreeSet::new(),
            version: 0,
        };
        Self {
            inner: Arc::new(Mutex::new(inner)),
        }
    }

    /// A client of it.
    pub(crate) fn client(&self) -> Client {
        let server = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let server = server.clone();
            async move {
                let (head, body) = request.into_parts();
                let body = body.collect_bytes().await?;
                let (path, query) = (head.uri.path(), head.uri.query().unwrap_or_default());
                if let Some(list) = discovery(path) {
                    return Ok(success(&list));
                }
                let asked = Asked::read(&head.method, path, query);
                let asked = asked.unwrap_or_else(|| panic!("{} {path} is not understood", head.method));
                Ok::<_, kube::Error>(server.lock().answer(&asked, &body))
            }
        });
        Client::new(service, "default")
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("nobody panicked with it")
    }

    /// What of the role was used.
    pub(crate) fn used(&self) -> BTreeSet<Permission> {
        self.lock().used.clone()
    }

    /// What was asked for against the role.
    pub(crate) fn denied(&self) -> BTreeSet<String> {
        self.lock().denied.clone()
    }

    /// Puts an object there, as somebody else does.
    pub(crate) fn put(&self, group: &str, version: &str, resource: &str, object: Value) {
        let text = |field: &str| object["metadata"][field].as_str().map(str::to_owned);
        let place = Place {
            group: group.to_owned(),
            version: version.to_owned(),
            resource: resource.to_owned(),
            namespace: text("namespace"),
            name: text("name"),
        };
        self.lock().store(&place, object);
    }

    /// Changes an object, as somebody else does.
    pub(crate) fn change(&self, resource: &str, name: &str, change: impl FnOnce(&mut Value)) {
        let mut inner = self.lock();
        let found = inner
            .objects
            .iter_mut()
            .find(|(place, _)| place.resource == resource && place.name.as_deref() == Some(name));
        let (_, object) = found.unwrap_or_else(|| panic!("no {resource} {name}"));
        change(object);
    }

    /// The names of the objects of a resource.
    pub(crate) fn names(&self, resource: &str) -> Vec<String> {
        let inner = self.lock();
        let places = inner.objects.keys().filter(|place| place.resource == resource);
        places.filter_map(|place| place.name.clone()).collect()
    }
}

impl Inner {
    /// Whether the role permits it; what does is used.
    fn authorise(&mut self, group: &str, resource: &str, verb: &str, name: Option<&str>) -> bool {
        let permitting: Vec<Permission> = self
            .role
            .iter()
            .filter(|permission| permission.permits(group, resource, verb, name))
            .cloned()
            .collect();
        if permitting.is_empty() {
            self.denied
                .insert(format!("{verb} {resource}.{group} {}", name.unwrap_or("(all)")));
        }
        let permitted = !permitting.is_empty();
        self.used.extend(permitting);
        permitted
    }

    fn answer(&mut self, asked: &Asked, body: &[u8]) -> Answer {
        let place = &asked.place;
        // A name in the body of a creation is not in the address, so no role can be limited to it.
        if !self.authorise(&place.group, &asked.resource(), asked.verb, place.name.as_deref()) {
            return failure(StatusCode::FORBIDDEN, "Forbidden");
        }
        let sent = if body.is_empty() {
            Value::Null
        } else {
            serde_json::from_slice(body).expect("JSON")
        };
        match asked.verb {
            "get" => match self.objects.get(place) {
                Some(object) => success(object),
                None => failure(StatusCode::NOT_FOUND, "NotFound"),
            },
            "list" => self.list(asked),
            "watch" => Response::new(BodyExt::boxed_unsync(StreamBody::new(futures::stream::pending()))),
            "create" if asked.subresource.as_deref() == Some("token") => success(
                &json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
                    "metadata": {}, "spec": {"audiences": []},
                    "status": {"token": "token", "expirationTimestamp": "2030-01-01T00:00:00Z"}}),
            ),
            "create" if asked.subresource.as_deref() == Some("eviction") => {
                self.objects.remove(place);
                success(&json!({"apiVersion": "v1", "kind": "Status", "metadata": {}, "status": "Success"}))
            }
            "create" if place.resource == "subjectaccessreviews" => {
                let mut review = sent;
                review["metadata"] = json!({});
                review["status"] = json!({"allowed": true});
                success(&review)
            }
            "create" => self.create(place, sent),
            "patch" if asked.subresource.as_deref() == Some("scale") => {
                success(&json!({"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {}, "spec": {}}))
            }
            "patch" | "update" => self.write(asked, &sent),
            "delete" => match self.objects.remove(place) {
                Some(object) => success(&object),
                None => failure(StatusCode::NOT_FOUND, "NotFound"),
            },
            verb => panic!("{verb} is not known here"),
        }
    }

    fn list(&self, asked: &Asked) -> Answer {
        let place = &asked.place;
        let selected = |object: &Value| {
            let labels = &object["metadata"]["labels"];
            asked
                .labels
                .iter()
                .all(|(key, value)| labels[key].as_str() == Some(value))
        };
        let items: Vec<&Value> = self
            .objects
            .iter()
            .filter(|(at, _)| at.group == place.group && at.resource == place.resource)
            .filter(|(at, _)| place.namespace.is_none() || at.namespace == place.namespace)
            .map(|(_, object)| object)
            .filter(|object| selected(object))
            .collect();
        let version = self.version.to_string();
        success(
            &json!({"apiVersion": "v1", "kind": "List", "metadata": {"resourceVersion": version}, "items": items}),
        )
    }

    fn create(&mut self, place: &Place, object: Value) -> Answer {
        let name = object["metadata"]["name"].as_str().expect("a name").to_owned();
        let place = Place {
            name: Some(name),
            ..place.clone()
        };
        if self.objects.contains_key(&place) {
            return failure(StatusCode::CONFLICT, "AlreadyExists");
        }
        if !self.admit(&object) {
            return failure(StatusCode::FORBIDDEN, "Forbidden");
        }
        success(&self.store(&place, object))
    }

    /// A patch by apply of an object that is not there needs the right to create it too.
    fn write(&mut self, asked: &Asked, sent: &Value) -> Answer {
        let place = &asked.place;
        let current = self.objects.get(place).cloned();
        if current.is_none() {
            if asked.verb != "patch" || asked.subresource.is_some() {
                return failure(StatusCode::NOT_FOUND, "NotFound");
            }
            // Here the address has the name, and a role can be limited to it.
            if !self.authorise(&place.group, &place.resource, "create", place.name.as_deref()) {
                return failure(StatusCode::FORBIDDEN, "Forbidden");
            }
        }
        if !self.admit(sent) {
            return failure(StatusCode::FORBIDDEN, "Forbidden");
        }
        let mut object = current.unwrap_or_else(|| json!({}));
        if asked.verb == "update" {
            object = sent.clone();
        } else {
            merge(&mut object, sent);
        }
        if asked.is_dry_run {
            return success(&object);
        }
        success(&self.store(place, object))
    }

    /// What needs rights beyond the verb on the object: an owner whose deletion waits for the object
    /// (`OwnerReferencesPermissionEnforcement`), and a role that is given to somebody.
    fn admit(&mut self, object: &Value) -> bool {
        let owners = object
            .pointer("/metadata/ownerReferences")
            .and_then(Value::as_array);
        for owner in owners.into_iter().flatten() {
            let finalizers = match owner["kind"].as_str() {
                Some("FlickrHub") => "flickrhubs/finalizers",
                Some("FlickrHubClient") => "flickrhubclients/finalizers",
                _ => continue,
            };
            let blocks = owner["blockOwnerDeletion"] == true;
            let name = owner["name"].as_str();
            if blocks && !self.authorise("flickrhub.dev", finalizers, "update", name) {
                return false;
            }
        }
        if object["kind"] == "ClusterRoleBinding" {
            let role = object.pointer("/roleRef/name").and_then(Value::as_str);
            return self.authorise("rbac.authorization.k8s.io", "clusterroles", "bind", role);
        }
        true
    }

    fn store(&mut self, place: &Place, mut object: Value) -> Value {
        self.version += 1;
        let meta = &mut object["metadata"];
        meta["resourceVersion"] = json!(self.version.to_string());
        if let Some(namespace) = &place.namespace {
            meta["namespace"] = json!(namespace);
        }
        meta["name"] = json!(place.name);
        if meta["uid"].is_null() {
            meta["uid"] = json!(format!("uid-{}", self.version));
        }
        if let Some(texts) = object["stringData"].as_object().cloned() {
            for (key, text) in texts {
                object["data"][key] = json!(STANDARD.encode(text.as_str().expect("text")));
            }
        }
        if let Some(fields) = object.as_object_mut() {
            fields.remove("stringData");
        }
        self.objects.insert(place.clone(), object.clone());
        object
    }
}

/// The resources of a group, which everybody may ask for.
fn discovery(path: &str) -> Option<Value> {
    (path == "/apis/keda.sh/v1alpha1").then(|| {
        let kind = |name: &str, kind: &str| json!({"name": name, "singularName": "", "kind": kind, "namespaced": true, "verbs": []});
        json!({
            "apiVersion": "v1", "kind": "APIResourceList", "groupVersion": "keda.sh/v1alpha1",
            "resources": [
                kind("scaledobjects", "ScaledObject"),
                kind("triggerauthentications", "TriggerAuthentication"),
            ],
        })
    })
}

/// Merges as RFC 7396 has it; near enough to an apply here.
fn merge(into: &mut Value, patch: &Value) {
    let Value::Object(fields) = patch else {
        *into = patch.clone();
        return;
    };
    if !into.is_object() {
        *into = json!({});
    }
    for (key, value) in fields {
        if value.is_null() {
            if let Some(fields) = into.as_object_mut() {
                fields.remove(key);
            }
        } else {
            merge(&mut into[key], value);
        }
    }
}

fn success(object: &Value) -> Answer {
    let body = serde_json::to_vec(object).expect("JSON");
    Response::new(BodyExt::boxed_unsync(Full::from(body)))
}

fn failure(code: StatusCode, reason: &str) -> Answer {
    let status = json!({"apiVersion": "v1", "kind": "Status", "metadata": {}, "status": "Failure",
        "reason": reason, "message": reason, "code": code.as_u16()});
    let mut answer = success(&status);
    *answer.status_mut() = code;
    answer
}

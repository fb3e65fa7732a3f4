//! Starting the server.

use std::{collections::HashMap, io, net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::DefaultBodyLimit,
    routing::{any, get, post},
};
use tokio::{net::TcpListener, sync::watch, task::JoinHandle};

use crate::{
    callback,
    catalog::Photo,
    connection, control,
    fault::Rule,
    journal::Entry,
    oauth, rest, upload,
    user::{MockUser, Permission},
    world::{Settings, World},
};

/// The longest body of anything but an upload, in bytes.
const LONGEST_BODY: usize = 10 << 20;

/// A stand-in for Flickr; [`MockFlickr::builder`] begins one.
#[derive(Debug)]
pub struct MockFlickr;

impl MockFlickr {
    /// A server without applications that approves every authorization.
    pub fn builder() -> Builder {
        Builder {
            settings: Settings {
                apps: HashMap::new(),
                auto_approve: true,
                ticket_delay: Duration::from_secs(1),
                requests_per_hour: None,
            },
        }
    }
}

/// How a server is to behave.
#[derive(Debug, Clone)]
pub struct Builder {
    settings: Settings,
}

impl Builder {
    /// Knows an application.
    #[must_use]
    pub fn app(mut self, key: impl Into<String>, secret: impl Into<String>) -> Self {
        self.settings.apps.insert(key.into(), secret.into());
        self
    }

    /// Whether `authorize` approves without asking. It does by default.
    #[must_use]
    pub fn auto_approve(mut self, auto_approve: bool) -> Self {
        self.settings.auto_approve = auto_approve;
        self
    }

    /// How long an asynchronous upload takes. 1 s by default.
    #[must_use]
    pub fn ticket_delay(mut self, delay: Duration) -> Self {
        self.settings.ticket_delay = delay;
        self
    }

    /// Requests that each application may make in any hour before it gets 429; Flickr's limit is
    /// 3,600. None by default.
    #[must_use]
    pub fn requests_per_hour(mut self, limit: usize) -> Self {
        self.settings.requests_per_hour = Some(limit);
        self
    }

    /// Serves in the background until the handle is dropped. Needs a Tokio runtime.
    ///
    /// # Errors
    /// When the listener has no address.
    pub fn serve(self, listener: TcpListener) -> io::Result<MockHandle> {
        let address = listener.local_addr()?;
        let world = Arc::new(World::new(self.settings));
        let (stop, stopped) = watch::channel(false);
        let task = tokio::spawn(connection::serve(listener, router(world.clone()), stopped));
        Ok(MockHandle {
            address,
            world,
            stop,
            task,
        })
    }
}

/// A running server. Dropping it closes all connections.
#[derive(Debug)]
pub struct MockHandle {
    address: SocketAddr,
    world: Arc<World>,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl MockHandle {
    /// The origin to send requests to, such as `http://127.0.0.1:40001`.
    pub fn origin(&self) -> String {
        format!("http://{}", self.address)
    }

    /// A user, made if new, and a new access token that any application may use.
    pub fn add_user(&self, username: &str, perms: Permission) -> MockUser {
        let users = &mut self.world.state().users;
        let account = users.account(username);
        users.grant(&account, perms, None)
    }

    /// Adds a fault after those in force.
    pub fn add_fault(&self, rule: Rule) {
        self.world.state().faults.rules.push_back(rule);
    }

    /// Forgets all faults.
    pub fn clear_faults(&self) {
        self.world.state().faults.rules.clear();
    }

    /// The calls seen, oldest first.
    pub fn log(&self) -> Vec<Entry> {
        self.world.state().journal.iter().cloned().collect()
    }

    /// The photos stored, oldest first.
    pub fn photos(&self) -> Vec<Photo> {
        self.world.state().catalog.photos.values().cloned().collect()
    }

    /// Stops accepting, closes all connections, and waits until that is done.
    pub async fn stop(self) {
        // The receiver lives as long as the task.
        let _ = self.stop.send(true);
        let _ = self.task.await;
    }
}

fn router(world: Arc<World>) -> Router {
    let uploads = Router::new()
        .route("/services/upload", post(upload::upload))
        .route("/services/upload/", post(upload::upload))
        .route("/services/replace", post(upload::replace))
        .route("/services/replace/", post(upload::replace))
        .layer(DefaultBodyLimit::disable());
    let calls = Router::new()
        .route("/services/rest", any(rest::handle))
        .route("/services/rest/", any(rest::handle))
        .route("/services/oauth/request_token", any(oauth::request_token))
        .route("/services/oauth/authorize", get(oauth::authorize))
        .route("/services/oauth/access_token", any(oauth::access_token))
        .route(
            "/_mock/faults",
            get(control::list_faults)
                .post(control::add_faults)
                .delete(control::clear_faults),
        )
        .route("/_mock/log", get(control::log))
        .route("/_mock/photos", get(control::photos))
        .route("/_mock/users", post(control::add_user))
        .route(
            "/_mock/users/{nsid}/tokens",
            get(control::tokens).delete(control::revoke),
        )
        .route("/_mock/reset", post(control::reset))
        .route(
            "/_mock/callbacks/{name}",
            get(callback::list)
                .post(callback::receive)
                .put(callback::behave)
                .delete(callback::forget),
        )
        .route("/healthz", get(|| async { "ok\n" }))
        .layer(DefaultBodyLimit::max(LONGEST_BODY));
    uploads.merge(calls).with_state(world)
}

//! The API for tests and operators: `/_mock/`.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, Query, State},
};
use http::StatusCode;
use serde::{Deserialize, Serialize};

use crate::{
    catalog::Photo,
    fault::Rule,
    journal::Entry,
    user::{MockUser, Permission},
    world::{State as WorldState, World},
};

/// A body of `POST /_mock/faults`: `{"rules": [...]}`, a list, or one rule.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum NewRules {
    Wrapped { rules: Vec<Rule> },
    List(Vec<Rule>),
    One(Rule),
}

/// `POST /_mock/faults`: adds rules after those in force.
pub(crate) async fn add_faults(State(world): State<Arc<World>>, Json(new): Json<NewRules>) -> StatusCode {
    let rules = match new {
        NewRules::Wrapped { rules } | NewRules::List(rules) => rules,
        NewRules::One(rule) => vec![rule],
    };
    world.state().faults.rules.extend(rules);
    StatusCode::NO_CONTENT
}

/// `GET /_mock/faults`: the rules in force, with the counts that are left.
pub(crate) async fn list_faults(State(world): State<Arc<World>>) -> Json<Vec<Rule>> {
    Json(world.state().faults.rules.iter().cloned().collect())
}

/// `DELETE /_mock/faults`
pub(crate) async fn clear_faults(State(world): State<Arc<World>>) -> StatusCode {
    world.state().faults.rules.clear();
    StatusCode::NO_CONTENT
}

/// What of the log is wanted.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct LogQuery {
    /// Only entries with a greater `seq`.
    after: u64,
    /// At most this many, oldest first.
    limit: Option<usize>,
    /// Only this method.
    method: Option<String>,
    /// Only this nsid.
    user: Option<String>,
    /// Only calls that changed something.
    effects: bool,
}

impl LogQuery {
    fn matches(&self, entry: &Entry) -> bool {
        entry.seq > self.after
            && self.method.as_ref().is_none_or(|method| *method == entry.method)
            && self
                .user
                .as_ref()
                .is_none_or(|user| Some(user) == entry.user.as_ref())
            && (!self.effects || entry.effect_id.is_some())
    }
}

/// `GET /_mock/log`
pub(crate) async fn log(State(world): State<Arc<World>>, Query(query): Query<LogQuery>) -> Json<Vec<Entry>> {
    let state = world.state();
    let matching = state.journal.iter().filter(|entry| query.matches(entry));
    Json(
        matching
            .take(query.limit.unwrap_or(usize::MAX))
            .cloned()
            .collect(),
    )
}

/// `GET /_mock/photos`
pub(crate) async fn photos(State(world): State<Arc<World>>) -> Json<Vec<Photo>> {
    Json(world.state().catalog.photos.values().cloned().collect())
}

/// A body of `POST /_mock/users`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewUser {
    username: String,
    #[serde(default = "most")]
    perms: Permission,
}

fn most() -> Permission {
    Permission::Delete
}

/// `POST /_mock/users`: a user, made if new, and a new access token that any application may use.
pub(crate) async fn add_user(
    State(world): State<Arc<World>>,
    Json(new): Json<NewUser>,
) -> (StatusCode, Json<MockUser>) {
    let users = &mut world.state().users;
    let account = users.account(&new.username);
    (StatusCode::CREATED, Json(users.grant(&account, new.perms, None)))
}

/// How many tokens were revoked.
#[derive(Debug, Serialize)]
pub(crate) struct Revoked {
    revoked: usize,
}

/// `DELETE /_mock/users/{nsid}/tokens`: revokes all of a user's tokens, as the user can at Flickr.
pub(crate) async fn revoke(State(world): State<Arc<World>>, Path(nsid): Path<String>) -> Json<Revoked> {
    Json(Revoked {
        revoked: world.state().users.revoke(&nsid),
    })
}

/// `POST /_mock/reset`: forgets everything but the applications.
pub(crate) async fn reset(State(world): State<Arc<World>>) -> StatusCode {
    *world.state() = WorldState::default();
    StatusCode::NO_CONTENT
}

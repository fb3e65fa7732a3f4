//! The API for tests and operators: `/_mock/`.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, Query, State},
};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    catalog::Photo,
    fault::Rule,
    journal::Entry,
    user::{MockUser, Permission},
    world::{State as WorldState, World},
};

/// `POST /_mock/faults`: adds rules after those in force; all of them, or, with a bad one among
/// them, none. The body is `{"rules": [...]}`, a list, or one rule.
pub(crate) async fn add_faults(
    State(world): State<Arc<World>>,
    Json(body): Json<Value>,
) -> Result<StatusCode, (StatusCode, String)> {
    let rules = rules_of(body).map_err(|error| (StatusCode::BAD_REQUEST, format!("{error}\n")))?;
    world.state().faults.rules.extend(rules);
    Ok(StatusCode::NO_CONTENT)
}

fn rules_of(body: Value) -> Result<Vec<Rule>, serde_json::Error> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Wrapped {
        rules: Vec<Rule>,
    }
    if body.is_array() {
        serde_json::from_value(body)
    } else if body.get("rules").is_some() {
        serde_json::from_value(body).map(|Wrapped { rules }| rules)
    } else {
        serde_json::from_value(body).map(|rule| vec![rule])
    }
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

/// `GET /_mock/users/{nsid}/tokens`: a user's access tokens with their secrets, for a test that looks where they are
/// kept.
pub(crate) async fn tokens(State(world): State<Arc<World>>, Path(nsid): Path<String>) -> Json<Vec<MockUser>> {
    Json(world.state().users.tokens_of(&nsid))
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn rules_come_wrapped_listed_or_alone() {
        let rule = json!({"kind": "wrong_body"});
        for body in [json!({"rules": [rule]}), json!([rule]), rule.clone()] {
            assert_eq!(rules_of(body).unwrap().len(), 1);
        }
        let error = rules_of(json!([rule, {"kind": "wrong_body", "tmes": 1}])).unwrap_err();
        assert!(error.to_string().contains("tmes"), "{error}");
    }
}

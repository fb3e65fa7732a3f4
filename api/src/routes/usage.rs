//! `/api/v1/usage`: how much of Flickr's budgets is used, and whether Flickr answers.

use axum::Json;
use axum::extract::{RawQuery, State};
use flickrhub_job::budget::{BudgetState, CircuitView, Standing};
use jiff::Timestamp;
use serde::Serialize;
use url::form_urlencoded;
use utoipa::ToSchema;

use crate::auth::{Authorised, JobsRead};
use crate::problem::{FieldError, Problem, ProblemDocument};
use crate::state::AppState;

/// A budget of requests to Flickr.
#[derive(Debug, Serialize, ToSchema)]
pub struct BudgetUse {
    /// Requests that it allows in an hour.
    #[schema(example = 3600)]
    pub limit: u32,
    /// Requests of the last hour.
    #[schema(example = 1200)]
    pub used: u32,
    /// When the oldest of them stops to count, so that there is room for one more; null while there are none.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub resets_at: Option<Timestamp>,
}

/// A circuit breaker.
#[derive(Debug, Serialize, ToSchema)]
pub struct CircuitStatus {
    /// `rest` for calls, `upload` for uploads and replacements.
    #[schema(example = "rest")]
    pub endpoint: &'static str,
    /// `closed`: requests are sent. `open`: Flickr does not answer or limits the application, and jobs wait. `half_open`: one
    /// request is sent to see whether it answers again.
    #[schema(example = "closed")]
    pub state: &'static str,
    /// Until when it is open, or until when the one request is waited for; null while closed.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub until: Option<Timestamp>,
}

/// A Flickr application of this hub.
#[derive(Debug, Serialize, ToSchema)]
pub struct AppUsage {
    /// Our name of it.
    #[schema(example = "main")]
    pub name: String,
    /// Its budget, which all of its users share.
    pub budget: BudgetUse,
    /// Its circuit breakers.
    pub circuits: Vec<CircuitStatus>,
}

/// A Flickr user.
#[derive(Debug, Serialize, ToSchema)]
pub struct UserUsage {
    /// The user (NSID).
    pub user_id: String,
    /// The application that the user's token belongs to.
    pub app: String,
    /// The budget of the token.
    pub budget: BudgetUse,
}

/// How much is used.
#[derive(Debug, Serialize, ToSchema)]
pub struct Usage {
    /// The user that was asked for; null if none was.
    pub user: Option<UserUsage>,
    /// The application of that user, or every one.
    pub apps: Vec<AppUsage>,
}

impl From<BudgetState> for BudgetUse {
    fn from(budget: BudgetState) -> Self {
        Self {
            limit: budget.limit,
            used: budget.used,
            resets_at: budget.frees_at,
        }
    }
}

impl From<CircuitView> for CircuitStatus {
    fn from(circuit: CircuitView) -> Self {
        Self {
            endpoint: circuit.endpoint.name(),
            state: circuit.state.name(),
            until: circuit.until,
        }
    }
}

fn app_usage(name: &str, standing: &Standing) -> AppUsage {
    AppUsage {
        name: name.to_owned(),
        budget: standing.app.into(),
        circuits: standing.circuits.map(CircuitStatus::from).into(),
    }
}

/// See how much of Flickr's budgets is used
///
/// Jobs are accepted even when a budget is used up or Flickr does not answer; they wait. With `user_id`, of a user that
/// authorised the client, and of the user's application; without, of every application of the hub.
#[utoipa::path(
    get,
    path = "/api/v1/usage",
    tag = "users",
    params(("user_id" = Option<String>, Query, description = "A Flickr user (NSID).", example = "12037949754@N01")),
    responses(
        (status = 200, description = "The use of the last hour.", body = Usage),
        (status = "default", description = "A problem.", body = ProblemDocument,
            content_type = "application/problem+json"),
    ),
    security(("api_key" = ["jobs:read"]))
)]
pub async fn usage(
    caller: Authorised<JobsRead>,
    State(state): State<AppState>,
    RawQuery(query): RawQuery,
) -> Result<Json<Usage>, Problem> {
    let user_id = asked_user(query.as_deref().unwrap_or_default())?;
    let data = state.data()?;
    let Some(user_id) = user_id else {
        let mut apps = Vec::new();
        for app in &state.config.flickr.apps {
            let standing = data.budget.look(&app.name, None).await?;
            apps.push(app_usage(&app.name, &standing));
        }
        return Ok(Json(Usage { user: None, apps }));
    };
    let user = data.users.authorised_for(&user_id, &caller.client_id).await?;
    let user = user.ok_or(Problem::UnknownUser)?;
    let standing = data.budget.look(&user.app, Some(&user.id)).await?;
    Ok(Json(Usage {
        apps: vec![app_usage(&user.app, &standing)],
        user: Some(UserUsage {
            user_id,
            app: user.app.clone(),
            budget: standing.user.into(),
        }),
    }))
}

/// The user of the query, if it names one.
fn asked_user(query: &str) -> Result<Option<String>, Problem> {
    let mut user_id = None;
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        let wrong = |message: &str| Problem::InvalidRequest(vec![FieldError::new(&name, message)]);
        if name != "user_id" {
            return Err(wrong("is no parameter here; user_id is"));
        }
        if user_id.replace(value.into_owned()).is_some() {
            return Err(wrong("is given twice"));
        }
    }
    Ok(user_id)
}

#[cfg(test)]
mod tests {
    use flickrhub_job::budget::CircuitState;
    use serde_json::json;

    use super::*;
    use crate::fixtures::standing;

    #[test]
    fn it_tells_what_is_used_when_that_frees_and_which_circuit_is_open() {
        let standing = standing(CircuitState::Open);
        let usage = Usage {
            user: Some(UserUsage {
                user_id: "1@N01".to_owned(),
                app: "main".to_owned(),
                budget: standing.user.into(),
            }),
            apps: vec![app_usage("main", &standing)],
        };
        let told = serde_json::to_value(usage).unwrap_or_default();
        let expected = json!({
            "user": {
                "user_id": "1@N01", "app": "main",
                "budget": {"limit": 3500, "used": 0, "resets_at": null},
            },
            "apps": [{
                "name": "main",
                "budget": {"limit": 3600, "used": 1200, "resets_at": "2027-01-01T00:00:00Z"},
                "circuits": [
                    {"endpoint": "rest", "state": "open", "until": "2027-01-01T00:00:10Z"},
                    {"endpoint": "upload", "state": "closed", "until": null},
                ],
            }],
        });
        assert_eq!(told, expected);
    }

    #[test]
    fn a_user_may_be_named_once_and_nothing_else() {
        assert_eq!(asked_user(""), Ok(None));
        assert_eq!(asked_user("user_id=1%40N01"), Ok(Some("1@N01".to_owned())));
        for wrong in ["user_id=1&user_id=2", "user=1"] {
            assert!(
                matches!(asked_user(wrong), Err(Problem::InvalidRequest(_))),
                "{wrong}"
            );
        }
    }
}

//! The start of an authorisation as a client asks for it.

use std::collections::BTreeMap;

use flickrhub_flickr::Permission;
use flickrhub_job::config::FlickrApp;
use serde::Deserialize;
use serde::de::IgnoredAny;
use url::Url;
use utoipa::ToSchema;

use super::Findings;
use super::options::MAX_URL;
use crate::problem::Problem;
use crate::return_link::RESERVED;

/// What the user is to be asked.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(expecting = "a JSON object")]
pub struct StartAuthorisation {
    /// The application at Flickr, by its name in the `FlickrHub` resource; the first one without it.
    app: Option<String>,
    /// `read`, `write` (which includes reading) or `delete` (which includes both).
    #[schema(value_type = String, required = true, example = "write")]
    permission: Option<String>,
    /// Where the user's browser goes afterwards; https, or http to this machine. Without it the browser shows JSON.
    ///
    /// Put a value into its query that only the browser of the user who begins this knows, and compare it when the
    /// browser is back: otherwise a user could have somebody else finish what they began. The parameters that the hub
    /// adds (`status`, `user_id`, `permission` and those that begin with `webhook_`) must not be there yet.
    #[schema(value_type = Option<String>, format = "uri", example = "https://example.com/connected")]
    return_url: Option<String>,
    #[serde(flatten)]
    #[schema(ignore)]
    #[expect(
        clippy::zero_sized_map_values,
        reason = "serde flattens into maps, not into sets"
    )]
    unknown: BTreeMap<String, IgnoredAny>,
}

/// An authorisation that can be started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValidStart {
    /// The application.
    pub app: FlickrApp,
    /// What the user is asked to grant.
    pub permission: Permission,
    /// Where the user's browser goes afterwards.
    pub return_url: Option<Url>,
}

impl StartAuthorisation {
    /// Checks it against the hub's applications.
    ///
    /// # Errors
    /// [`Problem::InvalidRequest`] naming every field that is wrong.
    pub fn validate(self, apps: &[FlickrApp]) -> Result<ValidStart, Problem> {
        let mut findings = Findings::default();
        for name in self.unknown.into_keys() {
            findings.note(name, "is not a field of this request");
        }
        let app = match self.app {
            Some(name) => apps.iter().find(|app| app.name == name),
            None => apps.first(),
        };
        let app = findings.check("app", app.ok_or("is not an application of this hub"));
        let permission = findings
            .required("permission", self.permission)
            .and_then(|name| findings.check("permission", permission(&name)));
        let return_url = self
            .return_url
            .and_then(|text| findings.check("return_url", return_url(&text)));
        findings.conclude(app.zip(permission).map(|(app, permission)| ValidStart {
            app: app.clone(),
            permission,
            return_url,
        }))
    }
}

fn permission(name: &str) -> Result<Permission, &'static str> {
    match name {
        "read" => Ok(Permission::Read),
        "write" => Ok(Permission::Write),
        "delete" => Ok(Permission::Delete),
        _ => Err("is one of read, write, delete"),
    }
}

fn return_url(text: &str) -> Result<Url, String> {
    if text.len() > MAX_URL {
        return Err(format!("has more than {MAX_URL} bytes"));
    }
    let url = Url::parse(text).map_err(|error| format!("is no URL: {error}"))?;
    let local = matches!(url.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"));
    if !url.username().is_empty() || url.password().is_some() {
        return Err("must not hold a user name or a password".to_owned());
    }
    if let Some((name, _)) = url
        .query_pairs()
        .find(|(name, _)| RESERVED.contains(&name.as_ref()))
    {
        return Err(format!(
            "must not have the parameter {name}, which the hub adds to it"
        ));
    }
    match url.scheme() {
        "https" => Ok(url),
        "http" if local => Ok(url),
        _ => Err("begins with https://".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::extract::parse_json;

    fn validate(body: &Value) -> Result<ValidStart, Problem> {
        let apps = ["main", "other"].map(|name| FlickrApp {
            name: name.to_owned(),
            consumer_key_file: "key".into(),
            consumer_secret_file: "secret".into(),
            requests_per_hour: 3600,
        });
        parse_json::<StartAuthorisation>(body.to_string().as_bytes())?.validate(&apps)
    }

    #[test]
    fn without_a_name_the_first_application_is_meant() {
        let app = |body| validate(&body).map(|start| start.app.name);
        assert_eq!(app(json!({"permission": "read"})), Ok("main".to_owned()));
        assert_eq!(
            app(json!({"permission": "read", "app": "other"})),
            Ok("other".to_owned())
        );
    }

    #[test]
    fn a_return_url_is_of_a_length_that_browsers_take() {
        for (length, fits) in [(MAX_URL, true), (MAX_URL + 1, false)] {
            let url = "https://example.com/";
            let url = format!("{url}{}", "a".repeat(length - url.len()));
            let body = json!({"permission": "read", "return_url": url});
            assert_eq!(validate(&body).is_ok(), fits, "{length}");
        }
    }

    #[test]
    fn each_wrong_field_is_named() {
        for (body, wrong) in [
            (json!({}), vec!["permission"]),
            (json!({"permission": "all"}), vec!["permission"]),
            (json!({"permission": "read", "app": "none"}), vec!["app"]),
            (json!({"permission": "read", "perms": "read"}), vec!["perms"]),
            (
                json!({"permission": "read", "return_url": "javascript:alert(1)"}),
                vec!["return_url"],
            ),
            (
                json!({"permission": "read", "return_url": "http://example.com"}),
                vec!["return_url"],
            ),
            (
                json!({"permission": "read", "return_url": "https://a:b@example.com"}),
                vec!["return_url"],
            ),
            (
                json!({"permission": "read", "return_url": "http://localhost:3000/x?session=5"}),
                vec![],
            ),
            (
                json!({"permission": "read", "return_url": "https://example.com/?status=authorised"}),
                vec!["return_url"],
            ),
            (
                json!({"permission": "read", "return_url": "https://example.com/?a=1&user%5fid=12%40N01"}),
                vec!["return_url"],
            ),
            (
                json!({"permission": "read", "return_url": "https://example.com/?webhook_signature=v1"}),
                vec!["return_url"],
            ),
        ] {
            let errors = validate(&body).map_or_else(|problem| problem.errors(), |_| Vec::new());
            let fields: Vec<_> = errors.iter().map(|error| error.field.as_str()).collect();
            assert_eq!(fields, wrong, "{body}");
        }
    }
}

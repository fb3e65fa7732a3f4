//! A plan that is asked for at the hub itself, by an annotation: its value is a change of the spec, and the plan stands in the
//! status. So a pipeline that only writes to the Kubernetes API, or to a repository that is brought there, needs neither the
//! program nor rights of its own.
//!
//! A change is planned once for each spec that it would change. If the process dies before the status is written, it is
//! planned once more; nothing else is ever written.

use kube::api::{Api, Patch, PatchParams, ValidationDirective};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};

use super::{AUTHOR, PlanError, between};
use crate::build::checksum;
use crate::context::Context;
use crate::crd::{FlickrHub, PlanStatus};

/// The annotation of a `FlickrHub`. Its value is what of the spec is to change, as YAML or JSON: fields that are not named
/// stay, and `null` takes one back to its default (JSON merge patch, RFC 7396). An empty value asks what the spec as it stands
/// would do, for a hub that is paused.
pub(crate) const ANNOTATION: &str = "flickrhub.dev/plan";
/// Most bytes of a plan in the status.
const MAX_TEXT: usize = 16 * 1024;

/// The plan that the annotation asks for; `None` without one.
pub(crate) async fn answer(ctx: &Context, hub: &FlickrHub) -> Option<PlanStatus> {
    let asked = hub.annotations().get(ANNOTATION)?;
    let generation = hub.metadata.generation.unwrap_or_default();
    let request = checksum::of_texts([asked.as_str(), &ctx.settings.surroundings.version]);
    let known = hub.status.as_ref().and_then(|status| status.plan.as_ref());
    if let Some(known) = known.filter(|known| known.request == request && known.generation == generation) {
        return Some(known.clone());
    }
    let (request, text) = match Box::pin(planned(ctx, hub, asked)).await {
        Ok(text) => (request, text),
        // Nothing is noted as answered, so the next look tries again.
        Err(error) if error.may_pass() => (String::new(), format!("There is no plan yet: {error}.\n")),
        Err(error) => (request, format!("There is no plan: {error}.\n")),
    };
    Some(PlanStatus {
        generation,
        request,
        text: bounded(text),
    })
}

async fn planned(ctx: &Context, hub: &FlickrHub, asked: &str) -> Result<String, PlanError> {
    let after = admitted(&ctx.client, hub, read(asked)?).await?;
    Ok(Box::pin(between(ctx, Some(hub), &after)).await?.to_string())
}

/// Reads the value of the annotation.
fn read(asked: &str) -> Result<Value, PlanError> {
    match serde_yaml_ng::from_str(asked) {
        Ok(Value::Null) => Ok(json!({})),
        Ok(change @ Value::Object(_)) => Ok(change),
        Ok(_) => Err(PlanError::Annotation(
            "it is a single value, or a list".to_owned(),
        )),
        Err(error) => Err(PlanError::Annotation(error.to_string())),
    }
}

/// The hub as the API server would store it with the change. A field that it does not know is an error, and named.
async fn admitted(client: &Client, hub: &FlickrHub, change: Value) -> Result<FlickrHub, PlanError> {
    let api: Api<FlickrHub> = Api::namespaced(client.clone(), &hub.namespace().unwrap_or_default());
    let params = PatchParams {
        dry_run: true,
        field_manager: Some(AUTHOR.to_owned()),
        field_validation: Some(ValidationDirective::Strict),
        ..PatchParams::default()
    };
    let patch = Patch::Merge(json!({"spec": change}));
    api.patch(&hub.name_any(), &params, &patch)
        .await
        .map_err(PlanError::Hub)
}

/// A status does not grow without bounds.
fn bounded(mut text: String) -> String {
    if text.len() > MAX_TEXT {
        text.truncate(text.floor_char_boundary(MAX_TEXT));
        text.push_str("\n… the rest is left out; `flickrhub-operator plan` tells all of it.\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_change_is_read_as_yaml_or_json() {
        let change = json!({"redis": {"replicas": 5}});
        for text in [
            "redis: {replicas: 5}",
            "redis:\n  replicas: 5\n",
            r#"{"redis":{"replicas":5}}"#,
        ] {
            assert_eq!(read(text).ok(), Some(change.clone()), "{text}");
        }
        for empty in ["", "{}", "null", "# nothing"] {
            assert_eq!(read(empty).ok(), Some(json!({})), "{empty:?}");
        }
    }

    #[test]
    fn what_is_no_change_is_told_with_the_name_of_the_annotation() {
        for text in ["5", "[]", "text", "{", "a: b: c"] {
            let message = read(text)
                .err()
                .map(|error| error.to_string())
                .unwrap_or_default();
            assert!(
                message.starts_with("the annotation flickrhub.dev/plan holds"),
                "{text}: {message}"
            );
        }
    }

    proptest! {
        #[test]
        fn a_plan_of_any_length_is_bounded(text in "[aé…]{0,9000}") {
            let bounded = bounded(text.clone());
            prop_assert!(bounded.len() <= MAX_TEXT + 100);
            prop_assert_eq!(bounded == text, text.len() <= MAX_TEXT);
        }
    }
}

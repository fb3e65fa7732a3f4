//! The hub of a client, and whether clients can be registered in it.

use flickrhub_job::config::Login;
use k8s_openapi::api::core::v1::Secret;
use kube::api::Api;
use secrecy::SecretString;

use super::reconcile::ClientError;
use super::status::Outcome;
use crate::context::Context;
use crate::crd::FlickrHub;
use crate::names::MONGODB_USER;
use crate::part::Part;
use crate::pki;
use crate::reconcile::read_references;
use crate::validate::{ValidatedHub, is_service_name, validate};

/// What there is to work with, or why there is nothing.
pub(super) enum HubState {
    /// Clients can be registered.
    Usable(Box<UsableHub>),
    /// For the time being.
    Unusable(Outcome),
    /// Its MongoDB or Vault has never worked, so it knows no client yet.
    Starting(Outcome),
    /// There is no such hub, or it is to go.
    Gone,
}

/// A hub whose clients can be registered.
pub(super) struct UsableHub {
    pub(super) hub: ValidatedHub,
    /// Into its MongoDB.
    pub(super) login: Login,
    pub(super) is_paused: bool,
}

/// The hub, once MongoDB and Vault have ever worked: from then on they are tried.
pub(super) async fn hub_of(ctx: &Context, namespace: &str, name: &str) -> Result<HubState, ClientError> {
    // What no hub can be named would be a part of the path of the request.
    if !is_service_name(name) {
        return Ok(HubState::Gone);
    }
    let hubs: Api<FlickrHub> = Api::namespaced(ctx.client.clone(), namespace);
    let hub = match hubs.get_opt(name).await? {
        Some(hub) if hub.metadata.deletion_timestamp.is_none() => hub,
        _ => return Ok(HubState::Gone),
    };
    let waits = |reason, message: String| Ok(HubState::Unusable(Outcome::Waiting { reason, message }));
    let references = read_references(ctx, &hub).await?;
    let Ok(mut validated) = validate(&hub, &references, &ctx.settings.surroundings) else {
        let message = format!("The spec of FlickrHub {name} is invalid; its status says why.");
        return waits("HubInvalid", message);
    };
    if !(validated.was_ready(Part::MongoDb) && validated.was_ready(Part::Vault)) {
        let message = format!("Waits until MongoDB and Vault of FlickrHub {name} work.");
        let reason = "HubNotReady";
        return Ok(HubState::Starting(Outcome::Waiting { reason, message }));
    }
    if validated.hibernated {
        let message = format!("FlickrHub {name} sleeps; it goes on when spec.hibernated is false.");
        return waits("HubHibernated", message);
    }
    validated.trust = pki::trust(ctx, &validated).await?;
    let secrets: Api<Secret> = Api::namespaced(ctx.client.clone(), namespace);
    let secret_name = validated.names.mongodb_auth();
    let secret = secrets.get_opt(&secret_name).await?;
    let value = |key: &str| {
        let data = secret.as_ref()?.data.as_ref()?;
        std::str::from_utf8(&data.get(key)?.0).ok().map(str::trim)
    };
    match value("app-password") {
        Some(password) => Ok(HubState::Usable(Box::new(UsableHub {
            login: Login {
                username: value("app-username").unwrap_or(MONGODB_USER).to_owned(),
                password: SecretString::from(password),
            },
            hub: validated,
            is_paused: hub.spec.paused,
        }))),
        None => waits(
            "HubNotReady",
            format!("Secret {secret_name} of FlickrHub {name} has no app-password."),
        ),
    }
}

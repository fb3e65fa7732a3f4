//! Logging in to a Vault that somebody else runs.

use std::path::Path;

use k8s_openapi::api::core::v1::Secret;
use kube::Api as KubeApi;
use reqwest::Method;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};

use super::api::{Api, ApiError};
use crate::context::Context;
use crate::engine::http;
use crate::validate::{ExternalVaultPlan, ValidatedHub, VaultAuthPlan};

/// The token of the operator's own service account.
const OWN_TOKEN: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";

/// There is no way into the Vault.
#[derive(Debug, thiserror::Error)]
pub enum LoginError {
    /// A Secret cannot be read.
    #[error("the Kubernetes API: {0}")]
    Kubernetes(#[from] kube::Error),
    /// A Secret lacks a key.
    #[error("Secret {secret} lacks {key}")]
    Incomplete {
        /// Its name.
        secret: String,
        /// What it lacks.
        key: &'static str,
    },
    /// The operator has no service account.
    #[error("the operator's service account token cannot be read: {0}")]
    OwnToken(#[from] std::io::Error),
    /// The certificates of `caSecretRef` are not PEM, or the image has no authorities of its own.
    #[error("the certificate authorities cannot be used: {0}")]
    Authorities(#[source] reqwest::Error),
    /// Vault refused.
    #[error("Vault: {0}")]
    Vault(#[from] ApiError),
}

/// The API of the Vault, with the certificate authority that the user named.
pub(super) async fn connect(
    context: &Context,
    hub: &ValidatedHub,
    plan: &ExternalVaultPlan,
) -> Result<Api, LoginError> {
    let authorities = match &plan.ca_secret {
        Some(secret) => Some(secret_value(context, hub, secret, "ca.crt").await?),
        None => None,
    };
    let pem = authorities.as_ref().map(|pem| pem.expose_secret().as_bytes());
    let client = match (plan.address.scheme(), pem) {
        ("https", pem) => http::external_client(pem),
        _ => http::client(),
    };
    let client = client.map_err(LoginError::Authorities)?;
    Ok(Api::new(client, plan.address.clone(), plan.namespace.clone()))
}

/// Logs in: by the operator's own service account in role `<role>-operator`, by the `AppRole`, or by the token that the
/// user gave.
pub(super) async fn login(
    context: &Context,
    hub: &ValidatedHub,
    plan: &ExternalVaultPlan,
    api: &Api,
) -> Result<SecretString, LoginError> {
    let (mount, credentials) = match &plan.auth {
        VaultAuthPlan::Token { secret } => return secret_value(context, hub, secret, "token").await,
        VaultAuthPlan::Kubernetes { mount, role } => {
            let token = tokio::fs::read_to_string(Path::new(OWN_TOKEN)).await?;
            (
                mount,
                json!({ "role": format!("{role}-operator"), "jwt": token.trim() }),
            )
        }
        VaultAuthPlan::AppRole { mount, secret } => {
            let role_id = secret_value(context, hub, secret, "roleId").await?;
            let secret_id = secret_value(context, hub, secret, "secretId").await?;
            (
                mount,
                json!({ "role_id": role_id.expose_secret(), "secret_id": secret_id.expose_secret() }),
            )
        }
    };
    let answer = api
        .write(None, Method::POST, &format!("auth/{mount}/login"), &credentials)
        .await?;
    Ok(client_token(&answer)?)
}

/// The token in the answer to a login or to the creation of a token.
pub(super) fn client_token(answer: &Value) -> Result<SecretString, ApiError> {
    let token = answer.pointer("/auth/client_token").and_then(Value::as_str);
    token
        .map(SecretString::from)
        .ok_or(ApiError::Incomplete("a token"))
}

async fn secret_value(
    context: &Context,
    hub: &ValidatedHub,
    name: &str,
    key: &'static str,
) -> Result<SecretString, LoginError> {
    let secrets: KubeApi<Secret> = KubeApi::namespaced(context.client.clone(), hub.names.namespace());
    let secret = secrets.get(name).await?;
    let value = secret.data.as_ref().and_then(|data| data.get(key));
    value
        .and_then(|value| std::str::from_utf8(&value.0).ok())
        .map(|text| SecretString::from(text.trim()))
        .ok_or_else(|| LoginError::Incomplete {
            secret: name.to_owned(),
            key,
        })
}

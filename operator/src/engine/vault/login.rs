//! Logging in to a Vault that somebody else runs.

use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{Secret, ServiceAccount};
use kube::api::PostParams;
use kube::{Api as KubeApi, ResourceExt};
use reqwest::Method;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};

use super::api::{Api, ApiError};
use crate::context::Context;
use crate::engine::http;
use crate::validate::{ExternalVaultPlan, ValidatedHub, VaultAuthPlan};

/// How long the tokens hold that the operator logs in with, the shortest that Kubernetes grants.
const TOKEN_SECONDS: i64 = 600;

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
    /// The service account to log in by is none of the hub's.
    #[error("ServiceAccount {0} does not belong to this FlickrHub")]
    ForeignAccount(String),
    /// A credential would be sent in the clear.
    #[error("credentials are sent to https addresses only")]
    Plain,
    /// The certificates of `caSecretRef` are not PEM, or the image has no authorities of its own.
    #[error("the certificate authorities cannot be used: {0}")]
    Authorities(#[source] reqwest::Error),
    /// Vault does not let the operator in.
    #[error("Vault refuses {credential} ({answer}): {remedy}")]
    Refused {
        /// What it was shown, without the secret.
        credential: String,
        /// What to do.
        remedy: String,
        /// What it answered.
        #[source]
        answer: ApiError,
    },
    /// Vault did not answer, or not to the question.
    #[error("Vault: {0}")]
    Vault(#[from] ApiError),
}

/// The API of the Vault, with the certificate authority that the user named.
pub(super) async fn connect(
    context: &Context,
    hub: &ValidatedHub,
    plan: &ExternalVaultPlan,
) -> Result<Api, LoginError> {
    if plan.address.scheme() != "https" {
        return Err(LoginError::Plain);
    }
    let authorities = match &plan.ca_secret {
        Some(secret) => Some(secret_value(context, hub, secret, "ca.crt").await?),
        None => None,
    };
    let pem = authorities.as_ref().map(|pem| pem.expose_secret().as_bytes());
    let client = http::external_client(pem).map_err(LoginError::Authorities)?;
    Ok(Api::new(client, plan.address.clone(), plan.namespace.clone()))
}

/// Logs in: by a service account of the hub in role `<role>-operator`, by the `AppRole`, or by the token that the user
/// gave. Never by the operator's own service account: the address is the user's choice, and whoever listens there could
/// do with its token everything that the operator may.
pub(super) async fn login(
    context: &Context,
    hub: &ValidatedHub,
    plan: &ExternalVaultPlan,
    api: &Api,
) -> Result<SecretString, LoginError> {
    let (mount, credentials) = match &plan.auth {
        VaultAuthPlan::Token { secret } => return secret_value(context, hub, secret, "token").await,
        VaultAuthPlan::Kubernetes {
            mount,
            role,
            audience,
        } => {
            let token = account_token(context, hub, audience).await?;
            (
                mount,
                json!({ "role": format!("{role}-operator"), "jwt": token.expose_secret() }),
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
        .await
        .map_err(|answer| refusal(hub, &plan.auth, answer))?;
    Ok(client_token(&answer)?)
}

/// What the answer to a login means: that Vault does not let this credential in, or that there was no proper answer.
fn refusal(hub: &ValidatedHub, auth: &VaultAuthPlan, answer: ApiError) -> LoginError {
    // A wrong secret id is a bad request, a mount that is not there is not found.
    if !matches!(
        answer,
        ApiError::Forbidden
            | ApiError::Refused {
                status: 400 | 404,
                ..
            }
    ) {
        return LoginError::Vault(answer);
    }
    let (credential, remedy) = match auth {
        VaultAuthPlan::Kubernetes {
            mount,
            role,
            audience,
        } => {
            let (account, namespace) = (hub.names.vault_login(), hub.names.namespace());
            (
                format!("ServiceAccount {account}"),
                format!(
                    "bind role {role}-operator of auth method {mount} to it, in namespace {namespace} and with audience \
                     {audience}"
                ),
            )
        }
        VaultAuthPlan::AppRole { mount, secret } => (
            format!("the AppRole in Secret {secret}"),
            format!("put a role id and a secret id of auth method {mount} into its keys roleId and secretId"),
        ),
        VaultAuthPlan::Token { secret } => (
            format!("the token in Secret {secret}"),
            "put one that holds into its key token".to_owned(),
        ),
    };
    LoginError::Refused {
        credential,
        remedy,
        answer,
    }
}

/// A token of the hub's own service account for Vault, good for nothing else and for minutes only.
async fn account_token(
    context: &Context,
    hub: &ValidatedHub,
    audience: &str,
) -> Result<SecretString, LoginError> {
    let name = hub.names.vault_login();
    let accounts: KubeApi<ServiceAccount> =
        KubeApi::namespaced(context.client.clone(), hub.names.namespace());
    let account = accounts.get(&name).await?;
    if !account
        .owner_references()
        .iter()
        .any(|owner| owner.uid == hub.uid)
    {
        return Err(LoginError::ForeignAccount(name));
    }
    let answer = accounts
        .create_token_request(&name, &PostParams::default(), &token_request(audience))
        .await?;
    let token = answer.status.and_then(|status| status.token);
    token
        .map(SecretString::from)
        .ok_or(LoginError::Vault(ApiError::Incomplete("a token")))
}

fn token_request(audience: &str) -> TokenRequest {
    TokenRequest {
        spec: Some(TokenRequestSpec {
            audiences: Some(vec![audience.to_owned()]),
            expiration_seconds: Some(TOKEN_SECONDS),
            ..TokenRequestSpec::default()
        }),
        ..TokenRequest::default()
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures;

    #[test]
    fn a_token_for_vault_is_short_lived_and_good_for_nothing_else() {
        let spec = token_request("vault").spec.unwrap_or_default();
        assert_eq!(spec.audiences, Some(vec!["vault".to_owned()]));
        assert_eq!(spec.expiration_seconds, Some(600));
    }

    #[test]
    fn a_refusal_names_the_credential_and_what_to_do() {
        let hub = fixtures::validated(&fixtures::full());
        let approle = VaultAuthPlan::AppRole {
            mount: "machines".to_owned(),
            secret: "vault-approle".to_owned(),
        };
        let wrong = ApiError::Refused {
            status: 400,
            message: "invalid role or secret ID".to_owned(),
        };
        assert_eq!(
            refusal(&hub, &approle, wrong).to_string(),
            "Vault refuses the AppRole in Secret vault-approle (HTTP 400: invalid role or secret ID): put a role id and \
             a secret id of auth method machines into its keys roleId and secretId"
        );
        let account = VaultAuthPlan::Kubernetes {
            mount: "kubernetes".to_owned(),
            role: "gallery".to_owned(),
            audience: "team-vault".to_owned(),
        };
        assert_eq!(
            refusal(&hub, &account, ApiError::Forbidden).to_string(),
            "Vault refuses ServiceAccount gallery-vault-login (permission denied): bind role gallery-operator of auth \
             method kubernetes to it, in namespace photos and with audience team-vault"
        );
    }

    #[test]
    fn an_answer_that_is_none_refuses_nothing() {
        let hub = fixtures::validated(&fixtures::full());
        let token = VaultAuthPlan::Token {
            secret: "vault-token".to_owned(),
        };
        let sealed = ApiError::Refused {
            status: 503,
            message: "Vault is sealed".to_owned(),
        };
        let errors = [sealed, ApiError::Incomplete("a token")];
        for error in errors {
            assert!(matches!(refusal(&hub, &token, error), LoginError::Vault(_)));
        }
    }
}

//! What can be wrong with a hub that the API server accepted.

use crate::crd::InvalidQuantity;

/// Most members of an engine.
pub(super) const MAX_MEMBERS: u32 = 7;

/// What is wrong with a hub; each message tells what to do.
#[derive(Debug, thiserror::Error)]
pub enum ValidationError {
    /// Services cannot be named after it.
    #[error(
        "The name {0:?} cannot be used: create the FlickrHub under a name that starts with a letter, holds only lower-case letters, digits and hyphens, and has at most 40 characters."
    )]
    Name(String),
    /// Nothing can be named so.
    #[error(
        "{field}.name is {name:?}, which is no name of a Secret: it holds only lower-case letters, digits, hyphens and dots, and begins and ends with a letter or digit."
    )]
    SecretName {
        /// The path in the spec.
        field: String,
        /// What it says.
        name: String,
    },
    /// Not a URL.
    #[error("{field} is {value:?}, which is no http or https URL ({why}): correct it.")]
    Url {
        /// The path in the spec.
        field: String,
        /// What it says.
        value: String,
        /// What the parser says.
        why: String,
    },
    /// Not a network.
    #[error("{field} holds {value:?}, which is no network: write it as CIDR, for example 10.20.0.0/16.")]
    Network {
        /// The path in the spec.
        field: &'static str,
        /// What it says.
        value: String,
    },
    /// Not an amount.
    #[error("{field}: {source}.")]
    Quantity {
        /// The path in the spec.
        field: String,
        /// Why it is none.
        source: InvalidQuantity,
    },
    /// A request above its limit.
    #[error(
        "{field}.requests.{resource} is {request}, more than limits.{resource} of {limit}: raise the limit or lower the request."
    )]
    RequestAboveLimit {
        /// The path of the resources in the spec.
        field: String,
        /// `cpu` or `memory`.
        resource: &'static str,
        /// What is requested.
        request: String,
        /// What it may use.
        limit: String,
    },
    /// The engine does not start with so little memory.
    #[error("{field}.limits.memory is {limit}, too little to run: give at least {minimum}.")]
    TooLittleMemory {
        /// The path of the resources in the spec.
        field: String,
        /// What it may use.
        limit: String,
        /// What it needs.
        minimum: &'static str,
    },
    /// No such number of members.
    #[error("{field} is {count}: choose a number from 1 to {}.", MAX_MEMBERS)]
    Members {
        /// The path in the spec.
        field: &'static str,
        /// What it says.
        count: u32,
    },
    /// Both or none of the ways to have a Vault.
    #[error("Set exactly one of vault.managed and vault.external.")]
    VaultChoice,
    /// Several or none of the ways to log in to Vault.
    #[error("Set exactly one of vault.external.auth.kubernetes, .appRole and .token.")]
    VaultAuthChoice,
    /// Credentials, users' tokens and secrets would be sent in the clear.
    #[error(
        "vault.external.address is not https: whatever the hub logs in with, and all that it has encrypted and decrypted, would be sent in the clear. Use an https address; vault.external.caSecretRef names the authority of its certificate if that is none of the public ones."
    )]
    VaultNotHttps,
}

impl ValidationError {
    /// The reason of the condition, one word in `CamelCase`.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Name(_) => "InvalidName",
            Self::SecretName { .. }
            | Self::Url { .. }
            | Self::Network { .. }
            | Self::Quantity { .. }
            | Self::RequestAboveLimit { .. }
            | Self::TooLittleMemory { .. }
            | Self::Members { .. }
            | Self::VaultChoice
            | Self::VaultAuthChoice
            | Self::VaultNotHttps => "InvalidSpec",
        }
    }
}

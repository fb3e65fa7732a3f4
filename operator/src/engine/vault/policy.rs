//! Who may do what in Vault: one table, from which the policies of a managed OpenBao are made, and which the documentation
//! of an external Vault is compared with.

use std::fmt::Write as _;

use crate::names::{APP_CREDENTIALS_KEY, USER_TOKENS_KEY};

/// Whose policy it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// The API.
    Api,
    /// The workers of every queue.
    Worker,
    /// The sender of callbacks.
    Callbacks,
    /// The operator.
    Operator,
}

/// A path below the mount of the transit engine, and what may be done there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The operation of the transit engine, the first part of the path.
    pub operation: &'static str,
    /// The transit key.
    pub key: &'static str,
    /// What follows the key in the path; empty for most.
    pub rest: &'static str,
    /// The capability.
    pub capability: &'static str,
    /// The only parameters that may be sent; empty: any.
    pub parameters: &'static [&'static str],
}

impl Grant {
    const fn update(operation: &'static str, key: &'static str) -> Self {
        Self {
            operation,
            key,
            rest: "",
            capability: "update",
            parameters: &[],
        }
    }

    const fn read(key: &'static str) -> Self {
        Self {
            capability: "read",
            ..Self::update("keys", key)
        }
    }

    const fn rotate(key: &'static str) -> Self {
        Self {
            rest: "/rotate",
            ..Self::update("keys", key)
        }
    }

    /// Only the oldest version that decrypts: whoever may change more could allow that the key is exported or deleted.
    const fn disable_old_versions(key: &'static str) -> Self {
        Self {
            rest: "/config",
            parameters: &["min_decryption_version"],
            ..Self::update("keys", key)
        }
    }

    /// Its path, with the transit engine at `mount`.
    pub fn path(&self, mount: &str) -> String {
        format!("{mount}/{}/{}{}", self.operation, self.key, self.rest)
    }
}

/// The API encrypts the tokens that OAuth gives it, and encrypts and reads back the secrets of OAuth requests and webhooks.
const API: [Grant; 3] = [
    Grant::update("encrypt", USER_TOKENS_KEY),
    Grant::update("encrypt", APP_CREDENTIALS_KEY),
    Grant::update("decrypt", APP_CREDENTIALS_KEY),
];

/// The workers call Flickr for users.
const WORKER: [Grant; 1] = [Grant::update("decrypt", USER_TOKENS_KEY)];

/// The sender of callbacks signs with the clients' webhook secrets.
const CALLBACKS: [Grant; 1] = [Grant::update("decrypt", APP_CREDENTIALS_KEY)];

/// The operator encrypts the webhook secrets of clients and rotates the keys. It decrypts nothing: a rewrap gives it a
/// ciphertext for a ciphertext.
const OPERATOR: [Grant; 9] = [
    Grant::update("encrypt", APP_CREDENTIALS_KEY),
    Grant::read(USER_TOKENS_KEY),
    Grant::read(APP_CREDENTIALS_KEY),
    Grant::rotate(USER_TOKENS_KEY),
    Grant::rotate(APP_CREDENTIALS_KEY),
    Grant::update("rewrap", USER_TOKENS_KEY),
    Grant::update("rewrap", APP_CREDENTIALS_KEY),
    Grant::disable_old_versions(USER_TOKENS_KEY),
    Grant::disable_old_versions(APP_CREDENTIALS_KEY),
];

impl Owner {
    /// Everybody with a policy.
    pub const ALL: [Self; 4] = [Self::Api, Self::Worker, Self::Callbacks, Self::Operator];

    /// The end of the name of its policy and of its role.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::Worker => "worker",
            Self::Callbacks => "callbacks",
            Self::Operator => "operator",
        }
    }

    /// What its work needs, and nothing else.
    pub const fn grants(self) -> &'static [Grant] {
        match self {
            Self::Api => &API,
            Self::Worker => &WORKER,
            Self::Callbacks => &CALLBACKS,
            Self::Operator => &OPERATOR,
        }
    }

    /// The name of its policy and its role for a hub; that of a process is also the name of its service account.
    pub fn policy_name(self, hub: &str) -> String {
        format!("{hub}-{}", self.name())
    }

    /// Its policy, with the transit engine at `mount`.
    pub fn policy(self, mount: &str) -> String {
        let mut text = String::new();
        for grant in self.grants() {
            // Writing into a text cannot fail.
            let _ = writeln!(text, "path \"{}\" {{", grant.path(mount));
            let _ = writeln!(text, "  capabilities = [\"{}\"]", grant.capability);
            if !grant.parameters.is_empty() {
                let parameters: Vec<String> = grant
                    .parameters
                    .iter()
                    .map(|name| format!("\"{name}\" = []"))
                    .collect();
                let _ = writeln!(text, "  allowed_parameters = {{ {} }}", parameters.join(", "));
            }
            text.push_str("}\n");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    const DOCUMENTATION: &str = include_str!("../../../../docs/external-vault.md");

    /// The policies that the documentation tells to write, by their names.
    fn documented() -> BTreeMap<String, String> {
        let mut policies = BTreeMap::new();
        for part in DOCUMENTATION.split("vault policy write ").skip(1) {
            let text = part
                .split_once(" - <<'EOF'\n")
                .and_then(|(name, rest)| Some((name, rest.split_once("EOF\n")?.0)));
            policies.extend(text.map(|(name, text)| (name.to_owned(), text.to_owned())));
        }
        policies
    }

    #[test]
    fn the_documentation_has_the_same_policies() {
        let wanted = Owner::ALL.map(|owner| (owner.policy_name("gallery"), owner.policy("transit")));
        assert_eq!(documented(), BTreeMap::from(wanted));
    }

    #[test]
    fn only_the_workers_decrypt_users_tokens() {
        let decrypts = |owner: &Owner| {
            owner
                .grants()
                .iter()
                .any(|grant| grant.operation == "decrypt" && grant.key == USER_TOKENS_KEY)
        };
        let owners: Vec<Owner> = Owner::ALL.into_iter().filter(decrypts).collect();
        assert_eq!(owners, [Owner::Worker]);
    }

    #[test]
    fn the_policy_of_the_operator_reads_like_this() {
        insta::assert_snapshot!(Owner::Operator.policy("transit"));
    }
}

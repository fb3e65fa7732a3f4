//! Users, what they granted, and the tokens that stand for it.

use std::{collections::HashMap, fmt};

use serde::{Deserialize, Serialize};

/// What a token may do. Each includes those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Permission {
    /// Nothing that needs a login.
    None,
    /// Read private information.
    Read,
    /// Add, edit, upload.
    Write,
    /// Delete photos.
    Delete,
}

impl Permission {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "none" => Self::None,
            "read" => Self::Read,
            "write" => Self::Write,
            "delete" => Self::Delete,
            _ => return None,
        })
    }

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Read => "read",
            Self::Write => "write",
            Self::Delete => "delete",
        }
    }
}

/// A user with an access token, as `POST /_mock/users` and the OAuth flow make them.
///
/// `Debug` shows neither part of the token.
#[derive(Clone, Serialize)]
pub struct MockUser {
    /// Flickr's id of the user, such as `10000001@N01`.
    pub user_nsid: String,
    /// The screen name.
    pub username: String,
    /// The real name.
    pub fullname: String,
    /// The access token.
    pub oauth_token: String,
    /// The access token's secret.
    pub oauth_token_secret: String,
    /// What the token may do.
    pub perms: Permission,
}

impl fmt::Debug for MockUser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MockUser")
            .field("user_nsid", &self.user_nsid)
            .field("username", &self.username)
            .field("perms", &self.perms)
            .finish_non_exhaustive()
    }
}

/// A person with an account.
#[derive(Debug, Clone)]
pub(crate) struct Account {
    pub(crate) nsid: String,
    pub(crate) username: String,
    pub(crate) fullname: String,
}

/// An access token.
#[derive(Clone)]
pub(crate) struct AccessToken {
    pub(crate) secret: String,
    pub(crate) consumer_key: Option<String>,
    pub(crate) nsid: String,
    pub(crate) perms: Permission,
}

/// A request token on its way through the OAuth flow.
#[derive(Clone)]
pub(crate) struct RequestToken {
    pub(crate) secret: String,
    pub(crate) consumer_key: String,
    pub(crate) callback: String,
    /// Set when a user has approved: the verifier, who, and what for.
    pub(crate) approval: Option<(String, String, Permission)>,
}

/// All accounts and tokens. `Debug` shows how many.
#[derive(Default)]
pub(crate) struct Users {
    accounts: HashMap<String, Account>,
    pub(crate) access_tokens: HashMap<String, AccessToken>,
    pub(crate) request_tokens: HashMap<String, RequestToken>,
}

impl fmt::Debug for Users {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Users")
            .field("accounts", &self.accounts.len())
            .field("access_tokens", &self.access_tokens.len())
            .field("request_tokens", &self.request_tokens.len())
            .finish()
    }
}

impl Users {
    /// The account of that screen name, made if there is none.
    pub(crate) fn account(&mut self, username: &str) -> Account {
        if let Some(found) = self
            .accounts
            .values()
            .find(|account| account.username == username)
        {
            return found.clone();
        }
        let account = Account {
            nsid: format!("{}@N01", 10_000_001 + self.accounts.len()),
            username: username.to_owned(),
            fullname: format!("{username} of the mock"),
        };
        self.accounts.insert(account.nsid.clone(), account.clone());
        account
    }

    /// The account of that id.
    pub(crate) fn by_nsid(&self, nsid: &str) -> Option<&Account> {
        self.accounts.get(nsid)
    }

    /// A new access token of an account. Without a `consumer_key`, any application may use it.
    pub(crate) fn grant(
        &mut self,
        account: &Account,
        perms: Permission,
        consumer_key: Option<String>,
    ) -> MockUser {
        let user = MockUser {
            user_nsid: account.nsid.clone(),
            username: account.username.clone(),
            fullname: account.fullname.clone(),
            oauth_token: format!("72157-{}", random_hex()),
            oauth_token_secret: random_hex(),
            perms,
        };
        self.access_tokens.insert(
            user.oauth_token.clone(),
            AccessToken {
                secret: user.oauth_token_secret.clone(),
                consumer_key,
                nsid: account.nsid.clone(),
                perms,
            },
        );
        user
    }

    /// All tokens of a user.
    pub(crate) fn tokens_of(&self, nsid: &str) -> Vec<MockUser> {
        let Some(account) = self.by_nsid(nsid) else {
            return Vec::new();
        };
        self.access_tokens
            .iter()
            .filter(|(_, token)| token.nsid == nsid)
            .map(|(name, token)| MockUser {
                user_nsid: account.nsid.clone(),
                username: account.username.clone(),
                fullname: account.fullname.clone(),
                oauth_token: name.clone(),
                oauth_token_secret: token.secret.clone(),
                perms: token.perms,
            })
            .collect()
    }

    /// Takes all tokens of a user away; how many there were.
    pub(crate) fn revoke(&mut self, nsid: &str) -> usize {
        let before = self.access_tokens.len();
        self.access_tokens.retain(|_, token| token.nsid != nsid);
        before - self.access_tokens.len()
    }
}

/// 64 random bits in hexadecimal.
pub(crate) fn random_hex() -> String {
    format!("{:016x}", rand::random::<u64>())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_account_with_as_many_tokens_as_granted() {
        let mut users = Users::default();
        let bees = users.account("bees");
        assert_eq!(users.account("bees").nsid, bees.nsid);
        assert_ne!(users.account("wasps").nsid, bees.nsid);
        let first = users.grant(&bees, Permission::Read, None);
        let second = users.grant(&bees, Permission::Write, None);
        assert_ne!(first.oauth_token, second.oauth_token);
        let mut listed: Vec<_> = users
            .tokens_of(&bees.nsid)
            .into_iter()
            .map(|token| (token.perms, token.oauth_token_secret))
            .collect();
        listed.sort_unstable();
        assert_eq!(
            listed,
            [
                (Permission::Read, first.oauth_token_secret),
                (Permission::Write, second.oauth_token_secret)
            ]
        );
        assert_eq!(users.revoke(&bees.nsid), 2);
        assert!(users.access_tokens.is_empty());
        assert!(users.by_nsid(&bees.nsid).is_some());
    }

    #[test]
    fn debug_output_shows_no_token() {
        let mut users = Users::default();
        let bees = users.account("bees");
        let granted = users.grant(&bees, Permission::Read, None);
        let shown = format!("{users:?} {granted:?}");
        assert!(shown.contains("bees"), "{shown}");
        assert!(!shown.contains(&granted.oauth_token), "{shown}");
        assert!(!shown.contains(&granted.oauth_token_secret), "{shown}");
    }

    #[test]
    fn more_permission_includes_less() {
        assert!(Permission::parse("delete").unwrap() > Permission::parse("write").unwrap());
        assert_eq!(Permission::parse("admin"), None);
    }
}

//! The table of Flickr's API methods.
//!
//! The facts come from Flickr's method documents (`flickr.reflection.getMethodInfo`), except the
//! [`Effect`], which is judged from what each method does.

use std::sync::LazyLock;

static TABLE: LazyLock<Vec<Method>> =
    LazyLock::new(|| include_str!("../methods.tsv").lines().filter_map(parse).collect());

/// What a method asks of the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Only an API key.
    Open,
    /// A signed request, without a user.
    Signed,
    /// A request signed with a user's token.
    Login,
}

/// What a user can grant, from least to most. Each includes those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Permission {
    /// Nothing.
    None,
    /// Read private information.
    Read,
    /// Add, edit and delete metadata; upload; comment; favorite.
    Write,
    /// Delete photos and videos.
    Delete,
}

impl Permission {
    /// The permission of this name, one of `none`, `read`, `write` and `delete`.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::None, Self::Read, Self::Write, Self::Delete]
            .into_iter()
            .find(|permission| permission.as_str() == name)
    }

    /// The value of the `perms` parameter: `none`, `read`, `write` or `delete`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Read => "read",
            Self::Write => "write",
            Self::Delete => "delete",
        }
    }
}

/// What a call does, and so what a second identical call does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// It changes nothing.
    Read,
    /// It changes something; a second one leaves things as the first left them.
    Repeatable,
    /// A second one acts again: it adds another comment, or turns the photo further.
    Once,
}

/// One API method.
#[derive(Debug, PartialEq, Eq)]
pub struct Method {
    /// The full name, such as `flickr.photos.search`.
    pub name: &'static str,
    /// What it asks of the caller.
    pub access: Access,
    /// The least permission the user's token must have.
    pub permission: Permission,
    /// What it does.
    pub effect: Effect,
    /// Arguments documented as required, without `api_key`.
    pub required: Vec<&'static str>,
    /// Arguments documented as optional.
    pub optional: Vec<&'static str>,
    /// Documented error codes.
    pub error_codes: Vec<u32>,
}

impl Method {
    /// The method of that name, if Flickr has one. Names are case-sensitive.
    pub fn lookup(name: &str) -> Option<&'static Self> {
        TABLE
            .binary_search_by(|method| method.name.cmp(name))
            .ok()
            .map(|index| &TABLE[index])
    }

    /// Whether there is a method of that name that changes nothing; `upload` and `replace` are none.
    pub fn reads(name: &str) -> bool {
        Self::lookup(name).is_some_and(Self::is_read)
    }

    /// Every method, sorted by name.
    pub fn all() -> &'static [Self] {
        &TABLE
    }

    /// Whether a call changes nothing. Not the same as needing `read` permission only:
    /// `flickr.push.subscribe` needs no more and does change something.
    pub fn is_read(&self) -> bool {
        self.effect == Effect::Read
    }

    /// Whether a user's token is needed.
    pub fn needs_login(&self) -> bool {
        self.access == Access::Login
    }

    /// Whether the method belongs to the authentication that came before OAuth. Flickr documents
    /// these still; an OAuth application has no use for them.
    pub fn is_legacy_auth(&self) -> bool {
        self.name.starts_with("flickr.auth.") && self.name != "flickr.auth.oauth.checkToken"
    }

    /// The required arguments that `params` lacks, in documented order.
    ///
    /// `oauth_token` is never among them: the signature brings it. Flickr documents a few arguments
    /// as required that it does not insist on, so this is for a hint to a person rather than for
    /// refusing a call.
    pub fn missing_arguments<'a>(
        &self,
        params: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Vec<&'static str> {
        let given: Vec<&str> = params.into_iter().map(|(name, _)| name).collect();
        self.required
            .iter()
            .filter(|name| **name != "oauth_token" && !given.contains(name))
            .copied()
            .collect()
    }
}

/// One line of the table; `None` for a comment, and for a malformed line (a test finds those).
fn parse(line: &'static str) -> Option<Method> {
    let mut columns = line.split('\t');
    let mut next = || columns.next();
    let name = next().filter(|name| name.starts_with("flickr."))?;
    let access = match next()? {
        "open" => Access::Open,
        "signed" => Access::Signed,
        "login" => Access::Login,
        _ => return None,
    };
    let permission = match next()? {
        "none" => Permission::None,
        "read" => Permission::Read,
        "write" => Permission::Write,
        "delete" => Permission::Delete,
        _ => return None,
    };
    let effect = match next()? {
        "read" => Effect::Read,
        "repeatable" => Effect::Repeatable,
        "once" => Effect::Once,
        _ => return None,
    };
    let mut list =
        || -> Option<Vec<&'static str>> { Some(next()?.split(' ').filter(|item| *item != "-").collect()) };
    let (required, optional, codes) = (list()?, list()?, list()?);
    Some(Method {
        name,
        access,
        permission,
        effect,
        required,
        optional,
        error_codes: codes
            .iter()
            .map(|code| code.parse().ok())
            .collect::<Option<_>>()?,
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn method(name: &str) -> &'static Method {
        Method::lookup(name).unwrap()
    }

    #[test]
    fn every_line_of_the_table_is_a_method_and_there_are_222() {
        let lines = include_str!("../methods.tsv")
            .lines()
            .filter(|line| !line.starts_with('#'))
            .count();
        assert_eq!(Method::all().len(), lines);
        assert_eq!(Method::all().len(), 222);
    }

    #[test]
    fn every_method_is_found_by_its_name() {
        assert!(Method::all().is_sorted_by(|a, b| a.name < b.name));
        for method in Method::all() {
            assert_eq!(Method::lookup(method.name), Some(method));
        }
        assert_eq!(Method::lookup("flickr.photos.fly"), None);
        assert_eq!(Method::lookup("flickr.photos.SEARCH"), None);
    }

    #[test]
    fn permissions_and_access_agree() {
        let count = |permission| {
            Method::all()
                .iter()
                .filter(|method| method.permission == permission)
                .count()
        };
        assert_eq!(
            [
                Permission::None,
                Permission::Read,
                Permission::Write,
                Permission::Delete
            ]
            .map(count),
            [96, 60, 63, 3]
        );
        for method in Method::all() {
            assert_eq!(
                method.needs_login(),
                method.permission > Permission::None,
                "{}",
                method.name
            );
        }
    }

    #[test]
    fn every_permission_is_found_by_its_name() {
        for permission in [
            Permission::None,
            Permission::Read,
            Permission::Write,
            Permission::Delete,
        ] {
            assert_eq!(Permission::from_name(permission.as_str()), Some(permission));
        }
        for name in ["", "Write", "admin"] {
            assert_eq!(Permission::from_name(name), None, "{name}");
        }
    }

    #[test]
    fn whatever_needs_write_permission_is_not_a_read() {
        for method in Method::all() {
            if method.permission >= Permission::Write {
                assert!(!method.is_read(), "{}", method.name);
            }
        }
        assert!(method("flickr.photos.search").is_read());
        assert!(!method("flickr.push.subscribe").is_read());
        assert!(Method::reads("flickr.photos.search"));
        for name in ["flickr.photos.setMeta", "upload", "replace", ""] {
            assert!(!Method::reads(name), "{name}");
        }
        assert_eq!(method("flickr.photos.comments.addComment").effect, Effect::Once);
        assert_eq!(method("flickr.photos.setMeta").effect, Effect::Repeatable);
    }

    #[test]
    fn the_authentication_before_oauth_is_flagged() {
        let legacy: Vec<_> = Method::all()
            .iter()
            .filter(|method| method.is_legacy_auth())
            .map(|method| method.name)
            .collect();
        assert_eq!(
            legacy,
            [
                "flickr.auth.checkToken",
                "flickr.auth.getFrob",
                "flickr.auth.getFullToken",
                "flickr.auth.getToken",
                "flickr.auth.oauth.getAccessToken",
            ]
        );
    }

    #[test]
    fn missing_arguments_are_named_in_documented_order() {
        let add_tags = method("flickr.photos.addTags");
        assert_eq!(add_tags.missing_arguments([]), ["photo_id", "tags"]);
        assert_eq!(add_tags.missing_arguments([("tags", "a")]), ["photo_id"]);
        assert!(
            add_tags
                .missing_arguments([("photo_id", "1"), ("tags", "")])
                .is_empty()
        );
        assert!(
            method("flickr.auth.oauth.checkToken")
                .missing_arguments([])
                .is_empty()
        );
    }
}

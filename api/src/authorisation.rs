//! Whether a client may act for a user, and whether what the user granted to it is enough.

use std::sync::Arc;

use flickrhub_flickr::{Method, Permission};
use flickrhub_job::store::{User, UserStore};

use crate::auth::Caller;
use crate::problem::Problem;

/// The user, if it authorised the caller to do what needs the permission `needed`, which is because of `field`. A grant
/// that is greater since the user was read last counts at once.
///
/// # Errors
/// [`Problem::UnknownUser`], [`Problem::PermissionInsufficient`], or that of the store.
pub async fn authorised_user(
    users: &UserStore,
    caller: &Caller,
    user_id: &str,
    needed: Permission,
    field: &'static str,
) -> Result<Arc<User>, Problem> {
    let user = user_of_client(users, caller, user_id).await?;
    permitted(users, user, caller, needed, field).await
}

/// `user`, read again if need be, if what it granted to the caller is enough for what needs the permission `needed`.
///
/// # Errors
/// As [`authorised_user`].
pub async fn permitted(
    users: &UserStore,
    user: Arc<User>,
    caller: &Caller,
    needed: Permission,
    field: &'static str,
) -> Result<Arc<User>, Problem> {
    if check_permission(&user, caller, needed, field).is_ok() {
        return Ok(user);
    }
    let user = users.authorised_now(&user.id, &caller.client_id).await?;
    let user = user.ok_or(Problem::UnknownUser)?;
    check_permission(&user, caller, needed, field)?;
    Ok(user)
}

/// The user, if it authorised the caller at all.
///
/// # Errors
/// [`Problem::UnknownUser`], or that of the store.
pub async fn user_of_client(users: &UserStore, caller: &Caller, user_id: &str) -> Result<Arc<User>, Problem> {
    users
        .authorised_for(user_id, &caller.client_id)
        .await?
        .ok_or(Problem::UnknownUser)
}

/// Whether what the user granted to the caller is enough for what needs the permission `needed`, which is because of
/// `field`.
///
/// # Errors
/// [`Problem::PermissionInsufficient`].
fn check_permission(
    user: &User,
    caller: &Caller,
    needed: Permission,
    field: &'static str,
) -> Result<(), Problem> {
    if usable(user.grant_of(&caller.client_id), &user.permission) >= needed {
        Ok(())
    } else {
        Err(Problem::PermissionInsufficient { needed, field })
    }
}

/// What the client may do: what the user granted to it, as far as the token that we hold goes.
fn usable(grant: Option<&str>, token: &str) -> Permission {
    grant.map_or(Permission::None, granted).min(granted(token))
}

/// What a method of a stored job needs: `upload` and `replace` write, and of a method that this version does not know
/// nothing less than everything is asked.
pub fn permission_for(method: &str) -> Permission {
    match method {
        "upload" | "replace" => Permission::Write,
        name => Method::lookup(name).map_or(Permission::Delete, |method| method.permission),
    }
}

/// The permission of this name; a name that this version does not know allows nothing.
pub fn granted(name: &str) -> Permission {
    Permission::from_name(name).unwrap_or(Permission::None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_may_do_what_was_granted_to_it_and_not_what_was_granted_to_another() {
        for (grant, token, may) in [
            (Some("read"), "delete", Permission::Read),
            (Some("delete"), "delete", Permission::Delete),
            (Some("delete"), "read", Permission::Read),
            (Some("delete"), "none", Permission::None),
            (None, "delete", Permission::None),
        ] {
            assert_eq!(usable(grant, token), may, "{grant:?} {token}");
        }
    }

    #[test]
    fn a_greater_permission_includes_the_lesser_ones() {
        assert!(granted("delete") > granted("write") && granted("write") > granted("read"));
        assert!(granted("read") > granted("everything"));
    }
}

//! What the user of the processes may do in MongoDB: a role of its own, which lists the collections one by one
//! ([`CollectionName`]), so that the audit log can be read and added to, and nothing else. Pure.
//!
//! Processes that an earlier version of the operator started create the indexes of the audit log when they begin, which the
//! role does not allow. While there may be any, a user that has the rights of that time keeps them: it is given the role, in
//! place of those rights and in one write, when every pod of the API is of a template that does without
//! ([`LEAVES_AUDIT_LOG`]). A user that has the role never loses it for more rights.

use std::collections::BTreeSet;

use flickrhub_job::store::CollectionName;
use mongodb::bson::{Bson, Document, doc};
use serde_json::Value;

use super::answers::same_roles;
use crate::apply::Live;
use crate::build::Kind;
use crate::build::labels::LEAVES_AUDIT_LOG;
use crate::names::MONGODB_ROLE;
use crate::rollout::Rollout;
use crate::validate::ValidatedHub;

/// Which rights the user of the processes is to have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rights {
    /// Those of its own role.
    OwnRole,
    /// The same, or those to the whole database that an earlier version gave: processes of that version may run.
    AsBefore,
}

impl Rights {
    /// The rights by what the API of a hub runs. Where none was made yet, no earlier version made any.
    pub fn of(live: &Live, hub: &ValidatedHub) -> Self {
        let name = hub.names.api();
        let Some(deployment) = live.get(Kind::Deployment, &name) else {
            return if live.is_unread(Kind::Deployment) {
                Self::AsBefore
            } else {
                Self::OwnRole
            };
        };
        let (annotation, value) = LEAVES_AUDIT_LOG;
        let found = deployment
            .pointer("/spec/template/metadata/annotations")
            .and_then(|annotations| annotations.get(annotation))
            .and_then(Value::as_str);
        let is_everywhere = !matches!(Rollout::of(live, Kind::Deployment, &name), Rollout::Incomplete(_));
        if found == Some(value) && is_everywhere {
            Self::OwnRole
        } else {
            Self::AsBefore
        }
    }

    /// Its name, for a checksum of what users were checked against.
    pub const fn name(self) -> &'static str {
        match self {
            Self::OwnRole => "own-role",
            Self::AsBefore => "as-before",
        }
    }

    /// The roles that a user gets which is made, or whose roles are none of those that it may have.
    pub(super) fn roles(self, database: &str) -> Vec<Bson> {
        let roles: &[&str] = match self {
            Self::OwnRole => &[MONGODB_ROLE],
            Self::AsBefore => &["readWrite", "dbAdmin"],
        };
        let roles = roles.iter();
        roles
            .map(|role| Bson::Document(doc! { "role": *role, "db": database }))
            .collect()
    }

    /// Whether a user, as `usersInfo` tells it, has roles that it may have.
    pub(super) fn suit(self, user: &Document, database: &str) -> bool {
        same_roles(user, &Self::OwnRole.roles(database)) || same_roles(user, &self.roles(database))
    }
}

/// The privileges of the role.
pub(super) fn privileges(database: &str) -> Vec<Bson> {
    let privilege = |collection: &CollectionName| {
        Bson::Document(doc! {
            "resource": { "db": database, "collection": collection.name() },
            "actions": collection.access().actions().to_vec(),
        })
    };
    CollectionName::ALL.iter().map(privilege).collect()
}

/// Whether a role, as `rolesInfo` tells it, is as it should be: these privileges in any order, and no other role within.
pub(super) fn is_own_role(role: &Document, database: &str) -> bool {
    let inherits = role.get_array("roles").is_ok_and(|roles| !roles.is_empty());
    let found = role
        .get_array("privileges")
        .map(Vec::as_slice)
        .unwrap_or_default();
    let wanted = privileges(database);
    !inherits && found.len() == wanted.len() && read(found) == read(&wanted)
}

/// A privilege: the fields of its resource, and its actions.
type Privilege = (BTreeSet<(String, String)>, BTreeSet<String>);

/// What is no privilege becomes one that nobody wants.
fn read(privileges: &[Bson]) -> BTreeSet<Privilege> {
    let read = |privilege: &Bson| {
        let privilege = privilege.as_document()?;
        let resource = privilege.get_document("resource").ok()?.iter();
        let actions = privilege.get_array("actions").ok()?.iter();
        Some((
            resource
                .map(|(field, value)| (field.clone(), value.to_string()))
                .collect(),
            actions
                .map(|action| action.as_str().unwrap_or_default().to_owned())
                .collect(),
        ))
    };
    privileges
        .iter()
        .map(|privilege| read(privilege).unwrap_or_default())
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::build::build;
    use crate::fixtures;

    const DATABASE: &str = "flickrhub";

    fn user(roles: Vec<Bson>) -> Document {
        doc! { "_id": "admin.flickrhub", "roles": roles }
    }

    fn role(privileges: Vec<Bson>) -> Document {
        doc! { "role": MONGODB_ROLE, "db": DATABASE, "roles": [], "privileges": privileges }
    }

    #[test]
    fn a_user_keeps_the_rights_of_before_as_long_as_somebody_needs_them_and_never_gets_them_back() {
        let own = user(Rights::OwnRole.roles(DATABASE));
        let before = user(Rights::AsBefore.roles(DATABASE));
        assert!(Rights::OwnRole.suit(&own, DATABASE));
        assert!(Rights::AsBefore.suit(&own, DATABASE));
        assert!(Rights::AsBefore.suit(&before, DATABASE));
        assert!(!Rights::OwnRole.suit(&before, DATABASE));
        let mut both = Rights::OwnRole.roles(DATABASE);
        both.extend(Rights::AsBefore.roles(DATABASE));
        for rights in [Rights::OwnRole, Rights::AsBefore] {
            assert!(!rights.suit(&user(Vec::new()), DATABASE));
            assert!(!rights.suit(&user(both.clone()), DATABASE));
            assert!(!rights.suit(&own, "another"));
        }
    }

    #[test]
    fn the_role_of_the_processes_reads_like_this() {
        let privileges = privileges(DATABASE);
        let of = |collection: &str| {
            let resource = doc! { "db": DATABASE, "collection": collection };
            let mut privileges = privileges.iter().filter_map(Bson::as_document);
            let found =
                privileges.find(|privilege| privilege.get_document("resource").ok() == Some(&resource));
            found.and_then(|privilege| privilege.get("actions")).cloned()
        };
        let append_only = Bson::from(vec!["find", "insert", "listIndexes"]);
        assert_eq!(of("audit"), Some(append_only));
        let read_write = vec![
            "createCollection",
            "createIndex",
            "find",
            "insert",
            "listIndexes",
            "remove",
            "update",
        ];
        assert_eq!(of("jobs"), Some(Bson::from(read_write)));
        assert_eq!(privileges.len(), CollectionName::ALL.len());
    }

    /// The API as it was built, with this status.
    fn api(is_marked: bool, pods: u64, of_template: u64) -> Live {
        let hub = fixtures::validated(&fixtures::minimal());
        let objects = build(&hub, &fixtures::checksums());
        let found = objects
            .iter()
            .find(|object| object.kind() == Kind::Deployment && object.name() == hub.names.api());
        let mut api = json!(found);
        api["metadata"]["generation"] = json!(1);
        api["spec"]["replicas"] = json!(2);
        api["status"] = json!({
            "observedGeneration": 1, "replicas": pods, "updatedReplicas": of_template, "readyReplicas": pods,
        });
        if !is_marked {
            let annotations = api
                .pointer_mut("/spec/template/metadata/annotations")
                .and_then(Value::as_object_mut);
            let removed = annotations.and_then(|annotations| annotations.remove(LEAVES_AUDIT_LOG.0));
            assert!(removed.is_some(), "the template is built with it");
        }
        Live::of([(Kind::Deployment, hub.names.api(), api)])
    }

    #[test]
    fn the_rights_of_before_hold_until_the_last_pod_of_the_api_does_without() {
        let hub = fixtures::validated(&fixtures::minimal());
        let of = |live: &Live| Rights::of(live, &hub);
        assert_eq!(of(&Live::default()), Rights::OwnRole, "a new hub");
        assert_eq!(of(&api(true, 2, 2)), Rights::OwnRole);
        assert_eq!(of(&api(true, 3, 1)), Rights::AsBefore, "pods of before still run");
        assert_eq!(of(&api(false, 2, 2)), Rights::AsBefore, "templates are kept");
    }

    proptest! {
        #[test]
        fn a_role_is_as_it_should_be_in_any_order_and_with_nothing_more_or_less(
            (shuffled, changed, action) in Just(privileges(DATABASE)).prop_shuffle().prop_flat_map(|shuffled| {
                let places = 0..shuffled.len();
                (Just(shuffled), places, "[a-z]{3,8}")
            }),
        ) {
            prop_assert!(is_own_role(&role(shuffled.clone()), DATABASE));
            prop_assert!(!is_own_role(&role(shuffled.clone()), "another"));

            let mut fewer = shuffled.clone();
            let removed = fewer.remove(changed);
            prop_assert!(!is_own_role(&role(fewer.clone()), DATABASE));
            let mut twice = fewer.clone();
            twice.extend(fewer.first().cloned());
            prop_assert!(!is_own_role(&role(twice), DATABASE), "another one twice");

            let mut wider = removed.as_document().cloned().unwrap_or_default();
            if let Ok(actions) = wider.get_array_mut("actions") {
                actions.reverse();
            }
            let mut same = fewer.clone();
            same.push(Bson::Document(wider.clone()));
            prop_assert!(is_own_role(&role(same), DATABASE));
            if let Ok(actions) = wider.get_array_mut("actions") {
                actions.push(Bson::from(format!("x{action}")));
            }
            fewer.push(Bson::Document(wider));
            prop_assert!(!is_own_role(&role(fewer), DATABASE));

            let mut more = shuffled.clone();
            more.push(Bson::Document(doc! {
                "resource": { "db": DATABASE, "collection": "" }, "actions": ["remove"],
            }));
            prop_assert!(!is_own_role(&role(more), DATABASE));
            let mut inheriting = role(shuffled);
            inheriting.insert("roles", vec![doc! { "role": "dbAdmin", "db": DATABASE }]);
            prop_assert!(!is_own_role(&inheriting, DATABASE));
        }
    }
}

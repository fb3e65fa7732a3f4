//! Reading what a member answers.

use mongodb::bson::{Bson, Document};

use super::Timing;
use super::decide::Configuration;

// The names of settings (MongoDB manual, "Replica Set Configuration").
const ELECTION_TIMEOUT: &str = "electionTimeoutMillis";
const CATCH_UP_TIMEOUT: &str = "catchUpTimeoutMillis";
const HEARTBEAT_TIMEOUT: &str = "heartbeatTimeoutSecs";

/// The names of the states of a member (MongoDB manual, "Replica Set Member States").
pub(super) const fn state_name(state: i32) -> &'static str {
    match state {
        0 => "STARTUP",
        3 => "RECOVERING",
        5 => "STARTUP2",
        7 => "ARBITER",
        8 => "DOWN",
        9 => "ROLLBACK",
        10 => "REMOVED",
        _ => "UNKNOWN",
    }
}

pub(super) fn first_document(answer: &Document) -> Option<&Document> {
    answer
        .get_document("cursor")
        .ok()?
        .get_array("firstBatch")
        .ok()?
        .first()?
        .as_document()
}

pub(super) fn read_configuration(stored: &Document) -> Configuration {
    let members = stored.get_array("members").map(Vec::as_slice).unwrap_or_default();
    Configuration {
        id: stored
            .get_document("settings")
            .and_then(|settings| settings.get_object_id("replicaSetId"))
            .map(mongodb::bson::oid::ObjectId::to_hex)
            .unwrap_or_default(),
        replica_set: stored.get_str("_id").unwrap_or_default().to_owned(),
        version: integer(stored.get("version")).unwrap_or_default(),
        hosts: members
            .iter()
            .filter_map(|member| member.as_document()?.get_str("host").ok().map(str::to_owned))
            .collect(),
        timing: read_timing(stored.get_document("settings").ok()),
    }
}

/// What stands in the settings, else the defaults of the server.
fn read_timing(settings: Option<&Document>) -> Timing {
    let setting = |name: &str| integer(settings?.get(name));
    Timing {
        election_ms: setting(ELECTION_TIMEOUT).unwrap_or(10_000),
        // Without end.
        catch_up_ms: setting(CATCH_UP_TIMEOUT).unwrap_or(-1),
        heartbeat_s: setting(HEARTBEAT_TIMEOUT).unwrap_or(10),
    }
}

/// Writes how soon another primary takes over into the settings of a configuration.
pub(super) fn write_timing(settings: &mut Document, timing: Timing) {
    settings.insert(ELECTION_TIMEOUT, timing.election_ms);
    settings.insert(CATCH_UP_TIMEOUT, timing.catch_up_ms);
    settings.insert(HEARTBEAT_TIMEOUT, timing.heartbeat_s);
}

/// Whole numbers arrive in any of three types.
pub(super) fn integer(value: Option<&Bson>) -> Option<i64> {
    match value? {
        Bson::Int32(number) => Some(i64::from(*number)),
        Bson::Int64(number) => Some(*number),
        #[expect(
            clippy::cast_possible_truncation,
            reason = "versions and counts are small whole numbers"
        )]
        Bson::Double(number) => Some(*number as i64),
        _ => None,
    }
}

pub(super) fn same_roles(user: &Document, wanted: &[Bson]) -> bool {
    let has = user.get_array("roles").map(Vec::as_slice).unwrap_or_default();
    has.len() == wanted.len() && wanted.iter().all(|role| has.contains(role))
}

#[cfg(test)]
mod tests {
    use mongodb::bson::doc;
    use mongodb::bson::oid::ObjectId;

    use super::*;

    #[test]
    fn a_stored_configuration_is_read() {
        let stored = doc! {
            "_id": "rs0",
            "version": 3_i64,
            "term": 7,
            "members": [{ "_id": 0, "host": "a:27017" }, { "_id": 1, "host": "b:27017" }],
            "settings": { "replicaSetId": ObjectId::from_bytes([7; 12]), "electionTimeoutMillis": 3000 },
        };
        let expected = Configuration {
            id: "07".repeat(12),
            replica_set: "rs0".to_owned(),
            version: 3,
            hosts: vec!["a:27017".to_owned(), "b:27017".to_owned()],
            timing: Timing {
                election_ms: 3000,
                catch_up_ms: -1,
                heartbeat_s: 10,
            },
        };
        assert_eq!(read_configuration(&stored), expected);
        let mut stored = stored;
        if let Ok(settings) = stored.get_document_mut("settings") {
            write_timing(settings, Timing::SWIFT);
        }
        assert_eq!(read_configuration(&stored).timing, Timing::SWIFT);
    }

    #[test]
    fn roles_are_compared_without_their_order() {
        let read_write = Bson::Document(doc! { "role": "readWrite", "db": "flickrhub" });
        let admin = Bson::Document(doc! { "role": "dbAdmin", "db": "flickrhub" });
        let user = doc! { "roles": [read_write.clone(), admin.clone()] };
        assert!(same_roles(&user, &[admin.clone(), read_write]));
        assert!(!same_roles(&user, &[admin]));
    }

    #[test]
    fn an_answer_without_a_configuration_has_no_document() {
        let none = doc! { "cursor": { "firstBatch": [], "id": 0_i64, "ns": "local.system.replset" } };
        assert_eq!(first_document(&none), None);
    }
}

//! Which member may stop: by what the primary says of the set (`replSetGetStatus`).

use mongodb::bson::{Bson, Document};

use super::answers::integer;
use crate::engine::roster::{Roster, Standing};

/// How far a secondary may be behind the primary to count as one that follows, in milliseconds: a primary that steps
/// down waits for a successor no longer than that.
const MAX_LAG_MS: i64 = 10_000;

// States of a member (MongoDB manual, "Replica Set Member States").
const PRIMARY: i64 = 1;
const SECONDARY: i64 = 2;

/// The set as its primary sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct SetView {
    /// Votes that make a majority.
    pub(super) majority: usize,
    /// The members.
    pub(super) members: Vec<MemberView>,
}

/// A member as the primary sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct MemberView {
    /// Its `host:port`.
    pub(super) host: String,
    /// Whether it is the primary.
    pub(super) is_primary: bool,
    /// Whether it is the primary, or a secondary that answers it.
    pub(super) works: bool,
    /// Milliseconds that it is behind.
    pub(super) lag_ms: i64,
}

impl MemberView {
    const fn is_in_step(&self) -> bool {
        self.works && self.lag_ms <= MAX_LAG_MS
    }
}

/// Reads the answer of `replSetGetStatus`; `None` if who answers is not the primary.
pub(super) fn read_status(status: &Document) -> Option<SetView> {
    let members: Vec<&Document> = status
        .get_array("members")
        .ok()?
        .iter()
        .filter_map(Bson::as_document)
        .collect();
    let state = |member: &Document| integer(member.get("state")).unwrap_or_default();
    let written = |member: &Document| {
        let time = member.get_datetime("optimeDate").ok();
        time.map_or(0, |time| time.timestamp_millis())
    };
    let primary = members
        .iter()
        .find(|member| state(member) == PRIMARY && member.get_bool("self").unwrap_or_default())?;
    let newest = written(primary);
    let view = |member: &&Document| MemberView {
        host: member.get_str("name").unwrap_or_default().to_owned(),
        is_primary: state(member) == PRIMARY,
        works: matches!(state(member), PRIMARY | SECONDARY) && integer(member.get("health")) == Some(1),
        lag_ms: newest.saturating_sub(written(member)),
    };
    let majority = integer(status.get("majorityVoteCount"));
    Some(SetView {
        majority: usize::try_from(majority?).ok()?,
        members: members.iter().map(view).collect(),
    })
}

/// What the primary says of the members with these hosts; nothing if there is none.
///
/// Without the member a majority must be there still, in step with the primary.
pub(super) fn roster(view: Option<&SetView>, hosts: &[String]) -> Roster {
    let Some(view) = view else {
        return Roster::of(hosts.iter().map(|_| Standing {
            needed: (hosts.len() > 1).then(|| "no primary tells how the members are".to_owned()),
            ..Standing::default()
        }));
    };
    let in_step = |without: &str| {
        let others = view.members.iter().filter(|member| member.host != without);
        others.filter(|member| member.is_in_step()).count()
    };
    Roster::of(hosts.iter().map(|host| {
        let Some(member) = view.members.iter().find(|member| member.host == *host) else {
            // It is no member of the set, so nobody counts on it.
            return Standing::default();
        };
        let left = in_step(host);
        let suffices = view.members.len() == 1 || left >= view.majority;
        Standing {
            serves: member.is_in_step(),
            leads: usize::from(member.is_primary),
            is_member: true,
            needed: (!suffices).then(|| {
                format!(
                    "only {left} other members would be in step with the primary, and {} are the majority",
                    view.majority
                )
            }),
        }
    }))
}

#[cfg(test)]
mod tests {
    use mongodb::bson::{DateTime, doc};
    use proptest::prelude::*;

    use super::*;

    fn hosts() -> Vec<String> {
        (0..3).map(|index| format!("m-{index}:27017")).collect()
    }

    fn view(works: [bool; 3], lag_ms: [i64; 3]) -> SetView {
        SetView {
            majority: 2,
            members: (hosts().into_iter().enumerate())
                .map(|(index, host)| MemberView {
                    host,
                    is_primary: index == 0,
                    works: works[index],
                    lag_ms: lag_ms[index],
                })
                .collect(),
        }
    }

    #[test]
    fn the_answer_of_the_primary_is_read() {
        let time = |ms| DateTime::from_millis(ms);
        let status = doc! {
            "myState": 1, "majorityVoteCount": 2,
            "members": [
                { "name": "m-0:27017", "health": 1.0, "state": 1, "self": true, "optimeDate": time(60_000) },
                { "name": "m-1:27017", "health": 1.0, "state": 2, "optimeDate": time(59_000) },
                { "name": "m-2:27017", "health": 0.0, "state": 8, "optimeDate": time(0) },
            ],
        };
        assert_eq!(
            read_status(&status),
            Some(view([true, true, false], [0, 1000, 60_000]))
        );
    }

    #[test]
    fn only_the_primary_tells() {
        let status = doc! {
            "myState": 2, "majorityVoteCount": 2,
            "members": [{ "name": "m-1:27017", "health": 1.0, "state": 2, "self": true }],
        };
        assert_eq!(read_status(&status), None);
    }

    #[test]
    fn any_member_may_stop_while_all_follow() {
        let roster = roster(Some(&view([true; 3], [0; 3])), &hosts());
        assert!((0..3).all(|ordinal| roster.needed(ordinal).is_none() && roster.serves(ordinal)));
        assert_eq!((roster.leads(0), roster.leads(1)), (1, 0));
    }

    #[test]
    fn a_member_that_lags_is_not_counted_on() {
        let roster = roster(Some(&view([true; 3], [0, 0, 60_000])), &hosts());
        assert!(roster.needed(0).is_some() && roster.needed(1).is_some());
        assert_eq!((roster.needed(2), roster.serves(2)), (None, false));
    }

    #[test]
    fn without_a_primary_nobody_may_stop() {
        let roster = roster(None, &hosts());
        assert!((0..3).all(|ordinal| roster.needed(ordinal).is_some()));
    }

    proptest! {
        #[test]
        fn who_may_stop_leaves_a_majority_in_step(
            works in prop::array::uniform2(any::<bool>()),
            lag_ms in prop::array::uniform2(0..20_000_i64),
        ) {
            let view = view([true, works[0], works[1]], [0, lag_ms[0], lag_ms[1]]);
            let roster = roster(Some(&view), &hosts());
            for ordinal in (0..3).filter(|&ordinal| roster.needed(ordinal).is_none()) {
                let left = (0..3).filter(|&other| other != ordinal && roster.serves(other)).count();
                prop_assert!(left >= 2);
            }
        }
    }
}

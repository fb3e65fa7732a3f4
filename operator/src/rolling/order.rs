//! In which order the members of an engine are restarted. Pure.

use crate::engine::roster::Roster;

/// The order in which the pods with these ordinals are restarted: those first that do no work anyway, then the followers
/// from the highest ordinal down, and at last those that lead, so that there is one change of the leader and not several.
///
/// Whether each of them may really stop when it is its turn, the engine says then: see [`super::decide`].
pub fn restart_order(ordinals: impl IntoIterator<Item = u32>, roster: &Roster) -> Vec<u32> {
    let mut order: Vec<u32> = ordinals.into_iter().collect();
    order.sort_by_key(|&ordinal| {
        let leads = roster.leads(ordinal);
        (
            leads > 0,
            roster.serves(ordinal),
            leads,
            std::cmp::Reverse(ordinal),
        )
    });
    order
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::roster::Standing;

    fn roster(members: [(bool, usize); 4]) -> Roster {
        Roster::of(members.map(|(serves, leads)| Standing {
            serves,
            leads,
            ..Standing::default()
        }))
    }

    #[test]
    fn the_leader_is_last_and_who_does_no_work_is_first() {
        let roster = roster([(true, 0), (true, 1), (false, 0), (true, 0)]);
        assert_eq!(restart_order(0..4, &roster), [2, 3, 0, 1]);
    }

    #[test]
    fn of_several_leaders_the_one_that_leads_most_is_last() {
        let roster = roster([(true, 3), (true, 1), (true, 2), (true, 0)]);
        assert_eq!(restart_order(0..4, &roster), [3, 1, 2, 0]);
    }

    #[test]
    fn without_a_word_of_the_engine_the_first_member_is_last() {
        assert_eq!(restart_order([0, 2, 1], &Roster::default()), [2, 1, 0]);
    }
}

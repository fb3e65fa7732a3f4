//! Which pod is replaced next, by what Kubernetes says of the pods and the engine of its members. Pure.

use super::order::restart_order;
use super::pods::{Pod, Set};
use crate::engine::roster::{HandOver, Roster};

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Every pod runs the current template.
    Done,
    /// Something is under way, as the end of a sentence.
    Wait(String),
    /// The engine does not permit the next restart; why, as the end of a sentence.
    Blocked(String),
    /// Let another member lead than this one.
    HandOver(u32),
    /// Take this pod away; Kubernetes makes it anew from the current template.
    Replace(u32),
    /// Ask for so many pods, one fewer than there are: the engine does without the last one.
    Shrink(u32),
}

/// What to do about the pods of a set that are too many or run an old template.
///
/// A set that gets smaller does so before anything else, a pod at a time from the highest ordinal down: when the engine has
/// taken the member out, and says that the others have their quorum without it.
///
/// A pod of which neither Kubernetes nor the engine says that it works is replaced at once: nothing is lost by it, and a
/// template that mends it may be what it waits for. Any other pod is replaced only while no other one is away or just
/// came back, and only if the engine says that the others have their quorum without it. A leader is replaced after all
/// others, when another one leads.
pub fn decide(set: &Set, pods: &[Pod], roster: &Roster) -> Step {
    let name = |ordinal: u32| format!("{}-{ordinal}", set.name);
    if !set.is_observed {
        return Step::Wait("Kubernetes has not looked at the change yet".to_owned());
    }
    let members = || pods.iter().filter(|pod| pod.ordinal < set.size);
    let is_old = |pod: &&Pod| pod.revision != set.revision;
    let mut old = members().filter(is_old).peekable();
    let mut useless = old
        .clone()
        .filter(|pod| !pod.is_leaving && !pod.is_ready && !roster.serves(pod.ordinal));
    if let Some(pod) = useless.next() {
        return Step::Replace(pod.ordinal);
    }
    if let Some(surplus) = pods.iter().find(|pod| pod.ordinal >= set.size) {
        return Step::Wait(format!("{} stops", name(surplus.ordinal)));
    }
    if (1..set.size).contains(&set.wanted) {
        return shrink(set, pods, roster, name);
    }
    if old.peek().is_none() {
        return Step::Done;
    }
    if let Some(absent) = (0..set.size).find(|ordinal| members().all(|pod| pod.ordinal != *ordinal)) {
        return Step::Wait(format!("{} is made anew", name(absent)));
    }
    if let Some(leaving) = members().find(|pod| pod.is_leaving) {
        return Step::Wait(format!("{} stops", name(leaving.ordinal)));
    }
    let mut new = members().filter(|pod| !is_old(pod));
    if let Some(starting) = new.find(|pod| !pod.is_ready || !roster.serves(pod.ordinal)) {
        return Step::Wait(format!("{} starts with the new ones", name(starting.ordinal)));
    }
    let order = restart_order(old.map(|pod| pod.ordinal), roster);
    next_of(&order, set, roster, name)
}

/// The next step of a set that gets smaller.
fn shrink(set: &Set, pods: &[Pod], roster: &Roster, name: impl Fn(u32) -> String) -> Step {
    let last = set.size - 1;
    let is_present = |ordinal: u32| pods.iter().any(|pod| pod.ordinal == ordinal && !pod.is_leaving);
    if let Some(away) = (0..last).find(|&ordinal| !is_present(ordinal)) {
        return Step::Wait(format!("{} is made anew", name(away)));
    }
    if let Some(why) = roster.needed(last) {
        return Step::Blocked(format!("{} is not taken away now: {why}", name(last)));
    }
    if roster.leads(last) > 0 && roster.hand_over == HandOver::Asked {
        return Step::HandOver(last);
    }
    if roster.is_member(last) {
        return Step::Wait(format!("{} is taken out first", name(last)));
    }
    Step::Shrink(last)
}

/// The first of these that may stop.
fn next_of(order: &[u32], set: &Set, roster: &Roster, name: impl Fn(u32) -> String) -> Step {
    let mut refusal = None;
    for &ordinal in order {
        if let Some(why) = roster.needed(ordinal) {
            refusal.get_or_insert_with(|| format!("{} is not restarted now: {why}", name(ordinal)));
            continue;
        }
        if roster.leads(ordinal) == 0 || roster.hand_over == HandOver::Stopping || set.size == 1 {
            return Step::Replace(ordinal);
        }
        // A leader that hands over is the last one: it would lead again after a restart of its successor.
        if refusal.is_none() {
            return Step::HandOver(ordinal);
        }
    }
    Step::Blocked(refusal.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::roster::Standing;

    fn set() -> Set {
        Set {
            name: "redis".to_owned(),
            revision: "new".to_owned(),
            size: 3,
            wanted: 3,
            is_observed: true,
            is_rolled_out: false,
        }
    }

    fn pod(ordinal: u32, revision: &str) -> Pod {
        Pod {
            ordinal,
            uid: ordinal.to_string(),
            revision: revision.to_owned(),
            is_ready: true,
            is_leaving: false,
        }
    }

    fn pods(revisions: [&str; 3]) -> Vec<Pod> {
        (0..)
            .zip(revisions)
            .map(|(ordinal, revision)| pod(ordinal, revision))
            .collect()
    }

    fn follower() -> Standing {
        Standing {
            serves: true,
            ..Standing::default()
        }
    }

    fn leader() -> Standing {
        Standing {
            leads: 1,
            ..follower()
        }
    }

    fn needed(mut standing: Standing) -> Standing {
        standing.needed = Some("only one replica follows".to_owned());
        standing
    }

    #[test]
    fn followers_go_first_and_the_leader_after_it_has_handed_over() {
        let roster = Roster::of([leader(), follower(), follower()]);
        let next = |revisions| decide(&set(), &pods(revisions), &roster);
        assert_eq!(next(["old", "old", "old"]), Step::Replace(2));
        assert_eq!(next(["old", "old", "new"]), Step::Replace(1));
        assert_eq!(next(["old", "new", "new"]), Step::HandOver(0));
        assert_eq!(next(["new", "new", "new"]), Step::Done);
        let handed_over = Roster::of([follower(), leader(), follower()]);
        assert_eq!(
            decide(&set(), &pods(["old", "new", "new"]), &handed_over),
            Step::Replace(0)
        );
    }

    #[test]
    fn members_that_hand_over_while_they_stop_are_only_stopped() {
        let roster = Roster {
            hand_over: HandOver::Stopping,
            ..Roster::of([leader(), leader(), leader()])
        };
        assert_eq!(
            decide(&set(), &pods(["old", "old", "new"]), &roster),
            Step::Replace(1)
        );
    }

    #[test]
    fn a_single_member_has_nobody_to_hand_over_to() {
        let set = Set {
            size: 1,
            wanted: 1,
            ..set()
        };
        let step = decide(&set, &[pod(0, "old")], &Roster::of([leader()]));
        assert_eq!(step, Step::Replace(0));
    }

    #[test]
    fn one_pod_at_a_time() {
        let roster = Roster::of([leader(), follower(), follower()]);
        let mut starting = pods(["old", "old", "new"]);
        starting[2].is_ready = false;
        let mut leaving = pods(["old", "old", "old"]);
        leaving[2].is_leaving = true;
        let absent = &pods(["old", "old", "old"])[..2];
        for pods in [&starting[..], &leaving, absent] {
            assert!(matches!(decide(&set(), pods, &roster), Step::Wait(_)), "{pods:?}");
        }
        let behind = Roster::of([leader(), follower(), Standing::default()]);
        assert_eq!(
            decide(&set(), &pods(["old", "old", "new"]), &behind),
            Step::Wait("redis-2 starts with the new ones".to_owned())
        );
    }

    #[test]
    fn what_the_engine_refuses_is_said() {
        let roster = Roster::of([leader(), needed(follower()), needed(follower())]);
        assert_eq!(
            decide(&set(), &pods(["old", "old", "old"]), &roster),
            Step::Blocked("redis-2 is not restarted now: only one replica follows".to_owned())
        );
        let step = decide(&set(), &pods(["old", "old", "old"]), &Roster::default());
        assert!(matches!(step, Step::Blocked(_)), "{step:?}");
    }

    #[test]
    fn a_member_that_may_stop_goes_before_one_that_may_not() {
        let roster = Roster::of([leader(), follower(), needed(follower())]);
        assert_eq!(
            decide(&set(), &pods(["old", "old", "old"]), &roster),
            Step::Replace(1)
        );
    }

    #[test]
    fn pods_that_never_worked_are_replaced_whatever_the_others_do() {
        let mut broken = pods(["old", "old", "new"]);
        for pod in &mut broken {
            pod.is_ready = false;
        }
        assert_eq!(decide(&set(), &broken, &Roster::default()), Step::Replace(0));
        let mut only_one = pods(["old", "old", "old"]);
        only_one[1].is_ready = false;
        let roster = Roster::of([needed(leader()), Standing::default(), needed(follower())]);
        assert_eq!(decide(&set(), &only_one, &roster), Step::Replace(1));
    }

    #[test]
    fn a_set_gets_smaller_a_pod_at_a_time_when_the_engine_has_let_it_go() {
        let set = Set { wanted: 1, ..set() };
        let pods = pods(["old", "old", "old"]);
        let next = |last: Standing| decide(&set, &pods, &Roster::of([follower(), follower(), last]));
        let member = |standing| Standing {
            is_member: true,
            ..standing
        };
        assert!(matches!(next(member(needed(follower()))), Step::Blocked(_)));
        assert_eq!(next(member(leader())), Step::HandOver(2));
        assert!(matches!(next(member(follower())), Step::Wait(_)));
        assert_eq!(next(follower()), Step::Shrink(2));
        assert!(matches!(
            decide(&set, &pods, &Roster::default()),
            Step::Blocked(_)
        ));
        let smaller = Set { size: 2, ..set };
        let roster = Roster::of([leader(), follower()]);
        assert!(matches!(decide(&smaller, &pods, &roster), Step::Wait(_)));
        assert_eq!(decide(&smaller, &pods[..2], &roster), Step::Shrink(1));
    }

    #[test]
    fn nothing_is_done_by_a_status_that_is_old() {
        let set = Set {
            is_observed: false,
            ..set()
        };
        let roster = Roster::of([leader(), follower(), follower()]);
        let step = decide(&set, &pods(["old", "old", "old"]), &roster);
        assert!(matches!(step, Step::Wait(_)), "{step:?}");
    }
}

use super::*;

const LEASE: SignedDuration = SignedDuration::from_secs(60);

fn clock() -> Clock {
    Clock {
        now: Timestamp::constant(1_800_000_000, 0),
        retention: SignedDuration::from_hours(24 * 30),
    }
}

fn error() -> JobError {
    JobError {
        code: "$flickr_error".to_owned(),
        message: "$$ROOT".to_owned(),
        flickr_code: Some(105),
    }
}

/// Every transition with the attempt that it is guarded by, if it is.
fn every_transition() -> Vec<(&'static str, Transition)> {
    let (id, clock) = (JobId::new(), clock());
    vec![
        ("dispatch", dispatch(id, Holder::new(), LEASE, clock)),
        (
            "claim",
            claim(id, 7, Holder::new(), Some("$worker"), LEASE, clock),
        ),
        ("succeed", succeed(id, 7, "\"$text\"".to_owned(), clock)),
        ("fail", fail(id, 7, &error(), clock)),
        ("die", die(id, 7, &error(), clock)),
        ("take_back", take_back(id, 7, &error(), clock)),
        ("retry", retry(id, 7, &error(), clock.now, clock)),
        ("postpone", postpone(id, 7, &error(), clock.now, clock)),
        (
            "postpone_uncalled",
            postpone_uncalled(id, 7, &error(), clock.now, clock),
        ),
        ("requeue_overdue", requeue_overdue(id, 7, clock)),
        ("expire", expire(id, clock)),
        ("cancel", cancel("acme", id, clock)),
        ("abandon", abandon(id, 7, clock)),
        ("abandon_uncalled", abandon_uncalled(id, 7, clock)),
    ]
}

fn states_before(transition: &Transition) -> Vec<JobState> {
    let Ok(guard) = transition
        .filter
        .get_document("state")
        .and_then(|guard| guard.get_array("$in"))
    else {
        panic!("no guard on the state: {transition:?}");
    };
    guard
        .iter()
        .map(|name| state_named(name.as_str().unwrap_or_default()))
        .collect()
}

fn state_after(transition: &Transition) -> JobState {
    state_named(transition.set.get_str("state").unwrap_or_default())
}

fn state_named(name: &str) -> JobState {
    match JobState::ALL.into_iter().find(|state| state.name() == name) {
        Some(state) => state,
        None => panic!("{name:?} is no state"),
    }
}

#[test]
fn every_transition_starts_only_where_the_model_allows_it() {
    for (name, transition) in every_transition() {
        let before = states_before(&transition);
        assert!(!before.is_empty(), "{name} is never possible");
        for state in before {
            assert!(state.may_become(state_after(&transition)), "{name} from {state}");
        }
    }
}

#[test]
fn every_transition_of_the_model_is_made_by_one_of_them() {
    for from in JobState::ALL {
        for to in JobState::ALL.into_iter().filter(|to| from.may_become(*to)) {
            let made = every_transition().iter().any(|(_, transition)| {
                state_after(transition) == to && states_before(transition).contains(&from)
            });
            assert!(made, "{from} → {to}");
        }
    }
}

#[test]
fn the_dispatcher_takes_back_only_what_no_worker_has_and_a_worker_retries_only_what_it_runs() {
    let (id, clock) = (JobId::new(), clock());
    assert_eq!(
        states_before(&take_back(id, 7, &error(), clock)),
        [JobState::Dispatched]
    );
    assert_eq!(
        states_before(&retry(id, 7, &error(), clock.now, clock)),
        [JobState::Running]
    );
}

#[test]
fn what_recovery_does_is_guarded_by_the_lease() {
    let (id, clock) = (JobId::new(), clock());
    let over = Bson::from(doc! { "$lt": to_bson(clock.now) });
    for transition in [
        requeue_overdue(id, 7, clock),
        fail(id, 7, &error(), clock).if_overdue(clock),
        die(id, 7, &error(), clock).if_overdue(clock),
    ] {
        assert_eq!(
            transition.filter.get("lease_until"),
            Some(&over),
            "{transition:?}"
        );
        assert_eq!(transition.filter.get("attempt"), Some(&Bson::from(7_u32)));
    }
}

#[test]
fn what_a_holder_does_is_guarded_by_its_attempt() {
    for (name, transition) in every_transition() {
        let guarded = transition.filter.get("attempt").is_some();
        let by_anyone = ["dispatch", "expire", "cancel"].contains(&name);
        assert_eq!(guarded, !by_anyone, "{name}");
    }
}

#[test]
fn a_final_transition_ends_the_lease_and_makes_the_callback_due() {
    for (name, transition) in every_transition() {
        let is_final = state_after(&transition).is_final();
        for field in ["finished_at", "purge_at", "callback"] {
            assert_eq!(
                transition.set.contains_key(field),
                is_final,
                "{name} sets {field}"
            );
        }
        if is_final {
            assert_eq!(transition.set.get("lease_until"), Some(&Bson::Null), "{name}");
        }
    }
}

#[test]
fn only_a_dispatched_or_running_job_has_a_lease() {
    for (name, transition) in every_transition() {
        let held = matches!(state_after(&transition), JobState::Dispatched | JobState::Running);
        let lease = transition.set.get("lease_until").and_then(Bson::as_datetime);
        assert_eq!(lease.is_some(), held, "{name}");
    }
}

#[test]
fn a_finished_job_is_purged_after_the_retention() {
    let clock = clock();
    let purged = expire(JobId::new(), clock)
        .set
        .get_datetime("purge_at")
        .copied()
        .ok();
    assert_eq!(purged, Some(to_bson(clock.now + clock.retention)));
}

#[test]
fn texts_from_outside_are_never_expressions() {
    for (name, transition) in every_transition() {
        for field in ["result", "error"] {
            // Of our own making; the literal is within.
            let value = transition
                .set
                .get(field)
                .filter(|value| **value != Bson::Null && **value != Bson::from(unless_nothing_happened()));
            let literal =
                value.is_none_or(|value| value.as_document().is_some_and(|d| d.contains_key("$literal")));
            assert!(literal, "{name} sets {field}");
        }
    }
}

#[test]
fn a_dispatcher_whose_clock_is_two_seconds_late_dispatches_all_the_same() {
    let (id, clock) = (JobId::new(), clock());
    let due = doc! { "$lte": to_bson(clock.now + SignedDuration::from_secs(2)) };
    let dispatch = dispatch(id, Holder::new(), LEASE, clock);
    assert_eq!(dispatch.filter.get("available_at"), Some(&Bson::from(due)));
}

#[test]
fn a_lease_is_extended_only_by_its_holder() {
    let (filter, update) = extend_lease(JobId::new(), 7, LEASE, clock());
    assert_eq!(filter.get("attempt"), Some(&Bson::from(7_u32)));
    assert!(
        update
            .get_document("$max")
            .is_ok_and(|max| max.contains_key("lease_until"))
    );
}

#[test]
fn only_the_holder_takes_a_job_again_and_only_within_the_same_state_and_attempt() {
    let (id, holder) = (JobId::new(), Holder::new());
    let taken = claim(id, 7, holder, None, LEASE, clock());
    let (filter, update) = take_again(id, JobState::Running, Some(7), holder, LEASE, clock());
    let expected = doc! {
        "_id": id::to_bson(id),
        "state": "running",
        "holder": taken.set.get("holder").cloned().unwrap_or_default(),
        "attempt": 7_u32,
    };
    assert_eq!(filter, expected);
    assert_eq!(
        update.keys().collect::<Vec<_>>(),
        ["$max"],
        "nothing but the lease changes"
    );
}

#[test]
fn a_try_is_counted_by_its_claim_and_given_back_only_by_a_postponement() {
    for (name, transition) in every_transition() {
        let counts = transition.set.get("tries").map(ToString::to_string);
        match name {
            "claim" => assert!(counts.is_some_and(|tries| tries.contains("$add")), "{name}"),
            "postpone" | "postpone_uncalled" => {
                assert!(counts.is_some_and(|tries| tries.contains("$subtract")), "{name}");
            }
            _ => assert_eq!(counts, None, "{name}"),
        }
    }
}

#[test]
fn an_attempt_is_remembered_by_whatever_ends_it_and_by_nothing_else() {
    for (name, transition) in every_transition() {
        let ends = states_before(&transition).contains(&JobState::Running);
        assert_eq!(transition.set.contains_key("trail.attempts"), ends, "{name}");
    }
}

#[test]
fn only_the_last_attempts_are_remembered() {
    let kept = succeed(JobId::new(), 7, "1".to_owned(), clock()).set;
    let kept = kept
        .get_document("trail.attempts")
        .and_then(|slice| slice.get_array("$slice"))
        .cloned();
    assert_eq!(kept.unwrap_or_default().last(), Some(&Bson::from(-10)));
}

#[test]
fn a_client_cancels_by_itself_only_what_no_worker_has() {
    let (id, clock) = (JobId::new(), clock());
    let before = states_before(&cancel("acme", id, clock));
    assert_eq!(before, [JobState::Queued, JobState::Dispatched]);
    let (filter, update) = request_cancellation("acme", id, clock);
    assert_eq!(filter.get_str("state").ok(), Some("running"));
    assert_eq!(filter.get_str("client_id").ok(), Some("acme"));
    assert_eq!(update.keys().collect::<Vec<_>>(), ["$min"], "it is no transition");
}

#[test]
fn a_running_job_is_cancelled_only_on_request_and_while_flickr_surely_did_not_act() {
    let filter = abandon(JobId::new(), 7, clock()).filter;
    assert_eq!(
        filter.get("trail.cancel_requested_at"),
        Some(&Bson::from(doc! { "$type": "date" }))
    );
    assert_eq!(filter.get("trail.sent_by"), Some(&Bson::Null));
}

#[test]
fn a_job_whose_client_wants_it_cancelled_is_not_tried_again_unless_flickr_may_have_its_photo() {
    let guard = may_be_tried_again();
    for (name, transition) in every_transition() {
        let guarded = transition.filter.get("$or") == guard.get("$or");
        let again = ["retry", "postpone", "postpone_uncalled", "requeue_overdue"].contains(&name);
        assert_eq!(guarded, again, "{name}");
    }
}

#[test]
fn a_job_that_ends_without_another_attempt_says_whether_flickr_may_have_its_photo() {
    for (name, transition) in every_transition() {
        let says = transition.set.get("error") == Some(&Bson::from(unless_nothing_happened()));
        assert_eq!(says, ["expire", "cancel"].contains(&name), "{name}");
    }
}

#[test]
fn whatever_starts_or_queues_a_job_is_refused_once_its_time_is_over() {
    for (name, transition) in every_transition() {
        if matches!(state_after(&transition), JobState::Dispatched | JobState::Running) {
            let guard = Bson::from(doc! { "$gt": to_bson(clock().now) });
            assert_eq!(transition.filter.get("expires_at"), Some(&guard), "{name}");
        }
    }
}

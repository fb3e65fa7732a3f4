//! What the lanes are meant to do, in plain Rust: the scripts in Redis must agree with this in every history.
//!
//! There is no clock: a reservation, a delay, a lease or the want of room either is over by the next release, or never.

use std::collections::{BTreeMap, BTreeSet};

use flickrhub_job::lane::{AdmissionLimits, HEAVIEST, LaneDepth, LaneEntry, Released};
use flickrhub_job::model::{JobId, Priority};
use flickrhub_job::queue::Queue;

use crate::turns::{Account, Lane, Turns};

/// The answer to a job that asks for a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Admitted,
    UserBusy(u64),
    QueueFull,
}

/// Where a job is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Admitted, not pushed.
    Reserved { lapses: bool },
    /// In its lane.
    Lane,
    /// Waits for its next attempt.
    Delayed { due: bool },
    /// In the window.
    Window { runs_out: bool },
}

/// When a release may give more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum NextDue {
    /// At once: it gave as many jobs as were asked for.
    Now,
    /// By the next release.
    Soon,
    /// In an hour.
    Late,
    /// When somebody wakes a dispatcher.
    Never,
}

impl NextDue {
    const fn by(is_soon: bool) -> Self {
        if is_soon { Self::Soon } else { Self::Late }
    }
}

/// So many requests may be under way; without room, whether there is some by the next release.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limit {
    pub(crate) requests: u64,
    pub(crate) soon: bool,
}

/// The jobs that wait in a lane, and the accounts of its priorities.
#[derive(Clone, Debug, Default)]
struct Waiting {
    jobs: BTreeSet<(Priority, i64, u32, JobId)>,
    account: Account,
}

/// The lanes of every queue.
#[derive(Clone, Debug, Default)]
pub(crate) struct Oracle {
    jobs: BTreeMap<JobId, (LaneEntry, Place)>,
    waiting: BTreeMap<(Queue, Lane), Waiting>,
    turns: BTreeMap<Queue, Turns>,
    apps: BTreeMap<String, Limit>,
    users: BTreeMap<Lane, Limit>,
}

fn lane_of(entry: &LaneEntry) -> Lane {
    (entry.app.clone(), entry.user_id.clone())
}

fn order(entry: &LaneEntry) -> (Priority, i64, u32, JobId) {
    let accepted = entry.created_at.as_millisecond();
    (entry.priority, accepted, entry.weight, entry.job_id)
}

impl Oracle {
    pub(crate) fn admit(&mut self, entry: &LaneEntry, limits: AdmissionLimits, lapses: bool) -> Verdict {
        let of_user = self.count(|other, _| other.user_id == entry.user_id);
        let of_queue = self.count(|other, _| other.queue == entry.queue);
        if self.jobs.contains_key(&entry.job_id) {
            Verdict::Admitted
        } else if of_user >= u64::from(limits.pending_per_user) {
            Verdict::UserBusy(of_user)
        } else if of_queue >= u64::from(limits.buffer) {
            Verdict::QueueFull
        } else {
            self.move_to(entry, Place::Reserved { lapses });
            Verdict::Admitted
        }
    }

    pub(crate) fn push(&mut self, entry: &LaneEntry) {
        if !matches!(
            self.place(entry.job_id),
            Some(Place::Delayed { .. } | Place::Window { .. })
        ) {
            self.enter_lane(entry);
        }
    }

    pub(crate) fn requeue(&mut self, entry: &LaneEntry) {
        self.enter_lane(entry);
    }

    pub(crate) fn push_delayed(&mut self, entry: &LaneEntry, due: bool) {
        self.move_to(entry, Place::Delayed { due });
    }

    pub(crate) fn hold(&mut self, entry: &LaneEntry, runs_out: bool) {
        if matches!(self.place(entry.job_id), None | Some(Place::Reserved { .. })) {
            self.move_to(entry, Place::Window { runs_out });
        }
    }

    pub(crate) fn extend(&mut self, entry: &LaneEntry, runs_out: bool) -> bool {
        let is_held = matches!(self.place(entry.job_id), Some(Place::Window { .. }));
        if is_held {
            self.move_to(entry, Place::Window { runs_out });
        }
        is_held
    }

    pub(crate) fn done(&mut self, entry: &LaneEntry) {
        self.leave_lane(entry);
        self.jobs.remove(&entry.job_id);
    }

    pub(crate) fn limit_app(&mut self, app: &str, limit: Option<Limit>) {
        set(&mut self.apps, app.to_owned(), limit);
    }

    pub(crate) fn limit_user(&mut self, app: &str, user: &str, limit: Option<Limit>) {
        set(&mut self.users, (app.to_owned(), user.to_owned()), limit);
    }

    pub(crate) fn release(
        &mut self,
        queue: Queue,
        max: usize,
        window: u32,
        runs_out: bool,
    ) -> (Vec<Released>, NextDue) {
        self.bring_back(queue);
        let held = self.count(|entry, place| entry.queue == queue && matches!(place, Place::Window { .. }));
        let max_of_window = usize::try_from(u64::from(window).saturating_sub(held)).unwrap();
        let mut in_apps = self.window_of_apps();
        let mut of_users = self.window_of_users();
        let mut turns = self.turns.remove(&queue).unwrap_or_default();
        for app in turns.apps() {
            if self.app_room(&app, &in_apps) > 0 {
                turns.catch_up(&app);
            }
        }
        let mut released = Vec::new();
        while released.len() < max.min(max_of_window) {
            let Some(lane) = turns.next(|app| self.app_room(app, &in_apps) > 0) else {
                break;
            };
            if self.user_room(&lane, &of_users) == 0 {
                turns.park(&lane, self.users[&lane].soon);
                continue;
            }
            let waiting = self.waiting.get_mut(&(queue, lane.clone())).unwrap();
            let (job_id, weight) = waiting.take_next();
            turns.serve(&lane, weight);
            *in_apps.entry(lane.0.clone()).or_default() += 1;
            *of_users.entry(lane.1.clone()).or_default() += 1;
            if waiting.jobs.is_empty() {
                self.waiting.remove(&(queue, lane.clone()));
                turns.close(&lane);
            }
            let (app, user_id) = lane;
            if let Some((_, place)) = self.jobs.get_mut(&job_id) {
                *place = Place::Window { runs_out };
            }
            released.push(Released { job_id, app, user_id });
        }
        turns.forget_passes();
        let due = if max > 0 && released.len() == max {
            NextDue::Now
        } else {
            self.next_due(queue, &turns, &in_apps)
        };
        self.turns.insert(queue, turns);
        (released, due)
    }

    pub(crate) fn depth(&self, queue: Queue) -> LaneDepth {
        let count =
            |wanted: fn(Place) -> bool| self.count(|entry, place| entry.queue == queue && wanted(place));
        let mut users: BTreeMap<String, u64> = BTreeMap::new();
        for ((_, (_, user)), waiting) in self.waiting.iter().filter(|((of, _), _)| *of == queue) {
            *users.entry(user.clone()).or_default() += waiting.jobs.len() as u64;
        }
        let mut heaviest: Vec<_> = users.into_iter().collect();
        heaviest.sort_by(|(user_a, a), (user_b, b)| (b, user_b).cmp(&(a, user_a)));
        heaviest.truncate(HEAVIEST);
        LaneDepth {
            queued: count(|place| place == Place::Lane),
            delayed: count(|place| matches!(place, Place::Delayed { .. })),
            inflight: count(|place| matches!(place, Place::Window { .. })),
            reserved: count(|place| matches!(place, Place::Reserved { .. })),
            parked: self.turns.get(&queue).map_or(0, Turns::parked),
            heaviest,
        }
    }

    /// The jobs in the window by application, over all queues.
    pub(crate) fn window_of_apps(&self) -> BTreeMap<String, u64> {
        self.window_by(|entry| entry.app.clone())
    }

    /// The jobs in the window by user, over all queues and applications.
    pub(crate) fn window_of_users(&self) -> BTreeMap<String, u64> {
        self.window_by(|entry| entry.user_id.clone())
    }

    fn window_by(&self, name: impl Fn(&LaneEntry) -> String) -> BTreeMap<String, u64> {
        let mut counts = BTreeMap::new();
        for (entry, place) in self.jobs.values() {
            if matches!(place, Place::Window { .. }) {
                *counts.entry(name(entry)).or_default() += 1;
            }
        }
        counts
    }

    fn app_room(&self, app: &str, window: &BTreeMap<String, u64>) -> u64 {
        room(self.apps.get(app), window.get(app))
    }

    fn user_room(&self, lane: &Lane, window: &BTreeMap<String, u64>) -> u64 {
        room(self.users.get(lane), window.get(&lane.1))
    }

    fn next_due(&self, queue: Queue, turns: &Turns, in_apps: &BTreeMap<String, u64>) -> NextDue {
        let of_places = self.jobs.values().filter_map(|(entry, place)| match place {
            Place::Delayed { due: soon } | Place::Window { runs_out: soon } if entry.queue == queue => {
                Some(*soon)
            }
            _ => None,
        });
        let of_apps = turns.apps().into_iter().filter_map(|app| {
            let waits = turns.has_open(&app) && self.app_room(&app, in_apps) == 0;
            waits.then(|| self.apps[&app].soon)
        });
        of_places
            .chain(of_apps)
            .chain(turns.parked_until())
            .map(NextDue::by)
            .min()
            .unwrap_or(NextDue::Never)
    }

    fn place(&self, job: JobId) -> Option<Place> {
        self.jobs.get(&job).map(|(_, place)| *place)
    }

    fn count(&self, wanted: impl Fn(&LaneEntry, Place) -> bool) -> u64 {
        self.jobs
            .values()
            .filter(|(entry, place)| wanted(entry, *place))
            .count() as u64
    }

    fn move_to(&mut self, entry: &LaneEntry, place: Place) {
        self.leave_lane(entry);
        self.jobs.insert(entry.job_id, (entry.clone(), place));
    }

    fn enter_lane(&mut self, entry: &LaneEntry) {
        self.jobs.insert(entry.job_id, (entry.clone(), Place::Lane));
        let lane = lane_of(entry);
        let waiting = self.waiting.entry((entry.queue, lane.clone())).or_default();
        waiting.jobs.insert(order(entry));
        self.turns.entry(entry.queue).or_default().open(&lane);
    }

    fn leave_lane(&mut self, entry: &LaneEntry) {
        let lane = lane_of(entry);
        let key = (entry.queue, lane);
        if let Some(waiting) = self.waiting.get_mut(&key) {
            waiting.jobs.remove(&order(entry));
            if waiting.jobs.is_empty() {
                self.waiting.remove(&key);
                self.turns.entry(entry.queue).or_default().close(&key.1);
            }
        }
    }

    /// Undoes what ran out. The order does not matter: a lane that opens begins where it would without the others.
    fn bring_back(&mut self, queue: Queue) {
        let of_queue: Vec<_> = self
            .jobs
            .values()
            .filter(|(entry, place)| entry.queue == queue && *place != Place::Lane)
            .cloned()
            .collect();
        for (entry, place) in of_queue {
            match place {
                Place::Delayed { due: true } | Place::Window { runs_out: true } => self.enter_lane(&entry),
                Place::Reserved { lapses: true } => self.done(&entry),
                Place::Reserved { .. } | Place::Lane | Place::Delayed { .. } | Place::Window { .. } => {}
            }
        }
        self.turns.entry(queue).or_default().unpark();
    }
}

impl Waiting {
    /// Takes out the job that is next; the job and the weight that the lane had with it.
    fn take_next(&mut self) -> (JobId, u32) {
        let waiting: BTreeSet<Priority> = self.jobs.iter().map(|(priority, ..)| *priority).collect();
        let newest = self
            .jobs
            .iter()
            .map(|(_, accepted, weight, _)| (accepted, weight));
        let weight = *newest.max().unwrap().1;
        let priority = self.account.choose(&waiting);
        let next = *self.jobs.iter().find(|(other, ..)| *other == priority).unwrap();
        self.jobs.remove(&next);
        (next.3, weight)
    }
}

fn room(limit: Option<&Limit>, used: Option<&u64>) -> u64 {
    limit.map_or(u64::MAX, |limit| {
        limit.requests.saturating_sub(used.copied().unwrap_or(0))
    })
}

fn set<K: Ord>(limits: &mut BTreeMap<K, Limit>, key: K, limit: Option<Limit>) {
    match limit {
        Some(limit) => limits.insert(key, limit),
        None => limits.remove(&key),
    };
}

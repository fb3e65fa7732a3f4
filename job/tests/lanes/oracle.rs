//! What the lanes are meant to do, in plain Rust: the scripts in Redis must agree with this in every history.
//!
//! There is no clock: a reservation, a delay or a lease either has run out by the next release, or never does.

use std::collections::BTreeMap;

use flickrhub_job::lane::{AdmissionLimits, HEAVIEST, LaneDepth, LaneEntry, Released};
use flickrhub_job::model::{JobId, Priority};
use flickrhub_job::queue::Queue;

/// What one release adds to the pass of a lane.
const STRIDE: u64 = 10_000;

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

/// The turns of one queue.
#[derive(Clone, Debug, Default)]
struct Turns {
    virtual_time: u64,
    /// Passes of the lanes that hold jobs.
    open: BTreeMap<String, u64>,
    /// Passes of the lanes that held jobs, where they are ahead of the virtual time.
    closed: BTreeMap<String, u64>,
}

/// The lanes of every queue.
#[derive(Clone, Debug, Default)]
pub(crate) struct Oracle {
    jobs: BTreeMap<JobId, (LaneEntry, Place)>,
    turns: BTreeMap<Queue, Turns>,
}

impl Oracle {
    #[expect(clippy::map_entry, reason = "the order of the questions is what is tested")]
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
            let place = Place::Reserved { lapses };
            self.jobs.insert(entry.job_id, (entry.clone(), place));
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
        self.jobs.remove(&entry.job_id);
        self.close_if_empty(entry.queue, &entry.user_id);
    }

    pub(crate) fn release(&mut self, queue: Queue, max: usize, window: u32, runs_out: bool) -> Vec<Released> {
        self.bring_back(queue);
        let held = self.count(|entry, place| entry.queue == queue && matches!(place, Place::Window { .. }));
        let room = u64::from(window).saturating_sub(held);
        let mut released = Vec::new();
        while released.len() < max && (released.len() as u64) < room {
            let Some((user_id, pass)) = self.next_lane(queue) else {
                break;
            };
            let Some(entry) = self.first_of_lane(queue, &user_id) else {
                break;
            };
            let turns = self.turns.entry(queue).or_default();
            turns.virtual_time = turns.virtual_time.max(pass);
            turns.open.insert(user_id.clone(), pass + STRIDE);
            self.move_to(&entry, Place::Window { runs_out });
            let job_id = entry.job_id;
            released.push(Released { job_id, user_id });
        }
        self.forget_passes(queue);
        released
    }

    pub(crate) fn depth(&self, queue: Queue) -> LaneDepth {
        let count =
            |wanted: fn(Place) -> bool| self.count(|entry, place| entry.queue == queue && wanted(place));
        let mut heaviest: Vec<(String, u64)> = Vec::new();
        for user in self
            .turns
            .get(&queue)
            .into_iter()
            .flat_map(|turns| turns.open.keys())
        {
            heaviest.push((user.clone(), self.lane_length(queue, user)));
        }
        heaviest.sort_by(|(user_a, a), (user_b, b)| (b, user_b).cmp(&(a, user_a)));
        heaviest.truncate(HEAVIEST);
        LaneDepth {
            queued: count(|place| place == Place::Lane),
            delayed: count(|place| matches!(place, Place::Delayed { .. })),
            inflight: count(|place| matches!(place, Place::Window { .. })),
            reserved: count(|place| matches!(place, Place::Reserved { .. })),
            heaviest,
        }
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

    fn lane_length(&self, queue: Queue, user: &str) -> u64 {
        self.count(|entry, place| entry.queue == queue && entry.user_id == user && place == Place::Lane)
    }

    fn move_to(&mut self, entry: &LaneEntry, place: Place) {
        self.jobs.insert(entry.job_id, (entry.clone(), place));
        self.close_if_empty(entry.queue, &entry.user_id);
    }

    fn enter_lane(&mut self, entry: &LaneEntry) {
        self.jobs.insert(entry.job_id, (entry.clone(), Place::Lane));
        let turns = self.turns.entry(entry.queue).or_default();
        if !turns.open.contains_key(&entry.user_id) {
            let stopped_at = turns.closed.remove(&entry.user_id).unwrap_or(0);
            turns
                .open
                .insert(entry.user_id.clone(), turns.virtual_time.max(stopped_at));
        }
    }

    fn close_if_empty(&mut self, queue: Queue, user: &str) {
        if self.lane_length(queue, user) > 0 {
            return;
        }
        let turns = self.turns.entry(queue).or_default();
        if let Some(pass) = turns.open.remove(user) {
            turns.closed.insert(user.to_owned(), pass);
        }
    }

    /// Undoes what ran out.
    fn bring_back(&mut self, queue: Queue) {
        let of_queue: Vec<_> = self
            .jobs
            .values()
            .filter(|(entry, _)| entry.queue == queue)
            .cloned()
            .collect();
        for (entry, place) in of_queue {
            match place {
                Place::Delayed { due: true } | Place::Window { runs_out: true } => self.enter_lane(&entry),
                Place::Reserved { lapses: true } => self.done(&entry),
                Place::Reserved { .. } | Place::Lane | Place::Delayed { .. } | Place::Window { .. } => {}
            }
        }
    }

    fn next_lane(&self, queue: Queue) -> Option<(String, u64)> {
        let open = &self.turns.get(&queue)?.open;
        open.iter()
            .min_by_key(|(user, pass)| (**pass, *user))
            .map(|(user, pass)| (user.clone(), *pass))
    }

    fn first_of_lane(&self, queue: Queue, user: &str) -> Option<LaneEntry> {
        let in_lane = |(entry, place): &&(LaneEntry, Place)| {
            entry.queue == queue && entry.user_id == user && *place == Place::Lane
        };
        self.jobs
            .values()
            .filter(in_lane)
            .map(|(entry, _)| entry)
            .min_by_key(|entry| order(entry))
            .cloned()
    }

    fn forget_passes(&mut self, queue: Queue) {
        let turns = self.turns.entry(queue).or_default();
        if turns.open.is_empty() {
            let last = turns.closed.values().max().copied().unwrap_or(0);
            turns.virtual_time = turns.virtual_time.max(last);
        }
        turns.closed.retain(|_, pass| *pass > turns.virtual_time);
    }
}

fn order(entry: &LaneEntry) -> (Priority, i64, JobId) {
    (entry.priority, entry.created_at.as_millisecond(), entry.job_id)
}

//! Whose turn it is, in plain Rust: stride scheduling among lanes, and round-robin among the priorities of one.

use std::collections::{BTreeMap, BTreeSet};

use flickrhub_job::model::Priority;

/// What one release adds to the pass of a lane of weight 1.
const STRIDE: i64 = 1_000_000;

/// An application and a user.
pub(crate) type Lane = (String, String);

/// The turns of one queue.
#[derive(Clone, Debug, Default)]
pub(crate) struct Turns {
    virtual_time: i64,
    /// What the passes of each application are behind by.
    shifts: BTreeMap<String, i64>,
    /// Passes of the lanes that hold jobs and are not parked.
    open: BTreeMap<Lane, i64>,
    /// Lanes whose user has no room, and whether it has some by the next release.
    parked: BTreeMap<Lane, bool>,
    /// Passes of lanes that are not open, where they are ahead of the virtual time.
    closed: BTreeMap<Lane, i64>,
}

impl Turns {
    pub(crate) fn apps(&self) -> Vec<String> {
        self.shifts.keys().cloned().collect()
    }

    pub(crate) fn has_open(&self, app: &str) -> bool {
        self.first(app).is_some()
    }

    pub(crate) fn parked(&self) -> u64 {
        self.parked.len() as u64
    }

    pub(crate) fn parked_until(&self) -> impl Iterator<Item = bool> {
        self.parked.values().copied()
    }

    /// An application that was left behind goes on where the others are.
    pub(crate) fn catch_up(&mut self, app: &str) {
        if let Some((pass, _)) = self.first(app)
            && let Some(shift) = self.shifts.get_mut(app)
        {
            *shift = (*shift).max(self.virtual_time - pass);
        }
    }

    /// The lane with the least pass of the applications that have room.
    pub(crate) fn next(&self, has_room: impl Fn(&str) -> bool) -> Option<Lane> {
        self.open
            .iter()
            .filter(|((app, _), _)| has_room(app))
            .min_by_key(|(lane, pass)| (**pass + self.shifts[&lane.0], (*lane).clone()))
            .map(|(lane, _)| lane.clone())
    }

    pub(crate) fn serve(&mut self, lane: &Lane, weight: u32) {
        let pass = self.open.get_mut(lane).unwrap();
        self.virtual_time = self.virtual_time.max(*pass + self.shifts[&lane.0]);
        let weight = i64::from(weight);
        *pass += (2 * STRIDE + weight) / (2 * weight);
    }

    pub(crate) fn open(&mut self, lane: &Lane) {
        if self.parked.contains_key(lane) || self.open.contains_key(lane) {
            return;
        }
        self.shifts.entry(lane.0.clone()).or_default();
        let pass = self.clock(&lane.0).max(self.closed.remove(lane).unwrap_or(0));
        self.open.insert(lane.clone(), pass);
    }

    pub(crate) fn close(&mut self, lane: &Lane) {
        self.parked.remove(lane);
        if let Some(pass) = self.open.remove(lane) {
            self.closed.insert(lane.clone(), pass);
        }
    }

    pub(crate) fn park(&mut self, lane: &Lane, soon: bool) {
        self.close(lane);
        self.parked.insert(lane.clone(), soon);
    }

    pub(crate) fn unpark(&mut self) {
        let due: Vec<Lane> = self
            .parked
            .iter()
            .filter(|(_, soon)| **soon)
            .map(|(lane, _)| lane.clone())
            .collect();
        for lane in due {
            self.parked.remove(&lane);
            self.open(&lane);
        }
    }

    pub(crate) fn forget_passes(&mut self) {
        if self.open.is_empty() && self.parked.is_empty() {
            *self = Self::default();
            return;
        }
        let clocks: BTreeMap<String, i64> = self
            .apps()
            .into_iter()
            .map(|app| (app.clone(), self.clock(&app)))
            .collect();
        self.closed.retain(|(app, _), pass| *pass > clocks[app]);
    }

    /// Where a lane that opens begins.
    fn clock(&self, app: &str) -> i64 {
        let clock = self.virtual_time - self.shifts[app];
        self.first(app).map_or(clock, |(pass, _)| clock.min(pass))
    }

    fn first(&self, app: &str) -> Option<(i64, &str)> {
        self.open
            .iter()
            .filter(|((of, _), _)| of == app)
            .map(|((_, user), pass)| (*pass, user.as_str()))
            .min()
    }
}

/// The accounts of the priorities of a lane: high, normal, low.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Account([i64; 3]);

impl Account {
    /// Whose turn it is among those that wait (at least one), by smooth weighted round-robin.
    pub(crate) fn choose(&mut self, waiting: &BTreeSet<Priority>) -> Priority {
        let turns = [(Priority::High, 6), (Priority::Normal, 3), (Priority::Low, 1)];
        if let Some(only) = waiting.first()
            && waiting.len() == 1
        {
            return *only;
        }
        let mut all = 0;
        let mut richest: Option<usize> = None;
        for (n, (priority, turns)) in turns.iter().enumerate() {
            if waiting.contains(priority) {
                all += turns;
                self.0[n] += turns;
                if richest.is_none_or(|richest| self.0[n] > self.0[richest]) {
                    richest = Some(n);
                }
            }
        }
        let richest = richest.unwrap();
        self.0[richest] -= all;
        turns[richest].0
    }

    pub(crate) fn balances(self) -> [i64; 3] {
        self.0
    }
}

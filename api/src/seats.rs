//! Places for requests that last: so many in this process, and so many of one client, so that one client cannot take all.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A number of places; clones share them.
#[derive(Clone, Debug)]
pub struct Seats(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    total: usize,
    per_client: usize,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    total: usize,
    by_client: HashMap<String, usize>,
}

/// A place, until it is dropped.
#[derive(Debug)]
pub struct Seat {
    seats: Seats,
    client_id: String,
}

impl Seats {
    /// `total` places, of which one client has at most `per_client`.
    pub fn new(total: usize, per_client: usize) -> Self {
        Self(Arc::new(Shared {
            total,
            per_client,
            taken: Mutex::default(),
        }))
    }

    /// A place for a request of the client, if there is one.
    pub fn take(&self, client_id: &str) -> Option<Seat> {
        let mut taken = self.taken();
        let own = taken.by_client.get(client_id).copied().unwrap_or(0);
        if taken.total >= self.0.total || own >= self.0.per_client {
            return None;
        }
        taken.total += 1;
        taken.by_client.insert(client_id.to_owned(), own + 1);
        Some(Seat {
            seats: self.clone(),
            client_id: client_id.to_owned(),
        })
    }

    /// Counts are whole at any time, also when somebody panicked.
    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.0.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = self.seats.taken();
        taken.total = taken.total.saturating_sub(1);
        if let Entry::Occupied(mut own) = taken.by_client.entry(std::mem::take(&mut self.client_id)) {
            *own.get_mut() -= 1;
            if *own.get() == 0 {
                own.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_has_only_its_share_and_all_together_only_the_total() {
        let seats = Seats::new(3, 2);
        let held: Vec<_> = ["a", "a", "b"].iter().map(|client| seats.take(client)).collect();
        assert!(held.iter().all(Option::is_some));
        assert!(seats.take("a").is_none());
        assert!(seats.take("c").is_none(), "all are taken");
        drop(held);
        assert!(seats.take("c").is_some());
    }

    #[test]
    fn a_client_without_a_place_is_forgotten() {
        let seats = Seats::new(3, 2);
        let (one, two) = (seats.take("a"), seats.take("a"));
        drop(one);
        assert_eq!(seats.taken().by_client.len(), 1);
        drop(two);
        let taken = seats.taken();
        assert_eq!((taken.by_client.len(), taken.total), (0, 0));
    }
}

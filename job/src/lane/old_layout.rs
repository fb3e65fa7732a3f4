//! What an earlier version left in Redis.

use super::lanes::{LaneError, Lanes};
use crate::queue::Queue;

/// Keys that one call looks at, so that none blocks Redis for long.
const SCAN: usize = 1000;

/// The first parts of the names of layout 1, whose names had no number.
const FIRST: [&str; 13] = [
    "pending", "jobs", "entries", "reserved", "lane", "delayed", "inflight", "lanes", "sizes", "passes",
    "vtime", "released", "wake",
];

/// Whether a key (without the prefix) belongs to layout 1.
fn is_old(name: &str) -> bool {
    name.split_once(':')
        .is_some_and(|(kind, _)| FIRST.contains(&kind))
}

impl Lanes {
    /// Deletes the lanes of an earlier layout, if there are any, a bounded number of keys at a time; how many there were.
    ///
    /// Processes of the earlier version that are still running make them anew: ask again from time to time. What they
    /// hold is in MongoDB, and so in the lanes of this layout once those were rebuilt or reconciled.
    ///
    /// # Errors
    /// When Redis fails; the next call goes on.
    pub async fn delete_old_layouts(&self) -> Result<usize, LaneError> {
        let (redis, prefix) = self.redis_and_prefix();
        let mut marks = vec![format!("{prefix}generation")];
        marks.extend(Queue::ALL.map(|queue| format!("{prefix}jobs:{queue}")));
        if redis.run::<u32>(redis::cmd("EXISTS").arg(&marks)).await? == 0 {
            return Ok(0);
        }
        let (mut cursor, mut deleted) = (0_u64, 0);
        loop {
            let mut scan = redis::cmd("SCAN");
            scan.arg(cursor)
                .arg("MATCH")
                .arg(format!("{prefix}*"))
                .arg("COUNT")
                .arg(SCAN);
            let (next, keys): (u64, Vec<Vec<u8>>) = redis.run(&scan).await?;
            let old: Vec<_> = keys
                .iter()
                .filter_map(|key| std::str::from_utf8(key).ok())
                .filter(|key| key.strip_prefix(prefix).is_some_and(is_old))
                .filter(|key| !marks.iter().any(|mark| mark == key))
                .collect();
            if !old.is_empty() {
                deleted += redis.run::<usize>(redis::cmd("UNLINK").arg(&old)).await?;
            }
            cursor = next;
            if cursor == 0 {
                break;
            }
        }
        // Last, so that a deletion that was interrupted begins again.
        deleted += redis.run::<usize>(redis::cmd("UNLINK").arg(&marks)).await?;
        Ok(deleted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_keys_of_the_first_layout_are_old() {
        for name in ["lane:flickr_rest:z", "jobs:flickr_rest", "pending:a:b"] {
            assert!(is_old(name), "{name}");
        }
        for name in [
            "2:generation",
            "2:lane:flickr_rest:main:z",
            "turn:reconcile",
            "lanes",
            "budget:app:main",
        ] {
            assert!(!is_old(name), "{name}");
        }
    }
}

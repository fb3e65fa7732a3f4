//! An exact sliding log of events in Redis, the base of every limit "so many in any hour".
//!
//! A counter per calendar hour lets twice its limit through around the turn of the hour, and an interpolation between two
//! of them is right only for events that come evenly. A log of every event is exact. It costs two bytes an event as a
//! rule, because it holds the distance from one event to the next in milliseconds, and up to a quarter more of room; a sorted
//! set takes about a hundred.
//!
//! So what a log takes grows with its events: 3,500 within the hour take 7,000 bytes and the room, 7 to 10 KiB in Redis,
//! however they are spread. That is little where most users are far below their limit, and it is the price of being exact:
//! 3,500 times of an hour, to the millisecond, hold 5 KB of information. Counts of coarse spans of time would fit into 2 KB,
//! and would let nothing more through; but they refuse what the limit allows at the edge of each span, and the times at
//! which there is room again are no longer exact.
//!
//! [`SCRIPT`] is the part of a Lua script that reads and writes such logs:
//!
//! | function | does | costs |
//! | --- | --- | --- |
//! | `log_read(key, time, span)` | the log of the events since `time - span` | O(events that ended since) |
//! | `log_frees(log, n)` | when the `n`th oldest event is over | O(n) |
//! | `log_frees_of_all(logs, n)` | the same over several logs | O(n · logs) |
//! | `log_add(log, n)` | adds `n` events that happen now | O(n), amortised |
//! | `log_take_back(log, time)` | takes the newest event out again if it happened at `time` | O(1) |
//!
//! Reading writes nothing, so a script that refuses leaves the log as it was. A log expires by itself `span` after its
//! newest event. When the clock of Redis goes back, events that come then count as if they came with the newest one:
//! too long rather than too short.
//!
//! After a failover that lost the last writes, or a flush, events are missing and more can be let through: who must not
//! exceed a limit then has to write the log again from MongoDB.

/// The Lua functions; to be put before a script that uses them, once.
pub const SCRIPT: &str = include_str!("sliding_log.lua");

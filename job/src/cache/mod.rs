//! Answers of Flickr, kept for a while in Redis so that the same question of the same user costs no request.
//!
//! # What is kept
//!
//! Only answers of methods that read ([`flickrhub_flickr::Method::is_read`] is what decides, at the callers), and only for
//! the user on whose behalf they were given: the [`CacheKey`] is a hash over user, method and arguments, so no answer
//! ever reaches another user, whatever clients share. For how long says the [`CachePolicy`], method by method.
//!
//! # Single flight
//!
//! Of several workers that miss the same answer at once, one leads: it holds the key's *flight*, calls Flickr and stores
//! the answer; the others wait for it. A flight is a lease. Should its holder die, the lease ends and another one leads.
//!
//! # Invalidation
//!
//! There is a *generation* for each user, for each method, and for each pair of them. An answer is stored under the
//! generations of the moment at which the call *began* and counts only while they are still the same. So an invalidation
//! is one write however much is cached, holds at once for every process, and holds too for the answer of a call that was
//! under way. The generations are random and live longer than any answer.
//!
//! # Keys
//!
//! | key | type | holds |
//! | --- | --- | --- |
//! | `cache:{hash}` | hash | `generation`, `stored`, `fresh` (ms since 1970), `body` (JSON text); expires by itself |
//! | `flight:{hash}` | text | who calls Flickr for this answer, for the lease |
//! | `generation:user:{user}`, `generation:method:{method}`, `generation:both:{user}\|{method}` | text | present generation; missing is one too |
//! | `cached` | sorted set | `hash:bytes` → when the answer is dropped, of every answer: what the bound on memory counts |
//! | `cached-bytes` | number | the sum of those bytes |
//!
//! # When a process dies, or Redis loses writes
//!
//! A lost answer is asked for again. A flight whose holder died ends with its lease. Redis flushed: nothing is cached and
//! no generation is left, which agree. A failover may lose the last writes of the old master: should an invalidation be
//! among them, the answers it was to end are given until they age out, which the time of freshness bounds.

mod answers;
mod key;
mod policy;

pub use answers::{AnswerCache, CacheError, Cached, Flight, Generation, Invalidation, Lookup};
pub use key::CacheKey;
pub use policy::{CacheConfig, CachePolicy, MethodTtl};

//! What surrounds every handler, from the outside in: draining, trace, audit log, problem, headers, CORS, panics, the body, waiting.

pub mod audit;
pub mod body;
pub mod cors;
pub mod draining;
pub mod headers;
pub mod panic;
pub mod problem;
pub mod time_limit;
pub mod trace;
mod unread;
pub mod wait;

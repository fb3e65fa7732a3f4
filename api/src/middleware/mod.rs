//! What surrounds every handler, from the outside in: trace, problem, headers, CORS, panics, waiting.

pub mod cors;
pub mod headers;
pub mod panic;
pub mod problem;
pub mod time_limit;
pub mod trace;
pub mod wait;

//! Extractors that answer with problems instead of plain text.

mod json;
mod media_type;
mod path;

pub use json::{JsonBody, parse_json};
pub use media_type::MediaType;
pub use path::PathParam;

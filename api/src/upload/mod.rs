//! A photo on its way from the client to the body store: streamed, counted, with bounded memory.
//!
//! A process that dies while it receives leaves pieces that belong to no file, or a file that belongs to no job; the
//! body store's cleanup finds both.

mod admission;
mod gate;
mod receive;

pub use admission::UploadAdmission;
pub use receive::{Received, StoredPhoto, check_headers, discard, receive};

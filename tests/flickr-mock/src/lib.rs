//! A stand-in for Flickr that checks what it is sent.
//!
//! It speaks Flickr's OAuth flow, part of its REST API, uploads, replacements and tickets; it
//! verifies every signature with code of its own, refuses a nonce that comes twice, and enforces
//! permissions. Under `/_mock/` it can be told to fail, and tells what it saw.
//!
//! | part | holds |
//! | --- | --- |
//! | [`MockFlickr`], [`MockHandle`] | starting a server, in a test's process or alone |
//! | `oauth`, `rest`, `upload` | what Flickr answers |
//! | `signature`, `nonce` | RFC 5849 verification |
//! | [`fault`] | failures on demand |
//! | `control`, `callback` | the API under `/_mock/` |

mod answer;
mod call;
mod callback;
mod catalog;
mod connection;
mod control;
pub mod fault;
mod journal;
mod nonce;
mod oauth;
mod pipeline;
mod rest;
mod server;
mod signature;
mod upload;
mod user;
mod world;

pub use catalog::Photo;
pub use journal::Entry;
pub use server::{Builder, MockFlickr, MockHandle};
pub use user::{MockUser, Permission};

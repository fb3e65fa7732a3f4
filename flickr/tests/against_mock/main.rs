//! The client against a stand-in for Flickr that verifies every signature with code of its own.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod calls;
mod faults;
mod fixture;
mod flow;
mod uploads;

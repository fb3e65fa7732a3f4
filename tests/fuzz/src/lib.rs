//! What strangers can send, thrown at the code that reads it.
//!
//! A target takes any bytes, makes of them what a stranger could send, and has it read. It panics when the code under test
//! does, or when what was read breaks a promise that the target states. `make fuzz` runs each target under libFuzzer, guided
//! by the coverage of our crates; the tests of this crate run what was found before (`corpus/`), and small changes of it.

#![forbid(unsafe_code)]
#![expect(clippy::panic, reason = "a target tells what it found by a panic")]

mod target;

/// Code that reads what strangers send.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name, and that of its folder in `corpus/`.
    pub name: &'static str,
    /// Has the bytes read.
    pub run: fn(&[u8]),
}

/// Every target.
pub const TARGETS: [Target; 8] = [
    Target {
        name: "signature_base",
        run: target::signature_base::run,
    },
    Target {
        name: "signature_fields",
        run: target::signature_fields::run,
    },
    Target {
        name: "oauth1_header",
        run: target::oauth1_header::run,
    },
    Target {
        name: "flickr_answer",
        run: target::flickr_answer::run,
    },
    Target {
        name: "envelope",
        run: target::envelope::run,
    },
    Target {
        name: "idempotency",
        run: target::idempotency::run,
    },
    Target {
        name: "cursor",
        run: target::cursor::run,
    },
    Target {
        name: "headers",
        run: target::headers::run,
    },
];

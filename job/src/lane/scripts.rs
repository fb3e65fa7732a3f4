//! The Lua scripts, each of which begins with the names of the keys.

use std::sync::LazyLock;

use redis::Script;

macro_rules! script {
    ($file:literal) => {
        LazyLock::new(|| Script::new(concat!(include_str!("keys.lua"), include_str!($file))))
    };
}

pub(super) static ADMIT: LazyLock<Script> = script!("admit.lua");
pub(super) static PUSH: LazyLock<Script> = script!("push.lua");
pub(super) static DELAY: LazyLock<Script> = script!("delay.lua");
pub(super) static HOLD: LazyLock<Script> = script!("hold.lua");
pub(super) static MISSING: LazyLock<Script> = script!("missing.lua");
pub(super) static RELEASE: LazyLock<Script> = script!("release.lua");
pub(super) static EXTEND: LazyLock<Script> = script!("extend.lua");
pub(super) static DONE: LazyLock<Script> = script!("done.lua");
pub(super) static DEPTH: LazyLock<Script> = script!("depth.lua");

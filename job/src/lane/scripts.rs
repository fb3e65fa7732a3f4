//! The Lua scripts, each of which begins with the names of the keys.

use std::sync::LazyLock;

use redis::Script;

macro_rules! script {
    ($($file:literal),+) => {
        LazyLock::new(|| Script::new(concat!(include_str!("keys.lua"), $(include_str!($file)),+)))
    };
}

pub(super) static ADMIT: LazyLock<Script> = script!("score.lua", "oldest.lua", "admit.lua");
pub(super) static PUSH: LazyLock<Script> = script!("push.lua");
pub(super) static DELAY: LazyLock<Script> = script!("delay.lua");
pub(super) static HOLD: LazyLock<Script> = script!("hold.lua");
pub(super) static MISSING: LazyLock<Script> = script!("missing.lua");
pub(super) static EXTEND: LazyLock<Script> = script!("extend.lua");
pub(super) static DONE: LazyLock<Script> = script!("done.lua");
pub(super) static DEPTH: LazyLock<Script> = script!("depth.lua");

/// What says how much room applications and users have: their budgets and circuits.
pub(super) const ROOM: &str = concat!(
    include_str!("../sliding_log/sliding_log.lua"),
    include_str!("../budget/budget.lua")
);

/// The release, with what says how much room there is.
pub(super) fn release(room: &str) -> Script {
    let [keys, score, choose, release] = [
        include_str!("keys.lua"),
        include_str!("score.lua"),
        include_str!("choose.lua"),
        include_str!("release.lua"),
    ];
    Script::new(&[keys, room, score, choose, release].concat())
}

#[cfg(test)]
mod tests {
    use super::super::lanes::LAYOUT;

    #[test]
    fn the_scripts_write_in_the_layout_that_is_waited_for() {
        let line = format!("local LANES_PREFIX = PREFIX .. '{LAYOUT}:'");
        assert!(include_str!("keys.lua").contains(&line));
    }
}

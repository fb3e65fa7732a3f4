//! The Lua scripts, each of which begins with the names of the keys.

use std::sync::LazyLock;

use redis::Script;

macro_rules! script {
    ($($file:literal),+) => {
        LazyLock::new(|| Script::new(concat!(include_str!("keys.lua"), $(include_str!($file)),+)))
    };
}

pub(super) static ADMIT: LazyLock<Script> = script!(
    "score.lua",
    "oldest.lua",
    "../sliding_log/sliding_log.lua",
    "windows.lua",
    "admit.lua"
);
pub(super) static GIVE_BACK: LazyLock<Script> = script!(
    "../sliding_log/sliding_log.lua",
    "windows.lua",
    "give_back.lua",
    "done.lua"
);
pub(super) static PUSH: LazyLock<Script> = script!("push.lua");
pub(super) static DELAY: LazyLock<Script> = script!("delay.lua");
pub(super) static HOLD: LazyLock<Script> = script!("hold.lua");
pub(super) static MISSING: LazyLock<Script> = script!("missing.lua");
pub(super) static EXTEND: LazyLock<Script> = script!("extend.lua");
pub(super) static DONE: LazyLock<Script> = script!("done.lua");
pub(super) static DEPTH: LazyLock<Script> = script!("depth.lua");
pub(super) static BACKLOG: LazyLock<Script> = script!("backlog.lua");

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

/// The number of arguments of an admission, with the time that a test adds.
#[cfg(test)]
pub(super) const CLOCKED_ARGUMENTS: usize = 18;

/// Admissions one after the other, each by a clock of its own, in ms: the last of its arguments. Places are given up at
/// once, so that only windows refuse.
#[cfg(test)]
pub(super) fn admit_by_clock() -> Script {
    Script::new(concat!(
        "local function admit(ARGV)\n",
        include_str!("keys.lua"),
        include_str!("score.lua"),
        include_str!("oldest.lua"),
        include_str!("../sliding_log/sliding_log.lua"),
        include_str!("windows.lua"),
        "local function now() return tonumber(ARGV[18]) end\n",
        include_str!("admit.lua"),
        "end\n",
        r"
        local replies, size = {}, tonumber(ARGV[2])
        for first = 3, #ARGV, size do
          local arguments = {}
          for i = 1, size do
            arguments[i] = ARGV[first + i - 1]
          end
          replies[#replies + 1] = admit(arguments)
          redis.call('DEL', ARGV[1] .. '2:pending:' .. arguments[3])
        end
        redis.call('DEL', ARGV[1] .. '2:size:flickr_rest', ARGV[1] .. '2:entries:flickr_rest', ARGV[1] .. '2:reserved:flickr_rest')
        return replies
        ",
    ))
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

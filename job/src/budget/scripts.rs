//! The Lua scripts, each of which begins with the names of the keys, the sliding log and the budgets.

use std::sync::LazyLock;

use redis::Script;

macro_rules! script {
    ($file:literal) => {
        LazyLock::new(|| {
            Script::new(concat!(
                include_str!("../lane/keys.lua"),
                include_str!("../sliding_log/sliding_log.lua"),
                include_str!("budget.lua"),
                include_str!($file)
            ))
        })
    };
}

pub(super) static PERMIT: LazyLock<Script> = script!("permit.lua");
pub(super) static REPORT: LazyLock<Script> = script!("report.lua");
pub(super) static LOOK: LazyLock<Script> = script!("look.lua");
pub(super) static CONFIGURE: LazyLock<Script> = script!("configure.lua");
pub(super) static LOST: LazyLock<Script> = script!("lost.lua");
pub(super) static RESTORE: LazyLock<Script> = script!("restore.lua");
pub(super) static WHOLE: LazyLock<Script> = script!("whole.lua");

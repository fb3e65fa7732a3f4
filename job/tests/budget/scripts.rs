//! The scripts, with a clock that a test sets: the last argument.

use flickrhub_job::connection::redis::Redis;
use flickrhub_job::queue::Queue;
use redis::Script;
use uuid::Uuid;

macro_rules! with_clock {
    ($file:literal) => {
        Script::new(concat!(
            include_str!("../../src/lane/keys.lua"),
            "local function now() return tonumber(ARGV[#ARGV]) end\n",
            include_str!("../../src/sliding_log/sliding_log.lua"),
            include_str!("../../src/budget/budget.lua"),
            include_str!($file)
        ))
    };
}

/// The scripts on keys of their own.
pub(crate) struct Scripts {
    redis: Redis,
    prefix: String,
    permit: Script,
    report: Script,
    run: String,
}

impl Scripts {
    pub(crate) async fn new(redis: Redis, prefix: String) -> Self {
        // The budgets are whole, so this is the run of the server.
        let mut get = redis::cmd("GET");
        let run = redis
            .run(get.arg(format!("{prefix}budget:server")))
            .await
            .unwrap();
        Self {
            run,
            redis,
            prefix,
            permit: with_clock!("../../src/budget/permit.lua"),
            report: with_clock!("../../src/budget/report.lua"),
        }
    }

    /// What is answered to a question at `now`: why not (0 if it may), the wait, whether it is the probe.
    pub(crate) async fn permit(&self, app: &str, user: &str, endpoint: &str, now: u64) -> (u8, u64, bool) {
        let ticket = Uuid::new_v4().simple().to_string();
        self.permit_again(&ticket, app, user, endpoint, now).await
    }

    pub(crate) async fn permit_again(
        &self,
        ticket: &str,
        app: &str,
        user: &str,
        endpoint: &str,
        now: u64,
    ) -> (u8, u64, bool) {
        let mut call = self.permit.prepare_invoke();
        call.arg(&self.prefix).arg(Queue::Rest.name());
        call.arg(ticket)
            .arg(app)
            .arg(user)
            .arg(endpoint)
            .arg(0)
            .arg(&self.run)
            .arg(now);
        let (why, wait, probe): (u8, u64, u8) = self.redis.script(&call).await.unwrap();
        (why, wait, probe == 1)
    }

    pub(crate) async fn report(
        &self,
        app: &str,
        endpoint: &str,
        ended: flickrhub_job::budget::Ended,
        jitter: u32,
        now: u64,
    ) {
        let mut call = self.report.prepare_invoke();
        call.arg(&self.prefix).arg(Queue::Rest.name());
        call.arg(Uuid::new_v4().simple().to_string())
            .arg(app)
            .arg(endpoint)
            .arg(ended.succeeded)
            .arg(ended.failed)
            .arg(u8::from(ended.probe))
            .arg(ended.limited.map_or(-1, |asked| i64::try_from(asked).unwrap()))
            .arg(jitter)
            .arg(now);
        let _: (i64, i64) = self.redis.script(&call).await.unwrap();
    }
}

//! Which dispatcher does what one of them is enough for.
//!
//! A turn saves work, it does not exclude: what is done in turns may as well be done twice at once. So a plain key that
//! lasts one period is enough; a dispatcher that dies in its turn costs one period.

use std::time::Duration;

use flickrhub_job::connection::redis::RedisError;

use super::Dispatcher;

impl Dispatcher {
    /// Whether this dispatcher has this period's turn at `work`.
    pub(super) async fn has_turn(&self, work: &str, period: Duration) -> Result<bool, RedisError> {
        // A little shorter than the period, so that the key of the last turn does not outlive it.
        let lasts = period.mul_f64(0.75).as_millis();
        let mut take = redis::cmd("SET");
        take.arg(format!("{}turn:{work}", self.key_prefix))
            .arg(1)
            .arg("NX")
            .arg("PX")
            .arg(u64::try_from(lasts).unwrap_or(u64::MAX));
        let taken: Option<String> = self.redis.run(&take).await?;
        Ok(taken.is_some())
    }
}

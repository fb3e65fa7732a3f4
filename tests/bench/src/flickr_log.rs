//! What Flickr's stand-in saw of the calls that benches submit, in its own order.

use reqwest::Client;
use serde_json::Value;

use crate::Failure;
use crate::users::mock;

/// The method of the jobs of [`noop`](crate::jobs::noop).
const METHOD: &str = "flickr.test.echo";
/// Calls that are fetched at a time.
const PAGE: usize = 5000;

/// One call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Call {
    /// Whose token it had.
    pub(crate) user: String,
    /// The argument that tells the jobs of a user apart.
    pub(crate) argument: String,
    /// When it arrived, in milliseconds since 1970.
    pub(crate) time_ms: i64,
}

impl Call {
    /// The job that it is of, among those of one bench.
    pub(crate) fn job(&self) -> (String, String) {
        (self.user.clone(), self.argument.clone())
    }
}

/// The log of calls from a moment on.
pub(crate) struct FlickrLog {
    http: Client,
    last: u64,
}

impl FlickrLog {
    /// The calls from now on.
    ///
    /// # Errors
    /// When the stand-in does not answer.
    pub(crate) async fn from_now() -> Result<Self, Failure> {
        let mut log = Self {
            http: Client::new(),
            last: 0,
        };
        while !log.page().await?.is_empty() {}
        Ok(log)
    }

    /// The calls that came since this was asked last.
    ///
    /// # Errors
    /// When the stand-in does not answer.
    pub(crate) async fn more(&mut self) -> Result<Vec<Call>, Failure> {
        let mut calls = Vec::new();
        loop {
            let page = self.page().await?;
            let is_last = page.len() < PAGE;
            calls.extend(page.iter().filter_map(call));
            if is_last {
                return Ok(calls);
            }
        }
    }

    async fn page(&mut self) -> Result<Vec<Value>, Failure> {
        let path = format!("log?method={METHOD}&after={}&limit={PAGE}", self.last);
        let answer = self.http.get(mock(&path)).send().await?.error_for_status()?;
        let page: Vec<Value> = answer.json().await?;
        let last = page.last().and_then(|entry| entry["seq"].as_u64());
        self.last = last.unwrap_or(self.last);
        Ok(page)
    }
}

fn call(entry: &Value) -> Option<Call> {
    Some(Call {
        user: entry["user"].as_str()?.to_owned(),
        argument: entry["arguments"]["n"].as_str()?.to_owned(),
        time_ms: entry["time_ms"].as_i64()?,
    })
}

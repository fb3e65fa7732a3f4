//! The HTTP API of a hub: takes Flickr calls as jobs, and answers what became of them.
//!
//! A request passes from the outside in: [`middleware`] (trace, problems, headers), [`auth`] (who may), [`extract`] and
//! [`validate`] (what exactly), [`authorisation`] (for whom), [`accept`] or a store (done).
//!
//! | module | holds |
//! | --- | --- |
//! | [`routes`] | one file for each resource |
//! | [`validate`] | from what was sent to what can be run: pure functions |
//! | [`order`] | what is to be done for whom, and the job of it |
//! | [`idempotency`] | the header by which a request is recognised that is sent again |
//! | [`rate_limit`] | the headers that tell what is left of the rates |
//! | [`accept`] | the steps of taking on a job, and what a crash after each one means |
//! | [`replay`] | the same for a job that was given up |
//! | [`upload`] | photos, streamed into the body store |
//! | [`auth`] | API keys, signatures, scopes, what is remembered of keys |
//! | [`audit`] | what security needs to know of each request, on its way into MongoDB |
//! | [`address`] | where a request comes from |
//! | [`authorisation`] | whether a client may act for a user |
//! | [`return_link`] | the user's way back to the client after an authorisation |
//! | [`problem`] | every error answer, in one table |
//! | [`middleware`] | what surrounds every handler |
//! | [`extract`] | JSON bodies and path parameters that answer with problems |
//! | [`cached`] | jobs whose answer is cached |
//! | [`callback_endpoint`] | callback addresses that are refused because they are disabled |
//! | [`cursor`] | pages of a list |
//! | [`prefer`] | how long a client is willing to wait |
//! | [`patience`] | how long a client is waited for |
//! | [`seats`] | how many requests may last |
//! | [`data_tier`] | MongoDB, Redis and Vault as the API uses them |
//! | [`state`] | what handlers can reach |
//! | [`openapi`] | the OpenAPI document |
//! | [`server`] | everything together |

pub mod accept;
pub mod address;
pub mod audit;
pub mod auth;
pub mod authorisation;
pub mod cached;
pub mod callback_endpoint;
pub mod circuit;
pub mod cursor;
pub mod data_tier;
pub mod extract;
#[cfg(test)]
mod fixtures;
pub mod idempotency;
pub mod middleware;
pub mod openapi;
pub mod order;
pub mod patience;
pub mod prefer;
pub mod problem;
pub mod rate_limit;
pub mod replay;
pub mod return_link;
pub mod routes;
pub mod seats;
pub mod server;
pub mod state;
pub mod upload;
pub mod validate;

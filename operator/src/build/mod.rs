//! From a [`ValidatedHub`] to every object that it consists of. Pure, and without a way to fail: whatever can be wrong
//! was found by [`crate::validate`]. No secret passes through here, only checksums of them.
//!
//! | module | objects |
//! | --- | --- |
//! | `redis`, `mongodb`, `rabbitmq`, `vault` | the data tier: StatefulSet, Services, settings and scripts |
//! | `api`, `worker`, `dispatcher` | the processes of FlickrHub |
//! | `autoscaler`, `keda` | what scales the workers |
//! | `network` | who may talk to whom |
//! | `tls` | the authorities that everybody trusts |
//! | [`config`] | the configuration that these read |
//! | [`limits`] | the limits, which these read again while they run |
//! | `pod`, `process`, `stateful`, `labels`, `checksum` | what they have in common |

mod api;
mod autoscaler;
pub(crate) mod checksum;
pub mod config;
mod dispatcher;
pub(crate) mod keda;
pub(crate) mod labels;
pub mod limits;
mod mongodb;
mod network;
mod object;
mod pod;
mod process;
mod rabbitmq;
mod redis;
mod stateful;
mod tls;
mod vault;
mod worker;

use crate::secrets::SecretsChecksums;
use crate::validate::{ValidatedHub, VaultPlan};

pub use object::{Kind, Object};
pub(crate) use process::TOKEN_FILE;
pub(crate) use worker::component as worker_component;

/// Every object of the hub, in the order in which they are applied.
pub fn build(hub: &ValidatedHub, secrets: &SecretsChecksums) -> Vec<Object> {
    let mut objects = [
        network::objects(hub),
        tls::objects(hub),
        redis::objects(hub),
        mongodb::objects(hub, secrets),
        rabbitmq::objects(hub, secrets),
        config::objects(hub),
        api::objects(hub, secrets),
        dispatcher::objects(hub, secrets),
        worker::objects(hub, secrets),
    ]
    .concat();
    objects.extend(match &hub.vault {
        VaultPlan::Managed(managed) => vault::objects(hub, managed),
        VaultPlan::External(external) => vault::login_objects(hub, external),
    });
    objects.sort_by_key(Object::kind);
    objects
}

#[cfg(test)]
mod tests;

//! The operator: brings a Kubernetes cluster to what `FlickrHub` resources say.
//!
//! ```text
//! read → validate → build → apply → engines → status
//! ```
//!
//! | module | step |
//! | --- | --- |
//! | [`crd`] | the resource: fields, defaults, bounds, rules |
//! | [`validate`] | from the raw spec to a [`validate::ValidatedHub`] from which building cannot fail |
//! | [`secrets`] | passwords and keys that are made up once and kept |
//! | [`lack`] | what waits for a Secret that is missing; pure |
//! | [`pki`] | the certificates inside of a hub, and their authority or their issuer |
//! | [`certificate_expiry`] | tells Prometheus when they end |
//! | [`build`] | from there to every object; pure |
//! | [`apply`] | server-side apply, written only where something differs; prunes |
//! | [`consent`] | whether a new version of the operator may restart pods; pure |
//! | [`hibernation`] | in which order a hub goes to sleep and wakes; pure |
//! | [`engine`] | the steps inside MongoDB, Redis, RabbitMQ and Vault |
//! | [`data_tier`] | all of these behind one trait |
//! | [`passed`] | what need not be checked at each look |
//! | [`rolling`] | a change of the engines' pods, member by member |
//! | [`parts`], [`rollout`] | where each part stands |
//! | [`pods`] | why pods do not run |
//! | [`status`], [`event`] | what is told to people and machines |
//! | [`reconcile`] | the steps in their order |
//! | [`api_client`] | the same for `FlickrHubClient`, from the resource to a key that holds |
//! | [`own_certificate`] | that of the operator itself |
//! | [`external_metrics`], [`backlogs`] | tells autoscalers the backlog of the queues |
//! | [`autoscaling`] | what the autoscalers leave to do |
//! | [`controller`], [`leader`] | when they run, and in which process |
//! | [`plan`] | what a change would do, without doing it |
//! | [`shutdown`] | how the process ends without losing what exists nowhere else |
//! | [`finalizer`] | what goes by hand when a hub is deleted |

pub mod api_client;
pub mod apply;
pub mod autoscaling;
pub mod backlogs;
pub mod backoff;
mod bring_on;
mod brought;
pub mod build;
pub mod certificate_expiry;
mod client_controller;
pub mod consent;
pub mod context;
pub mod controller;
pub mod crd;
pub mod credentials;
pub mod data_tier;
pub mod engine;
pub mod event;
pub mod external_metrics;
pub mod finalizer;
#[cfg(test)]
mod fixtures;
pub mod flickr_reachable;
pub mod hibernation;
pub mod lack;
pub mod leader;
pub mod metrics;
pub mod names;
pub mod own_certificate;
pub mod part;
pub mod parts;
pub mod passed;
pub mod pki;
pub mod plan;
pub mod pods;
pub mod reconcile;
pub mod rolling;
pub mod rollout;
pub mod secrets;
pub mod shutdown;
pub mod status;
pub mod validate;

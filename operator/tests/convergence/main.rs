//! The operator against a real API server whose answers fail, are lost or come late, with operators that die after any
//! request, and with hubs that are changed at random.
//!
//! | module | |
//! | --- | --- |
//! | `control_plane`, `etcd` | the API server, and going back in time |
//! | `cluster` | what Kubernetes' controllers would do |
//! | `tier`, `bao`, `quorum` | the engines |
//! | `fault` | the line between operator and API server |
//! | `world`, `ending` | a namespace in which operators live and die, and what it comes to |
//! | `turn`, `crash_points` | every request goes wrong |
//! | `mutation`, `mutations` | every field is changed |
//! | `keda` | kinds that come and go |
//! | `misfit` | hubs that an older definition let in |
//! | `cert_manager` | an issuer of a cert-manager that is not there |
//! | `storage` | volumes that grow, and those that do not |
//! | `planned` | changes that are planned and not made |
//! | `idle` | what is asked when nothing changes |

#![expect(clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod bao;
mod cert_manager;
mod cluster;
mod control_plane;
mod crash_points;
mod ending;
mod etcd;
mod fault;
mod idle;
mod keda;
mod misfit;
mod mutation;
mod mutations;
mod planned;
mod quorum;
#[path = "../engines/servers.rs"]
#[expect(dead_code, reason = "tests of engines use the rest")]
mod servers;
mod storage;
mod tier;
mod turn;
mod world;

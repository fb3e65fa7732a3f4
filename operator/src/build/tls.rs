//! Certificates, as pods get them: the authorities that everybody trusts, and the certificate of an engine's members.

use std::path::Path;

use flickrhub_job::config::TlsFiles;
use k8s_openapi::api::core::v1::{
    ConfigMapProjection, KeyToPath, SecretProjection, SecretVolumeSource, Volume, VolumeProjection,
};

use super::{Object, stateful};
use crate::pki::{AUTHORITIES, CERTIFICATE, COMPONENT, KEY, Server};
use crate::validate::ValidatedHub;

/// The name of the volume with a certificate, its key and the authorities.
pub(super) const TLS: &str = "tls";

pub(super) fn objects(hub: &ValidatedHub) -> Vec<Object> {
    let trust = hub.trust.as_ref().map(|trust| {
        let files = [(AUTHORITIES, trust.pem().to_owned())];
        stateful::config_map(hub, hub.names.trust(), COMPONENT, &files).into()
    });
    trust.into_iter().collect()
}

/// The volume with the certificate of a server. The kubelet replaces its files, all in one step, a minute or two after the
/// Secret: servers take them up while they run.
pub(super) fn volume(hub: &ValidatedHub, server: Server) -> Volume {
    Volume {
        name: TLS.to_owned(),
        secret: Some(SecretVolumeSource {
            secret_name: Some(server.secret(hub)),
            default_mode: Some(0o440),
            ..SecretVolumeSource::default()
        }),
        ..Volume::default()
    }
}

/// Certificate and key of a server as files below `directory` of a projected volume.
pub(super) fn leaf_projection(hub: &ValidatedHub, server: Server, directory: &str) -> VolumeProjection {
    let items = [CERTIFICATE, KEY].map(|key| KeyToPath {
        key: key.to_owned(),
        path: format!("{directory}/{key}"),
        ..KeyToPath::default()
    });
    VolumeProjection {
        secret: Some(SecretProjection {
            name: server.secret(hub),
            items: Some(items.to_vec()),
            ..SecretProjection::default()
        }),
        ..VolumeProjection::default()
    }
}

/// Where a process finds a certificate and its key below `directory`.
pub(super) fn files(directory: &Path) -> TlsFiles {
    TlsFiles {
        certificate_file: directory.join(CERTIFICATE),
        key_file: directory.join(KEY),
    }
}

/// The authorities as a file at `path` of a projected volume.
pub(super) fn trust_projection(hub: &ValidatedHub, path: &str) -> VolumeProjection {
    VolumeProjection {
        config_map: Some(ConfigMapProjection {
            name: hub.names.trust(),
            items: Some(vec![KeyToPath {
                key: AUTHORITIES.to_owned(),
                path: path.to_owned(),
                ..KeyToPath::default()
            }]),
            ..ConfigMapProjection::default()
        }),
        ..VolumeProjection::default()
    }
}

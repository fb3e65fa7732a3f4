use super::*;
use crate::crd::{
    AppRoleAuthSpec, ManagedVaultSpec, Quantity, ResourcesSpec, SecretRef, TokenAuthSpec, VaultAuthSpec,
};
use crate::fixtures::{self, secret};

fn refused(hub: &FlickrHub, references: &References) -> Option<(&'static str, String)> {
    let error = validate(hub, references, &fixtures::surroundings()).err()?;
    Some((error.reason(), error.to_string()))
}

/// What the hub lacks, each as reason and message.
fn lacked(hub: &FlickrHub, references: &References) -> Vec<(&'static str, String)> {
    let lacks = validate(hub, references, &fixtures::surroundings()).map(|hub| hub.lacks);
    let lacks = lacks.unwrap_or_default().into_iter();
    lacks.map(|lack| (lack.reason, lack.message)).collect()
}

/// The first of them.
fn first_lacked(hub: &FlickrHub, references: &References) -> (&'static str, String) {
    lacked(hub, references).into_iter().next().unwrap_or_default()
}

#[test]
fn the_samples_are_valid_and_lack_nothing() {
    for hub in [fixtures::minimal(), fixtures::full()] {
        assert_eq!(refused(&hub, &fixtures::references()), None);
        assert_eq!(lacked(&hub, &fixtures::references()), []);
    }
}

#[test]
fn a_hub_whose_secrets_are_missing_is_valid_nonetheless() {
    assert_eq!(refused(&fixtures::full(), &References::default()), None);
    assert_eq!(lacked(&fixtures::full(), &References::default()).len(), 4);
}

#[test]
fn a_missing_credentials_secret_is_named_with_what_to_do() {
    let (reason, message) = first_lacked(&fixtures::minimal(), &References::default());
    assert_eq!(reason, "CredentialsSecretMissing");
    assert_eq!(
        message,
        "Secret \"flickr-app\" with the credentials of Flickr application \"main\" does not exist: create it in this namespace with the keys consumerKey and consumerSecret."
    );
}

#[test]
fn a_credentials_secret_without_content_under_a_key_is_named_with_the_key() {
    let mut references = References::default();
    references.insert("flickr-app", (&secret(&["consumerKey"], "x")).into());
    let (reason, message) = first_lacked(&fixtures::minimal(), &references);
    assert_eq!(reason, "CredentialsSecretMissing");
    assert!(message.contains("\"consumerSecret\""), "{message}");

    references.insert(
        "flickr-app",
        (&secret(&["consumerKey", "consumerSecret"], " \n")).into(),
    );
    let (_, message) = first_lacked(&fixtures::minimal(), &references);
    assert!(message.contains("no content"), "{message}");
}

#[test]
fn what_is_no_name_of_a_secret_is_refused_and_never_asked_for() {
    for name in [
        "../../kube-system/secrets/a",
        "a?watch=1",
        "http://",
        "A",
        "a..b",
        "-a",
        "a/",
        "",
    ] {
        let mut hub = fixtures::minimal();
        name.clone_into(&mut hub.spec.flickr.apps[0].credentials_secret_ref.name);
        assert!(referenced_secrets(&hub.spec).is_empty(), "{name}");
        let (reason, message) = refused(&hub, &References::default()).unwrap_or_default();
        assert_eq!(reason, "InvalidSpec", "{name}");
        assert!(
            message.starts_with("flickr.apps[0].credentialsSecretRef.name"),
            "{message}"
        );
    }
    let mut hub = fixtures::full();
    if let Some(vault) = &mut hub.spec.vault.external {
        vault.ca_secret_ref = Some(SecretRef {
            name: "a/b".to_owned(),
        });
    }
    let (_, message) = refused(&hub, &fixtures::references()).unwrap_or_default();
    assert!(
        message.starts_with("vault.external.caSecretRef.name"),
        "{message}"
    );
}

#[test]
fn a_secret_of_an_external_vault_is_looked_for_too() {
    let mut references = References::default();
    for app in ["flickr-app", "flickr-partner"] {
        references.insert(app, (&secret(&["consumerKey", "consumerSecret"], "x")).into());
    }
    let (reason, message) = first_lacked(&fixtures::full(), &references);
    assert_eq!(reason, "VaultSecretMissing");
    assert!(message.contains("vault.external.caSecretRef"), "{message}");
}

#[test]
fn every_secret_that_a_hub_refers_to_is_known() {
    let names = |hub: &FlickrHub| referenced_secrets(&hub.spec).into_iter().collect::<Vec<_>>();
    assert_eq!(names(&fixtures::minimal()), ["flickr-app"]);
    assert_eq!(
        names(&fixtures::full()),
        ["flickr-app", "flickr-partner", "vault-approle", "vault-ca"]
    );
}

#[test]
fn no_credential_for_vault_is_sent_in_the_clear() {
    let log_in_at = |address: &str, auth: VaultAuthSpec| {
        let mut hub = fixtures::full();
        if let Some(vault) = &mut hub.spec.vault.external {
            vault.auth = auth;
            vault.address = address.to_owned();
        }
        refused(&hub, &fixtures::references())
    };
    let secret_ref = || SecretRef {
        name: "vault-approle".to_owned(),
    };
    let ways = [
        VaultAuthSpec::default(),
        VaultAuthSpec {
            kubernetes: None,
            app_role: Some(AppRoleAuthSpec {
                mount: "approle".to_owned(),
                secret_ref: secret_ref(),
            }),
            token: None,
        },
        VaultAuthSpec {
            kubernetes: None,
            app_role: None,
            token: Some(TokenAuthSpec {
                secret_ref: secret_ref(),
            }),
        },
    ];
    for auth in ways {
        assert_eq!(log_in_at("https://vault:8200", auth.clone()), None);
        let (reason, message) = log_in_at("http://vault:8200", auth).unwrap_or_default();
        assert_eq!(reason, "InvalidSpec");
        assert!(
            message.starts_with("vault.external.address is not https"),
            "{message}"
        );
    }
}

#[test]
fn a_vault_both_managed_and_external_is_refused() {
    let mut hub = fixtures::full();
    hub.spec.vault.managed = Some(ManagedVaultSpec::default());
    assert!(refused(&hub, &fixtures::references()).is_some_and(|(reason, _)| reason == "InvalidSpec"));
}

#[test]
fn a_name_that_no_service_can_have_is_refused() {
    for name in ["1st", "-a", "a-", "A", "a.b", &"a".repeat(41)] {
        let mut hub = fixtures::minimal();
        hub.metadata.name = Some(name.to_owned());
        assert!(
            refused(&hub, &fixtures::references()).is_some_and(|(reason, _)| reason == "InvalidName"),
            "{name}"
        );
    }
}

#[test]
fn an_engine_without_enough_memory_to_start_is_refused() {
    let mut hub = fixtures::minimal();
    hub.spec.mongodb.resources = Some(ResourcesSpec {
        limits: Some(crate::crd::Amounts {
            memory: Some(Quantity::new("256Mi")),
            cpu: None,
        }),
        requests: None,
    });
    let (_, message) = refused(&hub, &fixtures::references()).unwrap_or_default();
    assert_eq!(
        message,
        "mongodb.resources.limits.memory is 256Mi, too little to run: give at least 512Mi."
    );
}

#[test]
fn the_public_url_is_that_of_the_ingress_or_the_service_without_another() {
    let url = |hub: &FlickrHub| fixtures::validated(hub).api.public_url.to_string();
    assert_eq!(
        url(&fixtures::minimal()),
        "http://gallery-api.photos.svc.cluster.local/"
    );
    let mut hub = fixtures::full();
    assert_eq!(url(&hub), "https://photos.example.org/");
    hub.spec.api.public_url = None;
    assert_eq!(url(&hub), "https://photos.example.org/");
    if let Some(ingress) = &mut hub.spec.api.ingress {
        ingress.tls_secret_name = None;
    }
    assert_eq!(url(&hub), "http://photos.example.org/");
}

#[test]
fn images_come_from_the_registry_unless_they_are_named() {
    let mut hub = fixtures::minimal();
    hub.spec.images.registry = "mirror.example.org/".to_owned();
    hub.spec.images.redis = Some("redis:8".to_owned());
    let images = fixtures::validated(&hub).images;
    assert_eq!(images.mongodb, "mirror.example.org/library/mongo:6.0.27");
    assert_eq!(images.redis, "redis:8");
    assert!(images.api.starts_with("mirror.example.org/flickrhub/api:"));
}

#[test]
fn a_peer_that_is_no_network_is_refused_with_its_field() {
    let mut hub = fixtures::minimal();
    let peer = |cidr: &str, except: &str| {
        let block = serde_json::json!({"ipBlock": {"cidr": cidr, "except": [except]}});
        serde_json::from_value(block).ok()
    };
    for (cidr, except, value) in [
        ("10.0.0.0/8", "10.1.0.0/16", None),
        ("10.0.0.0", "10.1.0.0/16", Some("10.0.0.0")),
        ("10.0.0.0/8", "here", Some("here")),
    ] {
        hub.spec.network_policy.api_from = peer(cidr, except).map(|peer| vec![peer]);
        let message = refused(&hub, &fixtures::references());
        let expected = value.map(|value| {
            let message = format!(
                "networkPolicy.apiFrom holds {value:?}, which is no network: write it as CIDR, for example 10.20.0.0/16."
            );
            ("InvalidSpec", message)
        });
        assert_eq!(message, expected, "{cidr} {except}");
    }
}

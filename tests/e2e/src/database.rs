//! What the hub under test has in MongoDB, looked at as MongoDB's administrator.

use std::path::PathBuf;

use futures::TryStreamExt;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::Api;
use mongodb::bson::{Document, RawDocumentBuf, doc};
use mongodb::options::{ClientOptions, Credential, ServerAddress, TlsOptions};
use mongodb::{Client, Database};
use serde_yaml_ng::Value;

use crate::{cluster, setting};

/// The database of the hub under test: its servers and the administrator's password as integration tests get them, its
/// name from the configuration of the hub.
pub async fn of_the_hub(client: &kube::Client) -> Database {
    let config = access();
    let mongodb = &config["mongodb"];
    let password = std::fs::read_to_string(text(&mongodb["passwordFile"])).expect("the password");
    log_in(client, text(&mongodb["username"]), password.trim()).await
}

/// The same as another user. Whether it is let in is told by the first command.
pub async fn log_in(client: &kube::Client, user: &str, password: &str) -> Database {
    let config = access();
    let mongodb = &config["mongodb"];
    let hosts = mongodb["hosts"].as_sequence().expect("a list of hosts");
    let credential = Credential::builder()
        .username(user.to_owned())
        .password(password.to_owned())
        .source("admin".to_owned())
        .build();
    let authorities = PathBuf::from(text(&mongodb["caFile"]));
    let tls = TlsOptions::builder().ca_file_path(authorities).build();
    let options = ClientOptions::builder()
        .hosts(
            hosts
                .iter()
                .map(|host| ServerAddress::parse(text(host)).expect("host:port"))
                .collect::<Vec<_>>(),
        )
        .repl_set_name(text(&mongodb["replicaSet"]).to_owned())
        .credential(credential)
        .tls(tls)
        .build();
    let server = Client::with_options(options).expect("a client of MongoDB");
    server.database(&name(client).await)
}

/// How integration tests reach the data tier.
fn access() -> Value {
    let path = setting("FLICKRHUB_TEST_CONFIG");
    yaml(&std::fs::read_to_string(path).expect("the configuration of integration tests"))
}

async fn name(client: &kube::Client) -> String {
    let configs: Api<ConfigMap> = Api::namespaced(client.clone(), &cluster::namespace());
    let config = configs
        .get(&format!("{}-config", cluster::hub()))
        .await
        .expect("the configuration of the hub");
    let file = &config.data.expect("data")["config.yaml"];
    text(&yaml(file)["mongodb"]["database"]).to_owned()
}

fn yaml(file: &str) -> Value {
    serde_yaml_ng::from_str(file).expect("YAML")
}

fn text(value: &Value) -> &str {
    value.as_str().expect("a text")
}

/// How many documents a collection has.
pub async fn count(database: &Database, collection: &str) -> u64 {
    let documents = database.collection::<Document>(collection);
    documents.count_documents(doc! {}).await.expect("a count")
}

/// One document by its id.
pub async fn document(database: &Database, collection: &str, id: &str) -> Document {
    database
        .collection::<Document>(collection)
        .find_one(doc! { "_id": id })
        .await
        .expect("MongoDB answers")
        .expect("the document is there")
}

/// Each document of every collection, as its bytes.
pub async fn each_document(database: &Database, mut see: impl FnMut(&str, &[u8])) {
    for name in database.list_collection_names().await.expect("collections") {
        let collection = database.collection::<RawDocumentBuf>(&name);
        let mut documents = collection.find(doc! {}).await.expect("documents");
        while let Some(document) = documents.try_next().await.expect("documents") {
            see(&name, document.as_bytes());
        }
    }
}

/// The collections in which some document holds this text, wherever in it. BSON keeps texts as they are, so the bytes of
/// a document are searched: no field is left out, nor the chunks of files.
pub async fn collections_with(database: &Database, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    each_document(database, |name, document| {
        if !found.iter().any(|known| known == name) && holds(document, text.as_bytes()) {
            found.push(name.to_owned());
        }
    })
    .await;
    found
}

fn holds(bytes: &[u8], wanted: &[u8]) -> bool {
    bytes.windows(wanted.len()).any(|window| window == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_found_however_deep_it_stands() {
        let document = doc! { "a": [{ "b": { "c": "before 72157-x after" } }] };
        let raw = RawDocumentBuf::try_from(&document).expect("BSON");
        assert!(holds(raw.as_bytes(), b"72157-x"));
        assert!(!holds(raw.as_bytes(), b"72157-y"));
    }
}

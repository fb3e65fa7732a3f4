//! A database of its own for each test.

use std::path::Path;

use flickrhub_job::config::Config;
use flickrhub_job::connection;
use mongodb::Database;

/// The configuration that reaches a real data tier.
///
/// Its MongoDB user must be allowed to make databases (the user `admin`), because each test has its own.
fn config() -> Config {
    let path = std::env::var("FLICKRHUB_TEST_CONFIG").expect("FLICKRHUB_TEST_CONFIG names the configuration");
    Config::load(Path::new(&path)).expect("the configuration is valid")
}

/// A new, empty database. Drop it at the end of the test.
pub(crate) async fn create() -> Database {
    let mut config = config().mongodb;
    config.database = format!("test-{}", uuid::Uuid::now_v7().simple());
    connection::mongodb::connect(&config)
        .await
        .expect("MongoDB is reachable")
}

//! The consumer key and secret of each Flickr application, read from the files that the configuration names.
//!
//! They are read again after [`FRESH_FOR`], so a rotated Secret is in use half a minute after the kubelet wrote it,
//! without a restart.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use flickrhub_job::config::{ConfigError, FlickrApp, read_secret};
use secrecy::SecretString;

/// How long a value is used before its files are read again.
pub const FRESH_FOR: Duration = Duration::from_secs(30);

/// The credentials of one Flickr application.
#[derive(Debug)]
pub struct Consumer {
    /// The consumer key.
    pub key: SecretString,
    /// The consumer secret.
    pub secret: SecretString,
}

/// The credentials of every configured application.
#[derive(Debug)]
pub struct AppCredentials {
    apps: HashMap<String, FlickrApp>,
    read: Mutex<HashMap<String, (Instant, Arc<Consumer>)>>,
}

/// The credentials of an application cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum AppCredentialsError {
    /// A user's token belongs to an application that the configuration does not name (any more).
    #[error(
        "no Flickr application named {0:?} is configured; add it to spec.flickr.apps, its users' jobs wait for it"
    )]
    UnknownApp(String),
    /// A file is missing or empty.
    #[error("the credentials of Flickr application {app:?} cannot be read: {source}")]
    Unreadable {
        /// The application.
        app: String,
        /// Which file, and why.
        source: ConfigError,
    },
}

impl AppCredentials {
    /// Credentials of `apps`; nothing is read yet.
    pub fn new(apps: &[FlickrApp]) -> Self {
        Self {
            apps: apps.iter().map(|app| (app.name.clone(), app.clone())).collect(),
            read: Mutex::default(),
        }
    }

    /// The credentials of application `name`, at most [`FRESH_FOR`] old.
    ///
    /// # Errors
    /// When the application is not configured or a file cannot be read.
    pub fn get(&self, name: &str) -> Result<Arc<Consumer>, AppCredentialsError> {
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, consumer)) = read.get(name)
            && at.elapsed() < FRESH_FOR
        {
            return Ok(Arc::clone(consumer));
        }
        let app = self
            .apps
            .get(name)
            .ok_or_else(|| AppCredentialsError::UnknownApp(name.to_owned()))?;
        let unreadable = |source| AppCredentialsError::Unreadable {
            app: name.to_owned(),
            source,
        };
        let consumer = Arc::new(Consumer {
            key: read_secret(&app.consumer_key_file).map_err(unreadable)?,
            secret: read_secret(&app.consumer_secret_file).map_err(unreadable)?,
        });
        read.insert(name.to_owned(), (Instant::now(), Arc::clone(&consumer)));
        Ok(consumer)
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use flickrhub_job::model::JobId;
    use secrecy::ExposeSecret;

    use super::*;

    #[test]
    fn credentials_are_read_from_the_files_of_the_application() {
        let folder = std::env::temp_dir().join(format!("flickrhub-{}", JobId::new()));
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(folder.join("consumerKey"), "key\n").unwrap();
        std::fs::write(folder.join("consumerSecret"), "secret").unwrap();
        let credentials = AppCredentials::new(&[FlickrApp {
            name: "main".to_owned(),
            consumer_key_file: folder.join("consumerKey"),
            consumer_secret_file: folder.join("consumerSecret"),
            requests_per_hour: 3600,
        }]);
        let consumer = credentials.get("main").unwrap();
        std::fs::remove_dir_all(&folder).unwrap();
        assert_eq!(consumer.key.expose_secret(), "key");
        assert_eq!(consumer.secret.expose_secret(), "secret");
    }

    #[test]
    fn an_application_that_is_not_configured_is_named() {
        let error = AppCredentials::new(&[]).get("other").unwrap_err();
        assert!(error.to_string().contains("\"other\""), "{error}");
    }
}

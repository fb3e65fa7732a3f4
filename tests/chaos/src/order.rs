//! What a client asks for: an operation as requests to the API.

use flickrhub_e2e::gateway::{Gateway, photo_form};
use rand::RngExt;
use rand::rngs::StdRng;
use reqwest::RequestBuilder;
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::history::{Kind, Operation};

/// How often a kind is chosen.
const WEIGHTS: [(Kind, u32); 5] = [
    (Kind::Read, 45),
    (Kind::Set, 12),
    (Kind::Create, 17),
    (Kind::Upload, 16),
    (Kind::Replace, 10),
];

/// Of ten jobs, so many ask for a callback.
const CALLBACKS_OF_TEN: u32 = 3;

/// Bytes of the photos, as numbers from and to.
const PHOTO: std::ops::Range<usize> = 1_000..60_000;

/// One thing that a client wants done.
#[derive(Clone, Debug)]
pub struct Order {
    /// The Flickr user.
    pub user: String,
    /// What it does.
    pub kind: Kind,
    /// Names it in its arguments.
    pub marker: String,
    /// A photo of the user that is there already.
    pub photo_id: String,
    /// What is uploaded.
    pub photo: Option<Vec<u8>>,
    /// Where the callback goes.
    pub callback_url: Option<String>,
}

impl Order {
    /// The next one, by chance.
    pub fn draw(rng: &mut StdRng, user: &str, photo_id: &str, marker: String, sink: &str) -> Self {
        let kind = kind(rng);
        let photo =
            matches!(kind, Kind::Upload | Kind::Replace).then(|| photo(&marker, rng.random_range(PHOTO)));
        let callback = rng.random_range(0..10) < CALLBACKS_OF_TEN;
        Self {
            user: user.to_owned(),
            kind,
            marker,
            photo_id: photo_id.to_owned(),
            photo,
            callback_url: callback.then(|| sink.to_owned()),
        }
    }

    /// One of this kind, with a small photo if it takes one.
    pub fn new(user: &str, kind: Kind, photo_id: &str, marker: String) -> Self {
        Self {
            user: user.to_owned(),
            kind,
            photo: matches!(kind, Kind::Upload | Kind::Replace).then(|| photo(&marker, PHOTO.start)),
            marker,
            photo_id: photo_id.to_owned(),
            callback_url: None,
        }
    }

    /// SHA-256 of the photo.
    pub fn content(&self) -> Option<String> {
        let photo = self.photo.as_ref()?;
        Some(
            Sha256::digest(photo)
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect(),
        )
    }

    /// The operation that it is, before its first request.
    pub fn operation(&self) -> Operation {
        Operation {
            user: self.user.clone(),
            kind: self.kind,
            marker: self.marker.clone(),
            content: self.content(),
            callback: self.callback_url.is_some(),
            attempts: Vec::new(),
        }
    }

    /// The request that submits it.
    pub fn request(&self, gateway: &Gateway) -> RequestBuilder {
        let (method, params) = match self.kind {
            Kind::Read => ("flickr.test.echo", json!({"marker": self.marker})),
            Kind::Set => (
                "flickr.photos.setMeta",
                json!({"photo_id": self.photo_id, "title": self.marker, "description": ""}),
            ),
            Kind::Create => (
                "flickr.photosets.create",
                json!({"title": self.marker, "primary_photo_id": self.photo_id}),
            ),
            Kind::Upload => return self.form(gateway.post("/api/v1/uploads")),
            Kind::Replace => {
                return self.form(gateway.post(&format!("/api/v1/photos/{}/replace", self.photo_id)));
            }
        };
        let mut job = json!({"user_id": self.user, "method": method, "params": params});
        if let Some(url) = &self.callback_url {
            job["callback_url"] = url.as_str().into();
        }
        gateway.post("/api/v1/jobs").json(&job)
    }

    fn form(&self, request: RequestBuilder) -> RequestBuilder {
        let mut form = photo_form(&self.user, self.photo.clone().unwrap_or_default());
        if self.kind == Kind::Upload {
            form = form.text("title", self.marker.clone());
        }
        if let Some(url) = &self.callback_url {
            form = form.text("callback_url", url.clone());
        }
        request.multipart(form)
    }
}

fn kind(rng: &mut StdRng) -> Kind {
    let total = WEIGHTS.iter().map(|(_, weight)| weight).sum();
    let mut left = rng.random_range(0..total);
    for (kind, weight) in WEIGHTS {
        if left < weight {
            return kind;
        }
        left -= weight;
    }
    Kind::Read
}

/// A JPEG by its first bytes that no other run or order has.
fn photo(marker: &str, length: usize) -> Vec<u8> {
    let mut photo = flickrhub_e2e::gateway::photo(length);
    photo.extend_from_slice(marker.as_bytes());
    photo
}

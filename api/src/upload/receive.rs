//! Reads the parts of a multipart upload (RFC 7578).

use std::time::Duration;

use axum::body::Body as HttpBody;
use axum::extract::multipart::{Field, Multipart, MultipartError};
use axum::extract::{FromRequest, Request};
use axum::http::HeaderMap;
use axum::http::header::CONTENT_LENGTH;
use bytes::{Bytes, BytesMut};
use flickrhub_job::model::Body;
use flickrhub_job::store::{BodyStore, BodyWriter};
use sha2::{Digest, Sha256};

use super::UploadAdmission;
use super::gate::Gate;
use crate::extract::MediaType;
use crate::idempotency::hexadecimal;
use crate::problem::Problem;
use crate::validate::{
    MAX_FIELD_BYTES, Media, PHOTO_PART, SNIFF_BYTES, UploadFields, check_declared, file_name,
};

/// What the body may have beside the photo: text fields and the headers of the parts.
const BESIDE_PHOTO: u64 = 1024 * 1024;
/// How long the rest of a photo that was refused is read.
const SKIP: Duration = Duration::from_secs(10);
/// How long the body store may take for one piece.
const PATIENCE: Duration = Duration::from_secs(30);

/// A form that arrived whole.
#[derive(Debug)]
pub struct Received {
    /// Its text fields, not checked yet.
    pub fields: UploadFields,
    /// Its photo, stored; `None` when there was no such part.
    pub photo: Option<StoredPhoto>,
}

/// A photo in the body store.
#[derive(Clone, Debug)]
pub struct StoredPhoto {
    /// Where it is.
    pub body: Body,
    /// The SHA-256 of its content, in hexadecimal digits.
    pub sha256: String,
}

/// Checks what the headers of a form with a photo of at most `limit` bytes say, before anything is read.
///
/// # Errors
/// [`Problem::UnsupportedMediaType`], [`Problem::BodyTooLarge`].
pub fn check_headers(headers: &HeaderMap, limit: u64) -> Result<(), Problem> {
    MediaType::FormData.check(headers)?;
    let declared = headers
        .get(CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if declared.is_some_and(|length| length > largest_body(limit)) {
        return Err(too_large(limit));
    }
    Ok(())
}

/// Only the photo can be what has no room: the text fields are few and short.
const fn too_large(limit: u64) -> Problem {
    Problem::BodyTooLarge {
        limit,
        field: Some(PHOTO_PART),
    }
}

const fn largest_body(limit: u64) -> u64 {
    limit.saturating_add(BESIDE_PHOTO)
}

/// Receives a form and stores its photo, of at most `limit` bytes, if `admission` says that there is a use for it. The next
/// piece of it may take `idle`.
///
/// # Errors
/// What is wrong with the form. What was stored of the photo is deleted then; where that fails, or the process dies, the
/// body store's cleanup finds it.
pub async fn receive(
    request: Request,
    fields: UploadFields,
    admission: &UploadAdmission<'_>,
    limit: u64,
    idle: Duration,
) -> Result<Received, Problem> {
    let bodies = &admission.data.bodies;
    let gate = Gate::new(largest_body(limit), limit, idle);
    let (head, body) = request.into_parts();
    let request = Request::from_parts(head, HttpBody::from_stream(gate.watch(body).await));
    let form = Multipart::from_request(request, &())
        .await
        .map_err(|_| Problem::InvalidMultipart)?;
    let mut reception = Reception {
        gate: &gate,
        admission,
        bodies,
        limit,
        fields,
        photo: None,
    };
    match reception.whole(form).await {
        Ok(()) => Ok(Received {
            fields: reception.fields,
            photo: reception.photo,
        }),
        Err(problem) => {
            if let Some(photo) = reception.photo {
                discard(bodies, &photo.body).await;
            }
            Err(problem)
        }
    }
}

/// Deletes a photo that no job will send. Where that fails, the body store's cleanup finds it.
pub async fn discard(bodies: &BodyStore, photo: &Body) {
    if let Err(error) = bodies.delete(&photo.file_id).await {
        tracing::warn!(file_id = photo.file_id, %error, "a photo without a job stays until the next cleanup");
    }
}

struct Reception<'a> {
    gate: &'a Gate,
    admission: &'a UploadAdmission<'a>,
    bodies: &'a BodyStore,
    limit: u64,
    fields: UploadFields,
    photo: Option<StoredPhoto>,
}

impl Reception<'_> {
    /// Every part, and what is behind the last one: the digest of the body is known at its end.
    async fn whole(&mut self, form: Multipart) -> Result<(), Problem> {
        self.parts(form).await?;
        self.gate.progress();
        self.gate
            .finish()
            .await
            .map_err(|_| self.gate.problem().unwrap_or(Problem::InvalidMultipart))
    }

    async fn parts(&mut self, mut form: Multipart) -> Result<(), Problem> {
        while let Some(part) = form.next_field().await.map_err(|error| self.broken(&error))? {
            self.gate.progress();
            let name = part.name().ok_or(Problem::InvalidMultipart)?.to_owned();
            if name == PHOTO_PART {
                if self.photo.is_some() {
                    return Err(Problem::field(PHOTO_PART, "is given twice"));
                }
                if let Err(problem) = self.admit().await {
                    self.skip(part).await;
                    return Err(problem);
                }
                self.photo = Some(self.store_photo(part).await?);
            } else {
                self.fields.expect(&name)?;
                let value = self.text(&name, part).await?;
                self.fields.insert(name, value);
            }
        }
        Ok(())
    }

    async fn admit(&self) -> Result<(), Problem> {
        self.admission.check(&self.fields.user_id()?).await
    }

    /// Reads a part that nobody wants, for a while: a connection that is closed while its client still sends may lose
    /// the answer that says why.
    async fn skip(&self, mut part: Field<'_>) {
        let rest = async { while let Ok(Some(_)) = self.piece(&mut part).await {} };
        if tokio::time::timeout(SKIP, rest).await.is_err() {
            tracing::debug!("a photo that was refused is still being sent");
        }
    }

    async fn text(&self, name: &str, mut part: Field<'_>) -> Result<String, Problem> {
        let mut bytes = BytesMut::new();
        while let Some(piece) = self.piece(&mut part).await? {
            if bytes.len() + piece.len() > MAX_FIELD_BYTES {
                return Err(Problem::field(
                    name,
                    format!("has more than {MAX_FIELD_BYTES} bytes"),
                ));
            }
            bytes.extend_from_slice(&piece);
        }
        String::from_utf8(bytes.into()).map_err(|_| Problem::field(name, "is not UTF-8 text"))
    }

    async fn store_photo(&self, mut part: Field<'_>) -> Result<StoredPhoto, Problem> {
        let mut head = BytesMut::new();
        while head.len() < SNIFF_BYTES {
            let Some(piece) = self.piece(&mut part).await? else {
                break;
            };
            head.extend_from_slice(&piece);
        }
        let media = check_declared(&head, part.content_type())
            .map_err(|message| Problem::field(PHOTO_PART, message))?;
        let name = file_name(part.file_name(), media);
        let mut writer = self.bodies.create(&name, canonical_name(media)).await?;
        match self.write(&mut writer, head.freeze(), &mut part).await {
            Ok(sha256) => Ok(StoredPhoto {
                body: writer.finish().await?,
                sha256,
            }),
            Err(problem) => {
                if let Err(error) = writer.abort().await {
                    tracing::warn!(%error, "pieces of a photo stay until the next cleanup");
                }
                Err(problem)
            }
        }
    }

    /// Writes all pieces; the SHA-256 of them together.
    async fn write(
        &self,
        writer: &mut BodyWriter,
        head: Bytes,
        part: &mut Field<'_>,
    ) -> Result<String, Problem> {
        let (mut length, mut digest) = (0_u64, Sha256::new());
        let mut next = Some(head);
        while let Some(piece) = next {
            length += u64::try_from(piece.len()).unwrap_or(u64::MAX);
            if length > self.limit {
                return Err(too_large(self.limit));
            }
            digest.update(&piece);
            let written = tokio::time::timeout(PATIENCE, writer.write(piece)).await;
            written.map_err(|_| Problem::Unavailable)??;
            next = self.piece(part).await?;
        }
        Ok(hexadecimal(&digest.finalize()))
    }

    /// The next piece of a part.
    async fn piece(&self, part: &mut Field<'_>) -> Result<Option<Bytes>, Problem> {
        let piece = part.chunk().await.map_err(|error| self.broken(&error))?;
        self.gate.progress();
        Ok(piece)
    }

    /// Why the form could not be read on: the gate knows, or it is no form.
    fn broken(&self, error: &MultipartError) -> Problem {
        self.gate.problem().unwrap_or_else(|| {
            tracing::debug!(%error, "not a multipart form");
            Problem::InvalidMultipart
        })
    }
}

/// The media type that Flickr is told.
fn canonical_name(media: Media) -> &'static str {
    media
        .names()
        .first()
        .copied()
        .unwrap_or("application/octet-stream")
}

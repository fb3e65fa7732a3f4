//! Uploads and replacements: `/services/upload/` and `/services/replace/`.

use std::{fmt::Write, sync::Arc};

use axum::{
    extract::{FromRequest, Multipart, Request, State, multipart::Field},
    response::Response,
};
use sha2::{Digest, Sha256};

use crate::{
    answer::{Answer, Fail, Style},
    call::{Call, Caller},
    catalog::{Photo, split_tags},
    connection,
    pipeline::{Outcome, Run},
    user::Permission,
    world::{State as WorldState, World},
};

/// The longest text field, in bytes.
const LONGEST_FIELD: usize = 1 << 20;

/// A photo's content, read and forgotten.
#[derive(Debug)]
struct Content {
    bytes: u64,
    sha256: String,
    media_type: String,
}

/// A body that ended early or is not multipart.
struct BrokenBody;

/// `/services/upload/`
pub(crate) async fn upload(State(world): State<Arc<World>>, request: Request) -> Response {
    handle(world, request, "upload", store).await
}

/// `/services/replace/`
pub(crate) async fn replace(State(world): State<Arc<World>>, request: Request) -> Response {
    handle(world, request, "replace", exchange).await
}

type Act = fn(&World, &Call, &Caller, Content, bool) -> Result<Outcome, Fail>;

async fn handle(world: Arc<World>, request: Request, method: &str, act: Act) -> Response {
    let (parts, body) = request.into_parts();
    let mut call = Call::new(&parts);
    let run = Run::begin(&world, &call, method, &parts.headers, Style::Xml);
    if run.ends_at_once() {
        return run.finish(|| Fail::new(105, "Dropped").into()).await;
    }
    let request = Request::from_parts(parts, body);
    let content = match read(request, &mut call).await {
        Ok(content) => content,
        // Whoever sent it is gone, or speaks no multipart: nobody waits for a reason.
        Err(BrokenBody) => return connection::drop_connection(),
    };
    let run = run.with_body(&call, content.as_ref().map(|content| content.sha256.as_str()));
    let ticket_fails = run.ticket_fails();
    run.finish(|| {
        let caller = match call.authenticate(&world) {
            Ok(caller) => caller,
            Err(answer) => return answer.into(),
        };
        let acted =
            accept(&caller, content).and_then(|content| act(&world, &call, &caller, content, ticket_fails));
        acted.unwrap_or_else(Outcome::from)
    })
    .await
}

/// The permission and the content, as Flickr's document `upload.api` tells what can be wrong.
fn accept(caller: &Caller, content: Option<Content>) -> Result<Content, Fail> {
    caller.require(Permission::Write)?;
    let content = content.ok_or_else(|| Fail::new(2, "No photo specified"))?;
    if content.bytes == 0 {
        return Err(Fail::new(4, "Filesize was zero"));
    }
    if content.media_type.starts_with("text/") {
        return Err(Fail::new(5, "Filetype was not recognised"));
    }
    Ok(content)
}

/// Reads a body part by part: texts into the call, the photo into a hash.
async fn read(request: Request, call: &mut Call) -> Result<Option<Content>, BrokenBody> {
    let mut multipart = Multipart::from_request(request, &())
        .await
        .map_err(|_| BrokenBody)?;
    let mut content = None;
    while let Some(field) = multipart.next_field().await.map_err(|_| BrokenBody)? {
        match field.name() {
            Some("photo") => content = Some(hash(field).await?),
            Some(name) => {
                let name = name.to_owned();
                let value = text(field).await?;
                call.add_field(name, value);
            }
            None => return Err(BrokenBody),
        }
    }
    Ok(content)
}

async fn hash(mut field: Field<'_>) -> Result<Content, BrokenBody> {
    let media_type = field
        .content_type()
        .unwrap_or("application/octet-stream")
        .to_owned();
    let (mut hasher, mut bytes) = (Sha256::new(), 0);
    while let Some(chunk) = field.chunk().await.map_err(|_| BrokenBody)? {
        bytes += chunk.len() as u64;
        hasher.update(&chunk);
    }
    let mut sha256 = String::with_capacity(64);
    for octet in hasher.finalize() {
        // Writing to a string cannot fail.
        let _ = write!(sha256, "{octet:02x}");
    }
    Ok(Content {
        bytes,
        sha256,
        media_type,
    })
}

async fn text(mut field: Field<'_>) -> Result<String, BrokenBody> {
    let mut text = Vec::new();
    while let Some(chunk) = field.chunk().await.map_err(|_| BrokenBody)? {
        if text.len() + chunk.len() > LONGEST_FIELD {
            return Err(BrokenBody);
        }
        text.extend_from_slice(&chunk);
    }
    String::from_utf8(text).map_err(|_| BrokenBody)
}

fn store(
    world: &World,
    call: &Call,
    caller: &Caller,
    content: Content,
    ticket_fails: bool,
) -> Result<Outcome, Fail> {
    let owner = caller.nsid().unwrap_or_default().to_owned();
    let mut state = world.state();
    if matches!(call.get("dedup_check"), Some("1" | "2"))
        && let Some(original) = state.catalog.duplicate(&owner, &content.sha256)
    {
        return Err(Fail {
            attributes: vec![("duplicate_photo_id", original.id.clone())],
            ..Fail::new(9, "Duplicate photo/video detected")
        });
    }
    let is_async = call.get("async") == Some("1");
    if is_async && ticket_fails {
        return Ok(ticket(world, &mut state, None));
    }
    let field = |name| call.get(name).unwrap_or_default().to_owned();
    let id = state.catalog.add(Photo {
        id: String::new(),
        owner,
        title: field("title"),
        description: field("description"),
        tags: split_tags(&field("tags")),
        bytes: content.bytes,
        sha256: content.sha256,
        replaced: 0,
    });
    if is_async {
        return Ok(ticket(world, &mut state, Some(id)));
    }
    Ok(Outcome::changed(
        Answer::Xml(format!("<photoid>{id}</photoid>")),
        id,
    ))
}

fn exchange(
    world: &World,
    call: &Call,
    caller: &Caller,
    content: Content,
    ticket_fails: bool,
) -> Result<Outcome, Fail> {
    let owner = caller.nsid().unwrap_or_default();
    let mut state = world.state();
    let id = call.require("photo_id")?;
    let photo = state
        .catalog
        .own(id, owner)
        .ok_or_else(|| Fail::new(7, "Not a valid photo to replace"))?;
    let is_async = call.get("async") == Some("1");
    if is_async && ticket_fails {
        return Ok(ticket(world, &mut state, None));
    }
    photo.bytes = content.bytes;
    photo.sha256 = content.sha256;
    photo.replaced += 1;
    let (id, secret) = (
        photo.id.clone(),
        photo.sha256.get(..10).unwrap_or_default().to_owned(),
    );
    if is_async {
        return Ok(ticket(world, &mut state, Some(id)));
    }
    let element = format!("<photoid secret=\"{secret}\" originalsecret=\"{secret}\">{id}</photoid>");
    Ok(Outcome::changed(Answer::Xml(element), id))
}

fn ticket(world: &World, state: &mut WorldState, photo_id: Option<String>) -> Outcome {
    let effect = photo_id.clone();
    let id = state.catalog.issue(photo_id, world.settings.ticket_delay);
    Outcome {
        answer: Answer::Xml(format!("<ticketid>{id}</ticketid>")),
        effect,
    }
}

//! REST calls: `/services/rest`.

use std::sync::Arc;

use axum::{body::Bytes, extract::State, response::Response};
use http::request::Parts;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::{
    answer::{Answer, Fail, Style},
    call::{Call, Caller},
    catalog::{Photo, Photoset, Query, split_tags},
    pipeline::{Outcome, Run},
    user::Permission,
    world::{State as WorldState, World},
};

/// `/services/rest`
pub(crate) async fn handle(State(world): State<Arc<World>>, parts: Parts, body: Bytes) -> Response {
    let mut call = Call::new(&parts);
    call.add_form(&parts.headers, &body);
    let method = call.get("method").unwrap_or_default().to_owned();
    let style = if call.get("format") == Some("json") {
        Style::Json
    } else {
        Style::Xml
    };
    let run = Run::begin(&world, &call, &method, &parts.headers, style);
    run.finish(|| act(&world, &call, &method)).await
}

fn act(world: &World, call: &Call, method: &str) -> Outcome {
    let caller = match call.authenticate(world) {
        Ok(caller) => caller,
        Err(answer) => return answer.into(),
    };
    // The client that this stands for asks for bare JSON only.
    let bare = call.get("nojsoncallback") == Some("1");
    if call.get("format") != Some("json") || !bare {
        let format = call.get("format").unwrap_or("rest");
        return Fail::new(111, format!("Format \"{format}\" not found")).into();
    }
    dispatch(&mut world.state(), call, &caller, method).unwrap_or_else(Outcome::from)
}

fn dispatch(state: &mut WorldState, call: &Call, caller: &Caller, method: &str) -> Result<Outcome, Fail> {
    match method {
        "flickr.test.echo" => Ok(echo(call).into()),
        "flickr.test.login" => login(caller).map(Outcome::from),
        "flickr.auth.oauth.checkToken" => check_token(call, caller).map(Outcome::from),
        "flickr.people.getInfo" => person(state, call).map(Outcome::from),
        "flickr.people.getPhotos" => {
            call.require("user_id")?;
            search(state, call, caller).map(Outcome::from)
        }
        "flickr.photos.search" => {
            let asked = ["user_id", "text", "tags", "machine_tags"];
            if asked.iter().all(|name| call.get(name).is_none()) {
                let message =
                    "Parameterless searches have been disabled. Please use flickr.photos.getRecent instead.";
                return Err(Fail::new(3, message));
            }
            search(state, call, caller).map(Outcome::from)
        }
        "flickr.photos.getInfo" => photo_info(state, call).map(Outcome::from),
        "flickr.photos.setMeta" => set_meta(state, call, caller),
        "flickr.photos.addTags" => add_tags(state, call, caller),
        "flickr.photos.delete" => delete(state, call, caller),
        "flickr.photosets.create" => create_set(state, call, caller),
        "flickr.photosets.getList" => sets(state, call, caller).map(Outcome::from),
        "flickr.favorites.add" => add_favorite(state, call, caller),
        "flickr.photos.upload.checkTickets" => tickets(state, call).map(Outcome::from),
        _ => Err(Fail::new(112, format!("Method \"{method}\" not found"))),
    }
}

fn content(text: &str) -> Value {
    json!({ "_content": text })
}

fn echo(call: &Call) -> Answer {
    let mut echoed = Map::new();
    for (name, value) in call.params.iter().filter(|(name, _)| !name.starts_with("oauth_")) {
        echoed.insert(name.clone(), content(value));
    }
    Answer::Json(echoed)
}

fn login(caller: &Caller) -> Result<Answer, Fail> {
    let account = caller.require(Permission::Read)?;
    Ok(Answer::json(json!({
        "user": {"id": account.nsid, "username": content(&account.username), "path_alias": null}
    })))
}

/// What the token allows, and whose it is. Nothing is looked up: the token that the argument names is the one that the
/// request is signed with.
fn check_token(call: &Call, caller: &Caller) -> Result<Answer, Fail> {
    let token = call.require("oauth_token")?;
    let Some((account, perms)) = &caller.user else {
        return Err(Fail::new(98, "Invalid token"));
    };
    Ok(Answer::json(json!({"oauth": {
        "token": content(token),
        "perms": content(perms.as_str()),
        "user": {"nsid": account.nsid, "username": account.username, "fullname": account.fullname},
    }})))
}

fn person(state: &WorldState, call: &Call) -> Result<Answer, Fail> {
    let nsid = call.require("user_id")?;
    let account = state
        .users
        .by_nsid(nsid)
        .ok_or_else(|| Fail::new(1, "User not found"))?;
    let count = state
        .catalog
        .search(&Query {
            owner: Some(nsid),
            ..Query::default()
        })
        .len();
    Ok(Answer::json(json!({"person": {
        "id": nsid, "nsid": nsid, "ispro": 0,
        "username": content(&account.username),
        "realname": content(&account.fullname),
        "photos": {"count": {"_content": count}},
    }})))
}

/// `me` is whoever calls.
fn owner<'a>(call: &'a Call, caller: &'a Caller) -> Result<Option<&'a str>, Fail> {
    match call.get("user_id") {
        Some("me") => Ok(Some(&caller.require(Permission::Read)?.nsid)),
        other => Ok(other),
    }
}

fn search(state: &WorldState, call: &Call, caller: &Caller) -> Result<Answer, Fail> {
    let owner = owner(call, caller)?;
    if owner.is_some_and(|nsid| state.users.by_nsid(nsid).is_none()) {
        return Err(Fail::new(2, "Unknown user"));
    }
    let wanted = |name| call.get(name).map_or_else(Vec::new, split_tags);
    let tags = [wanted("tags"), wanted("machine_tags")].concat();
    let query = Query {
        owner,
        text: call.get("text"),
        any_tag: tags.iter().map(String::as_str).collect(),
    };
    let found = state.catalog.search(&query);

    let positive = |name: &str, default: usize| {
        call.get(name)
            .and_then(|text| text.parse().ok())
            .filter(|n| *n > 0)
            .unwrap_or(default)
    };
    let (page, per_page) = (positive("page", 1), positive("per_page", 100).min(500));
    let photos: Vec<_> = found
        .iter()
        .skip((page - 1).saturating_mul(per_page))
        .take(per_page)
        .map(|photo| {
            json!({
                "id": photo.id, "owner": photo.owner, "secret": secret(photo), "server": "65535",
                "farm": 66, "title": photo.title, "ispublic": 1, "isfriend": 0, "isfamily": 0,
            })
        })
        .collect();
    Ok(Answer::json(json!({"photos": {
        "page": page, "pages": found.len().div_ceil(per_page), "perpage": per_page,
        "total": found.len(), "photo": photos,
    }})))
}

/// A photo's secret changes with its content.
fn secret(photo: &Photo) -> &str {
    photo.sha256.get(..10).unwrap_or_default()
}

fn photo_not_found() -> Fail {
    Fail::new(1, "Photo not found")
}

fn photo_info(state: &WorldState, call: &Call) -> Result<Answer, Fail> {
    let id = call.require("photo_id")?;
    let photo = state.catalog.photos.get(id).ok_or_else(photo_not_found)?;
    let tags: Vec<_> = photo
        .tags
        .iter()
        .map(|tag| json!({"author": photo.owner, "raw": tag, "_content": tag}))
        .collect();
    Ok(Answer::json(json!({"photo": {
        "id": photo.id, "secret": secret(photo), "server": "65535", "farm": 66,
        "owner": {"nsid": photo.owner},
        "title": content(&photo.title), "description": content(&photo.description),
        "tags": {"tag": tags}, "media": "photo",
    }})))
}

/// The photo of `photo_id` if it is the caller's and the caller may do that much with it.
fn own_photo<'a>(
    state: &'a mut WorldState,
    call: &Call,
    caller: &Caller,
    needed: Permission,
) -> Result<&'a mut Photo, Fail> {
    let nsid = &caller.require(needed)?.nsid;
    state
        .catalog
        .own(call.require("photo_id")?, nsid)
        .ok_or_else(photo_not_found)
}

fn set_meta(state: &mut WorldState, call: &Call, caller: &Caller) -> Result<Outcome, Fail> {
    let photo = own_photo(state, call, caller, Permission::Write)?;
    let (title, description) = (call.get("title"), call.get("description"));
    if title.is_none() && description.is_none() {
        return Err(Fail::new(2, "At least one of title or description must be set"));
    }
    if let Some(title) = title {
        title.clone_into(&mut photo.title);
    }
    if let Some(description) = description {
        description.clone_into(&mut photo.description);
    }
    let answer = json!({
        "photo": {"id": photo.id, "title": content(&photo.title), "description": content(&photo.description)}
    });
    Ok(Outcome::changed(Answer::json(answer), photo.id.clone()))
}

fn add_tags(state: &mut WorldState, call: &Call, caller: &Caller) -> Result<Outcome, Fail> {
    let photo = own_photo(state, call, caller, Permission::Write)?;
    for tag in split_tags(call.require("tags")?) {
        if !photo.tags.contains(&tag) {
            photo.tags.push(tag);
        }
    }
    Ok(Outcome::changed(Answer::json(json!({})), photo.id.clone()))
}

fn delete(state: &mut WorldState, call: &Call, caller: &Caller) -> Result<Outcome, Fail> {
    let id = own_photo(state, call, caller, Permission::Delete)?.id.clone();
    state.catalog.photos.remove(&id);
    Ok(Outcome::changed(Answer::json(json!({})), id))
}

fn create_set(state: &mut WorldState, call: &Call, caller: &Caller) -> Result<Outcome, Fail> {
    let owner = caller.require(Permission::Write)?.nsid.clone();
    let title = call.get("title").filter(|title| !title.is_empty());
    let title = title
        .ok_or_else(|| Fail::new(1, "No title specified"))?
        .to_owned();
    let primary = call.require("primary_photo_id")?.to_owned();
    state
        .catalog
        .own(&primary, &owner)
        .ok_or_else(|| Fail::new(2, "Photo not found"))?;
    let id = format!("721577{}", state.catalog.next_id());
    let answer = json!({"photoset": {
        "id": id, "url": format!("https://www.flickr.com/photos/{owner}/sets/{id}/"),
    }});
    state.catalog.photosets.push(Photoset {
        id: id.clone(),
        owner,
        title,
        primary,
    });
    Ok(Outcome::changed(Answer::json(answer), id))
}

fn sets(state: &WorldState, call: &Call, caller: &Caller) -> Result<Answer, Fail> {
    let owner = match owner(call, caller)? {
        Some(nsid) => nsid,
        None => &caller.require(Permission::Read)?.nsid,
    };
    let sets: Vec<_> = state
        .catalog
        .photosets
        .iter()
        .filter(|set| set.owner == owner)
        .map(|set| {
            json!({"id": set.id, "owner": set.owner, "primary": set.primary, "photos": 1,
                   "title": content(&set.title), "description": content("")})
        })
        .collect();
    Ok(Answer::json(json!({"photosets": {
        "cancreate": 1, "page": 1, "pages": 1, "perpage": 500, "total": sets.len(), "photoset": sets,
    }})))
}

fn add_favorite(state: &mut WorldState, call: &Call, caller: &Caller) -> Result<Outcome, Fail> {
    let nsid = caller.require(Permission::Write)?.nsid.clone();
    let id = call.require("photo_id")?;
    let photo = state.catalog.photos.get(id).ok_or_else(photo_not_found)?;
    if photo.owner == nsid {
        return Err(Fail::new(2, "Photo is owned by you"));
    }
    if !state.catalog.favorites.insert((nsid, id.to_owned())) {
        return Err(Fail::new(3, "Photo is already in favorites"));
    }
    Ok(Outcome::changed(Answer::json(json!({})), id))
}

fn tickets(state: &WorldState, call: &Call) -> Result<Answer, Fail> {
    let now = std::time::Instant::now();
    let tickets: Vec<_> = call
        .require("tickets")?
        .split(',')
        .map(|id| match state.catalog.tickets.get(id) {
            None => json!({"id": id, "invalid": 1}),
            Some(ticket) if ticket.ready_at > now => json!({"id": id, "complete": 0}),
            Some(ticket) => match &ticket.photo_id {
                None => json!({"id": id, "complete": 2}),
                Some(photo) => {
                    let imported = Timestamp::now().as_second();
                    json!({"id": id, "complete": 1, "photoid": photo, "imported": imported})
                }
            },
        })
        .collect();
    Ok(Answer::json(json!({"uploader": {"ticket": tickets}})))
}

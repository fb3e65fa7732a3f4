//! The OAuth flow (Flickr document `auth.oauth`).

use std::sync::Arc;

use axum::{body::Bytes, extract::State, response::Response};
use http::request::Parts;
use url::Url;

use crate::{
    answer::{Answer, Fail, Problem, Style, xml_escape},
    call::Call,
    pipeline::{Outcome, Run},
    user::{Permission, RequestToken, random_hex},
    world::World,
};

/// `/services/oauth/request_token`
pub(crate) async fn request_token(State(world): State<Arc<World>>, parts: Parts, body: Bytes) -> Response {
    step(&world, "request_token", &parts, &body, issue_request_token).await
}

/// `/services/oauth/access_token`
pub(crate) async fn access_token(State(world): State<Arc<World>>, parts: Parts, body: Bytes) -> Response {
    step(&world, "access_token", &parts, &body, issue_access_token).await
}

/// `/services/oauth/authorize`: the page that a user's browser opens.
///
/// Besides Flickr's `oauth_token` and `perms`, it takes `as`, the screen name of who is signed in,
/// `approve=1` and `deny=1` for the buttons.
pub(crate) async fn authorize(State(world): State<Arc<World>>, parts: Parts, body: Bytes) -> Response {
    step(&world, "authorize", &parts, &body, decide).await
}

async fn step(
    world: &Arc<World>,
    method: &str,
    parts: &Parts,
    body: &Bytes,
    act: fn(&World, &Call) -> Result<Outcome, Answer>,
) -> Response {
    let mut call = Call::new(parts);
    call.add_form(&parts.headers, body);
    let run = Run::begin(world, &call, method, &parts.headers, Style::Json);
    run.finish(|| act(world, &call).unwrap_or_else(Outcome::from))
        .await
}

fn issue_request_token(world: &World, call: &Call) -> Result<Outcome, Answer> {
    let consumer_key = call.verify(world, "")?;
    let callback = call
        .get("oauth_callback")
        .filter(|callback| *callback == "oob" || Url::parse(callback).is_ok())
        .ok_or_else(|| Problem::new("parameter_absent"))?
        .to_owned();
    let (token, secret) = (format!("72158-{}", random_hex()), random_hex());
    let request_token = RequestToken {
        secret: secret.clone(),
        consumer_key,
        callback,
        approval: None,
    };
    world
        .state()
        .users
        .request_tokens
        .insert(token.clone(), request_token);
    Ok(Answer::Form(vec![
        ("oauth_callback_confirmed", "true".into()),
        ("oauth_token", token),
        ("oauth_token_secret", secret),
    ])
    .into())
}

fn decide(world: &World, call: &Call) -> Result<Outcome, Answer> {
    let token = call.get("oauth_token").unwrap_or_default();
    let perms = match call.get("perms") {
        None => Permission::Read,
        Some(text) => Permission::parse(text).ok_or_else(|| page("Unknown permission."))?,
    };
    let username = call.get("as").unwrap_or("bees");
    let mut state = world.state();
    let users = &mut state.users;
    let account = users.account(username);
    let Some(request) = users.request_tokens.get_mut(token) else {
        return Err(page("Oops! Flickr doesn't recognise the \"oauth_token\"."));
    };
    if call.get("deny") == Some("1") {
        let query = [("oauth_token", token), ("oauth_problem", "user_refused")];
        return Ok(back(&request.callback, &query).into());
    }
    if !world.settings.auto_approve && call.get("approve") != Some("1") {
        return Ok(ask(call, &account.username, perms).into());
    }
    let verifier = random_hex();
    request.approval = Some((verifier.clone(), account.nsid, perms));
    let query = [("oauth_token", token), ("oauth_verifier", verifier.as_str())];
    Ok(back(&request.callback, &query).into())
}

fn issue_access_token(world: &World, call: &Call) -> Result<Outcome, Answer> {
    let token = call.get("oauth_token").unwrap_or_default().to_owned();
    let known = world.state().users.request_tokens.get(&token).cloned();
    let request = known.ok_or_else(|| Problem::new("token_rejected"))?;
    let consumer_key = call.verify(world, &request.secret)?;
    let Some((verifier, nsid, perms)) = request.approval else {
        return Err(Problem::new("permission_unknown").into());
    };
    if consumer_key != request.consumer_key || call.get("oauth_verifier") != Some(verifier.as_str()) {
        return Err(Problem::new("verifier_invalid").into());
    }
    let mut state = world.state();
    // Taken out under the same lock that grants: a request token buys one access token.
    if state.users.request_tokens.remove(&token).is_none() {
        return Err(Problem::new("token_rejected").into());
    }
    let account = state.users.by_nsid(&nsid).cloned();
    let account = account.ok_or_else(|| Fail::new(98, "Invalid auth token"))?;
    let user = state.users.grant(&account, perms, Some(consumer_key));
    let answer = Answer::Form(vec![
        ("fullname", user.fullname),
        ("oauth_token", user.oauth_token),
        ("oauth_token_secret", user.oauth_token_secret),
        ("user_nsid", user.user_nsid.clone()),
        ("username", user.username),
    ]);
    Ok(Outcome::changed(answer, user.user_nsid))
}

/// Back to the application, or, out of band, a page that shows the verifier.
fn back(callback: &str, query: &[(&str, &str)]) -> Answer {
    match Url::parse(callback) {
        Ok(mut url) if callback != "oob" => {
            url.query_pairs_mut().extend_pairs(query);
            Answer::Redirect(url.into())
        }
        _ => page(query.last().map_or("", |(_, value)| value)),
    }
}

fn page(text: &str) -> Answer {
    Answer::Page(format!(
        "<!DOCTYPE html>\n<html><body><p>{}</p></body></html>\n",
        xml_escape(text)
    ))
}

fn ask(call: &Call, username: &str, perms: Permission) -> Answer {
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    query.append_pair("oauth_token", call.get("oauth_token").unwrap_or_default());
    query
        .append_pair("perms", perms.as_str())
        .append_pair("as", username);
    let link = format!("{}?{}", call.path, query.finish());
    Answer::Page(format!(
        "<!DOCTYPE html>\n<html><body><p>{} grants {}?</p>\n\
         <a href=\"{link}&amp;approve=1\">OK, I'll authorize it</a>\n\
         <a href=\"{link}&amp;deny=1\">No thanks</a></body></html>\n",
        xml_escape(username),
        perms.as_str(),
        link = xml_escape(&link),
    ))
}

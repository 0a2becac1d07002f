//! The grants: who gets a token, and for what.

use std::collections::BTreeSet;

use http::Uri;

use super::{
    assertion,
    authenticate::Authenticated,
    client::AuthMethod,
    form::Parameters,
    grant_type::{CLIENT_CREDENTIALS, JWT_BEARER, KNOWN, REFRESH_TOKEN, TOKEN_EXCHANGE},
    refusal::Refusal,
    request::value,
    state::State,
    tokens::Grant,
};

/// A grant, and what its response has beside the token.
pub(super) struct Granted {
    pub(super) grant: Grant,
    pub(super) refresh_token: Option<String>,
    /// The `issued_token_type` of a token exchange (RFC 8693, section 2.2.1).
    pub(super) issued_token_type: Option<&'static str>,
}

/// Decides on the grant that the parameters ask for.
pub(super) fn decide(
    state: &State,
    client: Option<Authenticated<'_>>,
    parameters: &Parameters,
) -> Result<Granted, Refusal> {
    let kind = required(parameters, "grant_type")?;
    if !KNOWN.contains(&kind) && !state.settings.grants.contains(kind) {
        return Err(Refusal::new("unsupported_grant_type", "the server does not know the grant"));
    }
    // Only an assertion can speak for itself (RFC 7521, section 4.1).
    if client.is_none() && kind != JWT_BEARER {
        return Err(Refusal::invalid_client("there is no client authentication"));
    }
    let registered = client.and_then(|(client, _)| client.grants.as_ref());
    if registered.is_some_and(|grants| !grants.contains(kind)) {
        return Err(Refusal::new("unauthorized_client", "the client may not use this grant"));
    }
    // RFC 6749, section 4.4: confidential clients only.
    let is_public = client.is_some_and(|(_, method)| method == AuthMethod::None);
    if is_public && kind == CLIENT_CREDENTIALS {
        return Err(Refusal::new("unauthorized_client", "a public client has no secret"));
    }
    let id = client.map(|(client, _)| client.id.clone());
    let mut subject = id.clone().unwrap_or_default();
    let (mut refresh_token, mut issued_token_type) = (None, None);
    match kind {
        JWT_BEARER => {
            subject = assertion::check_grant(state, required(parameters, "assertion")?)
                .map_err(|error| Refusal::new("invalid_grant", format!("assertion: {error}")))?;
        }
        TOKEN_EXCHANGE => {
            subject = exchange(state, parameters)?;
            issued_token_type = Some("urn:ietf:params:oauth:token-type:access_token");
        }
        REFRESH_TOKEN => {
            let old = required(parameters, "refresh_token")?;
            let new = state.rotate(old, &subject).ok_or_else(|| {
                Refusal::new("invalid_grant", "the refresh token is unknown or was used")
            })?;
            refresh_token = Some(new);
        }
        _ => {}
    }
    let grant = Grant {
        owner: id.unwrap_or_else(|| subject.clone()),
        subject,
        scope: scope(client, parameters)?,
        audience: audience(state, parameters)?,
    };
    Ok(Granted { grant, refresh_token, issued_token_type })
}

fn required<'a>(parameters: &'a Parameters, name: &str) -> Result<&'a str, Refusal> {
    value(parameters, name).ok_or_else(|| Refusal::invalid_request(format!("{name} is missing")))
}

/// Checks the parameters of RFC 8693, section 2.1, and returns the subject.
fn exchange(state: &State, parameters: &Parameters) -> Result<String, Refusal> {
    let token = required(parameters, "subject_token")?;
    required(parameters, "subject_token_type")?;
    let has = |name| value(parameters, name).is_some();
    if has("actor_token") != has("actor_token_type") {
        return Err(Refusal::invalid_request("actor_token and its type must come together"));
    }
    if !state.settings.subject_tokens.contains(token) {
        return Err(Refusal::invalid_request("the subject_token is not acceptable"));
    }
    Ok("the subject of the exchanged token".to_owned())
}

/// Returns the scopes to grant: those asked for, or else all that are registered.
fn scope(
    client: Option<Authenticated<'_>>,
    parameters: &Parameters,
) -> Result<Option<String>, Refusal> {
    let registered = client.and_then(|(client, _)| client.scopes.as_ref());
    let Some(asked) = value(parameters, "scope") else {
        let all = registered.map(|scopes| scopes.iter().map(String::as_str).collect::<Vec<_>>());
        return Ok(all.map(|all| all.join(" ")).filter(|all| !all.is_empty()));
    };
    let refuse = |description: &str| Err(Refusal::new("invalid_scope", description));
    for scope in asked.split(' ') {
        // RFC 6749, section 3.3.
        let is_token = !scope.is_empty()
            && scope.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\');
        if !is_token {
            return refuse("scopes are separated by one space, and are made of printable ASCII");
        }
        if registered.is_some_and(|scopes| !scopes.contains(scope)) {
            return refuse("the client may not ask for one of the scopes");
        }
    }
    Ok(Some(asked.to_owned()))
}

/// Returns the audiences and resources, checked by RFC 8707, section 2.
fn audience(state: &State, parameters: &Parameters) -> Result<Vec<String>, Refusal> {
    let settings = &state.settings;
    let refuse = |description: &str| Err(Refusal::new("invalid_target", description));
    let all = |name: &str| -> Vec<&str> {
        let named = parameters.iter().filter(|(key, _)| key == name);
        named.map(|(_, value)| value.as_str()).collect()
    };
    let (audiences, resources) = (all("audience"), all("resource"));
    for resource in &resources {
        let is_absolute = resource.parse::<Uri>().is_ok_and(|uri| uri.scheme().is_some());
        if !is_absolute || resource.contains('#') {
            return refuse("a resource must be an absolute URI without a fragment");
        }
        if !settings.resources.is_empty() && !settings.resources.contains(*resource) {
            return refuse("the resource is unknown");
        }
    }
    if !settings.audiences.is_empty() {
        if audiences.is_empty() {
            return refuse("an audience is needed");
        }
        if !audiences.iter().all(|audience| settings.audiences.contains(*audience)) {
            return refuse("the audience is unknown");
        }
    }
    let both: BTreeSet<&str> = audiences.into_iter().chain(resources).collect();
    Ok(both.into_iter().map(str::to_owned).collect())
}

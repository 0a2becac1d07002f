//! Asks a server of others for a token by each grant and authentication that it offers, and prints
//! a row of a table for each.
//!
//! `judges keys` prints the public keys of the clients, by algorithm. `judges NAME URL` asks the
//! server of that name. It ends with an error if an outcome is not the expected one.

use std::{
    error::Error,
    process::ExitCode,
    sync::{Arc, Mutex},
};

use tower_reauth::{
    AuthError, BoxError, Credentials, ExposeSecret, SecretString, TokenCache,
    assertion::{Audience, SignedJwt, SigningKey},
    client::{self, HttpsClient},
    endpoint::{
        OAuth2,
        oauth2::{ClientAuth, Issuer, OAuth2Builder, RefreshTokens},
    },
};

type Http = HttpsClient<http_body_util::Full<bytes::Bytes>>;
type Failure = Box<dyn Error>;

/// Keys that RFCs have published: RFC 7515, RFC 6979 and RFC 8037.
const KEYS: &str = include_str!("../keys.json");
const ALGORITHMS: [&str; 5] = ["RS256", "PS256", "ES256", "ES384", "EdDSA"];
const SECRET: &str = "a secret of thirty-two bytes or more";
const ODD_SECRET: &str = "p%+&: s";

/// The expected end of a request.
#[derive(Clone, Copy, PartialEq)]
enum Outcome {
    Token,
    /// A token with this lifetime, in seconds.
    Lifetime(u64),
    Rejected,
    Misconfigured,
}

/// One row.
struct Case {
    grant: &'static str,
    authentication: String,
    endpoint: OAuth2Builder<Http>,
    expected: Outcome,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<ExitCode, Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["keys"] => {
            let mut keys = serde_json::Map::new();
            for name in ALGORITHMS {
                keys.insert(name.into(), serde_json::from_str(&public(name)?)?);
            }
            println!("{}", serde_json::Value::Object(keys));
            Ok(ExitCode::SUCCESS)
        }
        [server, url] => judge(server, url).await,
        _ => Err("give `keys`, or a server and its URL".into()),
    }
}

async fn judge(server: &str, url: &str) -> Result<ExitCode, Failure> {
    let cases = match server {
        "oidc-provider" => oidc_provider(url)?,
        "oauth2-mock-server" => mock_server(url)?,
        "Authlib" => authlib(url)?,
        "django-oauth-toolkit" => django(url)?,
        _ => return Err("the server is unknown".into()),
    };
    let mut code = ExitCode::SUCCESS;
    for Case { grant, authentication, endpoint, expected } in cases {
        let cache = TokenCache::new(endpoint.build()?);
        let outcome = cache.token().await;
        let shown = match &outcome {
            Ok(token) => format!("token, {} s", token.lifetime().as_secs()),
            Err(error) => shown(error),
        };
        let is_expected = match (expected, &outcome) {
            (Outcome::Token, Ok(_)) => true,
            (Outcome::Lifetime(seconds), Ok(token)) => {
                token.lifetime().as_secs().abs_diff(seconds) <= 1
            }
            (Outcome::Rejected, Err(error)) => error.is_rejected(),
            (Outcome::Misconfigured, Err(error)) => error.is_misconfigured(),
            _ => false,
        };
        let mark = if is_expected { "" } else { " **unexpected**" };
        println!("| {server} | {grant} | {authentication} | {shown}{mark} |");
        if !is_expected {
            code = ExitCode::FAILURE;
            if let Err(error) = outcome {
                eprintln!("{error}");
            }
        }
    }
    Ok(code)
}

fn shown(error: &AuthError) -> String {
    let kind = if error.is_misconfigured() {
        "misconfigured"
    } else if error.is_rejected() {
        "rejected"
    } else {
        "failed"
    };
    error.code().map_or_else(|| kind.to_owned(), |code| format!("{kind}: `{code}`"))
}

// ---- The servers.

fn oidc_provider(url: &str) -> Result<Vec<Case>, Failure> {
    let uri = format!("{url}/token");
    let odd = || Credentials::new("judge: odd/1", ODD_SECRET);
    let mut cases = vec![
        case("Basic, id `judge: odd/1`, secret `p%+&: s`", basic(&uri, odd())?, Outcome::Token),
        case(
            "Basic, a resource",
            basic(&uri, odd())?.resource("https://api.example.com").scope("read write"),
            Outcome::Lifetime(600),
        ),
        case(
            "Basic without encoding",
            basic(&uri, Credentials::new("judge%3A+odd%2F1", "p%25%2B%26%3A+s"))?
                .client_auth(ClientAuth::BasicUnencoded),
            Outcome::Token,
        ),
        case(
            "Basic, wrong secret",
            basic(&uri, Credentials::new("judge: odd/1", "not the secret"))?,
            Outcome::Rejected,
        ),
        case(
            "Post",
            basic(&uri, Credentials::new("judge-post", ODD_SECRET))?.client_auth(ClientAuth::Post),
            Outcome::Token,
        ),
        case(
            "Post, registered for Basic",
            basic(&uri, odd())?.client_auth(ClientAuth::Post),
            Outcome::Token,
        ),
        case(
            "`client_secret_jwt`, HS256",
            signed(&uri, url, "HS256", SigningKey::hs256(SECRET)?, Audience::Issuer)?,
            Outcome::Token,
        ),
    ];
    for name in ALGORITHMS {
        let endpoint = signed(&uri, url, name, key(name)?, Audience::Issuer)?;
        cases.push(case(&format!("`private_key_jwt`, {name}"), endpoint, Outcome::Token));
    }
    let tls = basic(&uri, Credentials::new("judge-tls", ""))?.client_auth(ClientAuth::Tls);
    cases.push(case(
        "`tls_client_auth`, its check of the certificate replaced",
        tls,
        Outcome::Token,
    ));
    cases.extend(refreshed(&uri, "judge-refresh")?);
    let jwt = ClientAuth::assertion(SignedJwt::new(key("ES256")?));
    let found = found(url, Credentials::new("judge-ES256", ""))?.client_auth(jwt);
    cases.push(case("`private_key_jwt`, by its metadata", found, Outcome::Token));
    let by_uri = signed(&uri, url, "ES256", key("ES256")?, Audience::TokenUri)?;
    cases.push(case("`private_key_jwt`, `aud` = token endpoint", by_uri, Outcome::Token));
    let other = Audience::Other("https://other.example.com".into());
    let other = signed(&uri, url, "ES256", key("ES256")?, other)?;
    cases.push(case("`private_key_jwt`, `aud` of another", other, Outcome::Rejected));
    Ok(cases)
}

fn mock_server(url: &str) -> Result<Vec<Case>, Failure> {
    let uri = format!("{url}/token");
    let any = || Credentials::new("judge", "secret");
    let mut cases = vec![
        case("Basic", basic(&uri, any())?, Outcome::Lifetime(3600)),
        case("Basic, by its metadata", found(url, any())?, Outcome::Lifetime(3600)),
        case("Post", basic(&uri, any())?.client_auth(ClientAuth::Post), Outcome::Lifetime(3600)),
        Case {
            grant: "`refresh_token`",
            authentication: "Basic".into(),
            endpoint: OAuth2::grant(&uri, client::https()?, "refresh_token", any())
                .param("refresh_token", "any"),
            expected: Outcome::Token,
        },
    ];
    for (oddity, shown, expected) in [
        ("string", "`expires_in: \"1800\"`", Outcome::Lifetime(1800)),
        ("float", "`expires_in: 1800.5`", Outcome::Lifetime(1800)),
        ("null", "`expires_in: null`", Outcome::Lifetime(3600)),
        ("zero", "`expires_in: 0`", Outcome::Lifetime(3600)),
        ("negative", "`expires_in: -1`", Outcome::Lifetime(3600)),
        ("missing", "no `expires_in`", Outcome::Lifetime(3600)),
        ("untyped", "no `token_type`", Outcome::Lifetime(3600)),
        ("bearer", "`token_type: BearerToken`", Outcome::Lifetime(3600)),
        ("accepted", "202", Outcome::Lifetime(3600)),
        ("error", "200 with an `error`", Outcome::Rejected),
        ("scope", "400 `invalid_scope`", Outcome::Misconfigured),
    ] {
        let endpoint = basic(&uri, any())?.param("oddity", format!("oddity-{oddity}"));
        cases.push(case(&format!("Basic; {shown}"), endpoint, expected));
    }
    Ok(cases)
}

fn authlib(url: &str) -> Result<Vec<Case>, Failure> {
    let uri = format!("{url}/token");
    let plain = || Credentials::new("judge-basic", "s3cret");
    let post = || Credentials::new("judge-post", ODD_SECRET);
    let mut cases = vec![
        case("Basic", basic(&uri, plain())?.scope("read"), Outcome::Token),
        case("Basic, unknown scope", basic(&uri, plain())?.scope("x"), Outcome::Misconfigured),
        case(
            "Basic, wrong secret",
            basic(&uri, Credentials::new("judge-basic", "not the secret"))?,
            Outcome::Rejected,
        ),
        case("Post", basic(&uri, post())?.client_auth(ClientAuth::Post), Outcome::Token),
        case("Basic, registered for Post", basic(&uri, post())?, Outcome::Rejected),
        Case {
            grant: "`password`",
            authentication: "Basic".into(),
            endpoint: OAuth2::grant(&uri, client::https()?, "password", plain()),
            expected: Outcome::Misconfigured,
        },
        case(
            "`client_secret_jwt`, HS256",
            signed(&uri, url, "HS256", SigningKey::hs256(SECRET)?, Audience::Issuer)?,
            Outcome::Token,
        ),
    ];
    for name in ALGORITHMS {
        let endpoint = signed(&uri, url, name, key(name)?, Audience::Issuer)?;
        cases.push(case(&format!("`private_key_jwt`, {name}"), endpoint, Outcome::Token));
    }
    let other = signed(&uri, url, "ES256", key("ES256")?, Audience::TokenUri)?;
    cases.push(case("`private_key_jwt`, `aud` = token endpoint", other, Outcome::Rejected));
    for (audience, shown, expected) in [
        (Audience::TokenUri, "none; `aud` = token endpoint", Outcome::Token),
        (Audience::Other("https://other.example.com".into()), "none; `aud` of another", {
            Outcome::Rejected
        }),
    ] {
        let jwt = SignedJwt::new(key("ES256")?).issuer("judge-ES256").subject("ada");
        let endpoint = OAuth2::jwt_bearer(&uri, client::https()?, jwt.audience(audience));
        let authentication = shown.to_owned();
        cases.push(Case { grant: "JWT bearer", authentication, endpoint, expected });
    }
    cases.extend(refreshed(&uri, "judge-basic")?);
    Ok(cases)
}

fn django(url: &str) -> Result<Vec<Case>, Failure> {
    let uri = format!("{url}/token");
    let odd = || Credentials::new("judge: odd/1", ODD_SECRET);
    let post = || Credentials::new("judge-post", ODD_SECRET);
    let mut cases = vec![
        case("Basic, id `judge: odd/1`, secret `p%+&: s`", basic(&uri, odd())?, Outcome::Token),
        case("Basic, scope", basic(&uri, odd())?.scope("read").require_scope(), Outcome::Token),
        case("Basic, unknown scope", basic(&uri, odd())?.scope("x"), Outcome::Misconfigured),
        case(
            "Basic, wrong secret",
            basic(&uri, Credentials::new("judge: odd/1", "not the secret"))?,
            Outcome::Rejected,
        ),
        case("Post", basic(&uri, post())?.client_auth(ClientAuth::Post), Outcome::Token),
    ];
    cases.extend(refreshed(&uri, "judge-refresh")?);
    Ok(cases)
}

// ---- What they share.

fn case(authentication: &str, endpoint: OAuth2Builder<Http>, expected: Outcome) -> Case {
    let authentication = authentication.to_owned();
    Case { grant: "`client_credentials`", authentication, endpoint, expected }
}

fn basic(uri: &str, credentials: Credentials) -> Result<OAuth2Builder<Http>, Failure> {
    Ok(OAuth2::client_credentials(uri, client::https()?, credentials))
}

/// The refresh token that is in use, and that the next one replaces.
#[derive(Clone)]
struct Newest(Arc<Mutex<String>>);

impl RefreshTokens for Newest {
    async fn load(&self) -> Result<SecretString, BoxError> {
        Ok(self.0.lock().map_err(|_| "poisoned")?.clone().into())
    }

    async fn store(&self, token: &SecretString, former: &SecretString) -> Result<(), BoxError> {
        let mut newest = self.0.lock().map_err(|_| "poisoned")?;
        if *newest == former.expose_secret() {
            token.expose_secret().clone_into(&mut newest);
        }
        Ok(())
    }
}

/// Uses a refresh token, the one that took its place, and the first one again.
fn refreshed(uri: &str, client_id: &str) -> Result<Vec<Case>, Failure> {
    let newest = || Newest(Arc::new(Mutex::new("the-first-refresh-token".into())));
    let kept = newest();
    [
        ("Basic", kept.clone(), Outcome::Token),
        ("Basic, the refresh token that was issued", kept, Outcome::Token),
        ("Basic, the first refresh token again", newest(), Outcome::Rejected),
    ]
    .into_iter()
    .map(|(authentication, tokens, expected)| {
        let credentials = Credentials::new(client_id, "s3cret");
        let endpoint = OAuth2::refresh_token(uri, client::https()?, credentials, tokens);
        let authentication = authentication.to_owned();
        Ok(Case { grant: "`refresh_token`", authentication, endpoint, expected })
    })
    .collect()
}

/// Finds the token endpoint by the metadata of the server.
fn found(issuer: &str, credentials: Credentials) -> Result<OAuth2Builder<Http>, Failure> {
    let issuer = Issuer::new(issuer);
    Ok(OAuth2::client_credentials(issuer, client::https()?, credentials))
}

fn signed(
    uri: &str,
    issuer: &str,
    algorithm: &str,
    key: SigningKey,
    audience: Audience,
) -> Result<OAuth2Builder<Http>, Failure> {
    let jwt = SignedJwt::new(key).audience(audience);
    let credentials = Credentials::new(format!("judge-{algorithm}"), "");
    Ok(basic(uri, credentials)?.client_auth(ClientAuth::assertion(jwt)).issuer(issuer))
}

fn key(algorithm: &str) -> Result<SigningKey, Failure> {
    let keys: Vec<serde_json::Value> = serde_json::from_str(KEYS)?;
    let key = keys.iter().find(|key| key["alg"] == algorithm).ok_or("there is no such key")?;
    Ok(SigningKey::from_jwk(&key.to_string())?)
}

fn public(algorithm: &str) -> Result<String, Failure> {
    Ok(key(algorithm)?.public_jwk().ok_or("it has no public half")?)
}

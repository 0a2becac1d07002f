//! Settings that builders can't work with.

use std::{os::unix::fs::PermissionsExt as _, time::Duration};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use tower::service_fn;
use tower_reauth::{
    AuthLayer, BoxError, RefreshPolicy, SendPayments, TokenCache,
    assertion::SigningKey,
    client,
    endpoint::{HttpService, OAuth2, oauth2::OAuth2Builder},
    refusal::{self, RefusalLayer},
    store::{FileStore, KeyRing},
};

use super::{
    SECRET, Section, credentials,
    fake::{Fake, GOOD},
};

fn http() -> impl HttpService {
    service_fn(|_: Request<Full<Bytes>>| async {
        Ok::<_, BoxError>(Response::new(Full::<Bytes>::default()))
    })
}

fn oauth2(uri: &str) -> OAuth2Builder<impl HttpService> {
    OAuth2::client_credentials(uri, http(), credentials())
}

pub(super) fn settings() -> Section {
    let mut section = Section::new("Settings");
    urls(&mut section);
    caches(&mut section);
    oauth2_settings(&mut section);
    clients(&mut section);
    refusals(&mut section);
    stores(&mut section);
    section
}

fn urls(section: &mut Section) {
    let base = |url: &str| SendPayments::new(url, http(), credentials()).unwrap_err();
    section.row("a base URL without a scheme", base("api.example.com"));
    section.row("a base URL that is none", base("https://api example.com"));
    section.row("a base URL with a password", base(&format!("https://me:{SECRET}@example.com")));
    section.row("a base URL with a query", base(&format!("https://example.com?key={SECRET}")));
    section.row("a base URL of another scheme", base("ftp://example.com"));
    section.row("a base URL in plain text", base("http://api.example.com"));
    let layer = || AuthLayer::new(TokenCache::new(Fake::new(GOOD)));
    section.row("an API in plain text", layer().allow_origin("http://api.internal").unwrap_err());
}

fn caches(section: &mut Section) {
    let builder = || TokenCache::builder(Fake::new(GOOD));
    section.row("a scheme of two words", builder().scheme("Bearer token").build().unwrap_err());
    let policy = |policy| builder().refresh_policy(policy).build().unwrap_err();
    let default = RefreshPolicy::default;
    section.row("no time for an attempt", policy(default().attempt_timeout(Duration::ZERO)));
    section.row("no time for a refresh", policy(default().deadline(Duration::ZERO)));
    section.row("no pause between attempts", policy(default().retry_base(Duration::ZERO)));
    section.row("a pause that shrinks", policy(default().retry_cap(Duration::from_millis(1))));
    section.row("no cool-down", policy(default().cooldown_base(Duration::ZERO)));
    section.row("a renewal at once", policy(default().renew_at(0.0)));
    section.row("a renewal after the hold", policy(default().renew_at(0.99)));
    let lease = builder().lease(Duration::from_millis(1)).build().unwrap_err();
    section.row("a lease that is too short", lease);
}

fn oauth2_settings(section: &mut Section) {
    let uri = "https://login.example.com/token";
    let fault = |builder: OAuth2Builder<_>| builder.build().unwrap_err();
    section.row("a parameter twice", fault(oauth2(uri).param("grant_type", SECRET)));
    let nameless = OAuth2::grant(uri, http(), "", credentials()).build().unwrap_err();
    section.row("a grant without a name", nameless);
    section.row("a token endpoint in plain text", fault(oauth2("http://login.example.com/token")));
    section.row(
        "an API in plain text beside a token endpoint",
        fault(oauth2(uri).for_api("http://api.example.com")),
    );
}

fn clients(section: &mut Section) {
    let fault = |builder: client::ClientBuilder| builder.build::<Full<Bytes>>().unwrap_err();
    let builder = client::builder;
    section.row("roots that are no PEM", fault(builder().add_root_certificates(SECRET)));
    section.row("no root at all", fault(builder().without_platform_roots()));
    section.row("a certificate that is no PEM", fault(builder().client_certificate(SECRET, "")));
    section.row("a SOCKS proxy", fault(builder().proxy(format!("socks5://me:{SECRET}@proxy"))));
    section.row("a proxy that is no address", fault(builder().proxy("")));
    section.row("a key that is no PEM", SigningKey::es256_pem(SECRET).unwrap_err());
    section.row("a key that is no JWK", SigningKey::from_jwk(SECRET).unwrap_err());
    section.row("an empty key", SigningKey::hs256("").unwrap_err());
}

fn refusals(section: &mut Section) {
    section.row("a refusal by a status of success", refusal::statuses([200]).unwrap_err());
    section.row("a refusal by no status", refusal::statuses([]).unwrap_err());
    section.row("a challenge of two words", refusal::challenge("Be arer", "x").unwrap_err());
    section.row("a code nowhere", RefusalLayer::json("code", ["1"]).unwrap_err());
}

fn stores(section: &mut Section) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokens");
    std::fs::write(&path, SECRET).unwrap();
    let shown = |error: tower_reauth::ConfigError| {
        error.to_string().replace(folder.path().to_str().unwrap(), "/var/lib/send")
    };
    let file = FileStore::open(&path).unwrap_err();
    section.row("a file in place of a store's directory", shown(file));
    let open = folder.path().join("open");
    std::fs::create_dir(&open).unwrap();
    std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o755)).unwrap();
    let open = FileStore::open(open).unwrap_err();
    section.row("a store's directory that others may read", shown(open));
    section.row("keys that are not set", KeyRing::from_env("TOWER_REAUTH_UNSET").unwrap_err());
}

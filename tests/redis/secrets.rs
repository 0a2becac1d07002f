//! TLS, and what of a password is seen.

use std::{fs, sync::Arc};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::{ClientConfig, RootCertStore, crypto::aws_lc_rs::default_provider};
use tempfile::TempDir;
use tower_reauth::{
    ConfigError, Credentials, SendPayments, TokenCache, client,
    sandbox::Sandbox,
    store::{self, KeyRing, RedisStore},
};

use crate::server::{PASSWORD, Server, USER, change, free_port, program, revision};

/// Writes a certificate of a new authority for `localhost`. Returns a configuration that trusts it.
fn certificates(directory: &TempDir) -> ClientConfig {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let certificate =
        CertificateParams::new(["localhost".to_owned()]).unwrap().signed_by(&key, &ca).unwrap();
    fs::write(directory.path().join("ca.pem"), ca.pem()).unwrap();
    fs::write(directory.path().join("certificate.pem"), certificate.pem()).unwrap();
    fs::write(directory.path().join("key.pem"), key.serialize_pem()).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(ca.der().clone()).unwrap();
    ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth()
}

#[tokio::test]
async fn tls_is_spoken_with_a_server_whose_certificate_is_trusted() {
    let directory = TempDir::new().unwrap();
    let config = certificates(&directory);
    let port = free_port();
    let file = |name| directory.path().join(name).display().to_string();
    let (ca, certificate, key) = (file("ca.pem"), file("certificate.pem"), file("key.pem"));
    let port_text = port.to_string();
    let arguments = [
        "--save",
        "",
        "--tls-port",
        &port_text,
        "--tls-ca-cert-file",
        &ca,
        "--tls-cert-file",
        &certificate,
        "--tls-key-file",
        &key,
        "--tls-auth-clients",
        "no",
    ];
    let server = match Server::try_start(&arguments, directory) {
        Ok(server) => server,
        Err(output) => {
            println!("{} has no TLS, so nothing is tested: {output}", program());
            return;
        }
    };
    server.allow("");
    let url = format!("rediss://{USER}:{PASSWORD}@localhost:{port}");
    let store = RedisStore::builder(&url).tls_config(config.clone()).build().unwrap();
    store::conformance(&store).await.unwrap();

    // An authority that is not the platform's, and a name that is not the certificate's.
    let by_address = url.replace("localhost", "127.0.0.1");
    let mistrusting = [
        RedisStore::connect(&url).unwrap(),
        RedisStore::builder(by_address).tls_config(config).build().unwrap(),
    ];
    for store in mistrusting {
        let error = revision(&store).await.unwrap_err();
        assert!(!error.is_transient() && !error.is_denied(), "{error}");
        assert!(error.to_string().contains("certificate"), "{error}");
    }
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn plain_redis_beyond_this_machine_is_refused_unless_it_is_allowed_by_name() {
    let url = "redis://u:hunter2@redis.internal";
    let error = RedisStore::connect(url).unwrap_err();
    assert!(matches!(error, ConfigError::PlainRedis { .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains("redis://redis.internal:6379"), "{text}");
    assert!(text.contains("RedisStoreBuilder::allow_plain_redis"), "{text}");
    assert!(!text.contains("hunter"), "{text}");
    RedisStore::builder(url).allow_plain_redis().build().unwrap();
    // A sentinel is told nothing of a token, and has a password too.
    let sentinels = RedisStore::builder("rediss://payments").sentinels(["redis://10.0.0.1"]);
    assert!(matches!(sentinels.build().unwrap_err(), ConfigError::PlainRedis { .. }));
}

#[tokio::test]
async fn nothing_but_the_value_is_in_the_server() {
    let server = Server::start();
    let store = server.store();
    change(&store, 0, 1).await.unwrap();
    assert_eq!(server.ask(&["SAVE"]), "OK");
    let dump = fs::read(server.directory.path().join("dump.rdb")).unwrap();
    let holds = |text: &str| dump.windows(text.len()).any(|part| part == text.as_bytes());
    assert!(holds("tower-reauth:{payments}"));
    assert!(!holds(PASSWORD));
    let debug = format!("{store:?}");
    assert!(!debug.contains(PASSWORD) && debug.contains(&server.port.to_string()), "{debug}");
}

#[tokio::test]
async fn no_secret_is_in_the_dump_of_a_server_that_shares_a_sealed_token() {
    let (server, sandbox) = (Server::start(), Sandbox::builder().start().await.unwrap());
    let key = *b"a key that nobody else may know.";
    for (ring, is_shown) in [(Some(KeyRing::new(key, [])), false), (None, true)] {
        let credentials = Credentials::new(Sandbox::CLIENT_ID, Sandbox::CLIENT_SECRET);
        let http = client::https().unwrap();
        let endpoint = SendPayments::new(sandbox.base_url(), http, credentials).unwrap();
        let mut builder = TokenCache::builder(endpoint).shared(server.store());
        if let Some(ring) = ring {
            builder = builder.seal(ring);
        }
        let cache = builder.build().unwrap();
        let first = cache.token().await.unwrap();
        let second = cache.refresh().await.unwrap();
        server.ask(&["CONFIG", "SET", "rdbcompression", "no"]);
        assert_eq!(server.ask(&["SAVE"]), "OK");
        let dump = fs::read(server.directory.path().join("dump.rdb")).unwrap();
        let holds = |text: &[u8]| dump.windows(text.len()).any(|part| part == text);
        assert!(holds(b"tower-reauth:{"));
        assert_eq!(holds(second.expose_secret().as_bytes()), is_shown);
        assert!(!holds(first.expose_secret().as_bytes()));
        for secret in [Sandbox::CLIENT_SECRET, Sandbox::CLIENT_ID, PASSWORD] {
            assert!(!holds(secret.as_bytes()), "{secret}");
        }
        assert!(!holds(&key));
        server.ask(&["FLUSHALL"]);
    }
}

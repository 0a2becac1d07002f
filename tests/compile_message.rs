//! What the compiler says of a body that can't be replayed: it has to name the way out.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::{env, fs, path::Path, process::Command};

const PROGRAM: &str = r#"
use tower_layer::Layer;
use tower_reauth::{AuthLayer, BoxError};
use tower_service::Service;

/// Not `Clone`, as most streams.
pub struct Upload;

#[derive(Clone)]
pub struct Client;

impl Service<http::Request<Upload>> for Client {
    type Response = http::Response<()>;
    type Error = BoxError;
    type Future = std::future::Ready<Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), BoxError>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: http::Request<Upload>) -> Self::Future {
        std::future::ready(Err("nothing there".into()))
    }
}

/// As a buffer, a boxed service or a generated client does.
pub fn takes<S: Service<http::Request<Upload>>>(_: S) {}

pub fn f(layer: AuthLayer, request: http::Request<Upload>) {
    let mut service = layer.layer(Client);
    USE;
}
"#;

/// What `cargo check` prints for a library of this text that depends on this crate.
fn check(program: &str) -> (bool, String) {
    let root = env!("CARGO_MANIFEST_DIR");
    let project = tempfile::tempdir().unwrap();
    fs::create_dir(project.path().join("src")).unwrap();
    fs::write(project.path().join("src/lib.rs"), program).unwrap();
    // The versions of this crate's own lock file, so that nothing is asked of the network.
    fs::copy(Path::new(root).join("Cargo.lock"), project.path().join("Cargo.lock")).unwrap();
    let manifest = format!(
        "[package]\nname = \"compile-message\"\nversion = \"0.0.0\"\nedition = \"2024\"\n[workspace]\n[dependencies]\n\
         http = \"1\"\ntower-layer = \"0.3\"\ntower-service = \"0.3\"\ntower-reauth = {{ path = {root:?} }}\n"
    );
    fs::write(project.path().join("Cargo.toml"), manifest).unwrap();
    let output = Command::new(env::var_os("CARGO").unwrap_or("cargo".into()))
        .args(["check", "--offline", "--color", "never"])
        .current_dir(&project)
        .env("CARGO_TARGET_DIR", Path::new(env!("CARGO_TARGET_TMPDIR")).join("compile_message"))
        .output()
        .unwrap();
    (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn a_body_that_can_not_be_replayed_is_an_error_that_names_the_replay_layer() {
    let (compiles, message) = check(&PROGRAM.replace("USE", "takes(service)"));
    assert!(!compiles);
    assert!(
        message.contains(
            "error[E0277]: requests with the body `Upload` can't be replayed after a 401"
        ),
        "{message}"
    );
    assert!(
        message.contains("put a `tower_reauth::replay::ReplayLayer` above the `AuthLayer`"),
        "{message}"
    );

    // Of a method that isn't there for want of a bound, the compiler shows the type's own line alone.
    let call = PROGRAM.replace("USE", "service.call(request)");
    let (compiles, message) = check(&call);
    assert!(!compiles && message.contains("error[E0599]"), "{message}");
    assert!(message.contains("ReplayLayer"), "{message}");

    // What the message names helps.
    let (compiles, message) = check(&call.replace("layer.layer(", "layer.without_replay().layer("));
    assert!(compiles, "{message}");
    let (compiles, message) = check(
        &call.replace("Request<Upload>", "Request<tower_reauth::replay::ReplayBody<Upload>>"),
    );
    assert!(compiles, "{message}");
}

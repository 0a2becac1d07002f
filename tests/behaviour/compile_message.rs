//! What the compiler says of the commonest mistakes: it has to name the way out.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

const PROGRAM: &str = r#"
use std::task::{Context, Poll};

use support::{
    http,
    tower::{Layer, Service},
    tower_reauth::{AuthLayer, BoxError},
};

/// Not `Clone`, as most streams.
pub struct Upload;

#[derive(Clone)]
pub struct Client;

impl Service<http::Request<Upload>> for Client {
    type Response = http::Response<()>;
    type Error = BoxError;
    type Future = std::future::Ready<Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
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

/// Whether a library of this text compiles, and what the compiler prints.
fn check(program: &str) -> (bool, String) {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("lib.rs");
    fs::write(&source, program).unwrap();
    // Against what this test itself was built with: `cargo check` would build all of it once more.
    let test = env::current_exe().unwrap();
    let dependencies = test.parent().unwrap();
    let output = Command::new(env::var_os("RUSTC").unwrap_or("rustc".into()))
        .args(["--edition=2024", "--crate-type=lib", "--emit=metadata", "--color=never"])
        .arg(format!("--out-dir={}", folder.path().display()))
        .arg(format!("-Ldependency={}", dependencies.display()))
        .arg(format!("--extern=support={}", newest_support(dependencies).display()))
        .arg(source)
        // Its messages show lines of the crate's sources, whose paths are relative to this.
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
        .output()
        .unwrap();
    (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
}

/// The package `support` as it was built last: for this test, or after it for one with other
/// features. Either way with this crate as it is now.
fn newest_support(folder: &Path) -> PathBuf {
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let libraries = files.filter(|path| {
        let name = path.file_name().unwrap().to_string_lossy();
        name.starts_with("libsupport-") && name.ends_with(".rlib")
    });
    libraries.max_by_key(|path| path.metadata().unwrap().modified().unwrap()).unwrap()
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

    // Of a method that isn't there for want of a bound, the compiler shows the type's own line
    // alone.
    let call = PROGRAM.replace("USE", "service.call(request)");
    let (compiles, message) = check(&call);
    assert!(!compiles && message.contains("error[E0599]"), "{message}");
    assert!(message.contains("ReplayLayer"), "{message}");

    // What the message names helps.
    let (compiles, message) = check(&call.replace("layer.layer(", "layer.without_replay().layer("));
    assert!(compiles, "{message}");
    let (compiles, message) =
        check(&call.replace(
            "Request<Upload>",
            "Request<support::tower_reauth::replay::ReplayBody<Upload>>",
        ));
    assert!(compiles, "{message}");
}

/// `Auth::send` among services of each kind.
const SENDING: &str = r#"
#![allow(unused)]

use std::{
    convert::Infallible,
    future::{Ready, ready},
    pin::Pin,
    task::{Context, Poll},
};

use support::{
    http::{Request, Response},
    http_body::{Body, Frame},
    tower::{Layer, Service, ServiceBuilder},
    tower_reauth::{AuthLayer, BoxError, replay::ReplayLayer},
};

/// Not `Clone`, as most streams.
pub struct Upload;

impl Body for Upload {
    type Data = &'static [u8];
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<&'static [u8]>, Infallible>>> {
        Poll::Ready(None)
    }
}

macro_rules! service {
    ($name:ty, $request:ty, $($body:ident)?) => {
        impl$(<$body>)? Service<$request> for $name {
            type Response = Response<()>;
            type Error = BoxError;
            type Future = Ready<Result<Response<()>, BoxError>>;

            fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
                Poll::Ready(Ok(()))
            }

            fn call(&mut self, _: $request) -> Self::Future {
                ready(Err("nothing there".into()))
            }
        }
    };
}

#[derive(Clone)]
pub struct Client;
service!(Client, Request<B>, B);

pub struct Connection;
service!(Connection, Request<B>, B);

/// As the crate `reqwest`: its client is a service for requests of its own type.
pub mod reqwest {
    #[derive(Clone, Default)]
    pub struct Client;
    pub struct Request;
}
service!(reqwest::Client, reqwest::Request,);

pub async fn f(auth: AuthLayer, text: Request<String>, upload: Request<Upload>) {
    let client = CLIENT;
    let _ = client.send(REQUEST).await;
}
"#;

/// Compiles [`SENDING`] with this client and this request.
fn send(client: &str, request: &str) -> (bool, String) {
    check(&SENDING.replace("CLIENT", client).replace("REQUEST", request))
}

/// Checks that sending fails, and that the compiler says each line of `expected` in this order,
/// and the first one before anything else. What else it says differs from compiler to compiler.
#[track_caller]
fn says(client: &str, request: &str, expected: &str) {
    let (compiles, message) = send(client, request);
    assert!(!compiles);
    assert!(message.starts_with(expected.lines().next().unwrap()), "{message}");
    let mut lines = message.lines().map(|line| line.trim_start_matches([' ', '|', '^', '=']));
    for line in expected.lines() {
        assert!(lines.any(|said| said == line), "not said in this place: {line}\n\n{message}");
    }
}

#[test]
fn sending_a_body_that_is_not_clone_says_to_put_a_replay_layer_above() {
    says("auth.layer(Client)", "upload", include_str!("compile_message/body.txt"));
    // The ways out, in one program.
    let ways = "auth.clone().layer(Client);
        client.send(text).await;
        let client = auth.clone().without_replay().layer(Client);
        client.send(upload).await;
        let client =
            ServiceBuilder::new().layer(ReplayLayer::new()).layer(auth).service(Client)";
    let (compiles, message) = send(ways, "Request::new(Upload)");
    assert!(compiles, "{message}");
}

#[test]
fn sending_through_a_service_that_is_not_clone_says_to_wrap_it() {
    says("auth.layer(Connection)", "text", include_str!("compile_message/service.txt"));
}

#[test]
fn sending_through_reqwests_client_says_what_it_is_not() {
    says("auth.layer(reqwest::Client)", "text", include_str!("compile_message/reqwest.txt"));
}

#[test]
fn sending_with_the_replay_layer_below_says_that_it_comes_too_late() {
    let client = "ServiceBuilder::new().layer(auth).layer(ReplayLayer::new()).service(Client)";
    says(client, "upload", include_str!("compile_message/order.txt"));
}

//! kube-client's `AuthLayer`, with a token file, and with a credential plugin.

use std::{
    fs,
    future::{Future, Ready, ready},
    sync::Arc,
    task::{Context, Poll},
};

use http::{Request, Response};
use kube::{
    client::{ConfigExt, middleware::AuthLayer},
    config::{AuthInfo, Config, ExecConfig, ExecInteractiveMode},
};
use tower::{
    BoxError, Layer, Service,
    retry::{Retry, RetryLayer},
};

use super::plain::{self, KeepsAClone};
use crate::{
    answer::token,
    endpoint::Endpoint,
    peer::{Outcome, Peer},
    plugin,
    support::{self, Body, Noop, done},
};

type Signed = <AuthLayer as Layer<Inner>>::Service;

/// `Noop` with the error that the layer asks for.
#[derive(Clone)]
pub struct Inner(Noop);

impl Service<Request<Body>> for Inner {
    type Response = Response<()>;
    type Error = BoxError;
    type Future = Ready<Result<Response<()>, BoxError>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Service::<Request<Body>>::poll_ready(&mut self.0, context).map_err(Into::into)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let Ok(response) = done(self.0.call(request));
        ready(Ok(response))
    }
}

fn service(auth_info: AuthInfo) -> Signed {
    let mut config = Config::new(support::get(0).uri().clone());
    config.auth_info = auth_info;
    config.auth_layer().unwrap().expect("a layer for tokens").layer(Inner(Noop))
}

/// The file has to outlive the service: it is read again every minute.
type File = Arc<tempfile::TempDir>;

fn token_file() -> (Signed, File) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("token");
    fs::write(&path, token()).unwrap();
    let token_file = Some(path.to_str().unwrap().to_owned());
    (service(AuthInfo { token_file, ..AuthInfo::default() }), Arc::new(directory))
}

#[derive(Clone)]
pub struct TokenFile(Signed, #[expect(dead_code, reason = "kept for its drop")] File);

impl Peer for TokenFile {
    const NAME: &'static str = "kube token file";
    type Input = Request<Body>;

    async fn make(_: &Endpoint) -> Self {
        let (service, file) = token_file();
        Self(service, file)
    }

    fn input() -> Request<Body> {
        support::get(4)
    }

    fn call(&mut self, request: Request<Body>) -> impl Future<Output = impl Outcome> + Send {
        plain::ready(&mut self.0, request)
    }
}

#[derive(Clone)]
pub struct TokenFileRetried(
    Retry<KeepsAClone, Signed>,
    #[expect(dead_code, reason = "kept for its drop")] File,
);

impl Peer for TokenFileRetried {
    const NAME: &'static str = "tower Retry over kube token file";
    type Input = Request<Body>;

    async fn make(_: &Endpoint) -> Self {
        let (service, file) = token_file();
        Self(RetryLayer::new(KeepsAClone).layer(service), file)
    }

    fn input() -> Request<Body> {
        support::get(4)
    }

    fn call(&mut self, request: Request<Body>) -> impl Future<Output = impl Outcome> + Send {
        plain::ready(&mut self.0, request)
    }
}

#[derive(Clone)]
pub struct Exec(Signed);

impl Peer for Exec {
    const NAME: &'static str = "kube exec";
    type Input = Request<Body>;

    async fn make(endpoint: &Endpoint) -> Self {
        let (log, answer) = endpoint.program();
        let exec: ExecConfig = serde_json::from_value(serde_json::json!({
            "apiVersion": "client.authentication.k8s.io/v1",
            "command": std::env::current_exe().unwrap(),
            "args": plugin::arguments(log.to_str().unwrap(), answer),
        }))
        .unwrap();
        let exec = ExecConfig { interactive_mode: Some(ExecInteractiveMode::Never), ..exec };
        Self(service(AuthInfo { exec: Some(exec), ..AuthInfo::default() }))
    }

    fn input() -> Request<Body> {
        support::get(4)
    }

    fn call(&mut self, request: Request<Body>) -> impl Future<Output = impl Outcome> + Send {
        plain::ready(&mut self.0, request)
    }
}

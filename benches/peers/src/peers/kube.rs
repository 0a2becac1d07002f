//! kube-client's `AuthLayer`, with a token file, and with a credential plugin.

use std::{fs, future::Future, sync::Arc};

use http::Request;
use kube::{
    client::{ConfigExt, middleware::AuthLayer},
    config::{AuthInfo, Config, ExecConfig, ExecInteractiveMode},
};
use tower::{
    Layer,
    retry::{Retry, RetryLayer},
};

use super::plain::{KeepsAClone, ready};
use crate::{
    endpoint::{Endpoint, token},
    peer::Peer,
    plugin,
    support::{self, Body, Noop},
};

type Service = <AuthLayer as Layer<Noop>>::Service;

fn service(auth_info: AuthInfo) -> Service {
    let mut config = Config::new(support::get(0).uri().clone());
    config.auth_info = auth_info;
    config.auth_layer().unwrap().expect("a layer for tokens").layer(Noop)
}

/// The file has to outlive the service: it is read again every minute.
type File = Arc<tempfile::TempDir>;

fn token_file() -> (Service, File) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("token");
    fs::write(&path, token()).unwrap();
    let token_file = Some(path.to_str().unwrap().to_owned());
    (service(AuthInfo { token_file, ..AuthInfo::default() }), Arc::new(directory))
}

#[derive(Clone)]
pub struct TokenFile(Service, #[expect(dead_code, reason = "kept for its drop")] File);

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

    fn call(&mut self, request: Request<Body>) -> impl Future<Output = bool> + Send {
        ready(&mut self.0, request)
    }
}

#[derive(Clone)]
pub struct TokenFileRetried(
    Retry<KeepsAClone, Service>,
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

    fn call(&mut self, request: Request<Body>) -> impl Future<Output = bool> + Send {
        ready(&mut self.0, request)
    }
}

#[derive(Clone)]
pub struct Exec(Service);

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

    fn call(&mut self, request: Request<Body>) -> impl Future<Output = bool> + Send {
        ready(&mut self.0, request)
    }
}

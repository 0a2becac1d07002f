//! A provider that answers as a test has it, and tells what it was asked.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, Uri};
use http_body_util::{BodyExt, Full};
use serde_json::Value;
use tower::{Service, service_fn};

/// The requests that the provider got.
#[derive(Clone, Default)]
pub(super) struct Played(Arc<Mutex<Vec<Asked>>>);

#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) method: Method,
    pub(super) uri: Uri,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Played {
    /// The last request.
    pub(super) fn asked(&self) -> Asked {
        self.0.lock().unwrap().last().unwrap().clone()
    }

    pub(super) fn count(&self) -> usize {
        self.0.lock().unwrap().len()
    }
}

impl Asked {
    /// The value of a parameter of the form.
    pub(super) fn form(&self, name: &str) -> Option<String> {
        let body = std::str::from_utf8(&self.body).unwrap();
        let pair = body.split('&').find_map(|pair| pair.strip_prefix(&format!("{name}=")))?;
        let uri = format!("/?{}", pair.replace('+', "%20"));
        Some(decoded(&uri[2..]))
    }

    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The claims of a JWT in the form.
    pub(super) fn claims(&self, name: &str) -> Value {
        let jwt = self.form(name).unwrap();
        jsonwebtoken::dangerous::insecure_decode::<Value>(jwt).unwrap().claims
    }

    pub(super) fn jwt_header(&self, name: &str) -> jsonwebtoken::Header {
        jsonwebtoken::decode_header(self.form(name).unwrap()).unwrap()
    }
}

fn decoded(text: &str) -> String {
    let mut bytes = text.bytes();
    let mut out = Vec::new();
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'%' => {
                let mut digit = || char::from(bytes.next().unwrap()).to_digit(16).unwrap();
                u8::try_from(digit() << 4 | digit()).unwrap()
            }
            byte => byte,
        });
    }
    String::from_utf8(out).unwrap()
}

/// A service that answers each request with this status and JSON.
pub(super) fn played(
    status: u16,
    json: impl Into<Bytes>,
) -> (
    impl Service<
        Request<Full<Bytes>>,
        Response = Response<Full<Bytes>>,
        Error = Infallible,
        Future: Send,
    > + Clone
    + Send
    + Sync
    + 'static,
    Played,
) {
    let played = Played::default();
    let (asked, json) = (played.clone(), json.into());
    let service = service_fn(move |request: Request<Full<Bytes>>| {
        let (asked, json) = (asked.clone(), json.clone());
        async move {
            let (parts, body) = request.into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            let (method, uri, headers) = (parts.method, parts.uri, parts.headers);
            asked.0.lock().unwrap().push(Asked { method, uri, headers, body });
            let response = Response::builder().status(status);
            let response = response.header("content-type", "application/json;charset=UTF-8");
            Ok(response.body(Full::from(json)).unwrap())
        }
    });
    (service, played)
}

/// The place that a request was sent to.
pub(super) fn at(played: &Played) -> String {
    let asked = played.asked();
    format!("{} {}", asked.method, asked.uri)
}

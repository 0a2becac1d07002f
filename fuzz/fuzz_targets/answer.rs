//! The token endpoint's answer, from its bytes to the token that is adopted or the error that is
//! shown.
//!
//! An input is an answer as text: the status, headers, an empty line, the body. Behind the status,
//! `cut` lets the body end in an error, and `long` makes it longer than what is read.
#![no_main]

use std::{error::Error, future, io, task, time::Duration, vec};

use bytes::Bytes;
use futures_util::stream;
use http::{HeaderName, HeaderValue, Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::{Full, StreamBody};
use libfuzzer_sys::{Corpus, fuzz_target};
use serde_json::Value;
use tokio::runtime::{Builder, Runtime};
use tower_reauth::{AccessToken, AuthError, BoxError, Credentials, SendPayments, fuzzing};
use tower_service::Service;

/// Also in `answer.dict`, so that it gets into bodies and headers.
const SECRET: &str = "s3cret-of-the-client";
const LONGEST_LIFETIME: Duration = Duration::from_secs(365 * 24 * 3600);
const LONGEST_TEXT: usize = 500;

thread_local! {
    static RUNTIME: Runtime = Builder::new_current_thread().enable_time().build().expect("a runtime");
}

#[derive(Clone)]
struct Answer {
    status: StatusCode,
    headers: Vec<(HeaderName, HeaderValue)>,
    body: Bytes,
    cut: bool,
    long: bool,
}

impl Answer {
    fn read(input: &[u8]) -> Option<Self> {
        let (head, body) = match input.windows(2).position(|pair| pair == b"\n\n") {
            Some(end) => (&input[..end], &input[end + 2..]),
            None => (input, &[][..]),
        };
        let mut lines = head.split(|byte| *byte == b'\n');
        let mut first = std::str::from_utf8(lines.next()?).ok()?.split(' ');
        let status = StatusCode::from_u16(first.next()?.parse().ok()?).ok()?;
        let mark = first.next();
        let headers = lines.map(|line| {
            let colon = line.iter().position(|byte| *byte == b':')?;
            let value = line[colon + 1..].strip_prefix(b" ").unwrap_or(&line[colon + 1..]);
            Some((
                HeaderName::from_bytes(&line[..colon]).ok()?,
                HeaderValue::from_bytes(value).ok()?,
            ))
        });
        Some(Self {
            status,
            headers: headers.collect::<Option<_>>()?,
            body: Bytes::copy_from_slice(body),
            cut: mark == Some("cut"),
            long: mark == Some("long"),
        })
    }
}

type Frames = StreamBody<stream::Iter<vec::IntoIter<Result<Frame<Bytes>, io::Error>>>>;

impl Service<Request<Full<Bytes>>> for Answer {
    type Response = Response<Frames>;
    type Error = BoxError;
    type Future = future::Ready<Result<Response<Frames>, BoxError>>;

    fn poll_ready(&mut self, _: &mut task::Context<'_>) -> task::Poll<Result<(), BoxError>> {
        task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<Full<Bytes>>) -> Self::Future {
        let mut frames = vec![Ok(Frame::data(self.body.clone()))];
        if self.long {
            frames.push(Ok(Frame::data(Bytes::from_static(&[b' '; 65_536]))));
        }
        if self.cut {
            frames.push(Err(io::Error::from(io::ErrorKind::ConnectionReset)));
        }
        let mut response = Response::new(StreamBody::new(stream::iter(frames)));
        *response.status_mut() = self.status;
        response
            .headers_mut()
            .extend(self.headers.drain(..).map(|(name, value)| (Some(name), value)));
        future::ready(Ok(response))
    }
}

fuzz_target!(|input: &[u8]| -> Corpus {
    let Some(answer) = Answer::read(input) else { return Corpus::Reject };
    let credentials = Credentials::new("client", SECRET);
    let endpoint = SendPayments::new("https://api.example.com", answer.clone(), credentials)
        .expect("a good address");
    match RUNTIME.with(|runtime| runtime.block_on(fuzzing::attempt(&endpoint, "Bearer"))) {
        Ok(token) => adopted(&answer, &token),
        Err(error) => refused(&answer, &error),
    }
    Corpus::Keep
});

fn adopted(answer: &Answer, token: &AccessToken) {
    assert!(answer.status.is_success(), "adopted from {}", answer.status);
    assert!(!answer.cut, "adopted from a part of an answer");
    let (secret, header) = (token.expose_secret(), token.header_value());
    if let Ok(said) = serde_json::from_slice::<Value>(&answer.body) {
        assert_eq!(said["accessToken"], secret, "another token than the answer's");
    }
    assert!(!secret.is_empty() && secret.bytes().all(|byte| byte.is_ascii_graphic()), "{secret:?}");
    assert_eq!(header.as_bytes(), format!("Bearer {secret}").as_bytes());
    assert!(HeaderValue::from_bytes(header.as_bytes()).is_ok() && header.is_sensitive());
    assert!(
        !token.lifetime().is_zero() && token.lifetime() <= LONGEST_LIFETIME,
        "{:?}",
        token.lifetime()
    );
    // Longer than any word of what is printed.
    if secret.len() > 24 {
        assert!(!format!("{token:?} {header:?}").contains(secret), "the token is printed");
    }
}

fn refused(answer: &Answer, error: &AuthError) {
    let text = error.to_string();
    assert!(text.chars().count() <= LONGEST_TEXT, "{} characters: {text}", text.chars().count());
    assert!(!text.chars().any(char::is_control), "{text:?}");
    let mut shown = format!("{text}\n{error:?}\n{error:#?}");
    let mut source = error.source();
    while let Some(cause) = source {
        shown += &format!("\n{cause}\n{cause:?}");
        source = cause.source();
    }
    assert!(!shown.contains(SECRET), "the secret is shown: {shown}");
    assert!(!(error.is_transient() && error.is_rejected()), "{error:?}");
    assert!(error.status().is_none_or(|status| status == answer.status), "{error:?}");
}

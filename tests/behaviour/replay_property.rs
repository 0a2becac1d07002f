//! Random bodies through the layer to a server that checks what arrives: whatever the server does
//! with the first attempt, the replay is identical, or there is none and the answer says so.

use std::{
    collections::VecDeque,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use proptest::prelude::*;
use support::{Endpoint, known_at_once};
use tower::{ServiceBuilder, ServiceExt};
use tower_reauth::{
    AuthLayer, BoxError, TokenCache,
    replay::{Declined, ReplayBody, ReplayLayer},
};

#[derive(Clone, Debug)]
enum Step {
    Data(Vec<u8>),
    Wait,
    Fail,
}

/// A body of these steps, and trailers.
#[derive(Clone, Debug)]
struct Upload {
    steps: VecDeque<Step>,
    trailers: bool,
    says_its_length: bool,
}

impl Upload {
    fn bytes(&self) -> Vec<u8> {
        let data = self.steps.iter().filter_map(|step| match step {
            Step::Data(data) => Some(data.as_slice()),
            Step::Wait | Step::Fail => None,
        });
        data.collect::<Vec<_>>().concat()
    }

    fn fails(&self) -> bool {
        self.steps.iter().any(|step| matches!(step, Step::Fail))
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match self.steps.pop_front() {
            Some(Step::Data(data)) => Poll::Ready(Some(Ok(Frame::data(data.into())))),
            Some(Step::Wait) => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Some(Step::Fail) => {
                self.steps.clear();
                self.trailers = false;
                Poll::Ready(Some(Err("the upload fails".into())))
            }
            None if std::mem::take(&mut self.trailers) => {
                let trailers =
                    HeaderMap::from_iter([(http::header::ETAG, HeaderValue::from_static("17"))]);
                Poll::Ready(Some(Ok(Frame::trailers(trailers))))
            }
            None => Poll::Ready(None),
        }
    }

    fn size_hint(&self) -> SizeHint {
        let mut hint = SizeHint::new();
        if self.says_its_length {
            hint.set_exact(self.bytes().len() as u64);
        }
        hint
    }
}

fn upload() -> impl Strategy<Value = Upload> {
    let data = prop::collection::vec(any::<u8>(), 0..12).prop_map(Step::Data);
    let step = prop_oneof![12 => data, 2 => Just(Step::Wait), 1 => Just(Step::Fail)];
    let steps = prop::collection::vec(step, 0..12);
    (steps, any::<bool>(), any::<bool>()).prop_map(|(steps, trailers, says_its_length)| Upload {
        steps: steps.into(),
        trailers,
        says_its_length,
    })
}

/// What a server does with an attempt whose token it refuses.
#[derive(Clone, Copy, Debug)]
struct Refusal {
    frames: usize,
    keeps_the_body: bool,
}

/// Bytes and trailers of an attempt that was read to its end.
type Received = (Vec<u8>, bool);

async fn receive(body: ReplayBody<Upload>) -> Result<Received, BoxError> {
    let collected = body.collect().await?;
    let trailers = collected.trailers().is_some();
    Ok((collected.to_bytes().into(), trailers))
}

/// Sends `upload`; the answer, what the accepted attempt carried, and how many bytes the refused
/// one had read.
fn send(
    upload: Upload,
    cap: usize,
    cache: TokenCache,
    refusal: Refusal,
) -> (Result<Response<String>, BoxError>, Option<Received>, usize) {
    let received = Arc::new(Mutex::new(None));
    let read = Arc::new(Mutex::new(0));
    let kept = Arc::new(Mutex::new(None));
    let (log, count) = (Arc::clone(&received), Arc::clone(&read));
    let server = tower::service_fn(move |request: Request<ReplayBody<Upload>>| {
        let (log, count, kept) = (Arc::clone(&log), Arc::clone(&count), Arc::clone(&kept));
        async move {
            let accepted = support::authorization(&request) == "Bearer token-2";
            let mut body = request.into_body();
            if accepted {
                *log.lock().unwrap() = Some(receive(body).await?);
                return Ok(support::ok());
            }
            for _ in 0..refusal.frames {
                let Some(Ok(frame)) = body.frame().await else { break };
                *count.lock().unwrap() += frame.data_ref().map_or(0, Bytes::len);
            }
            if refusal.keeps_the_body {
                *kept.lock().unwrap() = Some(body);
            }
            Ok::<_, BoxError>(support::unauthorized())
        }
    });
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    let answer = runtime.block_on(async {
        let service = ServiceBuilder::new()
            .layer(ReplayLayer::new().cap(cap))
            .layer(AuthLayer::new(cache))
            .service(server);
        let request = Request::post(support::URI).body(upload).unwrap();
        service.oneshot(request).await.map_err(BoxError::from)
    });
    let (received, read) = (received.lock().unwrap().take(), *read.lock().unwrap());
    (answer, received, read)
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(1000)
    })]

    #[test]
    fn what_a_server_gets_is_the_whole_body_or_nothing(
        upload in upload(),
        cap in 0_usize..70,
        frames in 0_usize..14,
        keeps_the_body in any::<bool>(),
        is_young in any::<bool>(),
    ) {
        let refusal = Refusal { frames, keeps_the_body };
        let endpoint = Endpoint::exclusive();
        let cache = if is_young { TokenCache::new(endpoint) } else { known_at_once(endpoint) };
        let (answer, received, read) = send(upload.clone(), cap, cache, refusal);
        match answer {
            Ok(response) if response.status() == 200 => {
                prop_assert!(!upload.fails());
                prop_assert_eq!(received, Some((upload.bytes(), upload.trailers)));
            }
            Ok(response) => {
                prop_assert_eq!(response.status(), 401);
                prop_assert_eq!(received, None);
                // A young token is not renewed for a body that can't be sent again.
                let is_declined = response.extensions().get::<Declined>().is_some();
                prop_assert_eq!(is_declined, !is_young);
                let too_long = read > cap || upload.says_its_length && upload.bytes().len() > cap;
                prop_assert!(too_long || upload.fails(), "declined without a reason");
            }
            Err(error) => {
                prop_assert_eq!(received, None);
                prop_assert!(upload.fails(), "{error}");
            }
        }
    }
}

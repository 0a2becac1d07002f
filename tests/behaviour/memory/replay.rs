//! What keeping a body for a replay costs in memory, by a counting allocator.

use std::{
    collections::VecDeque,
    convert::Infallible,
    future::{Ready, ready},
    pin::{Pin, pin},
    task::{Context, Poll, Waker},
};

use allocation_counter::{AllocationInfo, measure};
use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame};
use support::{Endpoint, known_at_once, log::Log};
use tower::{Service, ServiceBuilder};
use tower_reauth::{
    AuthLayer,
    replay::{ReplayBody, ReplayLayer},
};
use tracing::Level;

const CHUNK: usize = 4 * 1024;
const UPLOAD: usize = 64 * 1024;

/// Chunks that are there already. Not `Clone`.
struct Chunks(VecDeque<Bytes>);

impl Body for Chunks {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.pop_front().map(|chunk| Ok(Frame::data(chunk))))
    }
}

/// Reads each body to its end, and accepts `token-2` alone.
#[derive(Clone)]
struct Reads;

impl Service<Request<ReplayBody<Chunks>>> for Reads {
    type Response = Response<String>;
    type Error = Infallible;
    type Future = Ready<Result<Response<String>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<ReplayBody<Chunks>>) -> Self::Future {
        let accepted = request.headers()["authorization"] == "Bearer token-2";
        let mut body = pin!(request.into_body());
        let mut read = 0;
        while let Poll::Ready(Some(frame)) =
            body.as_mut().poll_frame(&mut Context::from_waker(Waker::noop()))
        {
            read += frame.unwrap().into_data().unwrap().len();
        }
        assert_eq!(read, UPLOAD);
        ready(Ok(if accepted { support::ok() } else { support::unauthorized() }))
    }
}

/// The allocations of one upload, the answer to it included.
fn upload(
    runtime: &tokio::runtime::Runtime,
    service: &mut (impl Service<Request<Chunks>, Response = Response<String>> + Clone),
) -> AllocationInfo {
    let chunks =
        (0..UPLOAD / CHUNK).map(|number| Bytes::from(vec![u8::try_from(number).unwrap(); CHUNK]));
    let request = Request::post(support::URI).body(Chunks(chunks.collect())).unwrap();
    let mut request = Some(request);
    measure(|| {
        let answer = runtime.block_on(service.call(request.take().unwrap()));
        assert!(answer.is_ok_and(|response| response.status() == 200));
    })
}

#[test]
fn a_replayable_upload_of_64_kib_is_sent_and_replayed_without_a_second_copy_of_its_bytes() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    let _guard = runtime.enter();
    // Another test may set the log of the process meanwhile, which allocates.
    let (_log, _quiet) = Log::of_this_thread(Level::ERROR);
    let cache = known_at_once(Endpoint::exclusive());
    runtime.block_on(cache.token()).unwrap();
    let mut service =
        ServiceBuilder::new().layer(ReplayLayer::new()).layer(AuthLayer::new(cache)).service(Reads);
    // Refused with the first token, and sent again with the second.
    let replayed = upload(&runtime, &mut service);
    let sent = upload(&runtime, &mut service);
    for (what, info) in [("replayed", replayed), ("sent", sent)] {
        println!(
            "{what}: {} allocations, {} bytes, {} at once",
            info.count_total, info.bytes_total, info.bytes_max
        );
        assert!(info.bytes_total < UPLOAD as u64 / 4, "{what}: {info:?}");
    }
}

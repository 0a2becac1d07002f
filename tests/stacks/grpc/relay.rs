//! A gRPC service with a method of each kind, which refuses calls whose token the sandbox would
//! refuse.

use std::{
    collections::HashMap,
    convert::Infallible,
    future::ready,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use futures_util::{Stream, StreamExt, stream};
use tonic::{
    Request, Response, Status, Streaming,
    body::Body,
    metadata::MetadataMap,
    server::Grpc,
    transport::{Channel, Endpoint, Server, server::TcpIncoming},
};
use tonic_prost::ProstCodec;
use tower::service_fn;
use tower_reauth::sandbox::Sandbox;

pub(crate) const UNARY: &str = "/test.Relay/Unary";
pub(crate) const GATHER: &str = "/test.Relay/Gather";
pub(crate) const SCATTER: &str = "/test.Relay/Scatter";
pub(crate) const CONVERSE: &str = "/test.Relay/Converse";
/// Server streaming: one message, then status 16 in the trailers, whatever the token.
pub(crate) const BREAK_OFF: &str = "/test.Relay/BreakOff";
/// Unary: status 16 before any message, whatever the token.
pub(crate) const REFUSE: &str = "/test.Relay/Refuse";

/// How many messages of a streaming request the server reads before it refuses it.
pub(crate) const REFUSE_AFTER: &str = "refuse-after";

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Piece {
    #[prost(uint64, tag = "1")]
    pub(crate) call: u64,
    #[prost(uint64, tag = "2")]
    pub(crate) number: u64,
    #[prost(string, tag = "3")]
    pub(crate) text: String,
}

impl Piece {
    /// The same for the same numbers, and different for others.
    pub(crate) fn new(call: u64, number: u64) -> Self {
        Self { call, number, text: format!("{call}/{number};").repeat(100) }
    }
}

#[derive(Clone)]
pub(crate) struct Relay(Arc<Inner>);

struct Inner {
    url: String,
    sandbox: Sandbox,
    arrived: AtomicUsize,
    refused: AtomicUsize,
    /// The numbers of the pieces that were applied, by call.
    applied: Mutex<HashMap<u64, Vec<u64>>>,
}

impl Relay {
    /// Serves on a loopback socket; the channel is connected to it.
    pub(crate) async fn start(sandbox: Sandbox) -> (Self, Channel) {
        let incoming = TcpIncoming::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let inner = Inner {
            url: format!("http://{}", incoming.local_addr().unwrap()),
            sandbox,
            arrived: AtomicUsize::default(),
            refused: AtomicUsize::default(),
            applied: Mutex::default(),
        };
        let relay = Self(Arc::new(inner));
        let answering = relay.clone();
        let service = service_fn(move |request| answering.clone().answer(request));
        tokio::spawn(Server::builder().serve_with_incoming(service, incoming));
        let channel =
            Endpoint::from_shared(relay.url().to_owned()).unwrap().connect().await.unwrap();
        (relay, channel)
    }

    pub(crate) fn url(&self) -> &str {
        &self.0.url
    }

    pub(crate) fn sandbox(&self) -> &Sandbox {
        &self.0.sandbox
    }

    /// Calls that arrived, replays among them.
    pub(crate) fn arrived(&self) -> usize {
        self.0.arrived.load(Ordering::SeqCst)
    }

    /// Of those, the ones refused for their token.
    pub(crate) fn refused(&self) -> usize {
        self.0.refused.load(Ordering::SeqCst)
    }

    pub(crate) fn applied(&self) -> HashMap<u64, Vec<u64>> {
        self.0.applied.lock().unwrap().clone()
    }

    async fn answer(
        self,
        request: http::Request<Body>,
    ) -> Result<http::Response<Body>, Infallible> {
        self.0.arrived.fetch_add(1, Ordering::SeqCst);
        let mut grpc = Grpc::new(ProstCodec::<Piece, Piece>::default());
        let path = request.uri().path().to_owned();
        Ok(match path.as_str() {
            UNARY => {
                grpc.unary(service_fn(move |request| ready(self.unary(request))), request).await
            }
            GATHER => {
                grpc.client_streaming(
                    service_fn(move |request| self.clone().gather(request)),
                    request,
                )
                .await
            }
            SCATTER => {
                grpc.server_streaming(
                    service_fn(move |request| ready(self.scatter(request))),
                    request,
                )
                .await
            }
            CONVERSE => {
                grpc.streaming(service_fn(move |request| self.clone().converse(request)), request)
                    .await
            }
            BREAK_OFF => {
                let break_off = |request: Request<Piece>| {
                    ready(Ok(Response::new(break_off(request.into_inner()))))
                };
                grpc.server_streaming(service_fn(break_off), request).await
            }
            REFUSE => Status::unauthenticated("no token is good enough").into_http(),
            _ => Status::unimplemented("no such method").into_http(),
        })
    }

    fn unary(&self, request: Request<Piece>) -> Result<Response<Piece>, Status> {
        self.admit(request.metadata())?;
        self.apply(request.get_ref());
        Ok(Response::new(request.into_inner()))
    }

    /// Answers with all texts in one.
    async fn gather(self, request: Request<Streaming<Piece>>) -> Result<Response<Piece>, Status> {
        let mut pieces = self.admit_stream(request).await?;
        let mut gathered = Piece::default();
        while let Some(piece) = pieces.message().await? {
            self.apply(&piece);
            gathered.call = piece.call;
            gathered.number += 1;
            gathered.text += &piece.text;
        }
        Ok(Response::new(gathered))
    }

    /// Answers with as many pieces as the number says.
    fn scatter(
        &self,
        request: Request<Piece>,
    ) -> Result<Response<impl Stream<Item = Result<Piece, Status>> + use<>>, Status> {
        self.admit(request.metadata())?;
        self.apply(request.get_ref());
        let Piece { call, number, .. } = request.into_inner();
        Ok(Response::new(stream::iter(0..number).map(move |number| Ok(Piece::new(call, number)))))
    }

    /// Answers each piece with itself.
    async fn converse(
        self,
        request: Request<Streaming<Piece>>,
    ) -> Result<Response<impl Stream<Item = Result<Piece, Status>>>, Status> {
        let pieces = self.admit_stream(request).await?;
        Ok(Response::new(pieces.inspect(move |piece| {
            if let Ok(piece) = piece {
                self.apply(piece);
            }
        })))
    }

    fn admit(&self, metadata: &MetadataMap) -> Result<(), Status> {
        let authorization = metadata.get("authorization").and_then(|value| value.to_str().ok());
        let token = authorization.and_then(|value| value.strip_prefix("Bearer "));
        if token.is_some_and(|token| self.0.sandbox.accepts(token)) {
            return Ok(());
        }
        self.0.refused.fetch_add(1, Ordering::SeqCst);
        Err(Status::unauthenticated("a live token is needed"))
    }

    async fn admit_stream(
        &self,
        request: Request<Streaming<Piece>>,
    ) -> Result<Streaming<Piece>, Status> {
        let admitted = self.admit(request.metadata());
        let after =
            request.metadata().get(REFUSE_AFTER).map_or(0, |value| value.as_bytes()[0] - b'0');
        let mut pieces = request.into_inner();
        if admitted.is_err() {
            for _ in 0..after {
                pieces.message().await?;
            }
        }
        admitted.map(|()| pieces)
    }

    fn apply(&self, piece: &Piece) {
        self.0.applied.lock().unwrap().entry(piece.call).or_default().push(piece.number);
    }
}

fn break_off(said: Piece) -> impl Stream<Item = Result<Piece, Status>> {
    stream::iter([Ok(said), Err(Status::unauthenticated("the token has died meanwhile"))])
}

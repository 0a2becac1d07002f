//! Calls of each kind through the layer, whose answers are checked to the last message.

use std::fmt::Debug;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::uri::PathAndQuery;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{
    Request, Status,
    body::Body,
    client::{Grpc, GrpcService},
    metadata::MetadataValue,
    transport::Channel,
};
use tonic_prost::ProstCodec;
use tower::{ServiceBuilder, util::MapRequest};
use tower_reauth::{
    Auth, AuthLayer, BoxError, GrpcChannel, TokenCache,
    replay::{ReplayBody, ReplayLayer, Replayable},
};

use super::relay::{CONVERSE, GATHER, Piece, REFUSE_AFTER, SCATTER, UNARY};

type Sent = http::Request<ReplayBody<Body>>;
pub(crate) type Signed = Replayable<Auth<MapRequest<Channel, fn(Sent) -> http::Request<Body>>>>;
pub(crate) type Client = Grpc<GrpcChannel<Channel>>;

/// Messages of each stream: about 15 KiB.
pub(crate) const PIECES: u64 = 20;

/// By hand, without statuses for calls without a token, and without a look at the trailers.
pub(crate) fn signed(channel: Channel, auth: AuthLayer) -> Signed {
    // What goes into a channel must be tonic's own body type.
    let into_body: fn(Sent) -> _ = |request| request.map(Body::new);
    ServiceBuilder::new()
        .layer(ReplayLayer::new())
        .layer(auth)
        .map_request(into_body)
        .service(channel)
}

pub(crate) fn client(channel: Channel, cache: &TokenCache) -> Client {
    Grpc::new(GrpcChannel::new(channel, &AuthLayer::new(cache.clone())))
}

/// One unary call, without a check of its answer.
pub(crate) async fn ask<S>(mut client: Grpc<S>, method: &'static str) -> Result<Piece, Status>
where
    S: GrpcService<Body, Error: Debug>,
    S::ResponseBody: http_body::Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    client.ready().await.unwrap();
    let answer = client.unary(Request::new(Piece::new(0, 0)), path(method), codec()).await?;
    Ok(answer.into_inner())
}

pub(crate) fn codec() -> ProstCodec<Piece, Piece> {
    ProstCodec::default()
}

pub(crate) fn path(method: &'static str) -> PathAndQuery {
    PathAndQuery::from_static(method)
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    Unary,
    ClientStreaming,
    ServerStreaming,
    Bidirectional,
}

impl Kind {
    pub(crate) const ALL: [Self; 4] =
        [Self::Unary, Self::ClientStreaming, Self::ServerStreaming, Self::Bidirectional];

    /// Makes one call, and returns which pieces the server must have applied for it.
    pub(crate) async fn call(self, mut client: Client, call: u64) -> Result<Vec<u64>, Status> {
        client.ready().await.unwrap();
        match self {
            Self::Unary => unary(client, call).await.map(|()| vec![7]),
            Self::ServerStreaming => scatter(client, call).await.map(|()| vec![PIECES]),
            Self::ClientStreaming => gather(client, call).await.map(|()| (0..PIECES).collect()),
            Self::Bidirectional => converse(client, call).await.map(|()| (0..PIECES).collect()),
        }
    }
}

async fn unary(mut client: Client, call: u64) -> Result<(), Status> {
    let request = Request::new(Piece::new(call, 7));
    let answer = client.unary(request, path(UNARY), codec()).await?;
    assert_eq!(answer.into_inner(), Piece::new(call, 7));
    Ok(())
}

async fn scatter(mut client: Client, call: u64) -> Result<(), Status> {
    let request = Request::new(Piece::new(call, PIECES));
    let mut pieces = client.server_streaming(request, path(SCATTER), codec()).await?.into_inner();
    for number in 0..PIECES {
        assert_eq!(pieces.message().await?, Some(Piece::new(call, number)));
    }
    assert_eq!(pieces.message().await?, None);
    Ok(())
}

async fn gather(mut client: Client, call: u64) -> Result<(), Status> {
    // One by one, so that a refusal finds some of them sent and some not yet made.
    let pieces = stream::iter(0..PIECES).then(move |number| async move {
        tokio::task::yield_now().await;
        Piece::new(call, number)
    });
    let request = refused_after(call % 4, pieces);
    let gathered = client.client_streaming(request, path(GATHER), codec()).await?.into_inner();
    let text = (0..PIECES).map(|number| Piece::new(call, number).text).collect();
    assert_eq!(gathered, Piece { call, number: PIECES, text });
    Ok(())
}

/// Each message is sent when the one before it was answered, and the first ones only when the head
/// of the response is there: a head that waited for a message would never come.
async fn converse(mut client: Client, call: u64) -> Result<(), Status> {
    let ahead = call % 4;
    let (messages, receiver) = mpsc::channel(4);
    for number in 0..ahead {
        messages.send(Piece::new(call, number)).await.unwrap();
    }
    let request = refused_after(ahead, ReceiverStream::new(receiver));
    let mut echoes = client.streaming(request, path(CONVERSE), codec()).await?.into_inner();
    for number in 0..PIECES {
        if number >= ahead {
            messages.send(Piece::new(call, number)).await.unwrap();
        }
        assert_eq!(echoes.message().await?, Some(Piece::new(call, number)));
    }
    drop(messages);
    assert_eq!(echoes.message().await?, None);
    Ok(())
}

fn refused_after<S>(pieces: u64, stream: S) -> Request<S> {
    let mut request = Request::new(stream);
    request.metadata_mut().insert(REFUSE_AFTER, MetadataValue::from(pieces));
    request
}

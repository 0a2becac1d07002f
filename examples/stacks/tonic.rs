//! gRPC: a tonic channel whose calls are signed, and go through the loss of their token.
//!
//! ```text
//! cargo run -p examples-stacks --example tonic
//! ```
//!
//! It starts the sandbox for the tokens and a gRPC server that knows them, on two loopback sockets.
//! A unary and a bidirectional streaming call are made, each with a good token and again after the
//! token was revoked behind the client's back: the server refuses the call with status 16, and the
//! layer sends it once more with a new token. It prints what each call heard, how many the server
//! refused, and how many tokens were asked for. The exit status is 0 only if all of that is as it
//! should be. `connect` is the part to copy.

use std::{
    convert::Infallible,
    future::ready,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use futures_util::{Stream, TryStreamExt, stream};
use http::uri::PathAndQuery;
use tonic::{
    Request, Response, Status, Streaming,
    body::Body,
    client::{Grpc, GrpcService},
    metadata::MetadataMap,
    server,
    transport::{Channel, Endpoint, Server, server::TcpIncoming},
};
use tonic_prost::ProstCodec;
use tower::service_fn;
use tower_reauth::{AuthLayer, BoxError, Credentials, GrpcBody, GrpcChannel, sandbox::Sandbox};

/// Returns a channel whose calls are signed. It goes where a plain channel does, into `new` of a
/// client that tonic-build has generated. A call for which there is no token fails with UNAVAILABLE
/// or UNAUTHENTICATED. The status's source is the `tower_reauth::Error` that says why.
async fn connect(grpc_url: String, auth: &AuthLayer) -> Result<GrpcChannel<Channel>, BoxError> {
    // Beyond this machine, an https address.
    let channel = Endpoint::from_shared(grpc_url)?.connect().await?;
    Ok(GrpcChannel::new(channel, auth))
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let echo =
        Echo { sandbox: Arc::new(Sandbox::builder().start().await?), refused: Arc::default() };
    let credentials = Credentials::new(Sandbox::CLIENT_ID, Sandbox::CLIENT_SECRET);
    let auth = AuthLayer::send_payments(echo.sandbox.base_url(), credentials)?;
    let mut client = Grpc::new(connect(serve(echo.clone())?, &auth).await?);

    unary(&mut client).await?;
    bidirectional(&mut client).await?;
    echo.revoke();
    unary(&mut client).await?;
    echo.revoke();
    bidirectional(&mut client).await?;

    let (refused, asked) =
        (echo.refused.load(Ordering::SeqCst), echo.sandbox.counters().auth_requests);
    // A token that was issued a moment ago may not be known everywhere, so it is tried again for
    // two seconds before it is replaced.
    println!("refused with status 16, and sent again: {refused}");
    println!("POST /auth: {asked}");
    if asked != 3 {
        return Err("3 POSTs were expected".into());
    }
    println!("As promised: both calls whose token was revoked were sent again with a new one.");
    Ok(())
}

async fn unary<S: GrpcService<Body, ResponseBody = GrpcBody<Body>>>(
    client: &mut Grpc<S>,
) -> Result<(), BoxError> {
    client.ready().await.map_err(Into::into)?;
    let path = PathAndQuery::from_static("/demo.Echo/Unary");
    let answer = client.unary(Request::new(line("hello")), path, codec()).await?.into_inner();
    println!("unary: {:?}", answer.text);
    if answer.text == "HELLO" { Ok(()) } else { Err("HELLO was expected".into()) }
}

async fn bidirectional<S: GrpcService<Body, ResponseBody = GrpcBody<Body>>>(
    client: &mut Grpc<S>,
) -> Result<(), BoxError> {
    client.ready().await.map_err(Into::into)?;
    let path = PathAndQuery::from_static("/demo.Echo/Bidirectional");
    let lines = stream::iter(["one", "two", "three"].map(line));
    let answers = client.streaming(Request::new(lines), path, codec()).await?.into_inner();
    let answers: Vec<_> = answers.map_ok(|line| line.text).try_collect().await?;
    println!("bidirectional: {answers:?}");
    if answers == ["ONE", "TWO", "THREE"] {
        Ok(())
    } else {
        Err("three lines were expected".into())
    }
}

#[derive(Clone, PartialEq, prost::Message)]
struct Line {
    #[prost(string, tag = "1")]
    text: String,
}

fn line(text: &str) -> Line {
    Line { text: text.to_owned() }
}

fn codec() -> ProstCodec<Line, Line> {
    ProstCodec::default()
}

/// Says everything again, louder, to whoever has a token that the sandbox would accept.
#[derive(Clone)]
struct Echo {
    sandbox: Arc<Sandbox>,
    refused: Arc<AtomicU32>,
}

/// Returns the URL. By hand, what tonic-build would generate.
fn serve(echo: Echo) -> Result<String, BoxError> {
    let incoming = TcpIncoming::bind("127.0.0.1:0".parse()?)?;
    let url = format!("http://{}", incoming.local_addr()?);
    let service = service_fn(move |request: http::Request<Body>| {
        let echo = echo.clone();
        async move {
            let mut grpc = server::Grpc::new(codec());
            Ok::<_, Infallible>(match request.uri().path() {
                "/demo.Echo/Unary" => {
                    grpc.unary(service_fn(|line| ready(echo.unary(line))), request).await
                }
                _ => {
                    grpc.streaming(service_fn(|lines| ready(echo.bidirectional(lines))), request)
                        .await
                }
            })
        }
    });
    tokio::spawn(Server::builder().serve_with_incoming(service, incoming));
    Ok(url)
}

impl Echo {
    fn revoke(&self) {
        self.sandbox.revoke(Sandbox::CLIENT_ID);
        println!("  the token is revoked");
    }

    fn unary(&self, request: Request<Line>) -> Result<Response<Line>, Status> {
        self.check(request.metadata())?;
        Ok(Response::new(line(&request.into_inner().text.to_uppercase())))
    }

    fn bidirectional(
        &self,
        request: Request<Streaming<Line>>,
    ) -> Result<Response<impl Stream<Item = Result<Line, Status>> + use<>>, Status> {
        self.check(request.metadata())?;
        Ok(Response::new(request.into_inner().map_ok(|said| line(&said.text.to_uppercase()))))
    }

    fn check(&self, metadata: &MetadataMap) -> Result<(), Status> {
        let authorization = metadata.get("authorization").and_then(|value| value.to_str().ok());
        let token = authorization.and_then(|value| value.strip_prefix("Bearer "));
        if token.is_some_and(|token| self.sandbox.accepts(token)) {
            return Ok(());
        }
        self.refused.fetch_add(1, Ordering::SeqCst);
        Err(Status::unauthenticated("a live token is needed"))
    }
}

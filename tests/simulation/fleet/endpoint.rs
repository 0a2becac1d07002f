//! The token endpoint, as each process reaches it.

use std::{sync::Arc, time::Duration};

use tokio::time::sleep;
use tower_reauth::{
    AuthError,
    endpoint::{IssuedToken, Rotation, TokenEndpoint},
};

use super::{
    link::Link,
    world::{Point, Post, World},
};

/// The endpoint as one process has it. Each new token kills the one before.
pub(super) struct Endpoint(pub(super) Arc<Link>);

impl TokenEndpoint for Endpoint {
    async fn issue(&self) -> Result<IssuedToken, AuthError> {
        let link = Arc::clone(&self.0);
        link.world.comes_to(Point::Asks, &link);
        link.awake().await;
        let world = Arc::clone(&link.world);
        let (post, way) = (world.next_post(), world.draw(|rng, figures| figures.way.draw(rng)));
        world.tell(&format!("{} asks, which meets {post:?}", link.process));
        // Once it is sent, it arrives, whatever becomes of its sender.
        let at_endpoint = tokio::spawn(async move { answer(&world, &link, post, way).await });
        let answered = at_endpoint.await.unwrap();
        self.0.world.comes_to(Point::Answered, &self.0);
        self.0.awake().await;
        let number = answered.ok_or_else(|| AuthError::transient("503"))?;
        Ok(IssuedToken::new(format!("token-{number}")).expires_in(self.0.world.lifetime))
    }

    fn rotation(&self) -> Rotation {
        Rotation::Exclusive
    }

    fn uri(&self) -> Option<&http::Uri> {
        static URI: std::sync::LazyLock<http::Uri> =
            std::sync::LazyLock::new(|| http::Uri::from_static("https://api.example.com/auth"));
        Some(&URI)
    }
}

/// Answers a request for a token; `None` if it fails.
async fn answer(world: &World, link: &Link, post: Post, way: Duration) -> Option<usize> {
    let issue = || {
        let number = world.issue();
        world.tell(&format!("token-{number} is issued to {}", link.process));
        world.comes_to(Point::Issued, link);
        number
    };
    match post {
        Post::Takes { time, late } => {
            let work = time.saturating_sub(way);
            let (before, after) =
                if late { (work.saturating_sub(way), way) } else { (Duration::ZERO, work) };
            sleep(way + before).await;
            let number = issue();
            sleep(after).await;
            Some(number)
        }
        Post::Fails => {
            sleep(way * 2).await;
            None
        }
        Post::Lost { issues } => {
            sleep(way).await;
            if issues {
                issue();
            }
            std::future::pending().await
        }
        Post::Strays(time) => {
            sleep(time).await;
            issue();
            std::future::pending().await
        }
    }
}

//! A fleet: processes with one client id that share one token, against the sandbox.
//!
//! ```text
//! cargo run --example fleet
//! cargo run --example fleet -- --processes 20 --renewals 10
//! cargo run --example fleet -- --kill holder
//! cargo run --example fleet -- --without-store
//! cargo run --example fleet -- --break-store 10 --store-down fail --alone 1
//! cargo run --example fleet -- --plot fleet.svg
//! cargo run -p examples-fleet --features redis --example fleet -- --redis redis://127.0.0.1
//! ```
//!
//! The example starts the sandbox, whose new token kills the old one, and then itself again as N
//! real processes. They share a store in files and send requests while tokens are renewed. At the
//! end it prints what they saw and what the sandbox counted.
//!
//! The exit status is 0 only if no caller saw a 401 or an error, and the sandbox got one `POST` per
//! renewal. A process that is killed in mid-renewal may cost one more.

#![allow(
    clippy::disallowed_methods,
    reason = "an example, with the clock of the machine and real processes"
)]

mod args;
mod child;
mod lease_events;
mod lines;
mod member;
mod outside;
mod parent;
mod plot;
mod report;

use std::{fs, process::ExitCode};

use clap::Parser;
use tower_reauth::BoxError;

use self::args::Options;

#[tokio::main]
async fn main() -> ExitCode {
    let options = Options::parse();
    let outcome = match &options.member_of {
        Some(base_url) => child::run(&options, base_url).await.map(|()| true),
        None => watch_fleet(&options).await,
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("fleet: {}", chain(&*error));
            ExitCode::FAILURE
        }
    }
}

/// Returns whether the fleet did what the documentation of this example says.
async fn watch_fleet(options: &Options) -> Result<bool, BoxError> {
    if options.without_store {
        let run = parent::run(options, None, Some(options.usual_time())).await?;
        run.print();
        println!(
            "Shown: without a store, {} requests were answered 401 to their callers.",
            run.seen
        );
        return Ok(run.is_good());
    }
    let folder = tempfile::tempdir()?;
    let store = folder.path().join("store");
    let run = parent::run(options, Some(&store), None).await?;
    run.print();
    if let Some(file) = &options.plot {
        println!("\nThe same without a store:");
        let alone = parent::run(options, None, Some(run.took)).await?;
        alone.print();
        fs::write(file, plot::draw(&run, &alone))?;
        println!("\n{} shows both.", file.display());
    }
    println!("{}", run.verdict());
    Ok(run.is_good())
}

/// Returns an error with its causes.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

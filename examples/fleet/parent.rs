//! The process that starts the sandbox and the fleet, and watches both.

use std::{
    collections::BTreeSet,
    io::{self, IsTerminal},
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::{
    sync::mpsc,
    time::{Instant, interval, sleep, timeout, timeout_at},
};
use tower_reauth::{BoxError, sandbox::Sandbox};

use crate::{
    args::{Options, StoreDownName, Victim},
    lines::{Counts, Line},
    member::Member,
    outside::{on_the_wire, set_mode},
    report::{Run, Sample},
};

/// How long each request to a resource takes.
const RESOURCE_LATENCY: Duration = Duration::from_millis(10);

/// The time between two samples.
const SAMPLE_EVERY: Duration = Duration::from_millis(100);

/// How long the fleet goes on after its last renewal.
const AFTERWARDS: Duration = Duration::from_secs(1);

struct Kill {
    at: Instant,
    /// The newest token by then.
    newest: u64,
    takeover: Option<Duration>,
}

struct Fleet<'a> {
    options: &'a Options,
    store: Option<PathBuf>,
    sandbox: Sandbox,
    members: Vec<Member>,
    lines: mpsc::UnboundedReceiver<(usize, Line)>,
    started: Instant,
    /// Each with the process that got it, if the processes do not share.
    tokens: BTreeSet<(Option<usize>, u64)>,
    kill: Option<Kill>,
    /// When the store became unusable.
    broken: Option<Instant>,
    samples: Vec<Sample>,
    is_watched: bool,
}

/// Runs a fleet until all renewals are done, or for `time`. It shares the token in `store`.
pub(crate) async fn run(
    options: &Options,
    store: Option<&Path>,
    time: Option<Duration>,
) -> Result<Run, BoxError> {
    let mut fleet = Fleet::start(options, store).await?;
    let is_done = fleet.watch(time).await?;
    fleet.stop().await?;
    Ok(fleet.summary(is_done))
}

impl<'a> Fleet<'a> {
    async fn start(options: &'a Options, store: Option<&Path>) -> Result<Self, BoxError> {
        let sandbox = Sandbox::builder()
            .token_lifetime(options.lifetime())
            .auth_latency(Duration::from_millis(options.auth_latency_ms))
            .resource_latency(RESOURCE_LATENCY)
            .start()
            .await?;
        println!(
            "{} processes, tokens of {} s, {}",
            options.processes,
            options.lifetime,
            match store {
                None => "no store".into(),
                Some(_) if options.redis.is_some() => "store in Redis".into(),
                Some(store) => format!("store {}", store.display()),
            },
        );
        let (sender, lines) = mpsc::unbounded_channel();
        let mut members = Vec::new();
        for number in 0..usize::from(options.processes) {
            let is_alone = number < options.alone.into();
            let store_down = if is_alone { StoreDownName::Alone } else { options.store_down };
            let member = Member::start(options, store_down, &sandbox.base_url(), store)?;
            members.push(member.reporting(number, &sender));
        }
        Ok(Self {
            options,
            store: store.map(Into::into),
            sandbox,
            members,
            lines,
            started: Instant::now(),
            tokens: BTreeSet::new(),
            kill: None,
            broken: None,
            samples: Vec::new(),
            is_watched: io::stderr().is_terminal(),
        })
    }

    /// Returns whether all renewals were done in time.
    async fn watch(&mut self, time: Option<Duration>) -> Result<bool, BoxError> {
        let mut ticks = interval(SAMPLE_EVERY);
        let mut done_at = None;
        loop {
            tokio::select! {
                Some((number, line)) = self.lines.recv() => self.take(number, line).await?,
                _ = ticks.tick() => {
                    self.sample();
                    self.break_store()?;
                    self.show_progress();
                }
            }
            let passed = self.started.elapsed();
            if let Some(time) = time {
                if passed >= time {
                    return Ok(true);
                }
                continue;
            }
            if done_at.is_none() && self.has_all_renewals() {
                done_at = Some(Instant::now());
            }
            if done_at.is_some_and(|at| at.elapsed() >= AFTERWARDS) {
                return Ok(true);
            }
            if passed >= self.options.longest_time() {
                return Ok(false);
            }
        }
    }

    /// Returns whether there were as many renewals as asked for, and all processes have the last
    /// token.
    fn has_all_renewals(&self) -> bool {
        let newest = self.newest();
        let is_broken = self.options.break_store.is_some_and(|seconds| {
            self.broken.is_none_or(|at| at.elapsed() < Duration::from_secs(seconds.into()))
        });
        !is_broken
            && self.tokens.len() > usize::from(self.options.renewals)
            && self.living().all(|member| member.sequence == newest)
    }

    fn living(&self) -> impl Iterator<Item = &Member> {
        self.members.iter().filter(|member| member.is_alive)
    }

    fn newest(&self) -> u64 {
        self.tokens.iter().map(|(_, sequence)| *sequence).max().unwrap_or(0)
    }

    async fn take(&mut self, number: usize, line: Line) -> Result<(), BoxError> {
        let Some(member) = self.members.get_mut(number) else { return Ok(()) };
        match line {
            Line::Counts(counts) => {
                member.wait_ms = member.wait_ms.max(counts.lately_longest_ms);
                member.counts = counts;
            }
            Line::Token { sequence } => {
                member.sequence = sequence;
                self.tokens.insert((Some(number).filter(|_| self.store.is_none()), sequence));
                self.note_takeover();
            }
            Line::Lease { .. } => {
                let is_renewal = !self.tokens.is_empty();
                let kills = self.options.kill == Some(Victim::Holder);
                if kills && self.store.is_some() && is_renewal && self.kill.is_none() {
                    self.kill(number).await?;
                }
            }
        }
        Ok(())
    }

    /// Kills a process once its request for a token has arrived.
    async fn kill(&mut self, number: usize) -> Result<(), BoxError> {
        let before = u64::try_from(self.tokens.len())?;
        let arrival = async {
            while self.sandbox.counters().auth_requests <= before {
                sleep(Duration::from_millis(1)).await;
            }
        };
        let _ = timeout(Duration::from_secs(1), arrival).await;
        let newest = self.newest();
        let Some(member) = self.members.get_mut(number) else { return Ok(()) };
        member.process.kill().await?;
        member.is_alive = false;
        self.kill = Some(Kill { at: Instant::now(), newest, takeover: None });
        Ok(())
    }

    /// Notes how long it took until all others had a token that is newer than at the kill.
    fn note_takeover(&mut self) {
        let Some(newest) = self.kill.as_ref().map(|kill| kill.newest) else { return };
        let all_have_one = self.living().all(|member| member.sequence > newest);
        if let Some(kill) =
            self.kill.as_mut().filter(|kill| kill.takeover.is_none() && all_have_one)
        {
            kill.takeover = Some(kill.at.elapsed());
        }
    }

    /// Makes the store unusable after the first renewal, and usable again later.
    fn break_store(&mut self) -> io::Result<()> {
        let (Some(store), Some(seconds)) = (&self.store, self.options.break_store) else {
            return Ok(());
        };
        match self.broken {
            None if self.tokens.len() > 1 => {
                // The store refuses a directory that others may read.
                set_mode(store, 0o755)?;
                self.broken = Some(Instant::now());
            }
            Some(at) if at.elapsed() >= Duration::from_secs(seconds.into()) => {
                set_mode(store, 0o700)?;
            }
            _ => {}
        }
        Ok(())
    }

    fn sample(&mut self) {
        let wait_ms = self.members.iter().map(|member| member.wait_ms).fold(0.0, f64::max);
        self.members.iter_mut().for_each(|member| member.wait_ms = 0.0);
        self.samples.push(Sample {
            at: self.started.elapsed(),
            wire: on_the_wire(&self.sandbox.counters()),
            seen: self.sum(|counts| counts.seen),
            wait_ms,
        });
    }

    fn sum(&self, of: impl Fn(&Counts) -> u64) -> u64 {
        self.members.iter().map(|member| of(&member.counts)).sum()
    }

    fn longest(&self, of: impl Fn(&Counts) -> f64) -> f64 {
        self.members.iter().map(|member| of(&member.counts)).fold(0.0, f64::max)
    }

    fn show_progress(&self) {
        if !self.is_watched {
            return;
        }
        let renewals = self.tokens.len().saturating_sub(1);
        let of = if self.store.is_some() {
            format!(" of {}", self.options.renewals)
        } else {
            String::new()
        };
        eprint!(
            "\r{:5.1} s, {renewals}{of} renewals, {} answers, {} of them 401  ",
            self.started.elapsed().as_secs_f64(),
            self.sum(|counts| counts.answers),
            self.sum(|counts| counts.seen),
        );
    }

    /// Lets the processes stop by themselves, and takes their last reports in.
    async fn stop(&mut self) -> Result<(), BoxError> {
        self.members.iter_mut().for_each(|member| member.input = None);
        let ends = Instant::now() + Duration::from_secs(15);
        while let Ok(Some((number, line))) = timeout_at(ends, self.lines.recv()).await {
            self.take(number, line).await?;
        }
        for member in &mut self.members {
            member.process.kill().await?;
        }
        if self.is_watched {
            eprint!("\r{:70}\r", "");
        }
        Ok(())
    }

    fn summary(self, is_done: bool) -> Run {
        let counters = self.sandbox.counters();
        Run {
            processes: self.options.processes,
            is_done,
            took: self.started.elapsed(),
            requests: self.sum(|counts| counts.requests),
            answers: self.sum(|counts| counts.answers),
            seen: self.sum(|counts| counts.seen),
            errors: self.sum(|counts| counts.errors),
            wire: on_the_wire(&counters),
            renewals: self.tokens.len(),
            posts: counters.auth_requests,
            longest_hold_ms: self.longest(|counts| counts.longest_hold_ms),
            longest_ms: self.longest(|counts| counts.longest_ms),
            kills: usize::from(self.kill.is_some()),
            takeover: self.kill.as_ref().and_then(|kill| kill.takeover),
            samples: self.samples,
        }
    }
}

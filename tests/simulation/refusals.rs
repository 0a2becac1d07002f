//! What 401s cost, on the crate itself: the scenarios from which the rules come, at a paused clock.
//!
//! ```text
//! cargo test --release -p simulation refusals                          all scenarios, 1 seed
//! REFUSAL_SEEDS=10 cargo test --release -p simulation refusals         more of them
//! REFUSAL_SCENARIO=02n cargo test --release -p simulation refusals     one of them
//! ```

mod scenario;
mod scenarios;
mod world;

use std::{
    num::NonZero,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use self::{
    scenario::{Expected, Scenario},
    world::Outcome,
};

/// How long a healthy caller waits beside its last send, in seconds, if the endpoint is up: for a
/// drain, a hold, and the tries with a young token.
const PATIENCE: f64 = 5.0;

/// How long a refresh may take, which callers wait for if there is no token: its drain, its hold
/// and its attempts.
const DEADLINE: f64 = 33.0;

/// So many callers at most are hit by one renewal at the wrong moment, which comes by chance.
const AT_ONCE: f64 = 10.0;

#[test]
fn refusals_cost_what_the_rules_say() {
    let setting = |name| std::env::var(name).ok();
    let seeds = setting("REFUSAL_SEEDS").map_or(1, |seeds| seeds.parse().unwrap());
    let chosen = setting("REFUSAL_SCENARIO");
    let is_wanted = |scenario: &Scenario| match &chosen {
        Some(chosen) => scenario.name.starts_with(chosen.as_str()),
        None => scenario.is_short || !cfg!(debug_assertions),
    };
    let scenarios: Vec<_> = scenarios::all().into_iter().filter(is_wanted).collect();
    let outcomes = play_all(&scenarios, seeds);
    let mut wrong = Vec::new();
    for (scenario, outcomes) in scenarios.iter().zip(&outcomes) {
        let summary = Summary::of(outcomes);
        println!("{}", summary.describe(scenario));
        wrong.extend(summary.check(scenario));
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// Plays scenarios on all cores. Returns the outcomes of each.
fn play_all(scenarios: &[Scenario], seeds: usize) -> Vec<Vec<Outcome>> {
    let next = AtomicUsize::new(0);
    let outcomes: Vec<_> = scenarios.iter().map(|_| Mutex::new(Vec::new())).collect();
    let work = || {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let Some(scenario) = scenarios.get(number / seeds) else { return };
            let outcome = world::play(scenario.clone(), (number % seeds) as u64 + 1);
            outcomes[number / seeds].lock().unwrap().push(outcome);
        }
    };
    thread::scope(|scope| {
        let cores = thread::available_parallelism().map_or(1, NonZero::get);
        (0..cores).for_each(|_| drop(scope.spawn(work)));
    });
    outcomes.into_iter().map(|outcomes| outcomes.into_inner().unwrap()).collect()
}

/// The outcomes of all seeds, on average or at their worst.
struct Summary {
    posts: f64,
    counted_posts: f64,
    unauthorized: f64,
    others_unauthorized: f64,
    errors: f64,
    failed_with_a_token: u64,
    longest_wait: f64,
    /// In ascending order.
    recoveries: Vec<f64>,
    seeds: usize,
    /// Of one seed, for whoever has to find out why.
    counters: String,
}

impl Summary {
    fn of(outcomes: &[Outcome]) -> Self {
        let mean = |of: fn(&Outcome) -> u64| {
            outcomes.iter().map(of).sum::<u64>() as f64 / outcomes.len() as f64
        };
        let mut recoveries: Vec<_> =
            outcomes.iter().flat_map(|outcome| outcome.recoveries.clone()).collect();
        recoveries.sort_by(f64::total_cmp);
        let waits = outcomes.iter().map(|outcome| outcome.healthy.longest_wait);
        Self {
            posts: mean(|outcome| outcome.posts),
            counted_posts: mean(|outcome| {
                outcome.counters.iter().map(|counters| counters.token_requests).sum()
            }),
            unauthorized: mean(|outcome| outcome.healthy.unauthorized),
            others_unauthorized: mean(|outcome| outcome.unhealthy.unauthorized),
            errors: mean(|outcome| outcome.healthy.errors),
            failed_with_a_token: outcomes.iter().map(|it| it.failed_with_a_token).sum(),
            longest_wait: waits.fold(0.0, f64::max),
            recoveries,
            seeds: outcomes.len(),
            counters: format!("{:?}", outcomes[0].counters),
        }
    }

    fn median(&self) -> Option<f64> {
        self.recoveries.get(self.recoveries.len() / 2).copied()
    }

    fn longest(&self) -> Option<f64> {
        self.recoveries.last().copied()
    }

    /// The measured figures, and the expected ones in parentheses.
    fn describe(&self, scenario: &Scenario) -> String {
        let Self { posts, unauthorized, errors, longest_wait, .. } = self;
        let expected = &scenario.expected;
        let mut line = format!(
            "{:36} {posts:6.1} ({:5.0}) | {unauthorized:7.1} ({:5.0}) | {errors:7.1} ({:5.0}) | \
             {longest_wait:4.1} s",
            scenario.name, expected.posts, expected.unauthorized, expected.errors,
        );
        if let (Some(median), Some(longest)) = (self.median(), self.longest()) {
            let (expected_median, expected_longest) = expected.recovery.unwrap_or_default();
            let shown = format!(
                " | {median:.1}, {longest:.1} ({expected_median:.1}, {expected_longest:.1}) s"
            );
            line.push_str(&shown);
        }
        line
    }

    /// What is not as it has to be.
    fn check(&self, scenario: &Scenario) -> Vec<String> {
        let Expected { posts, unauthorized, errors, others_unauthorized, recovery } =
            scenario.expected;
        let mut wrong = Vec::new();
        let mut must = |holds: bool, what: String| {
            if !holds {
                wrong.push(format!("{}: {what}", scenario.name));
            }
        };
        let tolerance = |of: f64| (of * 0.2).max(2.0);
        let is_close = (self.posts - posts).abs() <= tolerance(posts);
        must(is_close, format!("{} requests for tokens, {posts} expected", self.posts));
        must(
            (self.counted_posts - self.posts).abs() < 1e-6,
            format!("{} requests for tokens, {} counted", self.posts, self.counted_posts),
        );
        // None means none, but for chance, which the average of more seeds rounds away.
        let by_seed = AT_ONCE / self.seeds as f64;
        let chance = scenario.chance * unauthorized / (self.seeds as f64).sqrt();
        let some = unauthorized + tolerance(unauthorized) + chance + by_seed;
        let bound = if unauthorized == 0.0 { 0.5 } else { some };
        must(
            self.unauthorized < bound,
            format!("{} 401s of healthy callers, {unauthorized} expected", self.unauthorized),
        );
        let others = self.others_unauthorized;
        must(
            others_unauthorized.is_none_or(|it| others <= it + tolerance(it) + by_seed),
            format!("{others} 401s of the others, {others_unauthorized:?} expected"),
        );
        let bound = if errors == 0.0 { 0.0 } else { errors + tolerance(errors) };
        must(self.errors <= bound, format!("{} errors, {errors} expected", self.errors));
        must(
            self.failed_with_a_token == 0,
            format!("{} calls failed though a token was at hand", self.failed_with_a_token),
        );
        let patience = if scenario.down.is_some() { DEADLINE } else { PATIENCE };
        let waited = self.longest_wait;
        must(waited <= patience, format!("a healthy caller waited for {waited} s"));
        if let Some((median, longest)) = recovery {
            let is_fast = self.longest().is_some_and(|it| it <= longest * 1.5 + 0.5);
            must(is_fast, format!("recovered in {:?}, {longest} expected", self.longest()));
            // A median of a few says nothing.
            let is_fast = self.recoveries.len() < 9
                || self.median().is_some_and(|it| it <= median * 2.0 + 0.5);
            must(is_fast, format!("recovered in {:?}, {median} expected", self.median()));
        }
        if !wrong.is_empty() {
            wrong.push(self.counters.clone());
        }
        wrong
    }
}

//! The scenarios: who calls what, what dies when, and what it may cost.
//!
//! Each of these rules was broken once, to see which scenarios notice:
//!
//! | broken rule | noticed by |
//! |---|---|
//! | a young token is tried again | 05, 06, 06b, 07j |
//! | a refused request is the probe of its route | 04, 04b, 04c |
//! | a token that has survived a doubt is probed three times | 04, 04b, 04c |
//! | a route that refuses the successor is remembered | 01 to 03, 03c, 03f, 10, 10b |
//! | ... for longer each time | 01 to 03, 03c, 03f, 10, 10b |
//! | ... by its path, not by its origin | 02 to 03f, 09, 10 |
//! | ... also if its requests are not kept | 02n |
//! | ... until it accepts a token | 06b |
//! | a renewal for a refusal drains | 01 to 03f, 04c, 09 |
//! | a refusal where the token was accepted first ends the drain | 07c |
//! | an acceptance by another route acquits nobody | 02d, 04, 07f, 07g, 07k |
//! | renewals for refusals cool down | 03b, 03d, 03e, 07l, 08b, 11, 11b |
//!
//! That a refused replay asks for no third token is noticed by none of them, because memory and
//! cool-down bound what it would cost.

use super::scenario::{Answers, HOUR, Origin, Scenario, Stream, Window};

/// Nine kills in an hour, at every age of a token.
const NINE: &[f64] = &[300.0, 660.0, 1020.0, 1400.0, 1800.0, 2200.0, 2600.0, 3000.0, 3400.0];

/// All scenarios, with what they come to: requests for tokens, and 401s that healthy callers see.
pub(super) fn all() -> Vec<Scenario> {
    let mut all = routes_that_refuse();
    all.extend(resources_that_are_late());
    all.extend(tokens_that_die());
    all.extend(endpoints_in_trouble());
    all.extend(everything_refuses());
    all
}

fn routes_that_refuse() -> Vec<Scenario> {
    use Stream as S;
    let new = Scenario::new;
    let mixed = || vec![S::open(10.0, 0.1, "payments"), S::open(1.0, 1.0, "balances")];
    let low = || vec![S::open(1.0 / 30.0, 0.2, "accounts")];
    let granted = Answers::From(1800.0);
    let withdrawn = Answers::Outside(Window { from: 1800.0, to: HOUR });
    let statements = Stream { path: "statements", ..S::refused(1.0) };
    let flaky = |gap| S::refused(gap).answers(Answers::Flaky(0.05)).thinks(0.1);
    let elsewhere = Stream { origin: Origin::Other, ..S::refused(1.0) };
    let unreplayable = Stream { replays: false, ..S::refused(1.0) };
    vec![
        new("00 no fault", 14.0, 0.0, S::ten()),
        new("01 another origin refuses", 16.0, 0.0, S::ten_late()).and(elsewhere),
        new("02 a route refuses", 16.0, 0.0, S::ten_late()).and(S::refused(1.0)).short(),
        new("02a, once in 40 s", 16.0, 0.0, S::ten_late()).and(S::refused(40.0)),
        new("02b, 20 a second", 16.0, 0.0, S::ten_late()).and(S::refused(0.05)),
        new("02c, one kill", 16.0, 0.0, S::ten())
            .and(S::refused(1.0))
            .and(S::open(10.0, 0.1, "payments"))
            .kills(&[1800.0], 0.7, 1.1),
        new("02d, nine kills", 21.0, 0.0, mixed()).and(S::refused(1.0)).kills(NINE, 0.4, 2.2),
        new("02e, early checks", 16.0, 0.0, S::ten()).and(S::refused(1.0)),
        new("02n, no replay", 16.0, 0.0, S::ten_late()).and(unreplayable).short(),
        new("02o, low traffic", 21.0, 0.0, low()).and(S::refused(1.0)),
        new("03 two refuse", 17.0, 0.0, S::ten_late()).and(S::refused(1.0)).and(statements),
        new("03b a thousand refuse", 156.0, 0.0, S::ten_late()).and(S::slugs(1.0)),
        new("03c granted meanwhile", 16.0, 0.0, S::ten_late())
            .and(S::refused(1.0).answers(granted))
            .others(1789.0),
        new("03d a thousand, 20 a second", 161.0, 0.0, S::ten_late()).and(S::slugs(0.05)),
        new("03e a thousand, nine kills", 154.0, 991.0, mixed())
            .and(S::slugs(1.0))
            .kills(NINE, 9.3, 27.5)
            .by_chance(),
        new("03f withdrawn meanwhile", 15.0, 3.0, S::ten_late())
            .and(S::refused(0.1).answers(withdrawn).thinks(0.05)),
        new("04 flaky, 10 a second", 15.0, 1.0, S::ten_late()).and(flaky(0.1)).others(5.0),
        new("04b flaky, alone", 17.0, 0.0, vec![flaky(1.0)]).others(0.0).short(),
        // 22 in the table, whose renewals are called off a little later.
        new("04c flaky and slow", 19.0, 5.0, S::ten_late()).and(flaky(0.2).thinks(1.0)),
        new("10a low traffic", 14.0, 0.0, low()).short(),
        new("10b low, a route refuses", 17.0, 0.0, low()).and(S::refused(30.0)).short(),
        new("10 low, a route, six kills", 20.0, 0.0, low())
            .and(S::refused(30.0))
            .kills(&[600.0, 1000.0, 1500.0, 2000.0, 2500.0, 3000.0], 17.8, 129.3)
            .short(),
    ]
}

fn resources_that_are_late() -> Vec<Scenario> {
    use Stream as S;
    let new = Scenario::new;
    let late = |gap, answers| S::refused(gap).answers(answers).thinks(0.05).healthy();
    let behind = |by| Stream { origin: Origin::Other, ..late(0.1, Answers::Behind(by)) };
    vec![
        new("05 replicas", 14.0, 0.0, S::ten()).and(late(0.05, Answers::Replicas)),
        new("06 clock 2 s behind", 14.0, 0.0, S::ten()).and(behind(2.0)),
        new("06b clock 5 s behind", 28.0, 1173.0, S::ten()).and(behind(5.0)),
    ]
}

fn tokens_that_die() -> Vec<Scenario> {
    use Stream as S;
    let new = Scenario::new;
    let three = |rate: f64| {
        let rate = rate / 3.0;
        let (slow, fast) = (S::open(rate, 0.5, "payments"), S::open(rate, 0.05, "balances"));
        vec![S::open(rate, 0.2, "accounts"), slow, fast]
    };
    let two = || vec![S::open(1.0, 0.1, "accounts"), S::open(1.0, 0.1, "payments")];
    let uneven = || vec![S::open(1.0, 0.1, "accounts"), S::open(1.0, 0.3, "payments")];
    let busy = |answers| S::open(100.0, 0.03, "balances").answers(answers);
    let cached = Stream { path: "payments", ..busy(Answers::Cached(30.0)) };
    let replicas = S::open(20.0, 0.05, "accounts").answers(Answers::Replicas);
    vec![
        new("07a kill, 1 a second", 3.0, 0.0, three(1.0)).one_kill(2.1, 4.4).short(),
        new("07b kill, 10 a second", 3.0, 0.0, three(10.0)).one_kill(0.7, 1.6),
        new("07c kill, 1000 a second", 3.0, 0.0, three(1000.0)).one_kill(0.1, 0.1),
        new("07d kill, one route", 3.0, 0.0, vec![S::open(10.0, 0.3, "accounts")])
            .one_kill(0.5, 1.0)
            .short(),
        new("07e kill, long requests", 3.0, 1.0, S::ten())
            .and(S::open(1.0, 0.05, "payments"))
            .one_kill(1.2, 2.0)
            .short(),
        new("07f kill, a cache", 3.0, 0.0, vec![S::open(5.0, 0.1, "accounts")])
            .and(cached)
            .one_kill(0.4, 0.9),
        new("07g kill, a public route", 3.0, 0.0, two())
            .and(busy(Answers::Always))
            .one_kill(0.7, 1.6),
        new("07h kill, a missing route", 3.0, 0.0, two())
            .and(busy(Answers::NotFound))
            .one_kill(0.6, 1.6),
        new("07j kill, replicas", 3.0, 0.0, vec![S::open(10.0, 0.1, "payments")])
            .and(replicas)
            .one_kill(0.4, 0.6)
            .short(),
        new("07k public route, nine kills", 19.0, 0.0, uneven())
            .and(busy(Answers::Always))
            .kills(NINE, 0.5, 2.4),
        new("07l public, a thousand, nine kills", 159.0, 197.0, uneven())
            .and(S::slugs(1.0))
            .and(busy(Answers::Always))
            .kills(NINE, 11.2, 27.4)
            .by_chance(),
    ]
}

fn endpoints_in_trouble() -> Vec<Scenario> {
    use Stream as S;
    let new = Scenario::new;
    let five = |client| {
        let (short, long) = (S::open(5.0, 0.2, "accounts"), S::open(5.0, 0.5, "payments"));
        vec![Stream { client, ..short }, Stream { client, ..long }]
    };
    // 22 if a renewal came at the first idle moment. The crate looks for one now and then, so more
    // of its tokens are killed before it has renewed them.
    let mut foreign = new("08 another process now and then", 18.0, 0.0, five(0));
    foreign.foreign_every = Some(240.0);
    foreign.expected.recovery = Some((0.7, 2.3));
    let mut twins = new("08b two processes", 322.0, 35236.0, [five(0), five(1)].concat());
    twins.clients = 2;
    vec![
        foreign,
        twins,
        new("09a endpoint down", 175.0, 0.0, S::ten()).down(11053.0),
        // Not in the table. The rules alone say so.
        new("09b endpoint down, a thousand refuse", 253.0, 0.0, S::ten_late())
            .and(S::slugs(1.0))
            .down(7262.0),
        new("09 endpoint down, a route refuses", 168.0, 0.0, S::ten_late())
            .and(S::refused(1.0))
            .down(10100.0),
    ]
}

fn everything_refuses() -> Vec<Scenario> {
    let window = Window { from: 1000.0, to: 1600.0 };
    let both = |answers| {
        ["accounts", "payments"].map(|path| Stream::open(5.0, 0.1, path).answers(answers)).to_vec()
    };
    let new = Scenario::new;
    vec![
        new("11 all refuse for 600 s", 40.0, 5995.0, both(Answers::Outside(window))),
        new("11b, and their tokens die", 41.0, 6150.0, both(Answers::OutsideAndOf(window))).kills(
            &[1600.0],
            14.0,
            47.2,
        ),
    ]
}

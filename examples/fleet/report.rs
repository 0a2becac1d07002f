//! The result of a run, and its table.

use std::time::Duration;

pub(crate) struct Run {
    pub(crate) processes: u16,
    /// All renewals were done in time.
    pub(crate) is_done: bool,
    pub(crate) took: Duration,
    pub(crate) requests: u64,
    pub(crate) answers: u64,
    /// 401s that callers saw.
    pub(crate) seen: u64,
    pub(crate) errors: u64,
    /// 401s that the sandbox answered.
    pub(crate) wire: u64,
    /// Tokens that processes served, the first one included. A token that was asked for without the
    /// store has another number once it is published, and counts again.
    pub(crate) renewals: usize,
    pub(crate) posts: u64,
    pub(crate) longest_hold_ms: f64,
    pub(crate) longest_ms: f64,
    pub(crate) kills: usize,
    /// The time from the kill until all other processes had a new token.
    pub(crate) takeover: Option<Duration>,
    pub(crate) samples: Vec<Sample>,
}

/// The numbers at one moment.
#[derive(Clone, Copy)]
pub(crate) struct Sample {
    pub(crate) at: Duration,
    /// 401s on the wire until then.
    pub(crate) wire: u64,
    /// 401s that callers saw until then.
    pub(crate) seen: u64,
    /// The longest request that ended since the sample before.
    pub(crate) wait_ms: f64,
}

impl Run {
    /// Returns whether nobody saw a 401 or an error, and one token was asked for per renewal. The
    /// request of a process that was killed may be lost.
    pub(crate) fn is_good(&self) -> bool {
        let renewals = u64::try_from(self.renewals).unwrap_or(u64::MAX);
        let kills = u64::try_from(self.kills).unwrap_or(u64::MAX);
        self.is_done
            && (self.seen, self.errors) == (0, 0)
            && (renewals..=renewals + kills).contains(&self.posts)
    }

    pub(crate) fn print(&self) {
        let row = |name: &str, value: &dyn std::fmt::Display, remark: &str| {
            println!("{}", format!("{name:<24}{value:>10}   {remark}").trim_end());
        };
        let percent = 100.0 * self.seen as f64 / self.answers.max(1) as f64;
        let milliseconds = |value: f64| format!("{value:.1}");
        row("requests", &self.requests, &format!("in {:.1} s", self.took.as_secs_f64()));
        row("answers", &self.answers, "");
        row("errors", &self.errors, "");
        row("401s seen by callers", &self.seen, &format!("{percent:.1} % of the answers"));
        row("401s on the wire", &self.wire, "");
        row("renewals", &self.renewals, "with the first token");
        row("POST /auth", &self.posts, "");
        row("longest hold", &milliseconds(self.longest_hold_ms), "ms");
        row("longest request", &milliseconds(self.longest_ms), "ms");
        if self.kills > 0 {
            row("processes killed", &self.kills, "with the lease, after the POST had arrived");
            let takeover =
                self.takeover.map_or_else(|| "-".into(), |it| milliseconds(it.as_secs_f64() * 1e3));
            row("take-over", &takeover, "ms, from the kill until all had a new token");
        }
    }

    /// Returns what the run showed, as one line.
    pub(crate) fn verdict(&self) -> String {
        let Self { seen, errors, renewals, posts, .. } = self;
        if self.is_good() {
            format!(
                "As promised: no caller saw a 401, and {renewals} tokens cost {posts} POST /auth."
            )
        } else if !self.is_done {
            "NOT as promised: the renewals did not come in time.".to_owned()
        } else {
            format!(
                "NOT as promised: callers saw {seen} 401s and {errors} errors, and {renewals} \
                 tokens cost {posts} POST /auth."
            )
        }
    }
}

//! A subscriber for the event that a process has taken the lease of the fleet.

use std::fmt::Debug;

use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    level_filters::LevelFilter,
    span::{Attributes, Id, Record},
};

use crate::lines::Line;

pub(crate) struct LeaseEvents;

/// The fields of an event.
#[derive(Default)]
struct Fields {
    message: String,
    fence: u64,
    takeover: bool,
}

impl Subscriber for LeaseEvents {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event()
            && metadata.target() == "tower_reauth"
            && *metadata.level() == Level::INFO
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::INFO)
    }

    fn event(&self, event: &Event<'_>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let Fields { message, fence, takeover } = fields;
        if message == "took the lease of the fleet" {
            Line::Lease { fence, takeover }.print();
        }
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if field.name() == "message" {
            self.message = format!("{value:?}");
        }
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        if field.name() == "fence" {
            self.fence = value;
        }
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        if field.name() == "takeover" {
            self.takeover = value;
        }
    }
}

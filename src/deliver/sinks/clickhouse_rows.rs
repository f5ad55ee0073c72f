//! An event of the log as what the rows of all tables share.

use clickhouse_sink::EventRow;
use event::Source;
use prepare::processed::Envelope;
use record::EventView;

pub(super) fn event_row<'a>(event: &EventView<'a>, envelope: &Envelope<'a>) -> EventRow<'a> {
    EventRow {
        seq: event.seq,
        tenant: event.segment.tenant,
        source: Source::name_of(event.segment.source),
        event_id: envelope.event_id,
        event_type: envelope.event_type,
        timestamp: envelope.timestamp,
        user_id: envelope.user_id,
        session_id: envelope.session_id,
        store_id: envelope.store_id,
        received_at: event.segment.received_at,
        committed_at: event.committed_at,
    }
}

/// The parts of an event that cannot be taken apart.
pub(super) fn what_is_known(event: &EventView<'_>) -> Envelope<'static> {
    Envelope {
        event_id: "",
        event_type: prepare::EVENT_TYPES.get(usize::from(event.event_type)).copied().unwrap_or_default(),
        timestamp: event.segment.received_at,
        timestamp_text: "",
        user_id: None,
        session_id: "",
        store_id: "",
        data: "{}",
        metadata: None,
    }
}

use event::{Batch, FingerprintKey, RejectCode, Seq, Source, UnixMicros};
use prepare::processed::Extractor;
use prepare::{Limits, Parser};
use record::{Block, BlockWriter, SegmentMeta};
use serde_json::value::RawValue;
use std::cell::RefCell;

const NOW: UnixMicros = UnixMicros::new(1_714_564_800_000_000);

thread_local! {
    // Reused as in the daemon: what one input leaves behind must not show in the next.
    static STATE: RefCell<(Parser, Extractor)> = RefCell::new((
        Parser::new(Limits { depth_max: 6, event_bytes_max: 4_000, ..Limits::default() }, FingerprintKey::new([7; 192])),
        Extractor::new(),
    ));
}

pub fn check(input: &[u8]) {
    STATE.with_borrow_mut(|(parser, extractor)| {
        let mut out = Batch::new("default", Source::WebSocket, NOW);
        let verdict = parser.single(input, NOW, &mut out);
        let json = std::str::from_utf8(input).ok().filter(|text| serde_json::from_str::<&RawValue>(text).is_ok());
        match &verdict {
            Ok(()) => {
                let event = json.expect("only JSON is accepted").trim_matches([' ', '\t', '\r', '\n']);
                assert!(out.records.ends_with(event.as_bytes()), "stored as received");
            }
            Err(rejection) => {
                assert!(out.records.is_empty() && out.entries.is_empty(), "nothing is left behind");
                let detail = &rejection.first().detail;
                let unreadable = rejection.code == RejectCode::InvalidJson && !detail.starts_with("has a ");
                let absurd = rejection.code == RejectCode::TooDeep && detail.starts_with("is nested");
                assert!(unreadable == json.is_none() || absurd, "{rejection:?}");
            }
        }
        let mut failures = Vec::new();
        let _outcome = parser.message(input, NOW, &mut out, &mut failures);
        let envelope = br#","type":"cart_event","eventId":"\u0065","timestamp":"2024-05-01T11:59:00Z"}"#;
        let text = [br#"{"payload":"#.as_slice(), input, envelope].concat();
        let _outcome = parser.message(&text, NOW, &mut out, &mut failures);
        take_apart(extractor, &out);
    });
}

fn take_apart(extractor: &mut Extractor, batch: &Batch) {
    if batch.entries.is_empty() {
        return;
    }
    let mut writer = BlockWriter::default();
    writer.begin();
    let meta = SegmentMeta { tenant: "default", source: 2, received_at: NOW, traceparent: None };
    writer.whole(&meta, &batch.records, batch.entries.len() as u32);
    let block = writer.finish(Seq::FIRST, NOW);
    let mut at = 0;
    let visited = Block::parse(Seq::FIRST, block).expect("just written").visit(&mut Vec::new(), |event| {
        let entry = &batch.entries[at];
        let envelope = extractor.extract(&event).expect("what was accepted can be taken apart");
        let id = [b"\"", batch.id_json(entry), b"\""].concat();
        let id: String = serde_json::from_slice(&id).expect("an id is a JSON string");
        assert_eq!(envelope.event_id, id);
        assert_eq!(prepare::EVENT_TYPES[usize::from(entry.event_type)], envelope.event_type);
        assert!(serde_json::from_str::<&RawValue>(envelope.data).is_ok_and(|data| data.get() == envelope.data));
        at += 1;
    });
    visited.expect("just written");
    assert_eq!(at, batch.entries.len());
}

use super::*;
use crate::processed::Extractor;

const EVENTS: &[u8] = include_bytes!("../../../examples/cart-events.ndjson");

fn lines() -> Vec<&'static [u8]> {
    EVENTS.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).collect()
}

fn assert_stored(read: &Read, lines: &[&[u8]]) {
    assert_eq!(read.failures, []);
    assert_eq!(read.summary.total as usize, lines.len());
    assert_eq!(stored(&read.out), lines);
}

#[test]
fn every_real_event_is_accepted_alone() {
    let mut parser = parser();
    let mut out = empty();
    for line in lines() {
        parser.single(line, NOW, &mut out).unwrap();
    }
    assert_eq!(stored(&out), lines());
}

#[test]
fn every_real_event_is_accepted_in_a_batch() {
    for hundred in lines().chunks(100) {
        let body = [b"{\"events\":[".as_slice(), &hundred.join(b",".as_slice()), b"],\"options\":{}}"].concat();
        assert_stored(&batch(&body), hundred);
    }
}

#[test]
fn every_real_event_is_accepted_in_a_spacious_batch() {
    for hundred in lines().chunks(100) {
        let body = [b" { \"events\" : [\r\n ".as_slice(), &hundred.join(b" ,\n\t ".as_slice()), b"\n ] } "].concat();
        assert_stored(&batch(&body), hundred);
    }
}

#[test]
fn every_real_event_is_accepted_in_a_bare_array() {
    for thousand in lines().chunks(1_000) {
        let body = [b"[".as_slice(), &thousand.join(b", ".as_slice()), b"]"].concat();
        assert_stored(&batch(&body), thousand);
    }
}

#[test]
fn every_real_event_is_accepted_line_by_line() {
    for thousand in lines().chunks(1_000) {
        assert_stored(&ndjson(thousand.join(b"\r\n\r\n".as_slice())), thousand);
    }
}

#[test]
fn every_real_event_is_accepted_over_websocket() {
    for ten in lines().chunks(10) {
        let (mut out, mut failures) = (empty(), Vec::new());
        let text = [b"{\"type\":\"cart_event\",\"payload\":[".as_slice(), &ten.join(b",".as_slice()), b"]}"].concat();
        let message = parser().message(&text, NOW, &mut out, &mut failures).unwrap();
        assert_eq!(message, crate::Message::Events { total: ten.len() as u32, array: true });
        assert_eq!(stored(&out), ten);
    }
}

#[test]
fn every_real_event_can_be_taken_apart_again() {
    let mut extractor = Extractor::new();
    for hundred in lines().chunks(100) {
        let body = [b"[".as_slice(), &hundred.join(b",".as_slice()), b"]"].concat();
        let read = batch(&body);
        let mut at = 0;
        visit(&read.out, |event| {
            let json: serde_json::Value = serde_json::from_slice(hundred[at]).unwrap();
            let envelope = extractor.extract(&event).unwrap();
            assert_eq!(envelope.event_id, json["eventId"]);
            assert_eq!(read.out.id_json(&read.out.entries[at]), envelope.event_id.as_bytes());
            assert_eq!(envelope.event_type, json["eventType"]);
            assert_eq!(envelope.timestamp_text, json["timestamp"]);
            assert_eq!(envelope.user_id, json["userId"].as_str());
            assert_eq!(envelope.session_id, json["sessionId"]);
            assert_eq!(envelope.store_id, json["storeId"]);
            assert_eq!(serde_json::from_str::<serde_json::Value>(envelope.data).unwrap(), json["data"]);
            let metadata = envelope.metadata.map(|text| serde_json::from_str::<serde_json::Value>(text).unwrap());
            assert_eq!(metadata.as_ref(), json.get("metadata"));
            at += 1;
        });
        assert_eq!(at, hundred.len());
    }
}

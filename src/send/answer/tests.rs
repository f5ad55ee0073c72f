use super::*;
use bytes::Bytes;
use serde_json::json;

fn answer(status: u16, body: Value) -> Reply {
    answer_after(status, None, body)
}

fn answer_after(status: u16, seconds: Option<u64>, body: Value) -> Reply {
    Reply::Answer {
        status: StatusCode::from_u16(status).unwrap(),
        retry_after: seconds.map(Duration::from_secs),
        body: Bytes::from(body.to_string()),
    }
}

fn batch_answer(total: u64, failed: u64, duplicates: u64, details: Value) -> Reply {
    answer(
        202,
        json!({"batchId": "b", "totalEvents": total, "successful": total - failed, "failed": failed,
               "duplicates": duplicates, "details": details, "processedAt": "2026-01-01T00:00:00Z"}),
    )
}

fn answered(verdict: Verdict) -> Answered {
    match verdict {
        Verdict::Answered(answered) => answered,
        other => panic!("{other:?}"),
    }
}

#[test]
fn successful_counts_duplicates_which_are_not_new() {
    let answered = answered(judge(&batch_answer(5, 1, 2, json!([{"index": 3, "code": "too_deep"}])), 5, false));
    assert_eq!((answered.accepted, answered.duplicates), (2, 2));
    assert_eq!(answered.rejected, [(3, Reason::new("too_deep", None, ""))]);
    assert_eq!(answered.rejected_somewhere, 0);
}

#[test]
fn details_carry_code_pointer_and_message() {
    let details = json!([{"index": 0, "eventId": "e", "code": "missing_field", "pointer": "/storeId", "message": "m"}]);
    let answered = answered(judge(&batch_answer(1, 1, 0, details), 1, false));
    assert_eq!(answered.rejected, [(0, Reason::new("missing_field", Some("/storeId"), "m"))]);
}

#[test]
fn a_message_that_begins_with_the_pointer_says_it_once() {
    for (pointer, message, kept) in [
        ("/data", "/data: is required", "is required"),
        ("/data", "/database: is down", "/database: is down"),
        ("", "body is no JSON", "body is no JSON"),
    ] {
        let details = json!([{"index": 0, "code": "c", "pointer": pointer, "message": message}]);
        let answered = answered(judge(&batch_answer(1, 1, 0, details), 1, false));
        assert_eq!(answered.rejected, [(0, Reason::new("c", Some(pointer), kept))]);
    }
}

#[test]
fn details_that_name_no_event_of_the_request_are_counted_without_a_line() {
    let details = json!([
        {"index": 7, "code": "x"}, {"index": -1, "code": "x"}, {"index": "0", "code": "x"}, {"code": "x"}, null,
        {"index": 1, "code": "real"}, {"index": 1, "code": "again"}
    ]);
    let answered = answered(judge(&batch_answer(3, 3, 0, details), 3, false));
    assert_eq!(answered.rejected, [(1, Reason::new("real", None, ""))]);
    assert_eq!(answered.rejected_somewhere, 2);
}

#[test]
fn more_details_than_failures_do_not_break_the_balance() {
    let details = json!([{"index": 0, "code": "a"}, {"index": 1, "code": "b"}]);
    let answered = answered(judge(&batch_answer(2, 1, 0, details), 2, false));
    assert_eq!((answered.accepted, answered.rejected.len(), answered.rejected_somewhere), (1, 1, 0));
}

#[test]
fn a_duplicate_with_other_content_is_no_failure() {
    let details = json!([{"index": 0, "code": "duplicate_differs", "message": "m"}, {"index": 1, "code": "too_deep"}]);
    let answered = answered(judge(&batch_answer(3, 1, 1, details), 3, false));
    assert_eq!((answered.accepted, answered.duplicates), (1, 1));
    assert_eq!(answered.rejected, [(1, Reason::new("too_deep", None, ""))]);
}

#[test]
fn events_refused_within_a_batch_are_not_rejected() {
    let details = json!([{"index": 2, "code": "overloaded"}, {"index": 0, "code": "shutting_down"}]);
    let answered = answered(judge(&batch_answer(3, 2, 0, details), 3, false));
    assert_eq!(answered.refused, [0, 2]);
    assert!(answered.rejected.is_empty());
}

#[test]
fn an_answer_whose_numbers_are_not_those_of_the_request_ends_the_run() {
    for body in [
        json!({"totalEvents": 2, "successful": 2, "failed": 0}),
        json!({"totalEvents": 3, "successful": 2, "failed": 0}),
        json!({"totalEvents": 3, "successful": 3, "failed": 0, "duplicates": 4}),
        json!({"totalEvents": 3, "successful": u64::MAX, "failed": 4}),
        json!({"ok": true}),
        json!(null),
    ] {
        assert!(matches!(judge(&answer(202, body), 3, false), Verdict::Hopeless(_)));
    }
    assert!(matches!(judge(&answer(200, json!("hello")), 3, false), Verdict::Hopeless(_)));
}

#[test]
fn a_single_event_is_accepted_duplicate_or_rejected_with_its_pointer() {
    let accepted = json!({"eventId": "e", "status": "accepted", "seq": 1});
    assert_eq!(answered(judge(&answer(202, accepted), 1, true)).accepted, 1);
    let duplicate = json!({"eventId": "e", "status": "accepted", "seq": 1, "duplicate": true});
    assert_eq!(answered(judge(&answer(202, duplicate), 1, true)).duplicates, 1);
    let rejected = json!({"eventId": null, "status": "rejected", "message": "event rejected", "code": "missing_field",
        "errors": [{"pointer": "/eventId", "detail": "is missing"}], "title": "t", "detail": "d"});
    let reason = Reason::new("missing_field", Some("/eventId"), "is missing");
    assert_eq!(judge(&answer(400, rejected), 1, true), Verdict::Rejected(reason));
}

#[test]
fn what_may_work_later_is_told_from_what_never_will() {
    let later = |status, wait| match judge(&answer_after(status, wait, json!({"detail": "d"})), 1, false) {
        Verdict::Later { wait, unclear, .. } => Some((wait, unclear)),
        _ => None,
    };
    let two = Some(Duration::from_secs(2));
    assert_eq!(later(503, Some(2)), Some((two, true)));
    assert_eq!(later(429, Some(2)), Some((two, false)));
    assert_eq!(later(409, Some(2)), Some((two, false)));
    assert_eq!(later(408, None), Some((None, false)));
    for status in [500, 502, 504, 507] {
        assert_eq!(later(status, None), Some((None, true)));
    }
    for status in [301, 401, 403, 404, 405, 415] {
        assert!(matches!(judge(&answer(status, json!(null)), 1, false), Verdict::Hopeless(_)), "{status}");
    }
    for status in [400, 409, 422] {
        assert!(matches!(judge(&answer(status, json!(null)), 1, false), Verdict::Rejected(_)), "{status}");
    }
}

#[test]
fn size_limits_are_read_from_the_problem() {
    let problem = json!({"title": "Bad Request", "detail": "Batch size 100 exceeds limit 50.", "status": 400});
    let verdict = judge(&answer(400, problem), 100, false);
    assert!(matches!(verdict, Verdict::TooBig { limit: Some(50), .. }), "{verdict:?}");
    let verdict = judge(&answer(413, json!({"detail": "too large"})), 100, false);
    assert!(matches!(verdict, Verdict::TooBig { limit: None, .. }), "{verdict:?}");
}

#[test]
fn a_problem_without_a_body_is_named_by_its_status() {
    let reply = Reply::Answer { status: StatusCode::UNPROCESSABLE_ENTITY, retry_after: None, body: Bytes::new() };
    assert_eq!(judge(&reply, 1, false), Verdict::Rejected(Reason::new("http_422", None, "Unprocessable Entity")));
}

use super::super::screen::{Screen, Turn};
use super::super::watch::Look;
use super::*;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{Event, KeyCode, KeyEvent, KeyModifiers};
use serde_json::json;

fn figures(sinks: usize) -> Value {
    let sink = |number: usize| {
        json!({
            "sink": format!("sink-{number}"), "state": "retrying", "lagEvents": 1234, "lagSeconds": 5.5,
            "ledger": {"dead": 3}, "lastError": {"text": "cannot\u{1b}[31m reach it"},
        })
    };
    let stage = json!({"count": 1000, "p50": 0.5, "p99": 2.25, "p999": 3.5, "max": 12.125});
    json!({
        "version": "0.1.0", "pid": 4711, "uptimeSeconds": 3661, "timestamp": "2026-11-29T01:00:00.000000Z",
        "health": {"status": "degraded", "notReady": []},
        "rates": {"s1": 10_000.0, "s10": 9999.5, "s60": 12.0}, "errorRate": 0.01,
        "totals": {"accepted": 1_000_000, "duplicate": 2000, "rejected": 30, "refused": 4},
        "latency": {"seconds": 10.0, "stages": {"parse": stage, "commit": stage}},
        "intake": {"requests": {"used": 95, "max": 100}, "bytes": {"used": 1 << 20, "max": 1 << 30},
                   "ring": {"used": 3, "max": 4096}},
        "connections": {"open": 12, "max": 100_000, "websockets": 5},
        "process": {"residentBytes": 64 << 20},
        "log": {"start": 1, "committed": 1000, "bytes": 5 << 20, "budgetBytes": 1 << 30},
        "disk": {"freeBytes": 100u64 << 30, "reserveBytes": 1 << 30},
        "deadLetters": {"next": 35},
        "sinks": (0..sinks).map(sink).collect::<Vec<_>>(),
    })
}

fn drawn(screen: &mut Screen, width: u16, height: u16) -> Vec<String> {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw(frame, screen)).unwrap();
    let buffer = terminal.backend().buffer().clone();
    (0..height).map(|y| (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>()).collect()
}

fn press(screen: &mut Screen, code: KeyCode) -> Turn {
    screen.event(&Event::Key(KeyEvent::new(code, KeyModifiers::NONE)))
}

#[test]
fn eighty_columns_and_twenty_four_lines_hold_everything() {
    let mut screen = Screen::default();
    screen.look(Look::Figures(Box::new(figures(9))));
    let lines = drawn(&mut screen, 80, 24);
    let all = lines.join("\n");
    for part in [
        "ingestd 0.1.0",
        "degraded",
        "up 01:01:01",
        "process 4711",
        "10,000",
        "5xx 1.00 %",
        "accepted 1,000,000",
        "refused 4",
        "12 of 100,000, WebSockets 5",
        "64.0 MiB",
        "last 10 s",
        "2.250",
        "12.125",
        "requests 95 (95 %)",
        "ring 3 (0 %)",
        "5.0 MiB of 1.0 GiB",
        "in the log 1,000 events",
        "100.0 GiB",
        "reserve 1.0 GiB",
        "lag events",
        "retrying",
        "1,234",
        "Dead letters 34 ever",
        "sink-0 is retrying: cannot",
        "q quit",
    ] {
        assert!(all.contains(part), "{part} is missing:\n{all}");
    }
    assert!(!all.contains('\u{1b}'), "a sink's words steer no terminal");
    assert!(lines[22].contains("sink-7") && !all.contains("sink-8"), "{all}");
    for _ in 0..20 {
        press(&mut screen, KeyCode::Down);
    }
    let lines = drawn(&mut screen, 80, 24);
    assert!(lines[22].contains("sink-8") && lines[23].contains("from sink 2 of 9"), "{}", lines.join("\n"));
    press(&mut screen, KeyCode::Up);
    assert!(drawn(&mut screen, 80, 24)[22].contains("sink-7"));
}

#[test]
fn a_larger_terminal_shows_more_and_a_smaller_one_does_not_break() {
    let mut screen = Screen::default();
    screen.look(Look::Figures(Box::new(figures(20))));
    let all = drawn(&mut screen, 160, 50).join("\n");
    assert!(
        all.contains("sink-19") && all.contains("Events/s at each look, 10,000 at most") && all.contains('█'),
        "{all}"
    );
    for (width, height) in [(1, 1), (10, 3), (40, 10), (80, 15), (300, 120)] {
        drawn(&mut screen, width, height);
    }
}

#[test]
fn a_daemon_that_goes_away_and_comes_back_is_told_and_a_pause_holds_everything() {
    let mut screen = Screen::default();
    screen.look(Look::Away("no such file".into()));
    assert!(drawn(&mut screen, 80, 24)[0].contains("does not answer: no such file; trying again"));
    screen.look(Look::Figures(Box::new(figures(1))));
    screen.look(Look::Away("refused".into()));
    let lines = drawn(&mut screen, 80, 24);
    assert!(lines[1].contains("does not answer: refused") && lines[0].contains("process 4711"), "{lines:?}");
    screen.look(Look::Figures(Box::new(figures(1))));
    assert!(drawn(&mut screen, 80, 24)[1].contains("the daemon answers again"));
    let mut other = figures(1);
    other["pid"] = 4712.into();
    screen.look(Look::Figures(Box::new(other.clone())));
    assert!(drawn(&mut screen, 80, 24)[1].contains("started again, as process 4712"));
    other["health"]["notReady"] = json!(["disk_reserve"]);
    screen.look(Look::Figures(Box::new(other)));
    assert!(drawn(&mut screen, 80, 24)[1].contains("refusing events: disk_reserve"));

    assert_eq!(press(&mut screen, KeyCode::Char('p')), Turn::GoOn);
    screen.look(Look::Figures(Box::new(figures(3))));
    let lines = drawn(&mut screen, 80, 24);
    assert!(lines[0].contains("process 4712") && lines[23].contains("PAUSED"), "{lines:?}");
    press(&mut screen, KeyCode::Char('p'));
    screen.look(Look::Figures(Box::new(figures(3))));
    assert!(drawn(&mut screen, 80, 24)[0].contains("process 4711"));
    assert_eq!(press(&mut screen, KeyCode::Char('q')), Turn::Quit);
    assert_eq!(press(&mut screen, KeyCode::Esc), Turn::Quit);
}

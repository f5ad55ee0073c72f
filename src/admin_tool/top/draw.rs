//! The screen, drawn: 80 columns and 24 lines hold all of it, what is larger shows more sinks, longer errors and a curve.

use super::screen::Screen;
use super::words::{bytes, count, duration, rate, share};
use crate::admin_tool::render::text;
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Cell, Paragraph, Row, Sparkline, Table};
use serde_json::Value;

/// Lines above the sinks.
const HEAD_LINES: u16 = 14;
/// From so many lines on there is room for a curve of so many.
const CURVE_FROM: u16 = 32;
const CURVE_LINES: u16 = 7;
const STAGES: [&str; 5] = ["parse", "enqueue", "commit", "fsync", "request"];
const BOLD: Style = Style::new().add_modifier(Modifier::BOLD);
const HEADING: Style = Style::new().add_modifier(Modifier::REVERSED);
const BAD: Style = Style::new().fg(Color::Red).add_modifier(Modifier::BOLD);
const WARN: Style = Style::new().fg(Color::Yellow);

/// Draws what is shown.
pub(super) fn draw(frame: &mut Frame<'_>, screen: &mut Screen) {
    let curve = if frame.area().height >= CURVE_FROM { CURVE_LINES } else { 0 };
    let lines = [HEAD_LINES, curve].map(Constraint::Length);
    let [head, curve, sinks, foot] =
        Layout::vertical([lines[0], lines[1], Constraint::Fill(1), Constraint::Length(1)]).areas(frame.area());
    match &screen.figures {
        Some(figures) => draw_head(frame, head, figures, screen),
        None => frame.render_widget(Paragraph::new(notice(screen)), head),
    }
    if curve.height > 0 {
        draw_curve(frame, curve, screen);
    }
    draw_sinks(frame, sinks, screen);
    frame.render_widget(Paragraph::new(foot_line(screen)).style(HEADING), foot);
}

fn draw_head(frame: &mut Frame<'_>, area: Rect, figures: &Value, screen: &Screen) {
    let [title, said, rates, totals, connections, dead, latency, intake, log] =
        Layout::vertical([1, 1, 1, 1, 1, 1, 6, 1, 1].map(Constraint::Length)).areas(area);
    frame.render_widget(Paragraph::new(title_line(figures)).style(HEADING), title);
    frame.render_widget(Paragraph::new(notice(screen)), said);
    frame.render_widget(Paragraph::new(rates_line(figures)), rates);
    frame.render_widget(Paragraph::new(totals_line(figures)), totals);
    frame.render_widget(Paragraph::new(connections_line(figures)), connections);
    frame.render_widget(Paragraph::new(dead_line(figures)), dead);
    draw_latency(frame, latency, &figures["latency"]);
    frame.render_widget(Paragraph::new(intake_line(&figures["intake"])), intake);
    frame.render_widget(Paragraph::new(log_line(figures)), log);
}

fn title_line(figures: &Value) -> Line<'static> {
    let health = text(&figures["health"]["status"]);
    let style = match health.as_str() {
        "healthy" => Style::new(),
        "degraded" => WARN,
        _ => BAD,
    };
    let [up, pid] = ["uptimeSeconds", "pid"].map(|key| figures[key].as_u64().unwrap_or_default());
    Line::from(vec![
        Span::styled(format!(" ingestd {}  ", text(&figures["version"])), BOLD),
        Span::styled(health, style),
        Span::raw(format!("  up {}  process {pid}  {}", duration(up), text(&figures["timestamp"]))),
    ])
}

/// What is wrong, or has been: the most important thing first.
fn notice(screen: &Screen) -> Line<'static> {
    if let Some(why) = &screen.away {
        return Line::styled(format!(" the daemon does not answer: {why}; trying again"), BAD);
    }
    let reasons = screen.figures.as_ref().and_then(|figures| figures["health"]["notReady"].as_array());
    let reasons: Vec<_> = reasons.into_iter().flatten().map(text).collect();
    if !reasons.is_empty() {
        return Line::styled(format!(" refusing events: {}", reasons.join(", ")), BAD);
    }
    match &screen.notice {
        Some((text, _)) => Line::styled(format!(" {text}"), WARN),
        None => screen.sinks().iter().find_map(trouble_of).unwrap_or_default(),
    }
}

/// What keeps a sink from running, over the whole width: in its row there may be little room.
fn trouble_of(sink: &Value) -> Option<Line<'static>> {
    let (state, error) = (text(&sink["state"]), text(&sink["lastError"]["text"]));
    let is_trouble = !matches!(state.as_str(), "running" | "paused" | "stopped") && !error.is_empty();
    is_trouble.then(|| Line::styled(format!(" {} is {state}: {error}", text(&sink["sink"])), WARN))
}

fn rates_line(figures: &Value) -> Line<'static> {
    let rates = &figures["rates"];
    let [s1, s10, s60] = ["s1", "s10", "s60"].map(|key| rate(&rates[key]));
    let errors = figures["errorRate"].as_f64().unwrap_or_default() * 100.0;
    Line::from(vec![
        Span::styled(" Events/s   ", BOLD),
        Span::raw(format!("1 s {s1:>11}   10 s {s10:>11}   60 s {s60:>11}   5xx {errors:.2} %")),
    ])
}

fn totals_line(figures: &Value) -> Line<'static> {
    let totals = &figures["totals"];
    let [accepted, duplicate, rejected, refused] =
        ["accepted", "duplicate", "rejected", "refused"].map(|key| count(&totals[key]));
    Line::from(vec![
        Span::styled(" Since start ", BOLD),
        Span::raw(format!("accepted {accepted}  duplicate {duplicate}  rejected {rejected}  refused {refused}")),
    ])
}

fn connections_line(figures: &Value) -> Line<'static> {
    let open = &figures["connections"];
    let [all, max, sockets] = ["open", "max", "websockets"].map(|key| count(&open[key]));
    let memory = bytes(&figures["process"]["residentBytes"]);
    Line::from(vec![
        Span::styled(" Connections ", BOLD),
        Span::raw(format!("{all} of {max}, WebSockets {sockets}   memory {memory}")),
    ])
}

fn dead_line(figures: &Value) -> Line<'static> {
    // Ids count from 1.
    let log = &figures["log"];
    let events = log["committed"].as_u64().unwrap_or_default() + 1 - log["start"].as_u64().unwrap_or_default().max(1);
    let all = figures["deadLetters"]["next"].as_u64().map(|next| next.max(1) - 1);
    Line::from(vec![
        Span::styled(" Dead letters ", BOLD),
        Span::raw(format!(
            "{} ever   commits {}   in the log {} events",
            count(&all.into()),
            count(&figures["totals"]["commits"]),
            count(&events.into())
        )),
    ])
}

fn draw_latency(frame: &mut Frame<'_>, area: Rect, latency: &Value) {
    let seconds = latency["seconds"].as_f64().unwrap_or_default();
    let heading = [format!(" Latency, ms, last {seconds:.0} s"), "count".into(), "p50".into(), "p99".into()];
    let heading = heading.into_iter().chain(["p99.9".into(), "max".into()]);
    let right = |text: String| Cell::from(Line::from(text).right_aligned());
    let mut heading = heading.map(Line::from);
    let first = heading.next().unwrap_or_default();
    let heading: Vec<Cell<'_>> =
        [Cell::from(first)].into_iter().chain(heading.map(|line| Cell::from(line.right_aligned()))).collect();
    let rows = STAGES.map(|stage| {
        let figures = &latency["stages"][stage];
        let ms = |key: &str| right(figures[key].as_f64().map_or("-".into(), |ms| format!("{ms:.3}")));
        let cells = [Cell::from(format!(" {stage}")), right(count(&figures["count"]))];
        Row::new(cells.into_iter().chain(["p50", "p99", "p999", "max"].map(ms)))
    });
    let widths = [26, 14, 9, 9, 9, 9].map(Constraint::Length);
    frame.render_widget(Table::new(rows, widths).header(Row::new(heading).style(BOLD)), area);
}

fn intake_line(intake: &Value) -> Line<'static> {
    let of = |what: &str| (intake[what]["used"].as_u64().unwrap_or_default(), intake[what]["max"].clone());
    let part = |what: &str| {
        let (used, max) = of(what);
        let full = share(used, max.as_u64().unwrap_or_default());
        let style = if full >= 90.0 { BAD } else { Style::new() };
        let shown = if what == "bytes" { bytes(&used.into()) } else { count(&used.into()) };
        Span::styled(format!("{what} {shown} ({full:.0} %)   "), style)
    };
    Line::from(vec![Span::styled(" On the way  ", BOLD), part("requests"), part("bytes"), part("ring")])
}

fn log_line(figures: &Value) -> Line<'static> {
    let (log, disk) = (&figures["log"], &figures["disk"]);
    let budget = match log["budgetBytes"].as_u64() {
        None | Some(0) => String::new(),
        Some(_) => format!(" of {}", bytes(&log["budgetBytes"])),
    };
    let (free, reserve) = (disk["freeBytes"].as_u64(), disk["reserveBytes"].as_u64());
    let is_low = free.zip(reserve).is_some_and(|(free, reserve)| free < reserve.saturating_add(reserve / 4));
    Line::from(vec![
        Span::styled(" Log         ", BOLD),
        Span::raw(format!("{}{budget}   disk free ", bytes(&log["bytes"]))),
        Span::styled(bytes(&disk["freeBytes"]), if is_low { BAD } else { Style::new() }),
        Span::raw(format!(", reserve {}", bytes(&disk["reserveBytes"]))),
    ])
}

fn draw_curve(frame: &mut Frame<'_>, area: Rect, screen: &Screen) {
    let [heading, curve, _] =
        Layout::vertical([Constraint::Length(1), Constraint::Fill(1), Constraint::Length(1)]).areas(area);
    let most = screen.history.iter().max().copied().unwrap_or_default();
    let line = format!(" Events/s at each look, {} at most", count(&most.into()));
    frame.render_widget(Paragraph::new(Line::styled(line, BOLD)), heading);
    let shown = screen.history.len().min(usize::from(curve.width));
    let newest = screen.history.iter().skip(screen.history.len() - shown).copied();
    frame.render_widget(Sparkline::default().data(newest), curve);
}

fn draw_sinks(frame: &mut Frame<'_>, area: Rect, screen: &mut Screen) {
    let room = usize::from(area.height.saturating_sub(1));
    let most = screen.sinks().len().saturating_sub(room);
    screen.scroll = screen.scroll.min(most);
    let heading = Row::new([
        Cell::from(" Sink"),
        Cell::from("state"),
        Cell::from(Line::from("lag events").right_aligned()),
        Cell::from(Line::from("lag s").right_aligned()),
        Cell::from(Line::from("dead").right_aligned()),
        Cell::from("last error"),
    ]);
    let rows: Vec<Row<'_>> = screen.sinks().iter().skip(screen.scroll).take(room).map(sink_row).collect();
    let widths = [12, 12, 12, 9, 8].map(Constraint::Length).into_iter().chain([Constraint::Fill(1)]);
    frame.render_widget(Table::new(rows, widths).header(heading.style(BOLD)), area);
}

fn sink_row(sink: &Value) -> Row<'static> {
    let state = text(&sink["state"]);
    let style = match state.as_str() {
        "running" => Style::new(),
        "failed" => BAD,
        _ => WARN,
    };
    let right = |text: String| Cell::from(Line::from(text).right_aligned());
    Row::new([
        Cell::from(format!(" {}", text(&sink["sink"]))),
        Cell::from(Span::styled(state, style)),
        right(count(&sink["lagEvents"])),
        right(format!("{:.1}", sink["lagSeconds"].as_f64().unwrap_or_default())),
        right(count(&sink["ledger"]["dead"])),
        Cell::from(text(&sink["lastError"]["text"])),
    ])
}

fn foot_line(screen: &Screen) -> Line<'static> {
    let pause = if screen.paused { "PAUSED: p goes on" } else { "p pause" };
    let sinks = screen.sinks().len();
    let place = if screen.scroll > 0 { format!("  from sink {} of {sinks}", screen.scroll + 1) } else { String::new() };
    Line::from(format!(" q quit   {pause}   up/down sinks{place}"))
}

#[cfg(test)]
#[path = "draw_tests.rs"]
mod tests;

//! What is shown, and how keys and looks change it.

use super::watch::Look;
use ratatui::crossterm::event::{Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use serde_json::Value;
use std::collections::VecDeque;

/// Rates that are remembered: more than a terminal is wide.
const HISTORY: usize = 500;
/// So many looks it is said that the daemon was started again.
const SAID_FOR: u32 = 10;

/// Whether to go on.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Turn {
    GoOn,
    Quit,
}

/// What is shown.
#[derive(Debug, Default)]
pub(super) struct Screen {
    /// The newest figures, as they were before the daemon went away.
    pub(super) figures: Option<Value>,
    /// Why there are no newer ones.
    pub(super) away: Option<String>,
    /// What else there is to say, and for how many more looks.
    pub(super) notice: Option<(String, u32)>,
    /// Whether nothing is to change.
    pub(super) paused: bool,
    /// First sink that is shown.
    pub(super) scroll: usize,
    /// Events per second at each look, the newest last.
    pub(super) history: VecDeque<u64>,
}

impl Screen {
    /// Takes over what a look has shown.
    pub(super) fn look(&mut self, look: Look) {
        if self.paused {
            return;
        }
        match look {
            Look::Away(why) => self.away = Some(why),
            Look::Figures(figures) => self.take(*figures),
        }
    }

    fn take(&mut self, figures: Value) {
        self.notice = self.notice.take().filter(|(_, left)| *left > 0).map(|(text, left)| (text, left - 1));
        if let Some(before) = &self.figures
            && before["pid"] != figures["pid"]
        {
            self.notice = Some((format!("the daemon was started again, as process {}", figures["pid"]), SAID_FOR));
            self.history.clear();
        } else if self.away.is_some() {
            self.notice = Some(("the daemon answers again".into(), SAID_FOR));
        }
        self.away = None;
        if self.history.len() == HISTORY {
            self.history.pop_front();
        }
        self.history.push_back(figures["rates"]["s1"].as_f64().unwrap_or_default() as u64);
        self.figures = Some(figures);
    }

    /// Does what a key says. A terminal that has another size is drawn anew anyway.
    pub(super) fn event(&mut self, event: &Event) -> Turn {
        let Event::Key(KeyEvent { code, modifiers, kind, .. }) = event else { return Turn::GoOn };
        if *kind == KeyEventKind::Release {
            return Turn::GoOn;
        }
        match code {
            KeyCode::Char('q') | KeyCode::Esc => return Turn::Quit,
            // A raw terminal makes no signal of it.
            KeyCode::Char('c') if modifiers.contains(KeyModifiers::CONTROL) => return Turn::Quit,
            KeyCode::Char('p') => self.paused = !self.paused,
            KeyCode::Up => self.scroll = self.scroll.saturating_sub(1),
            KeyCode::Down => self.scroll = (self.scroll + 1).min(self.sinks().len().saturating_sub(1)),
            _ => {}
        }
        Turn::GoOn
    }

    /// The sinks, as far as anything is known.
    pub(super) fn sinks(&self) -> &[Value] {
        let sinks = self.figures.as_ref().and_then(|figures| figures["sinks"].as_array());
        sinks.map(Vec::as_slice).unwrap_or_default()
    }
}

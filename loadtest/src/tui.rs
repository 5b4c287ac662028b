//! A run on a terminal, live: how much is offered and answered, how long it takes, what the server says of itself, what
//! goes wrong. It only looks: a run with and without it is the same.

use crate::numbers;
use crate::progress::Progress;
use crate::summary::{FaultReport, Second};
use ratatui::backend::{Backend, CrosstermBackend};
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{EnterAlternateScreen, LeaveAlternateScreen};
use ratatui::layout::{Constraint, Layout};
use ratatui::style::{Style, Stylize};
use ratatui::text::{Line, Text};
use ratatui::widgets::{Gauge, Paragraph, Sparkline};
use ratatui::{Frame, Terminal};
use std::io::{self, Stderr};
use std::sync::Mutex;

/// Seconds that are kept for the charts: as many as a wide terminal has columns.
const SECONDS_MAX: usize = 300;
/// Rows of a chart.
const CHART: u16 = 4;

/// What is shown.
#[derive(Debug, Default)]
struct View {
    scenario: String,
    step: String,
    /// Share of the step that is done, 0 to 1.
    done: f64,
    length: f64,
    seconds: Vec<Second>,
    faults: Vec<FaultReport>,
}

impl View {
    fn hear(&mut self, p: Progress<'_>) {
        match p {
            Progress::Seeding { done, total } => {
                self.step = format!("seeding {}", numbers::count(total));
                self.done = done as f64 / total.max(1) as f64;
            }
            Progress::Begins { seconds } => {
                (self.length, self.done) = (seconds, 0.0);
                self.step = format!("loading for {seconds:.0} s");
            }
            Progress::Second(s) => {
                self.done = (f64::from(s.second + 1) / self.length.max(1.0)).min(1.0);
                if self.seconds.len() == SECONDS_MAX {
                    self.seconds.remove(0);
                }
                self.seconds.push(*s);
            }
            Progress::Fault(f) => self.faults.push(f.clone()),
            Progress::Resolving { unknown } => {
                self.step = format!("asking for {} unknown outcomes", numbers::count(unknown as u64));
            }
            Progress::Joining => self.step = "joining the ledger with what was told".to_owned(),
        }
    }

    fn draw(&self, frame: &mut Frame<'_>) {
        let [title, gauge, _, answers, approved, _, times, slow, _, faults] = Layout::vertical([
            Constraint::Length(1),
            Constraint::Length(1),
            Constraint::Length(1),
            Constraint::Length(2),
            Constraint::Length(CHART),
            Constraint::Length(1),
            Constraint::Length(1),
            Constraint::Length(CHART),
            Constraint::Length(1),
            Constraint::Min(1),
        ])
        .areas(frame.area());
        frame.render_widget(Line::from(format!("{}: {}", self.scenario, self.step)).bold(), title);
        frame.render_widget(Gauge::default().ratio(self.done.clamp(0.0, 1.0)).cyan(), gauge);
        let last = self.seconds.last().copied().unwrap_or_default();
        let what = [
            format!(
                "due {}   approved {}   declined {}   suspected {}",
                numbers::count(last.offered),
                numbers::count(last.approved),
                numbers::count(last.declined),
                numbers::count(last.suspected)
            ),
            format!(
                "refused {}   unknown {}   unanswered {}   server {}",
                numbers::count(last.refusals.sum()),
                numbers::count(last.unknown),
                numbers::count(last.unanswered),
                numbers::mode(last.mode)
            ),
        ];
        frame.render_widget(Paragraph::new(Text::from_iter(what)), answers);
        // The newest second stands at the right, as far as there are columns.
        let newest = &self.seconds[self.seconds.len().saturating_sub(usize::from(approved.width))..];
        let chart = |of: fn(&Second) -> u64, style| {
            Sparkline::default().data(newest.iter().map(of).collect::<Vec<_>>()).style(style)
        };
        frame.render_widget(chart(|s| s.approved, Style::new().green()), approved);
        let [p50, p99, max] = [last.p50_us, last.p99_us, last.max_us].map(numbers::duration);
        frame.render_widget(Line::from(format!("p50 {p50}   p99 {p99}   max {max}")), times);
        frame.render_widget(chart(|s| s.p99_us as u64, Style::new().yellow()), slow);
        let rows = self.faults.iter().rev().map(|f| {
            let line = format!("{} at {}: {}", f.kind, numbers::moment(f.at_ms), f.proof);
            if f.fired { Line::from(line) } else { Line::from(format!("DID NOT HAPPEN: {line}")).red() }
        });
        frame.render_widget(Paragraph::new(Text::from_iter(rows)), faults);
    }
}

/// The terminal while it is taken. It is as it was before when this is dropped.
pub struct Tui(Mutex<(View, Terminal<CrosstermBackend<Stderr>>)>);

impl Tui {
    /// Takes the terminal behind standard error.
    pub fn new(scenario: &str) -> io::Result<Self> {
        execute!(io::stderr(), EnterAlternateScreen)?;
        let terminal = Terminal::new(CrosstermBackend::new(io::stderr()))?;
        let view = View { scenario: scenario.to_owned(), ..View::default() };
        Ok(Self(Mutex::new((view, terminal))))
    }

    /// Shows what happened.
    pub fn hear(&self, p: Progress<'_>) {
        let mut inside = self.0.lock().expect("nobody panics while drawing");
        let (view, terminal) = &mut *inside;
        view.hear(p);
        show(view, terminal);
    }
}

/// A terminal that is gone is no reason to end a run.
fn show<B: Backend>(view: &View, terminal: &mut Terminal<B>) {
    let _ = terminal.draw(|frame| view.draw(frame));
}

impl Drop for Tui {
    fn drop(&mut self) {
        let _ = execute!(io::stderr(), LeaveAlternateScreen);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::summary::MODE_SILENT;
    use ratatui::backend::TestBackend;

    #[test]
    fn it_shows_what_was_told() {
        let mut view = View { scenario: "peak".to_owned(), ..View::default() };
        let mut terminal = Terminal::new(TestBackend::new(60, 20)).expect("a terminal");
        let mut screen = |view: &View| {
            show(view, &mut terminal);
            terminal.backend().to_string()
        };
        view.hear(Progress::Seeding { done: 5, total: 10 });
        assert!(screen(&view).contains("peak: seeding 10") && screen(&view).contains("50%"));
        view.hear(Progress::Begins { seconds: 4.0 });
        for second in 0..2 {
            let s = Second {
                second,
                offered: 1_234_567,
                approved: 1_000 * u64::from(second),
                p99_us: 5_810.0,
                mode: MODE_SILENT,
                ..Second::default()
            };
            view.hear(Progress::Second(&s));
        }
        let fault =
            FaultReport { kind: "kill".into(), at_ms: 1_500, proof: "no server".into(), ..FaultReport::default() };
        view.hear(Progress::Fault(&fault));
        let text = screen(&view);
        for part in [
            "peak: loading for 4 s",
            "50%",
            "due 1,234,567   approved 1,000",
            "server silent",
            "p99 5.81 ms",
            "DID NOT HAPPEN: kill at 1.5 s: no server",
            "█",
        ] {
            assert!(text.contains(part), "{part}:\n{text}");
        }
        // Far more than there is room for, on a terminal of no size at all.
        (0..1_000).for_each(|second| view.hear(Progress::Second(&Second { second, ..Second::default() })));
        assert_eq!(view.seconds.len(), SECONDS_MAX);
        show(&view, &mut Terminal::new(TestBackend::new(1, 1)).expect("a terminal"));
    }
}

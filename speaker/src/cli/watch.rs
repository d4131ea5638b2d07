//! `speaker watch`: sessions and routes, live.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail};
use ratatui::crossterm::event::{self, Event, KeyCode, KeyModifiers};
use ratatui::layout::{Constraint, Layout};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Text};
use ratatui::widgets::{Block, Borders, Paragraph};
use serde_json::Value;
use speaker_core::view::{PeerSummary, VersionView};

use super::args::Daemon;
use super::client::{self, Answer};
use super::{Exit, rib, sessions};

/// How often the daemon is asked.
const EVERY: Duration = Duration::from_millis(500);

/// What is on the screen.
#[derive(Debug, Default)]
struct Screen {
    peers: String,
    routes: String,
    scroll: u16,
}

/// Shows the screen until `q`.
pub(crate) async fn watch(daemon: Daemon) -> anyhow::Result<Exit> {
    use std::io::IsTerminal as _;
    if !std::io::stdout().is_terminal() {
        bail!("`watch` needs a terminal; for scripts there are `peers -o json` and `rib advertised -o json`");
    }
    // The first question before the screen is taken, so that its error can be read.
    let mut screen = ask(daemon.socket()).await?;
    let mut terminal = ratatui::try_init().context("cannot take the terminal")?;
    let outcome = follow(&mut terminal, daemon.socket(), &mut screen).await;
    ratatui::restore();
    outcome.map(|()| Exit::Done)
}

async fn follow(
    terminal: &mut ratatui::DefaultTerminal,
    socket: &Path,
    screen: &mut Screen,
) -> anyhow::Result<()> {
    loop {
        terminal.draw(|frame| draw(frame, screen))?;
        let pressed = tokio::task::spawn_blocking(|| -> std::io::Result<Option<Event>> {
            if event::poll(EVERY)? { event::read().map(Some) } else { Ok(None) }
        })
        .await??;
        if let Some(Event::Key(key)) = pressed {
            let interrupt = key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL);
            match key.code {
                KeyCode::Char('q') | KeyCode::Esc => return Ok(()),
                _ if interrupt => return Ok(()),
                KeyCode::Down | KeyCode::Char('j') => screen.scroll = screen.scroll.saturating_add(1),
                KeyCode::Up | KeyCode::Char('k') => screen.scroll = screen.scroll.saturating_sub(1),
                KeyCode::PageDown => screen.scroll = screen.scroll.saturating_add(20),
                KeyCode::PageUp => screen.scroll = screen.scroll.saturating_sub(20),
                _ => {}
            }
        }
        let scroll = screen.scroll;
        *screen = match ask(socket).await {
            Ok(fresh) => Screen { scroll, ..fresh },
            Err(error) => Screen { peers: format!("{error:#}"), routes: String::new(), scroll },
        };
    }
}

async fn ask(socket: &Path) -> anyhow::Result<Screen> {
    let version = known(client::get::<VersionView>(socket, "/v1/version").await?)?;
    let peers = known(client::get::<Vec<PeerSummary>>(socket, "/v1/peers").await?)?;
    let routes = known(client::get::<Vec<Value>>(socket, "/v1/rib/advertised").await?)?;
    Ok(Screen {
        peers: sessions::peers(&peers, &version, false),
        routes: rib::rib("advertised", &routes, false),
        scroll: 0,
    })
}

fn known<T>(answer: Answer<T>) -> anyhow::Result<T> {
    match answer {
        Answer::Ok(value) => Ok(value),
        Answer::NotFound(text) => bail!(text),
    }
}

fn draw(frame: &mut ratatui::Frame<'_>, screen: &Screen) {
    let height = u16::try_from(screen.peers.lines().count()).unwrap_or(u16::MAX).saturating_add(2);
    let [peers, routes, keys] =
        Layout::vertical([Constraint::Max(height), Constraint::Min(5), Constraint::Length(1)])
            .areas(frame.area());
    let lines = screen.peers.lines().map(|line| {
        let down = ["Idle", "Connect", "Active", "OpenSent", "OpenConfirm", " is down: "]
            .iter()
            .any(|state| line.contains(state));
        let style = if down { Style::default().fg(Color::Red) } else { Style::default() };
        Line::styled(line.to_owned(), style)
    });
    let title = |text: &'static str| {
        Block::default()
            .borders(Borders::TOP)
            .title(text)
            .title_style(Style::default().add_modifier(Modifier::BOLD))
    };
    frame.render_widget(Paragraph::new(Text::from_iter(lines)).block(title(" sessions ")), peers);
    let advertised =
        Paragraph::new(screen.routes.as_str()).scroll((screen.scroll, 0)).block(title(" advertised "));
    frame.render_widget(advertised, routes);
    frame.render_widget(Paragraph::new("q quit   up/down scroll"), keys);
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::*;

    #[test]
    fn sessions_and_routes_are_on_one_screen() {
        let mut terminal = Terminal::new(TestBackend::new(60, 14)).unwrap();
        let screen = Screen {
            peers: "Neighbor AS\ntor-a 64500 Idle\n".to_owned(),
            routes: "*> 192.0.2.0/24\n".to_owned(),
            scroll: 0,
        };
        terminal.draw(|frame| draw(frame, &screen)).unwrap();
        let seen: String =
            terminal.backend().buffer().content.iter().map(ratatui::buffer::Cell::symbol).collect();
        for text in ["sessions", "tor-a 64500 Idle", "advertised", "*> 192.0.2.0/24", "q quit"] {
            assert!(seen.contains(text), "{text} is missing in {seen}");
        }
    }
}

//! Events over WebSockets.

use crate::suite::Bench;
use crate::suite::load::{Load, Side, Spread, cpu_note, interleave, load};
use crate::suite::results::Outcome;
use crate::table::short;
use anyhow::{Context, Result, ensure};

/// Row 6: more than that a process cannot have here, see the descriptors of a child.
const IDLE: usize = 15_000;

/// Row 5.
pub(super) fn messages(bench: &Bench) -> Result<Outcome> {
    let args = format!("ws --connections 1000 --warmup 1 --duration {}", bench.options.seconds);
    let bare_args = format!("{args} --plain");
    let ours = bench.daemon(&bench.prefilled("data", false)?, &[])?;
    let bare = bench.yardstick("bare-ws", &[])?;
    let pairs = interleave(
        bench,
        5,
        Side { who: "ours", server: &ours, args: &args },
        Side { who: "bare-ws", server: &bare, args: &bare_args },
    )?;
    let ratio = Spread::of_ratios(&pairs, |load| load.events_per_s).context("no rounds")?;
    let rate = |side: fn(&(Load, Load)) -> &Load| {
        Spread::of(pairs.iter().map(|pair| side(pair).events_per_s)).context("no rounds")
    };
    Ok(Outcome {
        ours: format!("{} ev/s", rate(|pair| &pair.0)?),
        limit: format!("bare-ws {} msg/s", rate(|pair| &pair.1)?),
        reached: ratio.median >= 0.5,
        dreamt: ratio.median >= 0.75,
        ratio: Some(ratio),
        notes: vec![
            format!("`loadgen {args}`"),
            format!("{} ids known, sink on", short(bench.options.ids as f64)),
            cpu_note(pairs.iter().map(|pair| &pair.0)),
        ],
    })
}

/// Row 6.
pub(super) fn idle(bench: &Bench) -> Result<Outcome> {
    let args = format!("ws-idle --connections {IDLE} --hold 3 --connect-timeout 60");
    let (mut ours, mut bare) = (Vec::new(), Vec::new());
    for round in 1..=bench.options.rounds {
        // Memory that an earlier run gave back would hide what this one takes.
        let server = bench.daemon(&bench.place.fresh("data")?, &[])?;
        ours.push(each(bench, round, Side { who: "ours", server: &server, args: &args })?);
        drop(server);
        let server = bench.yardstick("bare-ws", &[])?;
        bare.push(each(bench, round, Side { who: "bare-ws", server: &server, args: &args })?);
    }
    let ratio = Spread::of(ours.iter().zip(&bare).map(|(ours, bare)| ours / bare.max(1e-9)));
    let (ours, bare) = (Spread::of(ours).context("no rounds")?, Spread::of(bare).context("no rounds")?);
    Ok(Outcome {
        ours: format!("{ours} KiB"),
        limit: format!("bare-ws {bare} KiB"),
        ratio,
        reached: ours.median <= 4.0,
        dreamt: ours.median <= 2.5,
        notes: vec![format!("`loadgen {args}`"), "growth of the server's RSS over its connections".to_owned()],
    })
}

fn each(bench: &Bench, round: usize, side: Side<'_>) -> Result<f64> {
    let found = load(bench, 6, round, side)?;
    ensure!(found.connections_up == IDLE, "only {} of {IDLE} connections were up", found.connections_up);
    Ok(found.server.context("no figures of the server")?.rss_per_connection_kib)
}

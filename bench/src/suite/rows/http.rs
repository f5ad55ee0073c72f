//! Events over HTTP.

use crate::suite::Bench;
use crate::suite::load::{Load, Side, Spread, cpu_note, interleave, load, seen_note, settle};
use crate::suite::results::Outcome;
use crate::table::{median, short};
use anyhow::{Context, Result};

/// How many known ids, in words.
fn known(bench: &Bench) -> String {
    format!("{} ids known", short(bench.options.ids as f64))
}

fn spread(loads: impl IntoIterator<Item = f64>) -> Result<Spread> {
    Spread::of(loads).context("no rounds")
}

fn cpu(pairs: &[(Load, Load)]) -> String {
    let limit = median(&pairs.iter().map(|(_, limit)| limit.cpu_us()).collect::<Vec<_>>());
    format!("{}; the limit's {}", cpu_note(pairs.iter().map(|pair| &pair.0)), short(limit.unwrap_or(0.0)))
}

/// Row 1.
pub(super) fn single(bench: &Bench) -> Result<Outcome> {
    let args = format!("http --connections 256 --warmup 1 --duration {}", bench.options.seconds);
    let bare_args = format!("{args} --plain");
    let ours = bench.daemon(&bench.prefilled("data", false)?, &[])?;
    let bare = bench.yardstick("bare-hyper", &[])?;
    let pairs = interleave(
        bench,
        1,
        Side { who: "ours", server: &ours, args: &args },
        Side { who: "bare-hyper", server: &bare, args: &bare_args },
    )?;
    let ratio = Spread::of_ratios(&pairs, |load| load.events_per_s).context("no rounds")?;
    Ok(Outcome {
        ours: format!("{} ev/s", spread(pairs.iter().map(|(ours, _)| ours.events_per_s))?),
        limit: format!("bare-hyper {} req/s", spread(pairs.iter().map(|(_, bare)| bare.events_per_s))?),
        reached: ratio.median >= 0.65,
        dreamt: ratio.median >= 0.85,
        ratio: Some(ratio),
        notes: vec![format!("`loadgen {args}`"), known(bench), cpu(&pairs)],
    })
}

/// Row 2.
pub(super) fn batch(bench: &Bench) -> Result<Outcome> {
    let args = format!("http --batch 100 --connections 16 --warmup 1 --duration {}", bench.options.seconds);
    let ours = bench.daemon(&bench.prefilled("data", false)?, &[])?;
    let raw = bench.raw_server()?;
    let pairs = interleave(
        bench,
        2,
        Side { who: "ours", server: &ours, args: &args },
        Side { who: "raw-server", server: &raw, args: &args },
    )?;
    let ratio = Spread::of_ratios(&pairs, |load| load.events_per_s).context("no rounds")?;
    let rate = spread(pairs.iter().map(|(ours, _)| ours.events_per_s))?;
    Ok(Outcome {
        ours: format!("{rate} ev/s"),
        limit: format!("raw-server {} ev/s", spread(pairs.iter().map(|(_, raw)| raw.events_per_s))?),
        reached: ratio.median >= 0.5 && rate.median >= 500e3,
        dreamt: ratio.median >= 0.8 && rate.median >= 1e6,
        ratio: Some(ratio),
        notes: vec![format!("`loadgen {args}`"), known(bench), cpu(&pairs)],
    })
}

/// Row 3.
pub(super) fn open(bench: &Bench) -> Result<Outcome> {
    let seconds = bench.options.open_seconds;
    let args = format!("http --rate 10k --connections 64 --warmup 1 --duration {seconds}");
    let ours = bench.daemon(&bench.prefilled("data", false)?, &[])?;
    let raw = bench.raw_server()?;
    let pairs = interleave(
        bench,
        3,
        Side { who: "ours", server: &ours, args: &args },
        Side { who: "raw-server", server: &raw, args: &args },
    )?;
    let ratio = Spread::of_ratios(&pairs, |load| load.latency_us.p999).context("no rounds")?;
    let quantiles = |side: fn(&(Load, Load)) -> &Load| -> Result<[Spread; 3]> {
        let of = |quantile: fn(&Load) -> f64| spread(pairs.iter().map(|pair| quantile(side(pair)) / 1e3));
        Ok([of(|load| load.latency_us.p50)?, of(|load| load.latency_us.p99)?, of(|load| load.latency_us.p999)?])
    };
    let (mine, limits) = (quantiles(|pair| &pair.0)?, quantiles(|pair| &pair.1)?);
    let text = |[p50, p99, p999]: [Spread; 3]| format!("{p50} / {p99} / {p999} ms");
    let medians = |of: [Spread; 3]| of.map(|quantile| quantile.median);
    let ([p50, p99, p999], limit) = (medians(mine), medians(limits));
    let [by_50, by_99, by_999] = [p50 / limit[0], p99 / limit[1], p999 / limit[2]];
    let odd: Vec<String> = pairs
        .iter()
        .flat_map(|(ours, raw)| [ours, raw])
        .filter(|load| load.verdict != "ok")
        .map(|load| load.verdict.clone())
        .collect();
    let mut notes = vec![
        format!("`loadgen {args}`"),
        known(bench),
        format!("the ratio is that of p99.9, lower is better; of all three {by_50:.2} / {by_99:.2} / {by_999:.2}"),
        format!(
            "longest of 50 synced writes of 4 KiB a second by a program beside them, round by round: {}; beside the limit {}",
            seen_note(pairs.iter().map(|pair| &pair.0)),
            seen_note(pairs.iter().map(|pair| &pair.1))
        ),
        cpu(&pairs),
    ];
    if !odd.is_empty() {
        notes.push(format!("verdicts other than ok: {}", odd.join(", ")));
    }
    Ok(Outcome {
        ours: text(mine),
        limit: format!("raw-server {}", text(limits)),
        reached: (p50 < 0.6 || by_50 <= 1.5) && (p99 < 2.0 || by_99 <= 1.5) && (p999 < 5.0 || by_999 <= 1.5),
        dreamt: p50 < 0.6 && p99 < 1.0 && p999 < 2.0,
        ratio: Some(ratio),
        notes,
    })
}

/// Row 9.
pub(super) fn duplicates(bench: &Bench) -> Result<Outcome> {
    let args = format!("http --batch 100 --connections 16 --warmup 1 --duration {}", bench.options.seconds);
    let repeats = format!("{args} --all-duplicates");
    let server = bench.daemon(&bench.prefilled("data", false)?, &[])?;
    let mut pairs = Vec::new();
    for round in 1..=bench.options.rounds {
        settle();
        let all = load(bench, 9, round, Side { who: "duplicates", server: &server, args: &repeats })?;
        settle();
        let new = load(bench, 9, round, Side { who: "new", server: &server, args: &args })?;
        pairs.push((all, new));
    }
    let ratio = Spread::of_ratios(&pairs, |load| load.events_per_s).context("no rounds")?;
    Ok(Outcome {
        ours: format!("{} ev/s", spread(pairs.iter().map(|(all, _)| all.events_per_s))?),
        limit: format!("new events {} ev/s", spread(pairs.iter().map(|(_, new)| new.events_per_s))?),
        reached: ratio.median >= 0.5,
        dreamt: ratio.median >= 0.5,
        ratio: Some(ratio),
        notes: vec![format!("`loadgen {repeats}`"), known(bench)],
    })
}

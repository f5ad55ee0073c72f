//! `ingestd wal`: a stopped daemon's log, looked at from outside.

use crate::cli::{Wal, WalDump, WalForget, WalPlace};
use anyhow::{Context, bail};
use event::{FingerprintKey, Namespace, Seq};
use ingestd::control::{complain, log_view, say};
use ingestd::deliver::Cursor;
use record::EventView;
use serde_json::{Value, json};
use std::io::Write;
use std::ops::ControlFlow;
use std::process::ExitCode;
use wal::{Damage, Gap, RepairReport, VerifyReport};

/// Prints a line, if somebody reads it: a repair does not end because its reader has.
macro_rules! tell {
    ($($words:tt)*) => { say(format_args!($($words)*)) };
}

/// Runs one command.
pub(crate) fn run(command: &Wal) -> ExitCode {
    let result = match command {
        Wal::Verify(place) => verify(place),
        Wal::Inspect(place) => inspect(place),
        Wal::Dump(which) => dump(which),
        Wal::Repair(place) => repair(place),
        Wal::ForgetSink(which) => forget_sink(which),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            complain(format_args!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn verify(place: &WalPlace) -> anyhow::Result<ExitCode> {
    let report = wal::examine(&place.data_dir)?.verify(|_| {});
    if place.json {
        tell!("{}", report_json(&report));
    } else {
        print_report(&report);
    }
    Ok(if report.is_intact() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn print_report(report: &VerifyReport) {
    tell!(
        "{} events in {} blocks, {}..={}; high-water mark {}",
        report.events,
        report.blocks,
        report.start,
        report.end,
        report.mark
    );
    if report.erased > 0 {
        tell!("{} more were erased: of each there is its position", report.erased);
    }
    for gap in &report.known_gaps {
        tell!("recorded earlier: {}..{}: {}", gap.from, gap.until, gap.cause);
    }
    if let Some(refused) = &report.refused {
        tell!("REFUSED by RocksDB: {refused}");
    }
    for file in &report.unreadable_files {
        tell!("UNREADABLE {file}: what it held beside events (cursors, dead letters, answers) is not known");
    }
    for gap in &report.gaps {
        tell!("MISSING {}..{}: {}", gap.from, gap.until, gap.cause);
    }
    for damage in &report.damaged {
        tell!("DAMAGED {}: {}", damage.family, damage.cause);
    }
    tell!("{}", if report.is_intact() { "intact" } else { "NOT intact" });
}

fn report_json(report: &VerifyReport) -> serde_json::Value {
    let gaps = |gaps: &[Gap]| -> Vec<_> {
        gaps.iter().map(|gap| json!({"from": gap.from.get(), "until": gap.until.get(), "cause": gap.cause})).collect()
    };
    let damage = |damage: &Damage| json!({"family": damage.family, "cause": damage.cause});
    let damaged: Vec<_> = report.damaged.iter().map(damage).collect();
    json!({
        "intact": report.is_intact(),
        "start": report.start.get(),
        "end": report.end.get(),
        "mark": report.mark.get(),
        "blocks": report.blocks,
        "events": report.events,
        "erased": report.erased,
        "gaps": gaps(&report.gaps),
        "knownGaps": gaps(&report.known_gaps),
        "damaged": damaged,
        "refused": report.refused,
        "unreadableFiles": report.unreadable_files,
    })
}

fn inspect(place: &WalPlace) -> anyhow::Result<ExitCode> {
    let (reader, recovery) = wal::open_read_only(&place.data_dir)?;
    let mut out = log_view::facts(&reader)?;
    out["next"] = recovery.next.get().into();
    out["mark"] = recovery.mark_trouble.is_none().then(|| recovery.mark.get()).into();
    out["markTrouble"] = recovery.mark_trouble.into();
    out["clean"] = recovery.clean.into();
    out["lastCommit"] = recovery.last_commit.to_string().into();
    out["copy"] = recovery.copy.map_or(Value::Null, |copy| {
        json!({
            "madeAt": copy.made_at.to_string(),
            "end": copy.end.get(),
            "used": copy.used.map(|used| used.flag().trim_start_matches('-')),
        })
    });
    if place.json {
        tell!("{out}");
    } else {
        tell!("{}", serde_json::to_string_pretty(&out)?);
    }
    Ok(ExitCode::SUCCESS)
}

fn dump(which: &WalDump) -> anyhow::Result<ExitCode> {
    let (reader, _) = wal::open_read_only(&which.data_dir)?;
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    let mut extractor = prepare::processed::Extractor::new();
    let mut scratch = Vec::new();
    let mut failed: anyhow::Result<()> = Ok(());
    let from = which.from.map_or(reader.start(), Seq::new);
    reader.read(from, |block, _| {
        let visited = block.visit(&mut scratch, |event| {
            if event.seq < from || failed.is_err() {
                return;
            }
            let line = log_view::event(&event, &mut extractor, which.raw);
            failed = writeln!(out, "{line}").context("cannot write");
        });
        if let Err(error) = visited {
            failed = Err(error).with_context(|| format!("block at {}", block.first()));
        }
        if failed.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    failed?;
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

fn forget_sink(which: &WalForget) -> anyhow::Result<ExitCode> {
    // Looked at first, so that a mistake changes nothing.
    let sinks = Cursor::of_others(&wal::open_read_only(&which.data_dir)?.0, &[])?;
    let Some((_, cursor)) = sinks.iter().find(|(name, _)| *name == which.sink) else {
        let known: Vec<_> = sinks.iter().map(|(name, _)| name.as_str()).collect();
        bail!("the log knows no sink `{}`; it knows: {}", which.sink, known.join(", "));
    };
    let opened = wal::open(&which.data_dir, &wal::Options::default())?;
    let missed = opened.recovery.next.since(cursor.next.min(opened.recovery.next));
    let mut writer = opened.writer;
    writer.commit(&wal::Group { events: None, writes: &Cursor::forget(&which.sink) })?;
    writer.close()?;
    tell!("{} is forgotten; it had not got the last {missed} events", which.sink);
    Ok(ExitCode::SUCCESS)
}

fn repair(place: &WalPlace) -> anyhow::Result<ExitCode> {
    let mut extractor = prepare::processed::Extractor::new();
    let mut scratch = Vec::new();
    let mut fingerprint = |event: &EventView<'_>, key: &FingerprintKey| {
        let id = extractor.extract(event).ok()?.event_id;
        Some(key.fingerprint(event.segment.tenant, Namespace::Events, id.as_bytes(), &mut scratch))
    };
    let report = wal::repair(&place.data_dir, &mut fingerprint)?;
    if place.json {
        tell!("{}", report_json(&report.found));
    } else {
        print_report(&report.found);
        print_mended(&report);
    }
    Ok(ExitCode::SUCCESS)
}

fn print_mended(report: &RepairReport) {
    if let Some(format) = &report.format {
        tell!("{} is made anew", format.file.display());
        if let Some(kept) = &format.kept {
            tell!("it is kept as it was in {}", kept.display());
        }
    }
    match &report.quarantined {
        Some(kept) => {
            tell!("the log as it was is kept in {}", kept.display());
            if !report.found.gaps.is_empty() {
                tell!("the gaps above are recorded; the daemon goes on after the last one");
            }
        }
        None if report.format.is_some() => tell!("the log itself is intact and left alone"),
        None => tell!("nothing to repair"),
    }
}

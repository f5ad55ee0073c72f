//! What a request asks for in its query string; parameters that nobody knows are ignored.

use super::answer::{Answer, problem_with};
use hyper::StatusCode;
use prepare::BatchOptions;

/// `?failOnError=&maxSize=&ack=` of a batch.
pub(super) fn batch_options(query: &str) -> Result<BatchOptions, Box<Answer>> {
    let mut options = BatchOptions::default();
    for (name, value) in pairs(query) {
        match name {
            "failOnError" => match value {
                "true" | "1" | "" => options.fail_on_error = Some(true),
                "false" | "0" => options.fail_on_error = Some(false),
                _ => return Err(bad("query parameter failOnError must be true or false")),
            },
            "maxSize" => {
                let size = value.parse().map_err(|_| bad("query parameter maxSize must be a whole number"))?;
                options.max_size = Some(size);
            }
            _ => {}
        }
    }
    Ok(options)
}

/// Which sinks `?ack=` waits for, of those that run; `all` are those that do.
///
/// # Errors
/// The answer when one is named that does not run, or all are and there is none.
pub(super) fn awaited(query: &str, sinks: &[&'static str]) -> Result<Vec<&'static str>, Box<Answer>> {
    let Some((_, wanted)) = pairs(query).find(|(name, _)| *name == "ack") else { return Ok(Vec::new()) };
    if wanted == "all" {
        return match sinks.is_empty() {
            true => Err(bad("query parameter ack=all: no sink is configured; nothing was stored")),
            false => Ok(sinks.to_vec()),
        };
    }
    match sinks.iter().find(|sink| **sink == wanted) {
        Some(sink) => Ok(vec![*sink]),
        None => Err(bad("query parameter ack names a sink that is not configured; nothing was stored")),
    }
}

fn pairs(query: &str) -> impl Iterator<Item = (&str, &str)> {
    query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")))
}

fn bad(detail: &str) -> Box<Answer> {
    Box::new(problem_with(StatusCode::BAD_REQUEST, detail, &[("code", "invalid_option".into())]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_sinks_are_those_that_run_and_none_is_a_mistake() {
        let waits = |query, sinks: &[&'static str]| awaited(query, sinks).ok();
        assert_eq!(waits("ack=all", &["clickhouse", "kafka"]), Some(vec!["clickhouse", "kafka"]));
        assert_eq!(waits("x=1&ack=kafka", &["clickhouse", "kafka"]), Some(vec!["kafka"]));
        assert_eq!(waits("x=1", &[]), Some(Vec::new()));
        for query in ["ack=all", "ack=parquet", "ack="] {
            assert_eq!(waits(query, &[]), None, "{query}");
        }
        assert_eq!(waits("ack=parquet", &["clickhouse"]), None);
    }
}

//! What a request asks for in its query string; parameters that nobody knows are ignored.

use super::answer::{Answer, problem_with};
use hyper::StatusCode;
use prepare::BatchOptions;

/// `?failOnError=&maxSize=&ack=` of a batch.
pub(super) fn batch_options(query: &str) -> Result<BatchOptions, Box<Answer>> {
    let mut options = BatchOptions::default();
    for (name, value) in pairs(query) {
        match &*name {
            "failOnError" => match &*value {
                "true" | "1" | "" => options.fail_on_error = Some(true),
                "false" | "0" => options.fail_on_error = Some(false),
                _ => return Err(bad("query parameter failOnError must be true or false")),
            },
            "maxSize" => {
                let size = value.parse().ok().filter(|size: &u64| *size > 0);
                options.max_size = Some(size.ok_or_else(|| bad("query parameter maxSize must be an integer from 1"))?);
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

/// Names and values, decoded.
fn pairs(query: &str) -> form_urlencoded::Parse<'_> {
    form_urlencoded::parse(query.as_bytes())
}

fn bad(detail: &str) -> Box<Answer> {
    Box::new(problem_with(StatusCode::BAD_REQUEST, detail, &[("code", "invalid_option".into())]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read_decoded_and_a_limit_is_one_at_least() {
        let options = |query| batch_options(query).map(|options| (options.max_size, options.fail_on_error)).ok();
        for query in ["maxSize=1&failOnError", "maxSize=%31&failOnError=tr%75e", "fail%4FnError=1&max%53ize=1"] {
            assert_eq!(options(query), Some((Some(1), Some(true))), "{query}");
        }
        for query in ["maxSize=0", "maxSize=%30", "maxSize=-1", "maxSize=", "maxSize=1.0", "failOnError=maybe"] {
            assert_eq!(options(query), None, "{query}");
        }
    }

    #[test]
    fn all_sinks_are_those_that_run_and_none_is_a_mistake() {
        let waits = |query, sinks: &[&'static str]| awaited(query, sinks).ok();
        assert_eq!(waits("ack=all", &["clickhouse", "kafka"]), Some(vec!["clickhouse", "kafka"]));
        assert_eq!(waits("x=1&ack=kafka", &["clickhouse", "kafka"]), Some(vec!["kafka"]));
        assert_eq!(waits("x=1", &[]), Some(Vec::new()));
        assert_eq!(waits("%61ck=k%61fka", &["clickhouse", "kafka"]), Some(vec!["kafka"]));
        for query in ["ack=all", "ack=parquet", "ack="] {
            assert_eq!(waits(query, &[]), None, "{query}");
        }
        assert_eq!(waits("ack=parquet", &["clickhouse"]), None);
    }
}

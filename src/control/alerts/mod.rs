//! Alerts that the daemon tells by itself, to a webhook: for those who have no Prometheus. The same conditions as
//! `docs/observability/alerts.yml` has for them, judged every few seconds from figures that are there anyway.

mod conditions;
mod notice;
mod teller;

pub use conditions::Limits;
pub use teller::Alerts;

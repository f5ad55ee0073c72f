//! Against a real ClickHouse server; `server` starts it, `rows` makes what is sent.

mod configuration;
mod crash;
mod delivery;
mod encrypted;
mod failures;
mod proxy;
mod refused;
mod rows;
mod server;
mod tables;

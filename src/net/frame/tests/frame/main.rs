//! RFC 6455 from the server's side, one sentence per rule.

#[cfg(test)]
mod arbitrary;
#[cfg(test)]
mod client;
#[cfg(test)]
mod encoding;
#[cfg(test)]
mod handshake;
#[cfg(test)]
mod interop;
#[cfg(test)]
mod memory;
#[cfg(test)]
mod messages;
#[cfg(test)]
mod violations;

//! Sockets: listening, accepting, limits. Knows nothing of events.

mod acceptor;
mod last_words;
mod limits;
mod linger;
mod listener;
mod patience;
mod post;
mod rewound;

pub use acceptor::{ConnectionGate, ConnectionPermit, accept};
pub use last_words::{last_words, new_request_id};
pub use limits::connections_possible;
pub use linger::linger;
pub use listener::{Listener, Listeners, adopt, bind};
pub use patience::Patient;
pub use post::{post_address, post_json};
pub use rewound::Rewound;

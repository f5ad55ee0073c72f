//! Sockets: listening, accepting, limits. Knows nothing of events.

mod acceptor;
mod last_words;
mod limits;
mod linger;
mod listener;
mod patience;
mod rewound;
mod stream;
pub mod tls;

pub use acceptor::{ConnectionGate, ConnectionPermit, accept};
pub use last_words::{last_words, new_request_id};
pub use limits::connections_possible;
pub use linger::linger;
pub use listener::{Listener, Listeners, adopt, bind};
pub use patience::Patient;
pub use rewound::Rewound;
pub use stream::Stream;

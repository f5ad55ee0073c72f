//! Sockets: listening, accepting, limits. Knows nothing of events.

mod acceptor;
mod block;
mod last_words;
mod limits;
mod linger;
mod listener;
mod patience;
mod post;
mod proxies;
mod proxy_protocol;
mod rewound;
mod shares;
mod stream;
pub mod tls;

pub use acceptor::{ConnectionGate, ConnectionPermit, accept, turn_away};
pub use block::block_of;
pub use last_words::{last_words, new_request_id};
pub use limits::connections_possible;
pub use linger::linger;
pub use listener::{Listener, Listeners, adopt, bind};
pub use patience::Patient;
pub use post::{post_address, post_json};
pub use proxies::Proxies;
pub use proxy_protocol::{ProxyError, read_proxy_header};
pub use rewound::Rewound;
pub use shares::{Share, Shares};
pub use stream::Stream;

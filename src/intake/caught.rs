//! A panic is a bug, and only that of the request that met it: it is answered 500 and told in the log by its id, and all
//! others go on.

use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::Poll;

/// What `work` comes to; `None` where it has panicked. Where and why, the process has then said on standard error.
///
/// What a request shares with others are counters, and cells whose borrows end with it; what is reused from one to the
/// next its acceptor makes anew ([`super::acceptor::Acceptor::start_over`]).
pub(super) fn caught<T>(mut work: Pin<&mut impl Future<Output = T>>) -> impl Future<Output = Option<T>> {
    poll_fn(move |context| {
        let polled = catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(context)));
        polled.map_or(Poll::Ready(None), |polled| polled.map(Some))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;
    use std::pin::pin;

    #[test]
    fn a_panic_before_or_after_a_wait_comes_to_nothing_and_gives_back_what_was_borrowed() {
        let shared = RefCell::new(0);
        let work = async |waits: bool, panics: bool| {
            if waits {
                tokio::task::yield_now().await;
            }
            let mut borrowed = shared.borrow_mut();
            *borrowed += 1;
            assert!(!panics, "as it is meant to");
            *borrowed
        };
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            for (waits, panics, wanted) in
                [(false, true, None), (true, true, None), (false, false, Some(3)), (true, false, Some(4))]
            {
                assert_eq!(caught(pin!(work(waits, panics))).await, wanted);
            }
        });
        assert_eq!(*shared.borrow(), 4);
    }
}

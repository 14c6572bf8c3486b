//! Who goes first when there are fewer free cores than threads that want one.

/// Niceness of threads that can wait, where 0 is normal and 19 the lowest priority.
const NICENESS: i32 = 10;

/// Lets everything else on this machine go first, etcd and the relay of its bytes above all: for threads that can
/// come to their work later. Concerns the calling thread and those that it starts.
pub(crate) fn yield_to_traffic() {
    // Anybody may lower a priority, but a sandbox may forbid the call: the work is then done all the same.
    if let Err(error) = rustix::process::setpriority_process(None, NICENESS) {
        tracing::debug!(%error, "a thread that can wait runs at normal priority");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn niceness() -> i32 {
        rustix::process::getpriority_process(None).unwrap()
    }

    #[test]
    fn only_the_calling_thread_and_its_own_yield() {
        let before = niceness();
        let thread = std::thread::spawn(|| {
            yield_to_traffic();
            let started = std::thread::spawn(niceness).join().unwrap();
            (niceness(), started)
        });
        let expected = before.max(NICENESS);
        assert_eq!(thread.join().unwrap(), (expected, expected));
        assert_eq!(niceness(), before);
    }
}

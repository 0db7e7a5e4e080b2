//! Ctrl-C for commands that run rehearsals: they stop where they are and print what is known so far.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

/// Whether the user has interrupted the command. Cloning gives another handle.
#[derive(Clone, Debug, Default)]
pub(super) struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Listens from now on. A second signal ends the process at once.
    #[expect(clippy::disallowed_methods, reason = "a signal comes from the real world")]
    pub(super) fn listen() -> Self {
        let own = Self::default();
        let flag = Arc::clone(&own.0);
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            // Without it, a signal ends the process as it does by default.
            let Ok(runtime) = runtime else { return };
            runtime.block_on(async {
                super::end(None).await;
                flag.store(true, Ordering::Relaxed);
                super::end(None).await;
                std::process::exit(i32::from(super::FAILED));
            });
        });
        own
    }

    pub(super) fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

//! What the relay turned away, told in one line a minute: the owner sees that somebody tries, and no flood fills the log.

use std::sync::Weak;
use std::time::Duration;

use super::super::turn::server::Counters;
use super::Inner;

/// How often there is a line at most.
const EVERY: Duration = Duration::from_secs(60);

/// Tells until the server is gone.
pub(super) async fn tell(inner: Weak<Inner>) {
    let mut before = Counters::default();
    loop {
        tokio::time::sleep(EVERY).await;
        let Some(inner) = inner.upgrade() else { return };
        let now = inner.core().counters();
        if let Some(line) = line(before, now) {
            tracing::info!("the relay turned away in the last minute: {line}");
        }
        before = now;
    }
}

/// What was turned away between two looks; `None` if nothing was.
fn line(before: Counters, now: Counters) -> Option<String> {
    let parts = [
        (now.wrong - before.wrong, "requests with a wrong or ended credential"),
        (now.unanswered - before.unanswered, "requests that were too many from one network"),
        (now.over_quota - before.over_quota, "packets over quota"),
        (now.unpermitted - before.unpermitted, "packets of or for somebody without a permission"),
    ];
    let told: Vec<String> =
        parts.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")).collect();
    (!told.is_empty()).then(|| told.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_new_is_told() {
        let before = Counters { bindings: 7, unauthorized: 9, wrong: 3, over_quota: 5, ..Counters::default() };
        assert_eq!(line(before, Counters { bindings: 8, unauthorized: 10, ..before }), None);
        let now = Counters { wrong: 5, unpermitted: 1, ..before };
        let told = "2 requests with a wrong or ended credential, 1 packets of or for somebody without a permission";
        assert_eq!(line(before, now).as_deref(), Some(told));
    }
}

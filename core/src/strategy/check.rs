//! The checks of a strategy's settings.

use super::Strategy;
use super::early::{Early, EarlyRefresh};
use crate::{Error, Result};

impl<V> Strategy<V> {
    pub(crate) fn check(&self) -> Result<()> {
        let settings = &self.settings;
        let zeros = [
            ("a TTL", Some(settings.ttl)),
            ("`negative_ttl`", settings.negative_ttl),
            ("`load_timeout`", Some(settings.load_timeout)),
            ("`lease`", Some(settings.lease)),
            ("`stale_while_revalidate`", settings.stale.while_revalidate),
            ("`stale_if_error`", settings.stale.if_error),
            ("`min_backoff`", Some(settings.stale.backoff[0])),
            ("`max_backoff`", Some(settings.stale.backoff[1])),
            ("`soft_timeout`", settings.soft_timeout),
            ("`hard_timeout`", settings.hard_timeout),
        ];
        if let Some((name, _)) =
            zeros.iter().find(|(_, duration)| duration.is_some_and(|given| given.is_zero()))
        {
            let mend = "give at least 1 ms, or `Duration::MAX` for no limit";
            return Err(Error::config(format!("{name} of zero: {mend}")));
        }
        let refused = |is_refused: bool, message: String| {
            if is_refused { Err(Error::config(message)) } else { Ok(()) }
        };
        let jitter = settings.jitter;
        refused(
            !(0.0..1.0).contains(&jitter),
            format!("jitter is {jitter}: give a share from 0 to below 1, such as 0.1"),
        )?;
        match settings.early {
            Some(EarlyRefresh(Early::Random(beta))) => refused(
                !(beta > 0.0 && beta.is_finite()),
                format!("`EarlyRefresh::probabilistic({beta})`: give a positive number, such as 1.0"),
            )?,
            Some(EarlyRefresh(Early::Share(share))) => refused(
                !(share > 0.0 && share < 1.0),
                format!("`EarlyRefresh::after({share})`: give a share between 0 and 1, such as 0.9"),
            )?,
            None => {}
        }
        refused(
            settings.soft_timeout.is_some() && settings.stale.if_error.is_none(),
            "`soft_timeout` is for readers who can be served stale: call `.stale_if_error(window)` too, or use \
             `hard_timeout`"
                .to_owned(),
        )?;
        refused(
            settings.max_concurrent_loads == Some(0),
            "`max_concurrent_loads(0)` would let nothing be loaded: give at least 1".to_owned(),
        )?;
        refused(
            settings.max_queued_loads.is_some() && settings.max_concurrent_loads.is_none(),
            "`max_queued_loads` has no limit to queue for: call `.max_concurrent_loads(n)` too".to_owned(),
        )?;
        refused(
            settings.max_batch.is_some() && settings.batch_window.is_none(),
            "`max_batch` has no window to limit: call `.batch_window(duration)` too".to_owned(),
        )?;
        refused(
            settings.max_batch.is_some_and(|keys| keys < 2),
            "`max_batch` of less than 2 combines nothing: leave out `batch_window`".to_owned(),
        )
    }
}

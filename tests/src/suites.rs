//! The lists of all properties, and the macros that make tests of them.

/// Makes one test of each property of [`backend`](crate::backend), with the fixture that the expression returns.
///
/// # Examples
/// See the [crate](crate).
#[macro_export]
macro_rules! backend_suite {
    ($fixture:expr) => {
        $crate::backend_suite! { @tests $fixture;
            a_fill_is_read_back
            an_entry_lives_exactly_its_ttl
            a_tiny_ttl_does_not_become_for_ever
            the_longest_ttl_is_for_ever
            a_negative_entry_is_kept
            an_overwrite_leaves_nothing_of_before
            an_entry_keeps_its_cost_and_age
            get_many_is_aligned
            a_fill_needs_its_own_fence
            a_fence_is_good_for_one_fill
            a_removal_defeats_loads_announced_before
            a_lost_fence_never_stands_again
            a_fence_ends_with_its_lease
            a_renewed_fence_stands_longer
            shared_announcements_join_one_fence
            an_exclusive_announcement_keeps_others_out
            begin_finds_what_was_filled_meanwhile
            a_removed_key_is_gone
            clear_leaves_nothing
            hostile_keys_stay_apart
            values_come_back_unchanged
            a_peek_never_contradicts_a_get
            no_interleaving_revives_what_was_removed
            a_stale_entry_is_kept
            an_entry_keeps_its_tags_and_validator
            an_invalidated_tag_ends_its_entries
            a_tag_invalidation_defeats_loads_announced_before
            pruning_tags_revives_nothing
            a_guard_keeps_a_key_out
            a_guard_ends_with_its_life
        }
    };
    (@tests $fixture:expr; $($property:ident)*) => {$(
        #[tokio::test]
        async fn $property() {
            $crate::backend::$property($fixture).await;
        }
    )*};
}

/// Makes one test of each property of [`shared`](crate::shared), with the fixture that the expression returns.
///
/// # Examples
/// See the [crate](crate).
#[macro_export]
macro_rules! shared_suite {
    ($fixture:expr) => {
        $crate::shared_suite! { @tests $fixture;
            processes_see_each_others_writes
            a_removal_defeats_the_other_processs_load
            processes_share_a_fence
            an_exclusive_announcement_holds_across_processes
            an_entry_ends_for_both
            a_tag_invalidation_reaches_the_other_process
            tags_are_kept_for_the_entries_of_the_other_process
            a_guard_holds_across_processes
        }
    };
    (@tests $fixture:expr; $($property:ident)*) => {$(
        #[tokio::test]
        async fn $property() {
            $crate::shared::$property($fixture).await;
        }
    )*};
}

/// Makes one test of each property of [`lock`](crate::lock), with the time and the locks that the expression
/// returns. If the time stands still, tokio's does too (its feature `test-util`).
///
/// # Examples
/// ```
/// use larder_memory::{MemoryLocks, MemoryServer};
/// use larder_testkit::Time;
///
/// fn locks() -> (Time, MemoryLocks) {
///     let time = Time::default();
///     (time.clone(), MemoryServer::with_clock(time).connect("one").locks())
/// }
///
/// larder_testkit::lock_suite!(locks());
/// # fn main() {}
/// ```
#[macro_export]
macro_rules! lock_suite {
    ($make:expr) => {
        $crate::lock_suite! { @tests $make;
            one_holder_at_a_time
            only_the_holder_renews_and_releases
            a_lease_ends
            a_renewed_lock_lasts
            waiting_is_bounded
            a_release_wakes_the_waiting
        }
    };
    (@tests $make:expr; $($property:ident)*) => {$(
        #[tokio::test]
        async fn $property() {
            let (time, locks) = $make;
            if matches!(time, $crate::Time::Manual(_)) {
                tokio::time::pause();
            }
            $crate::lock::$property(&locks, &time).await;
        }
    )*};
}

/// Makes one test of each property of [`ledger`](crate::ledger), with the ledger that the expression returns.
///
/// # Examples
/// ```
/// larder_testkit::ledger_suite!(larder_memory::MemoryServer::new().connect("one").ledger("suite"));
/// # fn main() {}
/// ```
#[macro_export]
macro_rules! ledger_suite {
    ($ledger:expr) => {
        $crate::ledger_suite! { @tests $ledger;
            an_invalidation_ends_what_was_stamped_before
            a_view_is_aligned
            many_tags_are_one_invalidation
            pruning_raises_the_floor
        }
    };
    (@tests $ledger:expr; $($property:ident)*) => {$(
        #[tokio::test]
        async fn $property() {
            $crate::ledger::$property(&$ledger).await;
        }
    )*};
}

/// Makes one test of each scenario of [`strategy`](crate::strategy), with the fixture that the expression returns.
/// If the time stands still, tokio's does too (its feature `test-util`).
///
/// # Examples
/// See [`CacheFixture`](crate::CacheFixture).
#[macro_export]
macro_rules! strategy_suite {
    ($fixture:expr) => {
        $crate::strategy_suite! { @tests $fixture;
            stale_is_served_at_once_and_refreshed_once
            what_is_too_old_is_loaded
            an_invalidation_wins_over_a_refresh
            a_failed_refresh_waits_for_its_backoff
            a_miss_joins_a_refresh
            a_hung_refresh_blocks_no_miss
            a_hung_refresh_blocks_no_miss_of_many
            a_failing_source_is_stood_in_for
            a_success_ends_the_pause
            what_is_invalidated_meanwhile_does_not_stand_in
            a_failed_refresh_is_no_answer_to_a_miss
            without_fail_safe_errors_are_errors
            what_was_deleted_is_not_served_stale
            a_slow_load_is_not_waited_for
            an_eager_refresh_comes_before_the_end
            an_early_refresh_goes_by_cost
            an_invalidated_tag_ends_all_that_carry_it
            a_tag_invalidation_reaches_a_load
            tags_change_with_the_value
            a_tag_ends_the_stale
            what_is_not_modified_is_kept
            many_are_served_stale_and_refreshed_together
            many_are_stood_in_for
            single_misses_are_gathered
            a_full_batch_goes_at_once
            an_overload_fails_fast_or_is_served_stale
            warming_fills_the_cache
            a_write_guard_survives_its_writer
            a_guard_wins_over_a_refresh
            one_process_refreshes_for_all
            waiting_in_vain_is_served_stale
            a_tag_reaches_the_other_process
            damaged_bytes_are_counted_once
        }
    };
    (@tests $fixture:expr; $($property:ident)*) => {$(
        #[tokio::test]
        async fn $property() {
            let fixture = $fixture;
            if matches!($crate::CacheFixture::time(&fixture), $crate::Time::Manual(_)) {
                tokio::time::pause();
            }
            $crate::strategy::$property(fixture).await;
        }
    )*};
}

#[cfg(test)]
mod tests {
    /// The lists name every property, since an unlisted one would never run.
    #[test]
    fn no_property_is_left_out() {
        let lists = include_str!("suites.rs");
        for source in [
            include_str!("backend.rs"),
            include_str!("shared.rs"),
            include_str!("lock.rs"),
            include_str!("ledger.rs"),
            include_str!("strategy/many.rs"),
            include_str!("strategy/processes.rs"),
            include_str!("strategy/stale.rs"),
            include_str!("strategy/tagged.rs"),
            include_str!("strategy/writes.rs"),
        ] {
            for line in source.lines().filter_map(|line| line.strip_prefix("pub async fn ")) {
                let property: String =
                    line.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                assert!(lists.contains(&format!("            {property}\n")), "{property} is in no suite");
            }
        }
    }
}

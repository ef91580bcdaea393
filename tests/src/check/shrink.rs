//! Searches for the shortest list that still fails.

/// Removes items, in large pieces first, as long as the rest still fails. Tries at most `tries` times. (Delta
/// debugging: Zeller and Hildebrandt, 2002.)
///
/// # Examples
/// ```
/// use larder_testkit::check::shrink;
/// let shortest = shrink((0..100).collect(), 1_000, |left: &[u32]| left.contains(&7) && left.contains(&70));
/// assert_eq!(shortest, [7, 70]);
/// ```
pub fn shrink<T: Clone>(mut items: Vec<T>, mut tries: usize, mut fails: impl FnMut(&[T]) -> bool) -> Vec<T> {
    let mut size = items.len().div_ceil(2).max(1);
    loop {
        let mut at = 0;
        let before = items.len();
        while at < items.len() {
            if tries == 0 {
                return items;
            }
            tries -= 1;
            let end = (at + size).min(items.len());
            let left: Vec<T> = items[..at].iter().chain(&items[end..]).cloned().collect();
            if fails(&left) { items = left } else { at = end }
        }
        match size {
            // one by one until no single item can be removed
            1 if items.len() == before => return items,
            1 => {}
            _ => size = size.div_ceil(2),
        }
    }
}

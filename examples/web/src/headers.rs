//! The headers of an answer that describe the cache's part in it.

use axum::http::{HeaderMap, HeaderValue, header};
use larder::CachedEntry;
use larder::cache::Origin;
use larder::observe::MissCause;

/// The name of this cache in `Cache-Status`.
const NAME: &str = "larder";

/// Returns the headers of an answer that was read through a cache: `Age`, `Cache-Status` and `X-Cache`.
/// And `Cache-Control: no-cache`, because no invalidation reaches browsers and proxies.
#[must_use]
pub fn told<V>(found: &CachedEntry<V>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let x_cache = match (found.origin, found.missed) {
        (Origin::Stale, _) => "STALE",
        (_, None) => "HIT",
        (_, Some(_)) => "MISS",
    };
    headers.insert("x-cache", HeaderValue::from_static(x_cache));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(header::AGE, HeaderValue::from(found.age.as_secs()));
    if let Ok(status) = HeaderValue::from_str(&cache_status(found)) {
        headers.insert("cache-status", status);
    }
    headers
}

/// `Cache-Status` as RFC 9211 has it: a hit with its remaining life, or why the source was asked, whether the answer was shared
/// with another request (`collapsed`) and whether it was `stored`.
#[must_use]
pub fn cache_status<V>(found: &CachedEntry<V>) -> String {
    let ttl = found.expires_in().as_secs();
    let Some(cause) = found.missed else {
        let tier = match found.origin {
            Origin::Near => "near",
            Origin::Far => "far",
            // past its soft end: how long ago is not told, so there is no `ttl`
            _ => return format!("{NAME}; hit; detail=stale"),
        };
        return format!("{NAME}; hit; ttl={ttl}; detail={tier}");
    };
    let forwarded = match cause {
        MissCause::Expired => "stale",
        // it was there or not: the store was not asked, or did not say
        MissCause::Unreachable | MissCause::Unacknowledged => "bypass",
        _ => "miss",
    };
    let mut status = format!("{NAME}; fwd={forwarded}");
    if found.kept {
        status += &format!("; ttl={ttl}");
    }
    match found.origin {
        Origin::Joined => status += "; collapsed",
        Origin::Loaded if found.kept => status += "; stored",
        Origin::Stale => return status + "; detail=stale",
        _ => {}
    }
    status + "; detail=" + cause.as_str()
}

//! Key types that cannot be derived.
#![allow(unused)]

use larder::CacheKey;

#[derive(CacheKey)]
union Union { a: u64, b: i64 }

#[derive(CacheKey)]
struct UnknownWord { #[cache_key(skipp)] id: u64 }

#[derive(CacheKey)]
struct AllSkipped { #[cache_key(skip)] id: u64 }

#[derive(CacheKey)]
struct SameNames { id: u64, #[cache_key(rename = "id")] other: u64 }

#[derive(CacheKey)]
struct SkippedAndRenamed { id: u64, #[cache_key(skip, rename = "x")] other: u64 }

#[derive(CacheKey)]
struct NoName(#[cache_key(rename = "id")] u64);

#[derive(CacheKey)]
struct EmptyName { #[cache_key(rename = "")] id: u64 }

#[derive(CacheKey)]
enum SameVariants { A, #[cache_key(rename = "A")] B }

#[derive(CacheKey)]
enum SkippedVariant { A, #[cache_key(skip)] B }

#[derive(CacheKey)]
#[cache_key(rename = "x")]
struct RenamedType { id: u64 }

struct NotAKey;

#[derive(CacheKey)]
struct WithoutAKey { id: u64, inner: NotAKey }

fn main() {}

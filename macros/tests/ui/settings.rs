//! Errors in the attribute itself.
#![allow(unused)]

use larder::cached;

#[cached]
async fn no_cache(id: u64) -> u64 { id }

#[cached(cache = CACHE, kye = "{id}")]
async fn unknown_word(id: u64) -> u64 { id }

#[cached(cache = CACHE, prefix = "a", prefix = "b")]
async fn twice(id: u64) -> u64 { id }

#[cached(cache = CACHE, ttl)]
async fn no_value(id: u64) -> u64 { id }

#[cached(cache = CACHE, skip = id)]
async fn skip_of_a_value(id: u64) -> u64 { id }

#[cached(cache = CACHE, prefix = "shop:product")]
async fn prefix_with_a_colon(id: u64) -> u64 { id }

#[cached(cache = CACHE, prefix = "product{id}")]
async fn prefix_with_a_placeholder(id: u64) -> u64 { id }

#[cached(cache = CACHE, prefix = "product", key = id)]
async fn prefix_of_an_expression(id: u64) -> u64 { id }

#[cached(cache = CACHE, ttl = "10")]
async fn ttl_of_what(id: u64) -> u64 { id }

#[cached(cache = CACHE, ttl = "10 minuets")]
async fn ttl_of_no_unit(id: u64) -> u64 { id }

#[cached(cache = CACHE, ttl = "0s")]
async fn ttl_of_zero(id: u64) -> u64 { id }

#[cached(cache = CACHE, tags = "user:{id}")]
async fn tags_without_brackets(id: u64) -> u64 { id }

fn main() {}

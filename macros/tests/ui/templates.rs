//! Errors in keys and tags.
#![allow(unused)]

use larder::cached;

#[derive(Clone)]
struct User { id: u64 }

#[cached(cache = CACHE, key = "user:{usr.id}")]
async fn unknown_argument(user: &User, lang: &str) -> u64 { user.id }

#[cached(cache = CACHE, key = "tenant:{self.tenant}:{id}")]
async fn no_self(id: u64) -> u64 { id }

#[cached(cache = CACHE, key = "{id}")]
async fn forgotten_argument(id: u64, lang: &str) -> u64 { id }

#[cached(cache = CACHE, key = user.id)]
async fn forgotten_in_an_expression(user: &User, lang: &str) -> u64 { user.id }

#[cached(cache = CACHE, skip(poool))]
async fn skip_of_nothing(id: u64, pool: &str) -> u64 { id }

#[cached(cache = CACHE, key = "{id}", skip(id))]
async fn skipped_and_in_the_key(id: u64) -> u64 { id }

#[cached(cache = CACHE, key = "user{id}")]
async fn neither_text_nor_placeholder(id: u64) -> u64 { id }

#[cached(cache = CACHE, key = "{id:?}")]
async fn a_format(id: u64) -> u64 { id }

#[cached(cache = CACHE, key = "{id")]
async fn no_end(id: u64) -> u64 { id }

#[cached(cache = CACHE, key = "user::{id}")]
async fn an_empty_part(id: u64) -> u64 { id }

#[cached(cache = CACHE, key = "{id + 1}")]
async fn no_path(id: u64) -> u64 { id }

#[cached(cache = CACHE, tags = ["{id}:user"])]
async fn a_tag_without_a_kind(id: u64) -> u64 { id }

#[cached(cache = CACHE, tags = ["user:{user}"])]
async fn a_tag_of_nothing(id: u64) -> u64 { id }

fn main() {}

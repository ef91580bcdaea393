//! Functions that cannot be cached.
#![allow(unused)]

use larder::cached;

#[cached(cache = CACHE)]
fn not_async(id: u64) -> u64 { id }

#[cached(cache = CACHE)]
async fn without_a_name(id: u64) -> impl Sized { id }

#[cached(cache = CACHE)]
async fn a_pattern((one, two): (u64, u64)) -> u64 { one + two }

#[cached(cache = CACHE)]
async fn changes(list: &mut Vec<u64>) -> u64 { list.len() as u64 }

#[cached(cache = CACHE)]
async fn borrows(names: Vec<&str>) -> u64 { names.len() as u64 }

#[cached(cache = CACHE)]
async fn borrows_by_a_lifetime(name: std::borrow::Cow<'_, str>) -> u64 { name.len() as u64 }

struct Shop;

impl Shop {
    #[cached(cache = CACHE)]
    async fn changes_itself(&mut self, id: u64) -> u64 { id }
}

#[cached(cache = CACHE)]
struct NoFunction;

fn main() {}

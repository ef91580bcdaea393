//! The expansion needs nothing in scope, and is disturbed by nothing that is.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

/// No prelude, nothing imported.
mod bare {
    #![no_implicit_prelude]

    pub(super) static NAMES: ::std::sync::LazyLock<
        ::larder::Cache<::larder::key::CallKey, ::std::string::String>,
    > = ::std::sync::LazyLock::new(super::common::calls);

    #[derive(::larder::CacheKey, ::std::clone::Clone, ::core::marker::Copy)]
    pub(super) enum Side {
        Left,
        Right(u8),
    }

    #[derive(::larder::CacheKey, ::std::clone::Clone)]
    pub(super) struct Place<T> {
        pub(super) side: Side,
        pub(super) inner: T,
    }

    #[::larder::cached(cache = NAMES, ttl = "10m", tags = ["place:{id}"])]
    pub(super) async fn place(
        id: u64,
        place: &Place<u8>,
        lang: ::core::option::Option<&str>,
    ) -> ::std::string::String {
        let _ = (place, lang);
        ::std::string::ToString::to_string(&id)
    }

    #[::larder::cached(cache = NAMES, prefix = "bare", key = "{id}", error = ::core::convert::identity)]
    pub(super) async fn fallible(id: u64) -> ::larder::Result<::core::option::Option<::std::string::String>> {
        ::core::result::Result::Ok(::core::option::Option::Some(::std::string::ToString::to_string(&id)))
    }
}

/// Everything of the prelude means something else.
mod shadowed {
    #![allow(dead_code, reason = "they are there to be in the way")]

    pub(super) use super::bare::NAMES;

    pub(super) struct Option;
    pub(super) struct Some;
    pub(super) struct Result;
    pub(super) struct Ok;
    pub(super) struct Err;
    pub(super) struct Box;
    pub(super) struct ControlFlow;
    pub(super) struct Cache;
    pub(super) struct CacheKey;
    pub(super) trait Clone {}
    pub(super) trait ToOwned {}
    pub(super) mod core {}
    pub(super) mod std {}
    pub(super) mod larder {}

    #[::larder::cached(cache = NAMES, ttl = "1s", tags = ["a:{id}:{name}"])]
    pub(super) async fn shadowed(id: u64, name: &str) -> ::std::string::String {
        ::std::format!("{id} {name}")
    }
}

use larder::cached;

/// Arguments called as the expansion might call its own things.
#[cached(cache = bare::NAMES)]
#[allow(clippy::too_many_arguments)]
async fn named(
    here: u8,
    this: u8,
    terms: u8,
    answer: u8,
    value: u8,
    cache: u8,
    key: u8,
    owned: &str,
    lent: Option<&str>,
    own: u8,
) -> String {
    format!("{here} {this} {terms} {answer} {value} {cache} {key} {owned} {lent:?} {own}")
}

/// The crate by another name.
mod renamed {
    pub(super) use larder as pantry;

    #[pantry::cached(cache = super::bare::NAMES, crate = pantry)]
    pub(super) async fn renamed(id: u64) -> String {
        format!("renamed {id}")
    }

    #[derive(pantry::CacheKey)]
    #[cache_key(crate = pantry)]
    pub(super) struct Renamed(pub(super) u64);
}

/// Functions that are made by a macro.
macro_rules! make {
    ($name:ident, $id:ident) => {
        #[cached(cache = bare::NAMES, key = "{id}")]
        async fn $name($id: u64) -> String {
            format!("{} {}", stringify!($name), $id)
        }
    };
}
make!(made, id);
make!(made_too, id);

#[tokio::test]
async fn nothing_is_needed_and_nothing_is_in_the_way() {
    let place = bare::Place { side: bare::Side::Right(3), inner: 1 };
    for _ in 0..2 {
        assert_eq!(bare::place(7, &place, Some("en")).await, "7");
        assert_eq!(bare::fallible(7).await.unwrap().as_deref(), Some("7"));
        assert_eq!(shadowed::shadowed(7, "x").await, "7 x");
        assert_eq!(named(1, 2, 3, 4, 5, 6, 7, "8", Some("9"), 10).await, "1 2 3 4 5 6 7 8 Some(\"9\") 10");
        assert_eq!(renamed::renamed(7).await, "renamed 7");
        assert_eq!((made(7).await, made_too(7).await), ("made 7".to_owned(), "made_too 7".to_owned()));
    }
    assert_eq!(
        bare::place_key(7, &place, None).as_str(),
        "hygiene::bare::place(7,(side:Right(3),inner:1),!)"
    );
    assert_eq!(
        named_key(1, 2, 3, 4, 5, 6, 7, "8", None, 10).as_str(),
        "hygiene::named(1,2,3,4,5,6,7,=8,!,10)"
    );
    named_insert(1, 2, 3, 4, 5, 6, 7, "8", None, 10, "by hand".to_owned()).await.unwrap();
    assert_eq!(named(1, 2, 3, 4, 5, 6, 7, "8", None, 10).await, "by hand");
    assert_eq!(larder::key::StoreKey::new(&renamed::Renamed(7)).as_str(), "7");
    let _ = bare::Side::Left;
}

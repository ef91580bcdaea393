//! Examples of larder; see the `examples` folder of this crate. The pages of the guide in `docs` are compiled and run with its tests.

macro_rules! pages {
    ($($name:ident: $file:literal;)*) => {$(
        #[cfg(doctest)]
        #[doc = include_str!($file)]
        mod $name {}
    )*};
}

pages! {
    readme: "../../docs/README.md";
    concepts: "../../docs/concepts.md";
    choosing: "../../docs/choosing-a-strategy.md";
    deployment: "../../docs/deployment-with-redis.md";
    testing: "../../docs/testing-without-a-server.md";
    backend: "../../docs/writing-a-backend.md";
    source: "../../docs/writing-a-source.md";
    migrating: "../../docs/migrating.md";
}

// A cache of squares, for examples in documentation: hidden lines include this expression.
larder::Cache::<u64, u64>::builder()
    .backend(larder::Quick::new(10_000))
    .source(larder::source_fn(|number: u64| async move { Ok::<_, std::io::Error>(Some(number * number)) }))
    .strategy(larder::Strategy::aside(std::time::Duration::from_secs(60)))
    .build()

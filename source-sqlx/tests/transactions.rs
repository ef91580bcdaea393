//! The keys that a transaction notes are invalidated when it commits, and only then.
#![cfg(feature = "sqlite")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use larder::codec::Json;
use larder::{Cache, Strategy, Tag};
use larder_memory::{Fault, Gate, MemoryServer, OperationKind};
use larder_sqlx::{CommitError, QuerySource, WriteTransaction};
use sqlx::SqlitePool;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions};

type Stock = Cache<i64, (i64,)>;

struct World {
    pool: SqlitePool,
    server: MemoryServer,
    stock: Stock,
    other: Stock,
    _folder: tempfile::TempDir,
}

/// A table of ten rows, and two processes that cache it in one store.
async fn world() -> World {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("stock.db");
    let options = SqliteConnectOptions::new().filename(file).create_if_missing(true);
    let options = options.journal_mode(SqliteJournalMode::Wal);
    let pool = SqlitePoolOptions::new().max_connections(4).connect_with(options).await.unwrap();
    let setup = "CREATE TABLE stock (id INTEGER PRIMARY KEY, count INTEGER,
                     part_of INTEGER REFERENCES stock DEFERRABLE INITIALLY DEFERRED);
                 WITH RECURSIVE n(id) AS (SELECT 0 UNION ALL SELECT id + 1 FROM n WHERE id < 9)
                 INSERT INTO stock SELECT id, 1, NULL FROM n;";
    sqlx::raw_sql(setup).execute(&pool).await.unwrap();
    let server = MemoryServer::new();
    let cache = |process: &str| {
        Cache::builder()
            .namespace("stock")
            .backend(server.connect(process).encoded(Json))
            .source(QuerySource::new(pool.clone(), "SELECT count FROM stock WHERE id = ?"))
            .strategy(Strategy::aside(Duration::from_secs(600)).tagged(|_: &(i64,)| [Tag::new("all", 0)]))
            .build()
            .unwrap()
    };
    let (stock, other) = (cache("writer"), cache("reader"));
    World { pool, server, stock, other, _folder: folder }
}

const ADD: &str = "UPDATE stock SET count = count + 1 WHERE id = ?";

impl World {
    async fn count(&self, id: i64) -> i64 {
        self.other.get(&id).await.unwrap().unwrap().0
    }
    async fn is_cached(&self, id: i64) -> bool {
        self.other.get_if_present(&id).await.unwrap().is_some()
    }
    async fn begin(&self) -> WriteTransaction<sqlx::Sqlite> {
        WriteTransaction::begin(&self.pool).await.unwrap()
    }
    fn operations(&self, kind: OperationKind) -> usize {
        self.server.record().iter().filter(|operation| operation.kind == kind).count()
    }
}

#[tokio::test]
async fn a_commit_invalidates_and_nothing_before_it_does() {
    let world = world().await;
    assert_eq!(world.count(7).await, 1);
    let mut transaction = world.begin().await;
    sqlx::query(ADD).bind(7).execute(&mut *transaction).await.unwrap();
    transaction.invalidate(&world.stock, 7);
    assert!(world.is_cached(7).await, "not yet written, not yet invalidated");
    transaction.commit().await.unwrap();
    assert_eq!(world.count(7).await, 2);
}

#[tokio::test]
async fn keys_of_one_cache_are_one_round_trip() {
    let world = world().await;
    let mut transaction = world.begin().await;
    transaction.invalidate(&world.stock, 1);
    transaction.invalidate_many(&world.stock, [2, 3]);
    transaction.invalidate(&world.stock.clone(), 2);
    transaction.commit().await.unwrap();
    assert_eq!(
        (world.operations(OperationKind::RemoveMany), world.operations(OperationKind::Remove)),
        (1, 0)
    );
}

#[tokio::test]
async fn tags_and_whole_caches() {
    let world = world().await;
    world.count(1).await;
    let mut transaction = world.begin().await;
    transaction.invalidate_tag(&world.stock, Tag::new("all", 0));
    transaction.commit().await.unwrap();
    assert!(!world.is_cached(1).await);
    world.count(1).await;
    let mut transaction = world.begin().await;
    transaction.clear(&world.stock);
    transaction.commit().await.unwrap();
    assert!(!world.is_cached(1).await);
}

#[tokio::test]
async fn a_rollback_forgets_also_by_drop() {
    let world = world().await;
    assert_eq!(world.count(7).await, 1);
    for dropped in [false, true] {
        let mut transaction = world.begin().await;
        sqlx::query(ADD).bind(7).execute(&mut *transaction).await.unwrap();
        transaction.invalidate(&world.stock, 7);
        if dropped {
            drop(transaction);
        } else {
            transaction.rollback().await.unwrap();
        }
        assert!(world.is_cached(7).await, "nothing was written");
    }
    let counted: (i64,) =
        sqlx::query_as("SELECT count FROM stock WHERE id = 7").fetch_one(&world.pool).await.unwrap();
    assert_eq!(counted, (1,));
    assert_eq!(world.operations(OperationKind::RemoveMany), 0);
}

#[tokio::test]
async fn a_savepoint_invalidates_with_the_outermost_commit() {
    let world = world().await;
    world.count(7).await;
    let mut transaction = world.begin().await;
    let mut savepoint = transaction.savepoint().await.unwrap();
    let mut inner = savepoint.savepoint().await.unwrap();
    sqlx::query(ADD).bind(7).execute(&mut *inner).await.unwrap();
    inner.invalidate(&world.stock, 7);
    inner.commit().await.unwrap();
    savepoint.commit().await.unwrap();
    assert!(world.is_cached(7).await, "the outermost is not committed");
    transaction.commit().await.unwrap();
    assert_eq!(world.count(7).await, 2);
}

/// The safe choice: what was noted in a savepoint is invalidated although it was undone, and not if all is.
#[tokio::test]
async fn an_undone_savepoint_still_invalidates() {
    let world = world().await;
    for id in [1, 2, 3, 4] {
        world.count(id).await;
    }
    let mut transaction = world.begin().await;
    sqlx::query(ADD).bind(1).execute(&mut *transaction).await.unwrap();
    transaction.invalidate(&world.stock, 1);
    let mut savepoint = transaction.savepoint().await.unwrap();
    sqlx::query(ADD).bind(2).execute(&mut *savepoint).await.unwrap();
    savepoint.invalidate(&world.stock, 2);
    savepoint.rollback().await.unwrap();
    let mut savepoint = transaction.savepoint().await.unwrap();
    savepoint.invalidate(&world.stock, 3);
    drop(savepoint);
    transaction.commit().await.unwrap();
    let cached = [
        world.is_cached(1).await,
        world.is_cached(2).await,
        world.is_cached(3).await,
        world.is_cached(4).await,
    ];
    assert_eq!(cached, [false, false, false, true]);
    assert_eq!((world.count(1).await, world.count(2).await), (2, 1));

    let mut transaction = world.begin().await;
    let mut savepoint = transaction.savepoint().await.unwrap();
    savepoint.invalidate(&world.stock, 4);
    savepoint.commit().await.unwrap();
    transaction.rollback().await.unwrap();
    assert!(world.is_cached(4).await);
}

/// A commit that fails may have happened as far as anybody knows here.
#[tokio::test]
async fn a_failed_commit_invalidates_nevertheless() {
    let world = world().await;
    world.count(7).await;
    let mut transaction = world.begin().await.guarded(Duration::from_secs(30));
    sqlx::query("UPDATE stock SET part_of = 99 WHERE id = 7").execute(&mut *transaction).await.unwrap();
    transaction.invalidate(&world.stock, 7);
    let failed = transaction.commit().await;
    assert!(
        matches!(&failed, Err(CommitError::Commit(_))),
        "the foreign key is looked at by COMMIT: {failed:?}"
    );
    assert!(!world.is_cached(7).await);
    // it is known not to have happened, so the guard ended too
    world.count(7).await;
    assert!(world.is_cached(7).await);
}

#[tokio::test]
async fn a_commit_whose_caller_leaves_goes_on() {
    let world = world().await;
    world.count(7).await;
    let mut transaction = world.begin().await;
    sqlx::query(ADD).bind(7).execute(&mut *transaction).await.unwrap();
    transaction.invalidate(&world.stock, 7);
    let gate = Gate::new();
    world
        .server
        .faults()
        .when(|operation| operation.kind == OperationKind::RemoveMany, Fault::Gate(gate.clone()));
    {
        let commit = transaction.commit();
        tokio::select! {
            biased;
            _ = commit => panic!("the gate is closed"),
            () = gate.arrived() => {} // committed, on the way to the store; the caller leaves
        }
    }
    gate.open();
    while world.stock.stats().invalidations == 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(world.count(7).await, 2);
}

#[tokio::test]
async fn what_the_store_does_not_acknowledge_is_reported_and_not_served_here() {
    let world = world().await;
    world.count(7).await;
    let mut transaction = world.begin().await;
    sqlx::query(ADD).bind(7).execute(&mut *transaction).await.unwrap();
    transaction.invalidate(&world.stock, 7);
    let down = world.server.faults().when(|operation| operation.process == "writer", Fault::Error);
    let error = transaction.commit().await.unwrap_err();
    assert!(matches!(error, CommitError::Invalidate(_)), "{error:?}");
    assert_eq!(world.stock.get(&7).await.unwrap().as_deref(), Some(&(2,)), "committed, and read here");
    world.server.faults().remove(down);
    while world.stock.unacknowledged() > 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(world.count(7).await, 2, "tried again in the background");
}

/// Guarded before COMMIT: a load between the commit and the end of the guard is not blocked by a dead writer.
#[tokio::test]
async fn a_guard_stands_around_the_commit() {
    let world = world().await;
    world.count(7).await;
    let mut transaction = world.begin().await.guarded(Duration::from_secs(30));
    sqlx::query(ADD).bind(7).execute(&mut *transaction).await.unwrap();
    transaction.invalidate(&world.stock, 7);
    // the writer hangs between commit and invalidation
    let gate = Gate::new();
    world
        .server
        .faults()
        .when(|operation| operation.kind == OperationKind::Unguard, Fault::Gate(gate.clone()));
    let commit = tokio::spawn(transaction.commit());
    gate.arrived().await;
    assert_eq!(world.count(7).await, 2, "committed and not finished, and read");
    assert!(!world.is_cached(7).await, "nothing is kept while the guard stands");
    gate.open();
    commit.await.unwrap().unwrap();
    world.count(7).await;
    assert!(world.is_cached(7).await);
    let kinds: Vec<_> = world.server.record().iter().map(|operation| operation.kind).collect();
    let at = |kind| kinds.iter().position(|found| *found == kind).unwrap();
    assert!(at(OperationKind::Guard) < at(OperationKind::Unguard));
}

#[tokio::test]
async fn a_guard_that_cannot_be_had_rolls_back() {
    let world = world().await;
    world.count(7).await;
    let mut transaction = world.begin().await.guarded(Duration::from_secs(30));
    sqlx::query(ADD).bind(7).execute(&mut *transaction).await.unwrap();
    transaction.invalidate(&world.stock, 7);
    world.server.faults().times(1, |operation| operation.kind == OperationKind::Guard, Fault::Error);
    let error = transaction.commit().await.unwrap_err();
    assert!(matches!(error, CommitError::Guard(_)), "{error:?}");
    let counted: (i64,) =
        sqlx::query_as("SELECT count FROM stock WHERE id = 7").fetch_one(&world.pool).await.unwrap();
    assert_eq!(counted, (1,), "rolled back");
    assert_eq!(world.count(7).await, 1);
}

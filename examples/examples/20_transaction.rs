//! Invalidations that wait for the commit: `cargo run -p larder-examples --example 20_transaction`

use std::time::Duration;

use larder::{Cache, Quick, Strategy};
use larder_sqlx::{QuerySource, WriteTransaction};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir()?;
    let file = SqliteConnectOptions::new().filename(folder.path().join("bank.db")).create_if_missing(true);
    let pool = SqlitePoolOptions::new().connect_with(file.journal_mode(SqliteJournalMode::Wal)).await?;
    sqlx::raw_sql("CREATE TABLE accounts (id INTEGER PRIMARY KEY, cents INTEGER); INSERT INTO accounts VALUES (1, 1000), (2, 0)")
        .execute(&pool)
        .await?;
    let accounts: Cache<i64, (i64,)> = Cache::builder()
        .backend(Quick::new(1_000))
        .source(QuerySource::new(pool.clone(), "SELECT cents FROM accounts WHERE id = ?"))
        .strategy(Strategy::aside(Duration::from_secs(600)))
        .build()?;
    println!("before: {:?}, {:?}", accounts.get(&1).await?, accounts.get(&2).await?);

    let transfer = async |cents: i64| {
        // the guard is for the case that this process dies between commit and invalidation
        let mut transaction = WriteTransaction::begin(&pool).await?.guarded(Duration::from_secs(30));
        for (id, cents) in [(1, -cents), (2, cents)] {
            sqlx::query("UPDATE accounts SET cents = cents + ? WHERE id = ?")
                .bind(cents)
                .bind(id)
                .execute(&mut *transaction)
                .await?;
            transaction.invalidate(&accounts, id);
        }
        Ok::<_, sqlx::Error>(transaction)
    };

    drop(transfer(999).await?); // rolled back: nothing was written, nothing is invalidated
    assert!(accounts.get_if_present(&1).await?.is_some());

    let transaction = transfer(300).await?;
    assert_eq!(accounts.get(&1).await?.as_deref(), Some(&(1_000,)), "not committed");
    transaction.commit().await?;
    println!("after: {:?}, {:?}", accounts.get(&1).await?, accounts.get(&2).await?);
    assert_eq!(accounts.get(&1).await?.as_deref(), Some(&(700,)));
    assert_eq!(accounts.get(&2).await?.as_deref(), Some(&(300,)));
    Ok(())
}

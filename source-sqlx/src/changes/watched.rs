//! The watched tables, and the invalidations of their changes.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use larder::cache::{Key, Value};
use larder::{Cache, Tag};

use super::values::{Column, FromColumns, Image, Unreadable};
use crate::noted::Noted;

/// A table whose changes invalidate keys and tags of caches: see [`Changes`](crate::Changes).
///
/// A change of a row has an image before and an image after. Both count: a change of a key invalidates the old and
/// the new one, and a row that moves from one tag to another invalidates both. A key or tag with a part that is
/// NULL, and is not read as an `Option`, is skipped. TRUNCATE (PostgreSQL) clears the caches that are named here.
///
/// # Examples
/// ```
/// use larder::{Cache, Tag};
/// use larder_sqlx::Watched;
///
/// # #[derive(Clone, PartialEq, Eq, Hash)]
/// struct Shelf { shop: String, row: i64 }
///
/// # fn with(products: Cache<i64, String>, shelves: Cache<Shelf, String>) {
/// let products = Watched::table("products")
///     .key(&products, ["id"], |id: i64| id)
///     .tag(&products, ["category"], |category: i64| Tag::new("category", category))
///     .key(&shelves, ["shop", "row"], |(shop, row): (String, i64)| Shelf { shop, row });
/// # let _ = products;
/// # }
/// ```
#[must_use]
pub struct Watched {
    pub(crate) table: Name,
    pub(crate) columns: Vec<Column>,
    rules: Vec<Rule>,
}

/// A name in a schema, or in the default schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Name {
    pub(crate) schema: Option<String>,
    pub(crate) name: String,
}

impl Name {
    pub(crate) fn plain(name: impl Into<String>) -> Self {
        Self { schema: None, name: name.into() }
    }

    /// The name of the table in the outbox.
    pub(crate) fn source(&self) -> String {
        match &self.schema {
            // with the length, since names may contain every character
            Some(schema) => format!("{}:{schema}.{}", schema.len(), self.name),
            None => self.name.clone(),
        }
    }
}

type Note = Arc<dyn Fn(&Image, &mut Noted) -> Result<(), Unreadable> + Send + Sync>;
type Clear = Arc<dyn Fn(&mut Noted) + Send + Sync>;

/// The invalidations of a change in one cache.
struct Rule {
    note: Note,
    clear: Clear,
    /// The number of named columns, and the number of read ones.
    columns: (usize, usize),
}

impl Watched {
    /// Returns the table of this name, exactly as the database has it; larder quotes it. For PostgreSQL in the
    /// schema `public`.
    ///
    /// # Examples
    /// See [`Watched`].
    pub fn table(name: impl Into<String>) -> Self {
        Self::named(Name::plain(name))
    }

    /// Returns the table of this name in a schema (PostgreSQL), a database (MySQL) or an attached file (SQLite).
    /// The latter two also need the place of the outbox: [`Changes::outbox_schema`](crate::Changes::outbox_schema),
    /// for SQLite the same.
    ///
    /// # Examples
    /// ```
    /// let orders = larder_sqlx::Watched::table_in("sales", "orders");
    /// # let _ = orders;
    /// ```
    pub fn table_in(schema: impl Into<String>, name: impl Into<String>) -> Self {
        Self::named(Name { schema: Some(schema.into()), name: name.into() })
    }

    fn named(table: Name) -> Self {
        Self { table, columns: vec![], rules: vec![] }
    }

    /// Invalidates the key that `key` makes of the columns' values, for each change.
    ///
    /// A cache compares keys byte by byte. A column may compare without case or trailing blanks: MySQL's default
    /// collations, PostgreSQL's `citext` and nondeterministic collations. Then `get("BOB")` loads the row of `bob`,
    /// and a change of `bob` invalidates only the key `bob`. Normalise keys alike for reads and here.
    ///
    /// # Examples
    /// Names that compare without case:
    /// ```
    /// use larder_sqlx::Watched;
    ///
    /// # async fn with(users: larder::Cache<String, String>) -> larder::Result<()> {
    /// fn key(name: &str) -> String {
    ///     name.to_lowercase()
    /// }
    ///
    /// let watched = Watched::table("users").key(&users, ["name"], |name: String| key(&name));
    /// users.get(&key("BOB")).await?;
    /// # let _ = watched;
    /// # Ok(()) }
    /// ```
    pub fn key<K: Key, V: Value, P: FromColumns, C: Into<Column>>(
        self,
        cache: &Cache<K, V>,
        columns: impl IntoIterator<Item = C>,
        key: impl Fn(P) -> K + Send + Sync + 'static,
    ) -> Self {
        self.rule(cache, columns, move |cache, values, noted| noted.keys(cache, [key(values)]))
    }

    /// Invalidates every entry with the tag that `tag` makes of the columns' values, for each change.
    ///
    /// # Examples
    /// See [`Watched`].
    pub fn tag<K: Key, V: Value, P: FromColumns, C: Into<Column>>(
        self,
        cache: &Cache<K, V>,
        columns: impl IntoIterator<Item = C>,
        tag: impl Fn(P) -> Tag + Send + Sync + 'static,
    ) -> Self {
        self.rule(cache, columns, move |cache, values, noted| noted.tag(cache, tag(values)))
    }

    fn rule<K: Key, V: Value, P: FromColumns, C: Into<Column>>(
        mut self,
        cache: &Cache<K, V>,
        columns: impl IntoIterator<Item = C>,
        note: impl Fn(&Cache<K, V>, P, &mut Noted) + Send + Sync + 'static,
    ) -> Self {
        let columns: Vec<Column> = columns.into_iter().map(Into::into).collect();
        let counts = (columns.len(), P::COLUMNS);
        for column in &columns {
            if !self.columns.contains(column) {
                self.columns.push(column.clone());
            }
        }
        let cleared = cache.clone();
        let cache = cache.clone();
        let note = move |image: &Image, noted: &mut Noted| {
            let Some(values) = P::from_columns(&columns, image)? else { return Ok(()) };
            // the closure is the user's (prevents: its panic ends the task, and no change is followed any more)
            catch_unwind(AssertUnwindSafe(|| note(&cache, values, noted)))
                .map_err(|_| Unreadable("the closure that makes a key or a tag panicked".to_owned()))
        };
        let clear = move |noted: &mut Noted| noted.all(&cleared);
        self.rules.push(Rule { note: Arc::new(note), clear: Arc::new(clear), columns: counts });
        self
    }

    /// Notes the invalidations of a change: an image of a row, or none if all rows may have changed. If the image
    /// cannot be parsed, the caches are cleared.
    pub(crate) fn note(&self, image: Option<&str>, noted: &mut Noted) -> Result<(), Unreadable> {
        let Some(image) = image else {
            self.clear(noted);
            return Ok(());
        };
        let image = match super::values::image(image) {
            Ok(image) => image,
            Err(error) => {
                self.clear(noted);
                return Err(error);
            }
        };
        let mut first = Ok(());
        for rule in &self.rules {
            if let Err(error) = (rule.note)(&image, noted) {
                (rule.clear)(noted);
                first = first.and(Err(error));
            }
        }
        first
    }

    /// Notes a clear of all the caches.
    pub(crate) fn clear(&self, noted: &mut Noted) {
        self.rules.iter().for_each(|rule| (rule.clear)(noted));
    }

    pub(crate) fn check(&self) -> larder::Result<()> {
        let table = &self.table.name;
        if self.rules.is_empty() {
            return Err(larder::Error::config(format!(
                "changes of the table {table:?} would invalidate nothing: call `.key(..)` or `.tag(..)`"
            )));
        }
        let wrong = self.rules.iter().find(|rule| rule.columns.0 != rule.columns.1);
        if let Some(Rule { columns: (named, read), .. }) = wrong {
            return Err(larder::Error::config(format!(
                "for the table {table:?}, {named} columns are named and the closure takes {read}: \
                 give it one value, or a tuple with one for each column"
            )));
        }
        let twice = self
            .columns
            .iter()
            .find(|column| self.columns.iter().filter(|other| other.name == column.name).count() > 1);
        if let Some(column) = twice {
            return Err(larder::Error::config(format!(
                "the column {:?} of the table {table:?} is named as text and as bytes: write `Column::bytes` everywhere",
                column.name
            )));
        }
        Ok(())
    }
}

impl fmt::Debug for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watched")
            .field("table", &self.table)
            .field("columns", &self.columns)
            .finish_non_exhaustive()
    }
}

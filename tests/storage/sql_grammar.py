"""Random SQL from a grammar: statements of all kinds, safe and unsafe ones, that make sense on one schema often enough.

`Grammar(random).statement()` is one call. Everything random comes from the given generator.
"""

from __future__ import annotations

from random import Random

from tests.storage.replicas import Call
from workbench.protocol.values import SqlValue

SCHEMA = (
    "CREATE TABLE kv (k TEXT PRIMARY KEY, v)",
    "CREATE TABLE num (id INTEGER PRIMARY KEY, a, b UNIQUE, c REAL DEFAULT (random() / 1e9))",
    "CREATE TABLE seq (id INTEGER PRIMARY KEY AUTOINCREMENT, a, made DEFAULT CURRENT_TIMESTAMP)",
    "CREATE TABLE bare (a, b)",
    "CREATE TABLE compact (a INT, b TEXT, c, PRIMARY KEY (a, b)) WITHOUT ROWID",
    "CREATE TABLE made (id INTEGER PRIMARY KEY, a, twice AS (a * 2), text AS (a || '!') STORED, CHECK (a < 1e30))",
    "CREATE TABLE parent (id INTEGER PRIMARY KEY, name UNIQUE)",
    """CREATE TABLE child (id INTEGER PRIMARY KEY, p REFERENCES parent ON DELETE CASCADE ON UPDATE SET NULL
        DEFERRABLE INITIALLY DEFERRED, n INT)""",
    "CREATE TABLE audit (what, n)",
    "CREATE TABLE counter (name PRIMARY KEY, n INT)",
    "INSERT INTO counter VALUES ('num', 0), ('child', 0)",
    "CREATE VIRTUAL TABLE doc USING fts5(x)",
    "CREATE TRIGGER t1 AFTER INSERT ON child BEGIN INSERT INTO audit VALUES ('in', NEW.n); END",
    "CREATE TRIGGER t2 AFTER DELETE ON child BEGIN INSERT INTO audit VALUES ('out', OLD.id); END",
    "CREATE TRIGGER t3 AFTER UPDATE OF a ON num BEGIN UPDATE counter SET n = n + 1 WHERE name = 'num'; END",
    "CREATE TRIGGER t4 AFTER INSERT ON seq WHEN NEW.a IS NULL BEGIN UPDATE seq SET a = random() WHERE id = NEW.id; END",
    "CREATE TRIGGER t5 AFTER DELETE ON bare BEGIN INSERT INTO doc VALUES (OLD.a); END",
    "CREATE TRIGGER t6 AFTER UPDATE ON bare BEGIN UPDATE counter SET n = NEW.b WHERE name = 'child'; END",
    "CREATE VIEW first AS SELECT a, b FROM bare LIMIT 3",
    "CREATE VIEW dice AS SELECT id, random() % 6 AS eyes FROM num",
    "CREATE INDEX bare_a ON bare (a)",
)
COLUMNS = {
    "kv": ("k", "v"),
    "num": ("id", "a", "b", "c"),
    "seq": ("id", "a"),
    "bare": ("a", "b"),
    "compact": ("a", "b", "c"),
    "made": ("id", "a"),
    "parent": ("id", "name"),
    "child": ("id", "p", "n"),
    "audit": ("what", "n"),
}
_KEYS = {"kv": "k", "num": "id", "seq": "id", "bare": "rowid", "compact": "a, b", "made": "id", "parent": "id"}
_KEYS |= {"child": "id", "audit": "rowid"}
_UNSAFE = (
    "random()",
    "abs(random() % 50)",
    "hex(randomblob(4))",
    "CURRENT_TIMESTAMP",
    "datetime('now')",
    "julianday()",
    "strftime('%f', 'now', '-1 day')",
    "changes()",
    "total_changes()",
    "last_insert_rowid()",
    "sqlite_version()",
    "(SELECT count(*) FROM pragma_table_info('kv'))",
    "(SELECT eyes FROM dice LIMIT 1)",
)
_AGGREGATES = (
    "count(*)",
    "max(a)",
    "group_concat(a)",
    "sum(a)",
    "group_concat(a, '-' ORDER BY rowid)",
    "min(b)",
    "avg(b)",
)


class Grammar:
    """Draws statements."""

    def __init__(self, random: Random) -> None:
        self._random = random

    def statement(self) -> Call:
        """One statement with its parameters, if it has any."""
        kinds = (
            [self._insert] * 6
            + [self._insert_select] * 4
            + [self._update] * 4
            + [self._delete] * 2
            + [
                self._upsert,
                self._update_from,
                self._full_text,
                self._full_text,
                self._schema,
                self._other,
                self._dates,
            ]
        )
        return self._random.choice(kinds)()

    def value(self) -> SqlValue:
        """A value to store."""
        random = self._random
        choices: tuple[SqlValue, ...] = (
            None,
            random.randrange(-(2**63), 2**63),
            random.random() * 10 ** random.randrange(-5, 25),
            random.randbytes(random.choice((0, 3, 900))),
            "ü" * random.randrange(4),
            random.randrange(30),
            random.randrange(30),
            random.randrange(30),
            f"k{random.randrange(30)}",
        )
        return random.choice(choices)

    def _chance(self, probability: float) -> bool:
        return self._random.random() < probability

    def _table(self) -> str:
        return self._random.choice(list(COLUMNS))

    def _number(self) -> int:
        return self._random.randrange(30)

    def _expression(self, table: str = "", unsafe: float = 0.15) -> str:
        random = self._random
        if self._chance(unsafe):
            return random.choice(_UNSAFE)
        simple = [str(self._number()), f"'w{self._number()}'", "NULL", f"{self._number() / 7}"]
        if table:
            column = random.choice(COLUMNS[table])
            simple += [column, column, f"{column} + 1", f"{column} || 'x'"]
        else:
            simple += [self._subquery()] if self._chance(0.3) else []
        return random.choice(simple)

    def _subquery(self) -> str:
        table = self._table()
        column = self._random.choice(COLUMNS[table])
        kind = self._random.randrange(4)
        if kind == 0:
            aggregate = self._random.choice(("count(*)", f"max({column})", f"group_concat({column})"))
            return f"(SELECT {aggregate} FROM {table})"
        if kind == 1:
            return f"(SELECT {column} FROM {table} ORDER BY {_KEYS[table]} LIMIT 1)"
        if kind == 2:
            return f"(SELECT {column} FROM {table} WHERE {self._condition(table)})"
        return f"(SELECT {column} FROM {table} ORDER BY {column} LIMIT 1)"

    def _condition(self, table: str) -> str:
        column = self._random.choice(COLUMNS[table])
        key = _KEYS[table].split(",")[0]
        choices = [
            f"{column} > {self._number()}",
            f"{column} = {self._number()}",
            f"{key} = {self._number()}",
            f"{key} = {self._number()}",
            f"{column} IS NULL",
            f"{column} IN ({self._number()}, {self._number()}, 'k{self._number()}')",
            f"{column} = {self._number()} OR {key} = {self._number()}",
            f"{key} IN (SELECT {key} FROM {table} LIMIT 2)",
            f"{key} IN (SELECT {key} FROM {table} ORDER BY {_KEYS[table]} DESC LIMIT 2)",
            f"EXISTS (SELECT 1 FROM bare WHERE bare.a = {column})",
            "random() % 3 = 0",
        ]
        return self._random.choice(choices)

    def _or(self) -> str:
        return self._random.choice(("", "", "", " OR IGNORE", " OR REPLACE", " OR ABORT", " OR FAIL"))

    def _columns(self, table: str) -> list[str]:
        columns = list(COLUMNS[table])
        if self._chance(0.5) and columns[0] == "id":
            columns = columns[1:]
        return columns

    def _insert(self) -> Call:
        table = self._table()
        columns = self._columns(table)
        parameters: list[SqlValue] = []
        rows = []
        for _ in range(self._random.choice((1, 1, 1, 2, 3))):
            cells = []
            for column in columns:
                if column == "id":
                    cells.append(self._random.choice((str(self._number() + 100), "NULL", str(self._number()))))
                elif self._chance(0.5):
                    cells.append("?")
                    parameters.append(self.value())
                else:
                    cells.append(self._expression())
            rows.append(f"({', '.join(cells)})")
        returning = f" RETURNING {columns[-1]}" if self._chance(0.1) else ""
        sql = f"INSERT{self._or()} INTO {table}({', '.join(columns)}) VALUES {', '.join(rows)}{returning}"
        if self._chance(0.02):
            return f"INSERT INTO num(id, a) VALUES ({2**63 - 1}, {self._number()})"
        return sql, tuple(parameters)

    def _insert_select(self) -> Call:
        random = self._random
        table, source = self._table(), self._table()
        columns = self._columns(table)
        cells = ", ".join(
            str(self._number() + 200) + " + rowid"
            if column == "id" and source != "compact"
            else self._expression(source, 0.07)
            for column in columns
        )
        if self._chance(0.15):
            aggregates = ", ".join(random.choice(_AGGREGATES) for _ in columns)
            group = random.choice(("", " GROUP BY a", " GROUP BY b"))
            return f"INSERT{self._or()} INTO {table}({', '.join(columns)}) SELECT {aggregates} FROM bare{group}"
        where = f" WHERE {self._condition(source)}" if self._chance(0.6) else ""
        order = random.choice(("", f" ORDER BY {_KEYS[source]}", f" ORDER BY {random.choice(COLUMNS[source])}"))
        limit = f" LIMIT {random.randrange(1, 4)}"
        if not where and source == table:
            where = f" WHERE {_KEYS[source].split(',')[0]} IS NOT NULL"
        distinct = random.choice(("", "", "", "DISTINCT "))
        sql = f"INSERT{self._or()} INTO {table}({', '.join(columns)}) SELECT {distinct}{cells} FROM {source}{where}"
        return sql + order + (limit if self._chance(0.7) or source == table else "")

    def _update(self) -> Call:
        table = self._table()
        column = self._random.choice(COLUMNS[table])
        parameters: tuple[SqlValue, ...] = ()
        if self._chance(0.4):
            right, parameters = "?", (self.value(),)
        else:
            right = self._expression(table)
        if self._chance(0.1):
            right = f"(SELECT count(*) FROM {table} AS other WHERE other.{column} > {table}.{column})"
        where = f" WHERE {self._condition(table)}" if self._chance(0.8) else ""
        returning = f" RETURNING {column}" if self._chance(0.1) else ""
        return f"UPDATE{self._or()} {table} SET {column} = {right}{where}{returning}", parameters

    def _delete(self) -> Call:
        table = self._table()
        return f"DELETE FROM {table} WHERE {self._condition(table)}"

    def _upsert(self) -> Call:
        if self._chance(0.5):
            return (
                f"INSERT INTO kv VALUES (?, {self._expression()}) ON CONFLICT DO UPDATE SET v = excluded.v || '+'",
                (f"k{self._number()}",),
            )
        return (
            "INSERT INTO kv SELECT 'k' || (a % 5), b FROM bare WHERE typeof(a) = 'integer'"
            " ON CONFLICT (k) DO UPDATE SET v = v || '.' || excluded.v"
        )

    def _update_from(self) -> Call:
        return self._random.choice(
            (
                "UPDATE num SET a = bare.b FROM bare WHERE bare.a = num.id",
                "UPDATE bare SET b = num.a FROM num WHERE num.id = bare.a",
                "UPDATE child SET n = parent.name FROM parent WHERE parent.id = child.p",
                "UPDATE num SET a = other.a FROM num AS other WHERE other.id = num.id + 1",
            )
        )

    def _full_text(self) -> Call:
        n = self._number()
        return self._random.choice(
            (
                ("INSERT INTO doc VALUES (?)", (f"word{n} common",)),
                ("INSERT INTO doc(rowid, x) VALUES (?, 'given')", (n,)),
                ("DELETE FROM doc WHERE rowid = ?", (n,)),
                ("UPDATE doc SET x = 'again ' || hex(randomblob(2)) WHERE rowid % 6 = ?", (n % 6,)),
                "INSERT INTO doc SELECT b FROM bare WHERE typeof(b) = 'text'",
                "INSERT INTO audit SELECT x, rowid FROM doc WHERE doc MATCH 'common'",
                "INSERT INTO doc(doc) VALUES ('optimize')",
                ("DELETE FROM doc WHERE doc MATCH ?", (f"word{n}",)),
            )
        )

    def _dates(self) -> Call:
        n = self._number()
        time = self._random.choice(("now", "2020-01-01", "12:00", None, n))
        return self._random.choice(
            (
                ("INSERT INTO bare VALUES (datetime(?), ?)", (time, n)),
                ("UPDATE num SET a = date(?) WHERE id = ?", (time, n)),
                ("INSERT INTO audit VALUES (strftime('%s', '2000-01-01', '+' || ? || ' days'), 1)", (n,)),
                "UPDATE bare SET b = unixepoch(a)",
                "INSERT INTO audit SELECT time(v), 1 FROM kv WHERE k = 'now'",
                "INSERT INTO kv VALUES ('now', 'now') ON CONFLICT DO NOTHING",
            )
        )

    def _schema(self) -> Call:
        n = self._number()
        return self._random.choice(
            (
                f"CREATE TABLE extra_{n % 3} (a PRIMARY KEY, b DEFAULT (hex(randomblob(2))))",
                f"DROP TABLE extra_{n % 3}",
                (f"INSERT INTO extra_{n % 3}(a) VALUES (?)", (n,)),
                f"ALTER TABLE extra_{n % 3} ADD COLUMN c{n} DEFAULT {n}",
                f"CREATE INDEX i{n % 4} ON kv (v)",
                f"DROP INDEX i{n % 4}",
                f"CREATE TABLE copy_{n % 2} AS SELECT a, b FROM bare",
                f"CREATE TABLE copy_{n % 2} AS SELECT id, a FROM num ORDER BY id",
                f"DROP TABLE copy_{n % 2}",
                f"CREATE TRIGGER more_{n % 2} AFTER INSERT ON kv BEGIN {self._trigger_body()}; END",
                f"DROP TRIGGER more_{n % 2}",
                f"CREATE UNIQUE INDEX u{n % 2} ON audit (n) WHERE what = 'w{n}'",
                "ANALYZE",
            )
        )

    def _trigger_body(self) -> str:
        return self._random.choice(
            (
                "INSERT INTO audit VALUES (NEW.k, random())",
                "INSERT OR REPLACE INTO num(id, a) VALUES (7, NEW.v)",
                "DELETE FROM bare WHERE a = NEW.v",
                "UPDATE counter SET n = n + 1",
                "INSERT INTO seq(a) SELECT count(*) FROM kv",
                "SELECT RAISE(IGNORE) WHERE NEW.v = 3",
            )
        )

    def _other(self) -> Call:
        return self._random.choice(
            (
                "WITH RECURSIVE r(i) AS (SELECT 1 UNION SELECT i+1 FROM r LIMIT 3) INSERT INTO bare SELECT i, i FROM r",
                "WITH some AS (SELECT a, b FROM bare ORDER BY b LIMIT 2) INSERT INTO audit SELECT * FROM some",
                "INSERT INTO audit SELECT a, b FROM first",
                "INSERT INTO audit SELECT id, row_number() OVER (ORDER BY a) FROM num",
                "INSERT INTO compact SELECT id, 'w', (SELECT a FROM bare WHERE rowid = num.id) FROM num WHERE id < 9",
                "REPLACE INTO compact SELECT abs(random() % 9), 'r', a FROM num LIMIT 2",
                ("DELETE FROM num WHERE id > ?", (2**62,)),
                "SELECT random(), count(*) FROM bare",
                "DELETE FROM audit WHERE rowid % 2",
                "INSERT INTO bare SELECT value, key FROM json_each('[3,1,2]')",
                "INSERT INTO audit SELECT a, count(*) FROM bare GROUP BY b",
                "DELETE FROM parent WHERE id > 20",
            )
        )

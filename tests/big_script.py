"""A long SQL script with a bit of everything: DDL, triggers, foreign keys, FTS5, blobs, UTF-8. One seed, one script.

Everything in it is deterministic, so that it must leave equal replicas in every log format. Run as a program it prints
the script: `python -m tests.big_script 10000 1 > big.sql`; `plain` as the third argument leaves out what another engine
cannot have (FTS5, values of a type that their column does not declare).
"""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator

_WORDS = ("größe", "東京", "naïve", "replica", "лидер", "🦆 duck", "it''s", "tab\tand\nline", "zero", "leader", "write")

_SCHEMA = (
    "CREATE TABLE customers (id INTEGER PRIMARY KEY, name TEXT NOT NULL, city TEXT, email TEXT UNIQUE)",
    (
        "CREATE TABLE orders (id INTEGER PRIMARY KEY AUTOINCREMENT, customer INTEGER NOT NULL"
        " REFERENCES customers(id) ON DELETE CASCADE ON UPDATE CASCADE,"
        " total REAL NOT NULL CHECK (total >= 0), note TEXT)"
    ),
    (
        "CREATE TABLE lines (order_id INTEGER REFERENCES orders(id) ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED,"
        " place INTEGER, article TEXT, price REAL, PRIMARY KEY (order_id, place)) WITHOUT ROWID"
    ),
    "CREATE TABLE files (name TEXT PRIMARY KEY NOT NULL, content BLOB, bytes INTEGER AS (length(content)) STORED)",
    "CREATE TABLE audit (id INTEGER PRIMARY KEY, what TEXT, old TEXT, new TEXT)",
    "CREATE TABLE unkeyed (a INTEGER, b TEXT)",
    "CREATE INDEX customers_by_city ON customers (city, name)",
    "CREATE INDEX orders_by_customer ON orders (customer) WHERE total > 10",
    (
        "CREATE TRIGGER customers_changed AFTER UPDATE OF name, city ON customers BEGIN"
        " INSERT INTO audit(what, old, new) VALUES ('customer ' || NEW.id, OLD.name || ', ' || OLD.city, NEW.name); END"
    ),
    (
        "CREATE TRIGGER orders_gone AFTER DELETE ON orders BEGIN"
        " INSERT INTO audit(what, old) VALUES ('order ' || OLD.id, OLD.note); END"
    ),
    "CREATE VIEW totals AS SELECT customer, count(*) AS orders, sum(total) AS total FROM orders GROUP BY customer",
)
_SEARCH = "CREATE VIRTUAL TABLE notes USING fts5(title, body)"


class _Maker:
    """Remembers what there is, so that most statements do something."""

    def __init__(self, seed: int, *, plain: bool) -> None:
        self.rng = random.Random(seed)
        self.plain = plain
        self.customers: list[int] = []
        self.orders = 0
        self.files = 0
        self.notes = 0
        self.extra: list[str] = []
        self.numbers = 0

    def text(self) -> str:
        return "'" + " ".join(self.rng.choice(_WORDS) for _ in range(self.rng.randint(1, 6))) + "'"

    def customer(self) -> str:
        number = (self.customers[-1] if self.customers else 0) + self.rng.randint(1, 3)
        self.customers.append(number)
        return f"INSERT INTO customers VALUES ({number}, {self.text()}, {self.text()}, 'c{number}@example.org')"

    def order(self) -> str:
        self.orders += 1
        customer = self.rng.choice(self.customers)
        total = self.rng.randint(0, 10_000) / 4
        return f"INSERT INTO orders(customer, total, note) VALUES ({customer}, {total}, {self.text()})"

    def transaction(self) -> str:
        """An order that comes behind its own lines: a deferred foreign key."""
        self.numbers += 1
        number = 100_000 * self.numbers  # AUTOINCREMENT goes on from there
        lines = "".join(
            f"INSERT INTO lines VALUES ({number}, {place}, {self.text()}, {self.rng.randint(1, 400) / 4});\n"
            for place in range(1, self.rng.randint(2, 5))
        )
        order = f"INSERT INTO orders VALUES ({number}, {self.rng.choice(self.customers)}, 1.5, {self.text()})"
        return f"BEGIN;\n{lines}{order};\nCOMMIT"

    def update(self) -> str:
        chosen = self.rng.choice(self.customers)
        return self.rng.choice(
            (
                f"UPDATE customers SET city = {self.text()} WHERE id = {chosen}",
                f"UPDATE customers SET name = name || '!' WHERE id % 50 = {chosen % 50} AND length(name) < 200",
                f"UPDATE orders SET total = total + 0.25 WHERE customer = {chosen}",
                f"UPDATE orders SET note = NULL WHERE customer = {chosen}",
                (
                    f"INSERT INTO customers VALUES ({chosen}, {self.text()}, 'again', 'c{chosen}@example.org')"
                    " ON CONFLICT (id) DO UPDATE SET city = excluded.city"
                ),
            )
        )

    def delete(self) -> str:
        chosen = self.customers.pop(self.rng.randrange(len(self.customers)))
        return f"DELETE FROM customers WHERE id = {chosen}"

    def file(self) -> str:
        self.files += 1
        size = self.rng.choice((0, 1, 20, 300, 5_000))
        return f"INSERT INTO files(name, content) VALUES ('file {self.files}', x'{self.rng.randbytes(size).hex()}')"

    def change_file(self) -> str:
        if not self.files:
            return self.file()
        number = self.rng.randint(1, self.files)
        return self.rng.choice(
            (
                f"UPDATE files SET content = content || x'00ff' WHERE name = 'file {number}'",
                f"REPLACE INTO files(name, content) VALUES ('file {number}', zeroblob({number % 700}))",
                f"DELETE FROM files WHERE name = 'file {number}'",
            )
        )

    def note(self) -> str:
        self.notes += 1
        chosen = self.rng.randint(1, self.notes)
        return self.rng.choice(
            (
                f"INSERT INTO notes(rowid, title, body) VALUES ({self.notes}, {self.text()}, {self.text()})",
                f"UPDATE notes SET body = {self.text()} WHERE rowid = {chosen}",
                f"DELETE FROM notes WHERE rowid = {chosen}",
            )
        )

    def unkeyed(self) -> str:
        return self.rng.choice(
            (
                f"INSERT INTO unkeyed VALUES ({self.rng.randint(-(2**62), 2**62)}, {self.text()})",
                f"INSERT INTO unkeyed VALUES ({self.rng.randint(-9, 9)}, NULL), (NULL, {self.text()})",
                f"UPDATE unkeyed SET b = b || '+' WHERE a BETWEEN {self.rng.randint(-9, 0)} AND 9 AND length(b) < 99",
                f"DELETE FROM unkeyed WHERE a = {self.rng.randint(-9, 9)}",
            )
        )

    def schema(self) -> str:
        """Tables come, change and go."""
        if not self.extra or (len(self.extra) < 6 and self.rng.random() < 0.5):
            self.numbers += 1
            self.extra.append(f"extra_{self.numbers}")
            return f"CREATE TABLE {self.extra[-1]} (id INTEGER PRIMARY KEY, v TEXT DEFAULT 'none')"
        name = self.rng.choice(self.extra)
        self.numbers += 1
        choice = self.rng.randrange(5)
        if choice == 0:
            self.extra.remove(name)
            return f"DROP TABLE {name}"
        if choice == 1:
            return f"ALTER TABLE {name} ADD COLUMN c{self.numbers} INTEGER DEFAULT {self.numbers}"
        if choice == 2:
            self.extra[self.extra.index(name)] = f"extra_{self.numbers}"
            return f"ALTER TABLE {name} RENAME TO extra_{self.numbers}"
        if choice == 3:
            return f"CREATE INDEX index_{self.numbers} ON {name} (v)"
        return f"INSERT INTO {name}(v) VALUES ({self.text()}), ({self.text()})"

    def statement(self) -> str:
        if len(self.customers) < 5:
            return self.customer()
        kinds = [self.customer, self.order, self.order, self.transaction, self.update, self.update, self.delete]
        kinds += [self.file, self.change_file, self.unkeyed, self.schema]
        if not self.plain:
            kinds += [self.note, self.note]
        return self.rng.choice(kinds)()


def make_script(statements: int, seed: int, *, plain: bool = False) -> Iterator[str]:
    """The script's statements and transactions, each with its semicolon; `statements` counts them about."""
    maker = _Maker(seed, plain=plain)
    schema = _SCHEMA if plain else (*_SCHEMA, _SEARCH)
    yield from (f"{text};\n" for text in schema)
    count = len(schema)
    while count < statements:
        text = maker.statement()
        count += max(1, text.count(";\n") - 1)
        yield f"{text};\n"


if __name__ == "__main__":
    count, seed, *rest = sys.argv[1:]
    sys.stdout.reconfigure(encoding="utf-8")  # type: ignore[union-attr]
    sys.stdout.writelines(make_script(int(count), int(seed), plain=rest == ["plain"]))

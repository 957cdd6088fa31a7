"""Questions about the clauses of one statement, answered from its tokens."""

from __future__ import annotations

from collections.abc import Collection

from workbench.log_formats.sql_tokens import Token, calls, split


def is_word(argument: list[Token], words: Collection[str]) -> bool:
    """Whether an argument is one of these string literals."""
    return len(argument) == 1 and argument[0].kind == "text" and argument[0].text.lower() in words


def is_literal(argument: list[Token]) -> bool:
    """Whether an argument is a string or a number, written out."""
    texts = [token for token in argument if token.text not in ("+", "-")]
    return len(texts) == 1 and texts[0].kind in ("text", "number")


def mentions(found: list[Token], function: str) -> bool:
    """Whether `function` is called, or stands there as a keyword."""
    return any(token.word == function.upper() for token in found) or any(
        name == function for name, _, _ in calls(found)
    )


def named_before(found: list[Token], place: int) -> str:
    """The name that a common table expression gets before its AS."""
    before = place - 1
    if found[before].text == ")":
        depth = found[before].depth
        before -= 1
        while before > 0 and found[before].depth > depth:
            before -= 1
        before -= 1
    return found[before].name if before >= 0 else ""


def target_of(found: list[Token]) -> str:
    """The table of an UPDATE."""
    skip = {"UPDATE", "OR", "IGNORE", "REPLACE", "ABORT", "FAIL", "ROLLBACK"}
    start = next((place for place, token in enumerate(found) if token.word == "UPDATE" and token.depth == 0), -1)
    for place in range(start + 1, len(found)):
        if found[place].word in skip:
            continue
        if place + 2 < len(found) and found[place + 1].text == ".":
            return found[place + 2].name
        return found[place].name
    return ""


def has_from(found: list[Token]) -> bool:
    """Whether the statement itself has a FROM."""
    return any(token.word == "FROM" and token.depth == 0 for token in found)


def names_twice(found: list[Token], target: str) -> bool:
    """Whether `target` is a source, too."""
    return any(
        token.name == target
        and place > 0
        and (found[place - 1].word in ("FROM", "JOIN") or (found[place - 1].text == "," and has_from(found)))
        for place, token in enumerate(found)
    )


def conflict_clause(found: list[Token]) -> str:
    """What it does about conflicts other than to fail, empty when it fails."""
    words = [token.word for token in found]
    for place, word in enumerate(words):
        following = words[place + 1] if place + 1 < len(words) else ""
        if word == "OR" and following in ("IGNORE", "REPLACE"):
            return f"OR {following}"
        if word == "REPLACE" and following == "INTO":
            return "REPLACE"
        if word == "ON" and following == "CONFLICT":
            action = words[place + 2] if place + 2 < len(words) else ""
            if action not in ("ABORT", "FAIL", "ROLLBACK"):
                return "ON CONFLICT"
    return ""


def only_counts(found: list[Token]) -> bool:
    """Whether an UPDATE only adds integer literals: `SET n = n + 1`."""
    start = next((place for place, token in enumerate(found) if token.word == "SET"), len(found))
    stop = next((place for place, token in enumerate(found) if token.word == "WHERE"), len(found))
    if any(token.word in ("FROM", "SELECT") for token in found):
        return False
    for assignment in split(found[start + 1 : stop]):
        match assignment:
            case [column, equals, again, sign, number] if (
                equals.text == "="
                and column.name == again.name
                and sign.text in ("+", "-")
                and number.kind == "number"
                and number.text.isdigit()
            ):
                continue
        return False
    return start + 1 < stop

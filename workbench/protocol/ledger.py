"""What a log says besides data: which client transactions took effect, and who the members are.

A function of the entries alone, so that every replica with the same log has the same ledger, after any crash, rewind or
snapshot. Whoever reads or appends entries tells the ledger of each, in order.
"""

from __future__ import annotations

from workbench.protocol.membership import Membership
from workbench.protocol.sessions import SessionsImage, SessionTable
from workbench.protocol.values import Entry, Wire


class LedgerImage(Wire, frozen=True):
    """A ledger as it travels with a snapshot."""

    members: tuple[str, ...]
    members_changed_at: int
    sessions: SessionsImage


class Ledger:
    """`sessions` and `membership` of one log."""

    def __init__(self, members: tuple[str, ...]) -> None:
        self.membership = Membership(members)
        self.sessions = SessionTable()

    @classmethod
    def from_image(cls, image: LedgerImage) -> Ledger:
        """The ledger that a snapshot carries."""
        ledger = cls(())
        ledger.membership = Membership(image.members, image.members_changed_at)
        ledger.sessions = SessionTable.from_image(image.sessions)
        return ledger

    def image_at(self, index: int) -> LedgerImage:
        """The ledger as it was at `index`, for a snapshot there; `index` is committed.

        What has been forgotten since is missing. It will be forgotten again by whoever takes the snapshot, with the
        entries behind `index`, before it can matter: those that made us forget it were committed.
        """
        changed_at, members = self.membership.change_at(index)
        return LedgerImage(members, changed_at, self.sessions.image_at(index))

    def record(self, entry: Entry) -> None:
        """An entry was appended. Raises `CodecError` when it makes no sense."""
        self.membership.record(entry)
        self.sessions.record(entry)

    def commit(self, index: int) -> None:
        """Entries up to `index` can be dropped no more."""
        self.sessions.commit(index)

    def truncate(self, after: int) -> None:
        """Entries behind index `after` were dropped."""
        self.membership.truncate(after)
        self.sessions.truncate(after)

"""Records of the epochs of a fit."""

from __future__ import annotations

from collections.abc import Mapping


class GrowingLists(dict):
    """Lists of a history that grow during a fit, unlike those of a fitted estimator."""


class History:
    """Records of the epochs of a fit.

    Parameters
    ----------
    before : dict of lists, default=None
        Records of earlier fits, which come first in the lists.

    Attributes
    ----------
    records : list of dict
        Records of this fit.
    lists : GrowingLists
        One list for each entry of the records of epochs that have an ELBO; they grow
        with each such epoch.
    """

    def __init__(self, before: Mapping[str, list] | None = None) -> None:
        self._before = before or {}
        self.records: list[dict[str, object]] = []
        self.lists = GrowingLists(
            {name: list(values) for name, values in self._before.items()}
        )

    @property
    def elbo_records(self) -> list[dict[str, object]]:
        """Records of the epochs that have an ELBO."""
        return [record for record in self.records if "elbo" in record]

    def append(self, record: dict[str, object]) -> None:
        """Add the record of an epoch."""
        self.records.append(record)
        if "elbo" in record:
            for name, value in record.items():
                self.lists.setdefault(name, []).append(value)

    def as_lists(self) -> dict[str, list]:
        """Return copies of the lists; complete even if `append` was interrupted."""
        records = self.elbo_records
        names = records[0] if records else ()
        return {
            name: [*self._before.get(name, ()), *(r[name] for r in records)]
            for name in names
        }

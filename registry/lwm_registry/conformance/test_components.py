"""The checks themselves, as pytest tests over the records of the plugin that `LWM_CONFORMANCE` names.

What is checked is `lwm_registry.testing`'s.
"""

import os

import pytest

from lwm_core.testing.unchecked import Unchecked
from lwm_registry.records import Record
from lwm_registry.testing import check_component, check_record, check_round_trip, records_of


_NAME = os.environ.get("LWM_CONFORMANCE", "all")
_RECORDS = records_of(None if _NAME == "all" else _NAME)
_WORKING = [record for record in _RECORDS if record.state == "ok"]


def _each(records: list[Record]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("record", records, ids=lambda r: f"{r.kind}-{r.plugin}:{r.name}")


@_each(_RECORDS)
def test_the_record_works(record: Record) -> None:
    check_record(record)


@_each(_WORKING)
def test_its_example_builds_and_turns_back_into_data(record: Record) -> None:
    check_round_trip(record)


@_each(_WORKING)
def test_it_passes_the_kit_of_its_kind(record: Record) -> None:
    try:
        check_component(record)
    except Unchecked as reason:
        pytest.skip(str(reason))

"""Everything that the catalog lists passes its interface's kit: the same checks that an outsider runs."""

from lwm_registry.catalog import catalog
from lwm_registry.conformance.test_components import (
    test_it_passes_the_kit_of_its_kind as test_it_passes_the_kit_of_its_kind,
)
from lwm_registry.conformance.test_components import (
    test_its_example_builds_and_turns_back_into_data as test_its_example_builds_and_turns_back_into_data,
)
from lwm_registry.conformance.test_components import test_the_record_works as test_the_record_works
from lwm_registry.testing import kit


def test_every_kind_has_a_kit():
    for kind in catalog().kinds:
        assert callable(kit(kind))

"""The registry: discovery, catalog, recipes and the command line. It introduces plugins to the core."""

from lwm_registry.catalog import Catalog as Catalog
from lwm_registry.catalog import catalog as catalog
from lwm_registry.errors import RegistryError as RegistryError
from lwm_registry.hookspecs import hookimpl as hookimpl
from lwm_registry.pipelines import compose as compose
from lwm_registry.pipelines import fingerprint as fingerprint
from lwm_registry.pipelines import recipe_of as recipe_of
from lwm_registry.records import Component as Component
from lwm_registry.records import Interface as Interface
from lwm_registry.records import Recipe as Recipe
from lwm_registry.runs import load as load

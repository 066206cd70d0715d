"""Every `eqx.Module` of ours is abstract or final, and every abstract one is named so."""

import importlib
import inspect
from dataclasses import fields

import equinox as eqx
from test_inert import ROOTS, modules


def ours():
    """Every module class that our packages define."""
    found = {}
    for package, folder in ROOTS.items():
        for name in modules(package, folder):
            for cls in vars(importlib.import_module(name)).values():
                if inspect.isclass(cls) and issubclass(cls, eqx.Module) and cls.__module__ == name:
                    found[f"{name}.{cls.__qualname__}"] = cls
    return found


def is_abstract(cls):
    return bool(cls.__abstractmethods__ or getattr(cls, "__abstractvars__", ()))


def faults(classes):
    """What is wrong with these classes; empty when each is abstract or final."""
    for name, cls in classes.items():
        if is_abstract(cls) != cls.__name__.startswith(("Abstract", "_Abstract")):
            yield f"{name}: abstract classes, and only they, are called Abstract..."
        if is_abstract(cls) and (fields(cls) or not cls.__dataclass_params__.init):
            yield f"{name} is abstract and has fields: declare them with AbstractVar"
        if "super()" in inspect.getsource(cls):
            yield f"{name} calls super(): all fields and __init__ belong in one class"
        for base in cls.__mro__[1:]:
            if issubclass(base, eqx.Module) and base is not eqx.Module and not is_abstract(base):
                yield f"{name} subclasses {base.__name__}, which is concrete: wrap it instead"


def test_every_module_class_is_abstract_or_final():
    classes = ours()
    assert len(classes) > 20
    assert list(faults(classes)) == []


def test_the_walk_finds_what_it_looks_for():
    class AbstractThing(eqx.Module):
        size: eqx.AbstractVar[int]

    class Thing(AbstractThing):
        size: int = 3

    class Larger(Thing):
        pass

    class Nameless(eqx.Module):
        size: eqx.AbstractVar[int]

    class Super(eqx.Module):
        size: int

        def __init__(self):
            super().__init__()

    class AbstractFields(eqx.Module):
        width: int
        size: eqx.AbstractVar[int]

    assert list(faults({"t": Thing, "a": AbstractThing})) == []
    assert len(list(faults({"l": Larger}))) == 1
    assert len(list(faults({"n": Nameless}))) == 1
    assert len(list(faults({"s": Super}))) == 1
    assert len(list(faults({"f": AbstractFields}))) == 1

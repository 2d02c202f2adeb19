"""An extension of griffe, which reads the source for mkdocstrings: show pydantic's fields as the class's signature."""

from __future__ import annotations

from typing import Any

from griffe import (
    Attribute,
    Class,
    ExprCall,
    ExprKeyword,
    Extension,
    Function,
    Parameter,
    ParameterKind,
    Parameters,
)


class Fields(Extension):
    """Gives each class the `__init__` that pydantic or dataclasses would: its own annotated names, by keyword."""

    def on_class_members(self, *, cls: Class, **_kwargs: Any) -> None:
        """Called by griffe when all members of a class are known."""
        fields = [one for one in cls.members.values() if isinstance(one, Attribute) and _is_field(one)]
        if not fields or "__init__" in cls.members:
            return
        found = [_parameter(one) for one in fields]
        own = Parameter("self", kind=ParameterKind.positional_or_keyword)
        cls.set_member("__init__", Function("__init__", parameters=Parameters(own, *found)))


def _is_field(attribute: Attribute) -> bool:
    is_own = "instance-attribute" in attribute.labels and "property" not in attribute.labels  # no ClassVar
    return attribute.annotation is not None and is_own and not attribute.name.startswith("_")


def _parameter(field: Attribute) -> Parameter:
    """A field's name, type and default, which of a call of pydantic's `Field` is what it says of one."""
    default = field.value
    if isinstance(default, ExprCall) and str(default.function) == "Field":
        stated = {one.name: one.value for one in default.arguments if isinstance(one, ExprKeyword)}
        given = [one for one in default.arguments if not isinstance(one, ExprKeyword)]
        made = "{}" if str(stated.get("default_factory")) == "dict" else stated.get("default_factory")
        default = given[0] if given else stated.get("default", made)
    return Parameter(field.name, annotation=field.annotation, kind=ParameterKind.keyword_only, default=default)

"""Reading a config.json: its fields over a family's defaults in; values and the RopeSpec out.

A field that nobody read may change the numbers, so it is refused by name.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from reimpl.choices import RopeRule
from reimpl.harmless_fields import UNKNOWN_CLASS, ClassReading, harmless
from reimpl.spec import CheckpointError, RopeSpec, UnsupportedError


class Fields:
    """Hold a config's fields over their defaults, keeping count of which were read.

    Args:
        defaults: for fields that the config leaves out.
        config: config.json as a dict.
        names: this model type's own name for a standard field ("hidden_size" -> "n_embd").
    """

    def __init__(
        self, defaults: Mapping[str, Any], config: Mapping[str, Any], names: Mapping[str, str] | None = None
    ) -> None:
        self.names = names or {}
        self.defaults, self.values = defaults, {**defaults, **config}
        self.given = config
        self.read: set[str] = set()

    def __getitem__(self, name: str) -> Any:
        """Read a field that the config or a default must have; CheckpointError where neither has."""
        self.read |= {name, self.names.get(name, name)}
        for known in (self.names.get(name, name), name):
            if known in self.values:
                return self.values[known]
        raise CheckpointError(f"config.json has no {name}, and this model type has no default for it.")

    def get(self, name: str, otherwise: Any = None) -> Any:
        """Read a field that may be absent."""
        self.read |= {name, self.names.get(name, name)}
        return self.values.get(self.names.get(name, name), self.values.get(name, otherwise))

    def count_as_read(self, *names: str) -> None:
        """Note that these fields are understood, whether or not a layer of this config reads them."""
        self.read |= {*names, *(self.names.get(name, name) for name in names)}

    def of_layer(self, layer: int) -> Fields:
        """Give the fields as layer `layer` has them: some files override fields for single layers."""
        listed = {int(number): fields for number, fields in (self.get("per_layer_config") or {}).items()}  # "05", too
        return self.overridden(listed.get(layer) or {})

    def overridden(self, overrides: Mapping[str, Any]) -> Fields:
        """Give the fields with others in some places; what is read there counts as read here."""
        if not overrides:
            return self
        view = Fields(self.defaults, {**self.given, **overrides}, self.names)
        view.read = self.read
        self.read |= set(overrides)
        return view

    def integer(self, name: str) -> int:
        """Read a whole number of 0 or more; CheckpointError where it is none."""
        value = self[name]
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise CheckpointError(f"config.json has {name}={value!r}; a whole number is needed.")
        return value

    def optional_integer(self, name: str) -> int | None:
        """Read a whole number that may be absent."""
        return None if self.get(name) is None else self.integer(name)

    def number(self, name: str) -> float:
        """Read a number; CheckpointError where it is none."""
        value = self[name]
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise CheckpointError(f"config.json has {name}={value!r}; a number is needed.")
        return float(value)

    def flag(self, rule: bool | str) -> bool:
        """Read a flag: the field of this name, or the answer itself."""
        return bool(self[rule]) if isinstance(rule, str) else rule

    def unread(self, also: Collection[str] = (), by_class: ClassReading = UNKNOWN_CLASS) -> set[str]:
        """List the fields that could matter and that nobody read.

        Args:
            also: fields that are harmless in this model type.
            by_class: how the library's class reads them, where that is known.

        Returns:
            Their names; without those that say what the class does anyway, and those that are switched off (null,
            false, empty) where the class does not switch them on.
        """
        known = self.read | set(also) | {own for name, own in self.names.items() if harmless(name)}
        defaults = {**ON_BY_DEFAULT, **by_class.defaults}
        return {
            name
            for name, value in self.given.items()
            if name not in known
            and not harmless(name)
            and value is not None
            and (value != defaults[name] if defaults.get(name) is not None else value not in (False, [], {}, ""))
        }

    def refuse_unread(self, also: Collection[str] = (), by_class: ClassReading = UNKNOWN_CLASS) -> None:
        """Refuse fields that could matter and that nobody read.

        Args:
            also: as in `unread`.
            by_class: as in `unread`.

        Raises:
            UnsupportedError: names the fields.
        """
        if unread := self.unread(also, by_class):
            said = ", ".join(f"{name}={_short(self.given[name])}" for name in sorted(unread))
            raise UnsupportedError(
                f"config.json has fields that are not modelled: {said}. They may change the attention, so nothing is "
                "computed. It can still be captured and viewed; docs/add-an-architecture.md says how a field is added."
            )


# On in every class of the library, so that a file's false switches something off: is_causal makes queries look ahead.
ON_BY_DEFAULT = {"is_causal": True}


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:40]}..."


def without(config: Mapping[str, Any], by_class: ClassReading) -> dict[str, Any]:
    """Leave out of a config, and out of what it says of RoPE, the fields that the library's class does not read there.

    Args:
        config: config.json as a dict, the language model's part of it.
        by_class: how the class reads it.

    Returns:
        The config without them.
    """
    nowhere = {*by_class.ignored, *by_class.of_rope_alone}
    kept = {name: value for name, value in config.items() if name not in nowhere}
    for name in ("rope_parameters", "rope_scaling"):
        if isinstance(kept.get(name), Mapping):
            kept[name] = _numbers_without(kept[name], by_class.ignored)
    return kept


def _numbers_without(numbers: Mapping[str, Any], ignored: Collection[str]) -> dict[str, Any]:
    kept = {name: value for name, value in numbers.items() if name not in ignored}
    return {name: _numbers_without(v, ignored) if isinstance(v, Mapping) else v for name, v in kept.items()}


def rope_numbers(fields: Fields, layer_type: str) -> dict[str, Any] | None:
    """Read what a file says of RoPE for layers of a type, in today's words.

    Older files have `rope_theta` and `rope_scaling` instead of `rope_parameters`.

    Args:
        fields: the config's.
        layer_type: as in families/layer_types.py.

    Returns:
        rope_theta, rope_type and the rule's own numbers; None: these layers have no RoPE.
    """
    today, scaling = fields["rope_parameters"] or {}, fields["rope_scaling"]
    base, older = fields["rope_theta"], not fields.given.get("rope_parameters")
    if scaling:  # beside rope_parameters, too: the library then takes nothing from there, the base neither
        return {"rope_theta": base, **scaling}
    if any(isinstance(numbers, dict) for numbers in today.values()):
        if today.get(layer_type, today) is None:
            return None
        today = today.get(layer_type, {})
    if older and fields.given.get("rope_theta"):  # alone; what that does differs from class to class (defaults.py)
        reading = fields.get("rope_theta_alone")
        if reading == "replaces":
            return {**today, "rope_theta": base}
        if reading == "ignored":
            base = fields.defaults["rope_theta"]
    return {"rope_theta": base, **today}


def rope_spec(fields: Fields, d_head: int, layer_type: str) -> RopeSpec | None:
    """Read the RopeSpec of layers of a type.

    Args:
        fields: the config's.
        d_head: width of a head.
        layer_type: as in families/layer_types.py.

    Returns:
        The RopeSpec; None: these layers have none.

    Raises:
        UnsupportedError: the rule is not modelled.
        CheckpointError: a number that the rule needs is missing.
    """
    numbers = rope_numbers(fields, layer_type)
    return None if numbers is None else spec_of_numbers(fields, numbers, d_head)


def spec_of_numbers(fields: Fields, numbers: Mapping[str, Any], d_head: int) -> RopeSpec:
    """Make the RopeSpec of numbers in today's words.

    Args:
        fields: the config's, for what stands outside the numbers.
        numbers: rope_theta, rope_type and the rule's own.
        d_head: width of a head.

    Returns:
        The RopeSpec.

    Raises:
        UnsupportedError: the rule, or one of its numbers, is not modelled.
        CheckpointError: a number that the rule needs is missing.
    """
    given = dict(numbers)
    theta, part = given.pop("rope_theta"), fields["partial_rotary_factor"]
    old_name = given.pop("type", "default")
    rule = given.pop("rope_type", old_name)
    if rule in PLAIN_NAMES:
        rule = "default"
    fraction = 1.0 if rule == "proportional" else given.pop("partial_rotary_factor", part)
    for name in OTHER_USES:  # read where they are used, if at all
        given.pop(name, None)
    if rule not in RULE_FIELDS:
        raise UnsupportedError(f'rope_type "{rule}" is not modelled; known rules: {", ".join(RULE_FIELDS)}.')
    needed, optional = RULE_FIELDS[rule]
    for name in ("max_position_embeddings", "original_max_position_embeddings"):
        outside = fields[name]  # a field of the config itself goes first, as in the library
        if name in needed:
            given[name] = outside if outside is not None else given.get(name, fields["max_position_embeddings"])
    given = {name: value for name, value in given.items() if value is not None}
    if rule == "default":  # its numbers, if a file carries any, change nothing
        given = {}
    if missing := needed - given.keys():
        raise CheckpointError(f'rope_type "{rule}" needs {", ".join(sorted(missing))} in config.json.')
    if unread := given.keys() - needed - optional:
        raise UnsupportedError(f'rope_type "{rule}" with {", ".join(sorted(unread))} is not modelled.')
    return RopeSpec(
        theta=float(theta),
        dim=int(d_head * fraction),
        rule=rule,
        scaling=tuple((name, tuple(v) if isinstance(v, list) else v) for name, v in sorted(given.items())),
    )


# With text alone, positions on all axes of multimodal RoPE are equal, and it is the plain rule.
PLAIN_NAMES = {"default", "mrope"}
OTHER_USES = {"mrope_section", "mrope_interleaved", "llama_4_scaling_beta"}

# A frequency rule's own numbers: those it needs, and those it may have.
RULE_FIELDS: dict[RopeRule, tuple[set[str], set[str]]] = {
    "default": (set(), set()),
    "linear": ({"factor"}, {"original_max_position_embeddings"}),
    "dynamic": ({"factor", "max_position_embeddings"}, {"original_max_position_embeddings"}),
    "yarn": (
        {"max_position_embeddings", "original_max_position_embeddings"},
        {"factor", "attention_factor", "beta_fast", "beta_slow", "mscale", "mscale_all_dim", "truncate"},
    ),
    "longrope": (
        {"max_position_embeddings", "original_max_position_embeddings", "short_factor", "long_factor"},
        {"factor", "attention_factor", "short_mscale", "long_mscale"},
    ),
    "llama3": ({"factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"}, set()),
    "proportional": (set(), {"factor", "partial_rotary_factor"}),
}

"""Comparison specs: the YAML files that say which methods are run on which data, and with which options."""

from __future__ import annotations

import graphlib
import re
from collections.abc import Hashable, Iterable
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from crossem.data._validation import close_match, validated
from crossem.data.registry import SplitName
from crossem.errors import InputError

OWN_OPTIONS = ("config_file", "datalist", "seed", "label_fraction", "output_dir", "resume", "checkpoint", "split")
_PLACEHOLDER = re.compile(r"\{([\w.-]+)\}")

Name = Annotated[str, StringConstraints(pattern=r"^\w[\w.-]*$")]
Seed = Annotated[int, Field(ge=0, strict=True)]
Fraction = Annotated[float, Field(gt=0, le=1)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class MethodSpec(_Strict):
    """One way to train, or to score: a bundle, overlays of its train.json, and options of them.

    ``{other-method}`` in an option is the folder of that method's run with the same seed. ``label_fractions`` makes
    one run each, null the run without. ``chosen`` is whether a checkpoint is chosen on the source's validation
    volumes, besides the last one; not where a training validates on the target.

    With ``weights``, the name of another method, nothing is trained: that one's weights are scored, with its overlays
    and options, and with these options, of an evaluation, in place of them.
    """

    title: str
    bundle: str
    weights: Name | None = None
    overlays: list[str] = []
    options: dict[str, Any] = {}
    label_fractions: Annotated[list[Fraction | None], Field(min_length=1)] = [None]
    unsupervised: bool = True
    chosen: bool = True

    @property
    def needs(self) -> list[str]:
        """Names of the methods whose weights are scored, and whose folders the options name."""
        texts = (value for value in self.options.values() if isinstance(value, str))
        named = [name for text in texts for name in _PLACEHOLDER.findall(text)]
        return list(dict.fromkeys(([self.weights] if self.weights else []) + named))


class Published(_Strict):
    """A score from the literature, to stand beside those of ``method``, or of the method whose title is ``name``."""

    name: str
    score: float
    metric: str = "mean_iou"
    source: str
    method: str | None = None
    label_fraction: Fraction | None = None


class Spec(_Strict):
    """Methods to compare, each with every seed, scored on ``split`` of the target. ``note`` is for readers."""

    name: Name
    title: str
    note: str = ""
    datalist: str
    split: SplitName = "validation"
    seeds: Annotated[list[Seed], Field(min_length=1)] = [0]
    options: dict[str, Any] = {}
    methods: Annotated[dict[Name, MethodSpec], Field(min_length=1)]
    published: list[Published] = []


def load_spec(path: Path) -> Spec:
    """Read and check a spec.

    With the key ``base``, the path of another spec from this one's folder, the keys that it has not are that one's, but
    for ``note`` and ``published``, which tell of the base's data. A base may have a base. Every spec with a base has to
    have a name of its own: runs and reports are kept by it.

    Raises:
        InputError: in one line, when the file or its base is missing or no YAML, has a wrong or unknown key, names a
            method that is not there or in a circle, sets an option that the comparison sets, is called unsupervised
            and needs a method that is not, or does not fit the method whose weights it scores.
    """
    spec = validated(Spec, _with_base(_read_yaml(path), path), f"spec {path}")
    _check_values(spec, path)
    _check_options(spec, path)
    method_order(spec, path)
    _check_labels(spec, path)
    _check_weights(spec, path)
    return spec


def _read_yaml(path: Path) -> Any:
    try:
        return yaml.load(path.read_text(encoding="utf-8"), _UniqueKeys)  # a SafeLoader
    except OSError as error:
        raise InputError(f"spec {path}: cannot be read ({error.strerror}); give the path of a YAML file") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"spec {path}: not valid YAML ({reason}); correct the file") from error


def _with_base(content: Any, path: Path, above: tuple[Path, ...] = ()) -> Any:
    """A spec's keys over those of its base, and of the base's base; ``above`` are the specs that led here."""
    if not isinstance(content, dict) or "base" not in content:
        return content
    own = dict(content)
    given = own.pop("base")
    base = path.parent / str(given)
    above = (*above, path.resolve())
    if not base.is_file():
        raise InputError(f"spec {path}: base is {given!r}, but {base} is no file; give a path from the spec's folder")
    if base.resolve() in above:
        raise InputError(f"spec {path}: base {given!r} leads back to itself; give another or none")
    if "name" not in own:
        raise InputError(f"spec {path}: has a base and no name of its own, by which runs are kept; add name")
    whole = _with_base(_read_yaml(base), base, above)
    inherited = validated(Spec, whole, f"spec {base}").model_dump(exclude_unset=True, exclude={"note", "published"})
    return inherited | own


def with_seeds(spec: Spec, seeds: Iterable[int]) -> Spec:
    """The spec with further seeds; InputError for one that is no whole number from 0."""
    more = [seed for seed in dict.fromkeys(seeds) if seed not in spec.seeds]
    content = spec.model_dump(exclude_unset=True) | {"seeds": [*spec.seeds, *more]}
    return validated(Spec, content, "given seeds") if more else spec


def method_order(spec: Spec, path: Path | str = "") -> list[str]:
    """The methods in the spec's order, except that those that one needs come right before it.

    Raises:
        InputError: when a method needs one that is not there, has no weights of its own or no run of the label fraction
            that is needed, or needs itself.
    """
    for name, method in spec.methods.items():
        for needed in method.needs:
            if needed not in spec.methods:
                hint = close_match(needed, list(spec.methods)) or f"; it has {', '.join(spec.methods)}"
                raise InputError(f"spec {path}: method {name} needs {needed!r}, which is no method of it{hint}")
            if (trained := spec.methods[needed].weights) is not None and needed != name:
                raise InputError(
                    f"spec {path}: method {name} needs {needed}, whose weights are those of {trained}; name that one"
                )
            if None not in spec.methods[needed].label_fractions and needed != method.weights:
                raise InputError(
                    f"spec {path}: method {name} needs {needed}, which has no run without a label fraction; "
                    f"add null to the label_fractions of {needed}"
                )
    try:
        graphlib.TopologicalSorter({n: m.needs for n, m in spec.methods.items()}).prepare()
    except graphlib.CycleError as error:
        circle = " -> ".join(reversed(error.args[1]))
        raise InputError(f"spec {path}: methods need each other in a circle, {circle}; take one out") from error
    order: dict[str, None] = {}  # a name that is there already keeps its place

    def add(name: str) -> None:
        for needed in spec.methods[name].needs:
            add(needed)
        order[name] = None

    for name in spec.methods:
        add(name)
    return list(order)


def in_full(spec: Spec, name: str) -> MethodSpec:
    """A method as it is run: one that scores the weights of another has its overlays and options too."""
    method = spec.methods[name]
    if method.weights is None:
        return method
    trained = spec.methods[method.weights]
    return method.model_copy(update={"overlays": trained.overlays, "options": trained.options | method.options})


def with_folders(value: Any, folders: dict[str, Path]) -> Any:
    """An option's value with ``{method}`` replaced by the folder of that method's run."""
    if not isinstance(value, str):
        return value
    return _PLACEHOLDER.sub(lambda found: str(folders[found[1]]), value)


def _check_values(spec: Spec, path: Path) -> None:
    lists = {f"methods.{name}.label_fractions": method.label_fractions for name, method in spec.methods.items()}
    for where, values in {"seeds": spec.seeds, **lists}.items():
        if len(set(values)) < len(values):
            raise InputError(f"spec {path}: {where} is {values}; give each value once")
    for entry in spec.published:
        if entry.method is not None and entry.method not in spec.methods:
            hint = close_match(entry.method, list(spec.methods)) or f"; it has {', '.join(spec.methods)}"
            raise InputError(f"spec {path}: published {entry.name!r} is of {entry.method!r}, which is no method{hint}")


def _check_labels(spec: Spec, path: Path) -> None:
    for name, method in spec.methods.items():
        labelled = [needed for needed in method.needs if not spec.methods[needed].unsupervised]
        if method.unsupervised and labelled:
            raise InputError(
                f"spec {path}: method {name}: unsupervised is True, but it needs {labelled[0]}, which uses target "
                "labels; give it unsupervised: false"
            )


def _check_weights(spec: Spec, path: Path) -> None:
    """See that methods that score weights fit those that train them."""
    for name, method in spec.methods.items():
        if method.weights is None:
            continue
        trained, where = spec.methods[method.weights], f"spec {path}: method {name}"
        if method.bundle != trained.bundle or method.overlays:
            raise InputError(
                f"{where}: its weights are those of {method.weights}; give it bundle: {trained.bundle}, and no overlays"
            )
        if method.chosen and not trained.chosen:
            raise InputError(
                f"{where}: chosen is True, and of its weights {method.weights} False; give it chosen: false"
            )
        if missing := [fraction for fraction in method.label_fractions if fraction not in trained.label_fractions]:
            fraction = "null" if missing[0] is None else missing[0]
            raise InputError(
                f"{where}: label_fractions have {fraction}, and those of its weights {method.weights} have not; give "
                "it some of theirs"
            )


def _check_options(spec: Spec, path: Path) -> None:
    for where, options in (("spec", spec.options), *((f"method {n}", m.options) for n, m in spec.methods.items())):
        for option in options:
            if option in OWN_OPTIONS:
                remedy = "use label_fractions of a method" if option == "label_fraction" else "leave it out"
                raise InputError(f"spec {path}: options of {where}: {option} is set by the comparison; {remedy}")


class _UniqueKeys(yaml.SafeLoader):
    """YAML in which a key that stands twice is an error: the first of two methods of one name would be lost."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        keys = [key.value for key, _ in node.value]  # before keys of an anchor are merged in: those may be replaced
        twice = [key for key in keys if keys.count(key) > 1]
        if twice:
            raise yaml.constructor.ConstructorError(None, None, f"key {twice[0]!r} stands there twice", node.start_mark)
        return super().construct_mapping(node, deep)

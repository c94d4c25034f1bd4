"""Workspaces of pyhf (HistFactory), and the backends of pyhf.

Yields are interpolated as ROOT's HistFactory and the command line of pyhf do it: ``normsys`` with code 4, ``histosys``
with code 4p. The backend of pyhf is global; here it is set for each fit and restored.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final, cast

import numpy as np

from portico.errors import InputError, MissingExtra
from portico.files.remembered import compiled_folder
from portico.stats.shapes import Array

__all__ = ["BACKENDS", "INTERPOLATION", "Workspace", "using"]

#: What minimises: Fisher scoring; the same and then scipy with the likelihood of pyhf on jax; iminuit alone.
BACKENDS: Final = ("numpy", "jax", "minuit")
#: Of nuisance parameters between their variations: the settings of `pyhf.Model`.
INTERPOLATION: Final = {"normsys": {"interpcode": "code4"}, "histosys": {"interpcode": "code4p"}}


@dataclass(frozen=True)
class Workspace:
    """A checked workspace of pyhf with one of its measurements.

    Attributes
    ----------
    where : str
        Its file, for messages.
    spec : mapping
        The workspace, patches applied.
    measurement : str
    poi : str
        The parameter of interest, a normfactor.
    parameters : tuple of dict
        Settings of parameters by the measurement.
    notes : tuple of str
        What was found in reading it and is not an error.
    axes : mapping of str to (str, sequence of float)
        Title and bin edges of channels, where the file has them.
    """

    where: str
    spec: Mapping[str, Any]
    measurement: str
    poi: str
    parameters: tuple[dict[str, Any], ...] = ()
    notes: tuple[str, ...] = ()
    axes: Mapping[str, tuple[str, Sequence[float]]] = field(default_factory=dict)

    @cached_property
    def model(self) -> Any:
        """The `pyhf.Model`.

        Raises
        ------
        InputError
            If pyhf cannot build it.
        """
        import pyhf

        spec = {"channels": self.spec["channels"], "parameters": list(self.parameters)}
        try:
            with using("numpy"):  # its schema is checked by us: the library's own check warns of its age
                model = pyhf.Model(
                    spec, poi_name=self.poi, validate=False, modifier_settings=INTERPOLATION,
                    modifier_set=_modifier_set() if self.beyond_pyhf else None,
                )  # fmt: skip
                expected = model.expected_data(model.config.suggested_init())
        except Exception as error:  # pyhf has many of its own, and raises KeyError and IndexError as well
            reason = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
            raise InputError(f"{self.where}: pyhf cannot build a model from this workspace: {reason}") from error
        bounds = model.config.suggested_bounds()
        for name, start, (low, high) in zip(model.config.par_names, model.config.suggested_init(), bounds, strict=True):
            if name != self.poi and not low <= start <= high:
                raise InputError(f"{self.where}: parameter '{name}' starts at {start:g}, out of [{low:g}, {high:g}]")
        if not np.all(np.isfinite(expected)):
            raise InputError(f"{self.where}: the expected events are not finite at the start values of the parameters")
        return model

    @property
    def _widths(self) -> list[str]:
        """Parameters of normsys and histosys whose constraint has a width of its own, which pyhf does not foresee."""
        kinds = self._kinds
        return [p["name"] for p in self.parameters if "sigmas" in p and kinds.get(p["name"]) in {"normsys", "histosys"}]

    @property
    def _kinds(self) -> dict[str, str]:
        samples = (sample for channel in self.spec["channels"] for sample in channel["samples"])
        return {modifier["name"]: modifier["type"] for sample in samples for modifier in sample["modifiers"]}

    @property
    def beyond_pyhf(self) -> list[str]:
        """Parameters that only portico fits: constrained factors other than ``lumi``, and constraints of a width."""
        return [*(name for name, kind in self._kinds.items() if kind == "lumi" and name != "lumi"), *self._widths]

    @cached_property
    def counts(self) -> Array:
        """Observed events in the bins of all channels, in the order of the model."""
        observed = {entry["name"]: entry["data"] for entry in self.spec["observations"]}
        return np.array([n for name in self.model.config.channels for n in observed[name]], dtype=np.float64)


def _modifier_set() -> dict[str, Any]:
    """Return the modifiers of pyhf, with several lumi, and a width of the constraint for normsys and histosys.

    pyhf multiplies by the sum of all lumi where there are several; here each is a factor of its own.
    """
    from pyhf.modifiers import histfactory_set

    def wider(builder: Any) -> Any:
        class Wider(builder):  # type: ignore[misc]
            def append(self, key: Any, channel: Any, sample: Any, modifier: Any, defined: Any) -> None:
                super().append(key, channel, sample, modifier, defined)
                if modifier:
                    self.required_parsets[modifier["name"]][0]["sigmas"] = (1.0,)

        return Wider

    class Lumi(histfactory_set["normfactor"][1]):  # type: ignore[misc]
        name = "lumi"

    own = {kind: (wider(histfactory_set[kind][0]), histfactory_set[kind][1]) for kind in ("normsys", "histosys")}
    return {**histfactory_set, **own, "lumi": (histfactory_set["lumi"][0], Lumi)}


def _keep_compiled() -> None:
    """Let jax keep what it compiles for other processes, unless the user has a folder for that."""
    try:
        import jax
    except ImportError as error:
        raise MissingExtra("jax", "the jax backend of pyhf") from error
    folder, config = compiled_folder("PORTICO_JAX", "jax"), cast("Any", jax.config)
    if folder is not None and config.jax_compilation_cache_dir is None:
        config.update("jax_compilation_cache_dir", str(folder))
        config.update("jax_persistent_cache_min_compile_time_secs", 0.1)


@contextmanager
def using(backend: str) -> Iterator[None]:
    """Set the backend of pyhf, and restore the previous one.

    All models of pyhf follow a change, which takes jax milliseconds: put it around many fits, too.

    Raises
    ------
    MissingExtra
        If jax is asked for and not installed.
    """
    import pyhf

    if backend == "jax":
        _keep_compiled()
    before, logger = pyhf.get_backend(), logging.getLogger("pyhf")
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)  # pyhf logs each failed fit; they are handled here
    try:
        pyhf.set_backend("jax" if backend == "jax" else "numpy", pyhf.optimize.scipy_optimizer())
        with np.errstate(all="ignore"):
            yield
    finally:
        pyhf.set_backend(*before)
        logger.setLevel(level)

"""The published schemas of our file formats, and the sentence that says where a document breaks one."""

from __future__ import annotations

import functools
import json
from importlib import resources
from pathlib import Path
from typing import Any

import jsonschema

from vtpm_traces.files import BadInput, shown

TRACE = "vtpm-trace/1"
EVENT_LOG = "vtpm-event-log/1"
SUT = "vtpm-sut/1"
DEVIATIONS = "vtpm-deviations/1"
RECORDING = "vtpm-recording/1"
KNOWN = (TRACE, EVENT_LOG, SUT, DEVIATIONS, RECORDING)


def data(*parts: str) -> Path:
    """A file or folder of this package's data: beside the package in a checkout, inside it when installed."""
    package = Path(str(resources.files("vtpm_traces")))
    for root in (package, package.parent):
        if (root / "schema").is_dir():
            return root.joinpath(*parts)
    raise FileNotFoundError(f"the data of vtpm_traces is neither in {package} nor beside it")


def refuse_unknown(name: object, wanted: str, where: str) -> None:
    """Raise BadInput unless the schema that a file names is the wanted one."""
    if name != wanted:
        raise BadInput(f"{where}: schema {shown(name)} is not known here; this reads {wanted}")


@functools.cache
def document(name: str) -> dict[str, Any]:
    """The JSON Schema of that name and version."""
    text = data("schema", f"{name.replace('/', '-')}.schema.json").read_text(encoding="utf-8")
    loaded: dict[str, Any] = json.loads(text)
    return loaded


def check(value: Any, name: str, where: str, *, part: str = "") -> None:
    """Raise BadInput, with the place and what is allowed there, if the value breaks the schema or that part of it."""
    errors = sorted(_validator(name, part).iter_errors(value), key=lambda error: (-len(error.path), error.message))
    if errors:
        error = jsonschema.exceptions.best_match(errors)
        place = ".".join(str(step) for step in error.absolute_path) or "the document"
        raise BadInput(f"{where}: {place}: {shown(error.message, 200)}")


@functools.cache
def _validator(name: str, part: str) -> Any:
    schema = document(name)
    if part:
        schema = {"$schema": schema["$schema"], "$defs": schema["$defs"], "$ref": f"#/$defs/{part}"}
    return jsonschema.Draft202012Validator(schema)
